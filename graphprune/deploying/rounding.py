"""What a device in half precision would compute, as a file that any device computes.

A processor computes most of a float16 file in float32, since onnxruntime has few kernels in half there. So what that
gives says little of a device that rounds every value. Here every rounding is written out.
"""

from __future__ import annotations

from typing import Any

__all__ = ["casts_to", "rounded"]


def casts_to(node: Any, dtype: str) -> bool:
    import onnx_ir

    return bool(node.op_type == "Cast" and node.attributes["to"].value == onnx_ir.DataType[dtype])


def rounded(model: Any) -> Any:
    """A float16 file (an `onnx_ir.Model`) in float32, with every value rounded to half where the file would hold one.

    Sums inside an operator are kept in float32, as most devices do.
    """
    made = model.clone()
    for value in made.graph.initializers.values():
        _widen_tensor(value)
    for node in list(made.graph.all_nodes()):
        _widen_attributes(node)
        for value in node.outputs:
            if _widened(value):
                _round(value, node)
    for value in (*made.graph.inputs, *made.graph.outputs):
        _widened(value)
    return made


def _widened(value: Any) -> bool:
    """Whether a value was in half; it is in float32 now."""
    import onnx_ir

    if value.dtype != onnx_ir.DataType.FLOAT16:
        return False
    value.dtype = onnx_ir.DataType.FLOAT
    return True


def _widen_tensor(value: Any) -> None:
    import onnx_ir

    if value.const_value.dtype == onnx_ir.DataType.FLOAT16:
        value.const_value = onnx_ir.tensor(value.const_value.numpy().astype("float32"), name=value.name)
        value.dtype = onnx_ir.DataType.FLOAT


def _widen_attributes(node: Any) -> None:
    import onnx_ir

    for name, attribute in list(node.attributes.items()):
        is_tensor = attribute.type == onnx_ir.AttributeType.TENSOR
        if is_tensor and attribute.value.dtype == onnx_ir.DataType.FLOAT16:
            tensor = onnx_ir.tensor(attribute.value.numpy().astype("float32"))
            node.attributes[name] = onnx_ir.AttrTensor(name, tensor)
    if casts_to(node, "FLOAT16"):
        node.attributes["to"] = onnx_ir.AttrInt64("to", onnx_ir.DataType.FLOAT)


def _round(value: Any, node: Any) -> None:
    import onnx_ir

    uses = list(value.uses())
    down = onnx_ir.node("Cast", [value], attributes={"to": onnx_ir.DataType.FLOAT16})
    up = onnx_ir.node("Cast", [down.outputs[0]], attributes={"to": onnx_ir.DataType.FLOAT})
    down.outputs[0].name, up.outputs[0].name = f"{value.name}/half", f"{value.name}/rounded"
    down.name, up.name = down.outputs[0].name, up.outputs[0].name
    node.graph.insert_after(node, (down, up))
    for user, place in uses:
        user.replace_input_with(place, up.outputs[0])
