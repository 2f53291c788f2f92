"""An ONNX model as bytes, without a copy of its large tensors: on disk it is written piece by piece, and onnxruntime
takes the tensors from where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from graphprune.ground.files import writing

__all__ = ["LARGEST_FILE", "Serialised", "digest_of"]

LARGE = 1024  # bytes of a tensor; smaller ones, among them shapes that the runtime looks at, stay within
LARGEST_FILE = 2**31 - 1  # what protobuf reads
# tags of fields by the encoding of protobuf: their number, with the mark of what says its length
_GRAPH, _INITIALIZER, _RAW_DATA = (bytes([number << 3 | 2]) for number in (7, 5, 9))


@dataclass(frozen=True)
class Serialised:
    """An ONNX model in memory.

    Attributes:
        model: the `onnx_ir.Model`.
        proto: an `onnx.ModelProto` of it that reads the large tensors from outside.
        outside: these tensors, of `onnx_ir`, by name.
    """

    model: Any
    proto: Any
    outside: Mapping[str, Any]

    @classmethod
    def of(cls, model: Any) -> Serialised:
        import onnx_ir

        values = {
            name: value
            for name, value in model.graph.initializers.items()
            if value.const_value.nbytes >= LARGE and value.const_value.numpy().dtype.isbuiltin == 1
        }
        outside = {name: value.const_value for name, value in values.items()}
        try:
            for name, value in values.items():
                value.const_value = onnx_ir.ExternalTensor(
                    "outside",
                    0,
                    outside[name].nbytes,
                    outside[name].dtype,
                    shape=outside[name].shape,
                    name=name,
                )
            return cls(model, onnx_ir.serde.serialize_model(model), outside)
        finally:
            for name, value in values.items():
                value.const_value = outside[name]

    @cached_property
    def size(self) -> int:
        """Bytes of a file that holds all tensors."""
        return sum(len(head) + (0 if tensor is None else tensor.nbytes) for head, tensor in self._pieces())

    @cached_property
    def operators(self) -> str:
        """Digest of the operators and their settings in order, whatever the weights."""
        return digest_of(self.proto.graph)

    def write(self, path: Path) -> None:
        """Into one file, or, beyond what protobuf reads, with a file of weights beside it, which begins with its name.

        Raises:
            InputError: it cannot be written.
        """
        with writing(path):
            if self.size > LARGEST_FILE:
                torch.onnx.ONNXProgram(self.model, None).save(path)
                return
            with path.open("wb") as file:
                for head, tensor in self._pieces():
                    file.write(head)
                    if tensor is not None:
                        file.write(tensor.tobytes())

    def given_to(self, options: Any) -> Any:
        """The rest of the model, with the large tensors given to the options of an onnxruntime session.

        They must be kept as long as the session: it reads them where they are.
        """
        import onnxruntime

        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(_without_gaps(tensor.numpy()))
            for name, tensor in self.outside.items()
        }
        options.add_external_initializers(list(values), list(values.values()))
        return self.proto.SerializeToString(), values

    def _pieces(self) -> Iterator[tuple[bytes, Any]]:
        """Bytes, and the tensor whose bytes follow; None for none."""
        import onnx

        graph, rest, model = self.proto.graph, onnx.GraphProto(), onnx.ModelProto()
        rest.CopyFrom(graph)
        rest.ClearField("initializer")
        model.CopyFrom(self.proto)
        model.ClearField("graph")
        stored = [self._stored(tensor) for tensor in graph.initializer]
        body = rest.SerializeToString()
        size = len(body) + sum(
            len(head) + (0 if tensor is None else tensor.nbytes) for head, tensor in stored
        )
        yield model.SerializeToString() + _GRAPH + _varint(size) + body, None
        yield from stored

    def _stored(self, proto: Any) -> tuple[bytes, Any]:
        import onnx

        tensor = self.outside.get(proto.name)
        if tensor is None:
            data = proto.SerializeToString()
            return _INITIALIZER + _varint(len(data)) + data, None
        head = onnx.TensorProto(
            name=proto.name, data_type=proto.data_type, dims=proto.dims
        ).SerializeToString()
        head += _RAW_DATA + _varint(tensor.nbytes)
        return _INITIALIZER + _varint(len(head) + tensor.nbytes) + head, tensor


def digest_of(graph: Any) -> str:
    """Of an `onnx.GraphProto`'s operators and their settings: names and tensors differ between a file and its twin."""
    import onnx

    digest = hashlib.sha256()
    for node in graph.node:
        digest.update(f"{node.domain}.{node.op_type};".encode())
        for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
            if attribute.type != onnx.AttributeProto.TENSOR:
                digest.update(attribute.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _without_gaps(array: Any) -> Any:
    """An array with the numbers one after the other; torch turns a matrix round four times as fast as numpy."""
    import numpy

    turned = array.ndim == 2 and array.T.flags.c_contiguous
    return torch.from_numpy(array).contiguous().numpy() if turned else numpy.ascontiguousarray(array)


def _varint(number: int) -> bytes:
    """
    >>> _varint(300)
    b'\\xac\\x02'
    """
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
