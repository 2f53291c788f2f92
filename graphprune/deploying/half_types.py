"""Which nodes can compute in half precision, and which of their inputs are in half then."""

from __future__ import annotations

from typing import Any

__all__ = ["can_be_half", "half_inputs"]


def can_be_half(node: Any, model: Any) -> bool:
    """Whether an operator is known in half, and it reads or makes floats, and all types are known."""
    import onnx
    import onnx_ir
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    types = {value.dtype for value in values}
    if None in types or onnx_ir.DataType.FLOAT not in types or node.op_type in DEFAULT_OP_BLOCK_LIST:
        return False
    if any(attribute.type.name in ("GRAPH", "GRAPHS") for attribute in node.attributes.values()):
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, model.opset_imports.get(node.domain, 0), node.domain)
    except onnx.defs.SchemaError:
        return False
    said = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
    return all(
        {"tensor(float)", "tensor(float16)"} <= said.get(formal.type_str, {formal.type_str})
        for formal, value in [*_formal(schema.inputs, node.inputs), *_formal(schema.outputs, node.outputs)]
        if value is not None
        and value.dtype == onnx_ir.DataType.FLOAT
        and (value, node) not in {(one, node) for _, one in _single_inputs(node)}
    )


def _formal(declared: Any, values: Any) -> list[tuple[Any, Any]]:
    """Values with their declarations; the last of these may stand for many."""
    return [(declared[min(place, len(declared) - 1)], value) for place, value in enumerate(values)]


def _single_inputs(node: Any) -> list[tuple[int, Any]]:
    """Inputs that are in float32 whatever the others are, such as the scales of Resize."""
    from onnxruntime.transformers.float16 import ALWAYS_FLOAT_INPUTS

    places = ALWAYS_FLOAT_INPUTS.get(node.op_type, ())
    return [
        (place, value) for place, value in enumerate(node.inputs) if place in places and value is not None
    ]


def half_inputs(node: Any) -> list[tuple[int, Any]]:
    import onnx_ir

    single = {place for place, _ in _single_inputs(node)}
    floats = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16)
    return [
        (place, value)
        for place, value in enumerate(node.inputs)
        if value is not None and place not in single and value.dtype in floats
    ]
