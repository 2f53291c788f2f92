"""One node of an ONNX graph: its attributes with their defaults, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from graphprune.ground.errors import CaptureError
from graphprune.importing.schemas import defaults

__all__ = ["DTYPES", "DataError", "ForeignError", "Node", "Operator", "RefusalError", "free", "read_node"]


class RefusalError(CaptureError):
    """A node does what this interpreter does not."""


class DataError(RefusalError):
    """A node's shapes, or how often it runs, depend on data."""


class ForeignError(RefusalError):
    """A node does what PyTorch has no operator for; onnxruntime can compute it."""


@dataclass(frozen=True)
class Node:
    """A node of the file.

    Args:
        path: of its module, made of the node's name.
        operator: "Conv"; of another domain than ONNX's own "com.microsoft.Gelu".
        opset: the version of the operator's domain that the file asks for.
        attributes: by name, with the defaults of that version; a graph is an onnx.GraphProto.
        inputs, outputs: names of values; empty where one is left out.
    """

    path: str
    name: str
    operator: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        """An attribute; None where the node leaves out one without default."""
        return self.attributes.get(name)

    def refusal(self, why: str, remedy: str = "", kind: type[RefusalError] = RefusalError) -> RefusalError:
        """What to raise where the node cannot be run."""
        return kind(
            f"node {self.name or self.path} ({self.operator}): {why}",
            remedy or "shrink the PyTorch model that the file was exported from, if you have it",
        )


@dataclass(frozen=True)
class Operator:
    """How an operator runs in PyTorch.

    Args:
        compute: called with the node and its inputs, None for one that is left out; it gives a result, or a tuple.
        counts: which inputs are sizes, axes and the like, and come as nested lists of Python's numbers.
        single: which inputs come as a number of Python's where they are one that is no data.
    """

    compute: Callable[..., Any]
    counts: tuple[int, ...] = ()
    single: tuple[int, ...] = ()


def free(function: Callable[..., Any]) -> Operator:
    """An operator that is a function of its inputs alone."""
    return Operator(lambda node, *args: function(*args))


def read_node(proto: Any, path: str, opsets: Mapping[str, int]) -> Node:
    """The node with all its attributes.

    Args:
        proto: an onnx.NodeProto.
        opsets: domain → version, as the file has them.
    """
    from onnx import helper

    domain = "" if proto.domain == "ai.onnx" else proto.domain
    opset = opsets.get(domain, 1)
    given = {item.name: helper.get_attribute_value(item) for item in proto.attribute}
    return Node(
        path=path,
        name=proto.name,
        operator=f"{domain}.{proto.op_type}" if domain else proto.op_type,
        opset=opset,
        attributes={
            name: _plain(value) for name, value in {**defaults(proto.op_type, opset, domain), **given}.items()
        },
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _dtypes() -> dict[int, torch.dtype]:
    names = "float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64".split()
    known = {number + 1: getattr(torch, name, None) for number, name in enumerate(names)}
    return {
        **{number: dtype for number, dtype in known.items() if dtype},
        **dict.fromkeys(HALVES, torch.float32),
    }


HALVES = (
    10,
    16,
)  # float16 and bfloat16, which PyTorch computes slowly or not at all on a CPU: it takes float32
DTYPES = _dtypes()  # the numbers of onnx.TensorProto.DataType → what PyTorch computes in
