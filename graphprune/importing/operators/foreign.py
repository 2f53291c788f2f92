"""Operators that PyTorch has not: onnxruntime computes the node within the module.

Nothing is known of such an operator. So all its axes are pinned, and the network around it is pruned.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.exporting.runtime import session
from graphprune.ground.errors import ExportError, first_line

__all__ = ["computed", "is_computed", "spelled"]

# results of these have sizes that the data say, or are no tensors; random ones are others each time
_NOT = set(
    "Bernoulli Compress ImageDecoder Multinomial NonMaxSuppression NonZero RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique".split()
)


def is_computed(node: Any) -> bool:
    """Whether a node (onnx.NodeProto) may be one: it gives tensors whose sizes follow from those it reads."""
    bodies = any(item.HasField("g") or item.graphs for item in node.attribute)
    return not bodies and node.op_type not in _NOT and "Sequence" not in node.op_type


def spelled(node: Any, opsets: Mapping[str, int]) -> str:
    """A node alone in a model, as a text that can stand in a graph of PyTorch."""
    from onnx import helper

    graph = helper.make_graph([node], "node", [], [])
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return base64.b64encode(model.SerializeToString(deterministic=True)).decode()


def computed(text: str, given: list[Tensor]) -> tuple[Tensor, ...]:
    """What the node of `spelled` gives on these tensors, in their order without those that are left out."""
    return tuple(torch.ops.graphprune.onnx_node(given, text))


@torch.library.custom_op("graphprune::onnx_node", mutates_args=())
def _run(given: list[Tensor], node: str) -> list[Tensor]:
    wide = any(tensor.dtype == torch.float64 for tensor in given)
    arrays = [(tensor.float() if tensor.is_floating_point() else tensor).detach().numpy() for tensor in given]
    results = [torch.from_numpy(np.array(array)) for array in _results(node, arrays)]
    return [item.double() if wide and item.is_floating_point() else item for item in results]


@_run.register_fake
def _shapes(given: list[Tensor], node: str) -> list[Tensor]:
    """The shapes are those that onnxruntime gives on zeros."""
    wide = any(tensor.dtype == torch.float64 for tensor in given)
    arrays = [np.zeros(tuple(map(int, tensor.shape)), dtype=_array_type(tensor)) for tensor in given]
    results = _results(node, arrays)
    dtypes = [torch.from_numpy(np.empty(0, array.dtype)).dtype for array in results]
    return [
        given[0].new_empty(array.shape, dtype=torch.float64 if wide and dtype.is_floating_point else dtype)
        for array, dtype in zip(results, dtypes, strict=True)
    ]


def _array_type(tensor: Tensor) -> Any:
    return np.float32 if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _results(node: str, arrays: list[Any]) -> list[Any]:
    loaded = _session(node, tuple((str(array.dtype), array.ndim) for array in arrays))
    names = [item.name for item in loaded.get_inputs()]
    try:
        return [np.asarray(item) for item in loaded.run(None, dict(zip(names, arrays, strict=True)))]
    except Exception as error:  # onnxruntime's errors have no common base class
        raise RuntimeError(first_line(error, 200)) from error


@lru_cache(maxsize=256)
def _session(text: str, kinds: tuple[tuple[str, int], ...]) -> Any:
    import onnx
    from onnx import helper

    model = onnx.load_from_string(base64.b64decode(text))
    node = model.graph.node[0]
    names = list(dict.fromkeys(filter(None, node.input)))
    model.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [None] * rank)
        for name, (kind, rank) in zip(names, kinds, strict=True)
    )
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    try:
        return session(model.SerializeToString())
    except ExportError as error:
        raise RuntimeError(error.message) from error
