"""The constants of a file: which tensor of the program each is, and a copy of the file with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.ground.errors import CaptureError
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.nested import places
from graphprune.importing.step import Step
from graphprune.importing.values import Held

__all__ = ["add_constant", "arrays_of", "kept_by_source", "sources_of", "weights_of", "with_tensors"]

Array = np.ndarray[Any, Any]


def sources_of(module: OnnxModule) -> dict[str, str]:
    """Name of a tensor of the module → the constant of the file that it is, as `places` names it."""
    return {name: held.source for name, held in _held(module)}


def weights_of(module: OnnxModule) -> dict[str, str]:
    """The same of tensors that hold more than a few numbers, of which none is a size."""
    few = {held.source for _, held in _held(module) if held.numbers is not None}
    return {name: held.source for name, held in _held(module) if held.source not in few}


def _held(module: OnnxModule) -> Iterator[tuple[str, Held]]:
    for path, step in module.named_modules():
        for held in step.held.values() if isinstance(step, Step) else ():
            yield f"{path}.{held.attribute}", held


def kept_by_source(
    kept: Mapping[str, Mapping[int, Tensor]], sources: Mapping[str, str]
) -> dict[str, Mapping[int, Tensor]]:
    """Constant of the file → dimension → kept indices.

    Args:
        kept: the same by the names of the module's tensors.
        sources: see `sources_of`.

    Raises:
        CaptureError: two nodes that read one constant keep different parts.
    """
    found: dict[str, Mapping[int, Tensor]] = {}
    for name, dims in kept.items():
        if name not in sources:
            continue  # the program holds what the file computes
        other = found.setdefault(sources[name], dims)
        if set(other) != set(dims) or any(not torch.equal(other[dim], dims[dim]) for dim in dims):
            raise CaptureError(f"{sources[name]} would be cut in two ways", "protect the layers that read it")
    return found


def arrays_of(model: Any) -> dict[str, Array]:
    """The numbers of every constant of a file, by the names of `places`."""
    from onnx import TensorProto, helper, numpy_helper

    found = {}
    for name, place in places(model.graph).items():
        value = place if isinstance(place, TensorProto) else helper.get_attribute_value(place)
        found[name] = numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
    return found


def with_tensors(model: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A copy of a file (onnx.ModelProto) with other constants under these names of `places`."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    found = places(made.graph)
    listed = {item.name: item.type.tensor_type.shape for item in made.graph.input}
    for name, tensor in tensors.items():
        _put(found[name], tensor.detach().numpy())
        for dim, size in zip(listed[name].dim if name in listed else (), tensor.shape, strict=False):
            dim.dim_value = size  # old files list their constants among the inputs
    return made


def add_constant(model: Any, name: str, tensor: Tensor) -> str:
    """The name of a new constant of the whole file."""
    from onnx import helper, numpy_helper

    made = numpy_helper.from_array(tensor.numpy(), name)
    model.graph.initializer.append(made)
    if model.ir_version < 4:  # where they are inputs, too
        model.graph.input.append(helper.make_tensor_value_info(name, made.data_type, made.dims))
    return name


def _put(place: Any, array: Array) -> None:
    """Other numbers in the place of those of a tensor, or of a Constant node, under its own name and of its type."""
    import onnx

    if isinstance(place, onnx.TensorProto):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(place.data_type)
        made = onnx.numpy_helper.from_array(np.array(array, dtype=dtype, order="C"), place.name)
        made.doc_string = place.doc_string
        place.CopyFrom(made)
    elif place.name == "value":
        _put(place.t, array)
    else:
        made = onnx.helper.make_attribute(place.name, array.tolist())
        place.CopyFrom(made)
