"""What ONNX, and onnxruntime for its own operators, say of an operator: its inputs' names, attributes' defaults."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["defaults", "formal_names"]


@cache
def defaults(op_type: str, opset: int, domain: str) -> Mapping[str, Any]:
    """The defaults of an operator's attributes; none of an operator that nobody knows."""
    from onnx import AttributeProto, helper

    schema = _schema(op_type, opset, domain)
    values = ((name, _value(item)) for name, item in schema.attributes.items()) if schema else ()
    return {
        name: helper.get_attribute_value(value)
        for name, value in values
        if value.type != AttributeProto.UNDEFINED
    }


@cache
def formal_names(op_type: str, opset: int, domain: str) -> tuple[str, ...]:
    """What the operator calls its inputs."""
    schema = _schema(op_type, opset, domain)
    return tuple(item.name for item in schema.inputs) if schema else ()


def _schema(op_type: str, opset: int, domain: str) -> Any:
    """None of an operator that nobody knows. onnxruntime runs some in files that are older than they are."""
    from onnx import defs

    if not defs.has(op_type, domain):
        return _own().get((domain, op_type))
    try:
        return defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return defs.get_schema(op_type, domain)


@cache
def _own() -> Mapping[tuple[str, str], Any]:
    """onnxruntime's operators that ONNX does not have. It does not publish this list, and may move it."""
    from onnx import defs

    try:
        from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema
    except ImportError:
        return {}
    found = {(item.domain, item.name): item for item in get_all_operator_schema()}
    return {key: item for key, item in found.items() if not defs.has(key[1], key[0])}


def _value(attribute: Any) -> Any:
    from onnx import AttributeProto

    if hasattr(attribute, "default_value"):
        return attribute.default_value
    value = AttributeProto()
    value.ParseFromString(attribute._default_value)
    return value
