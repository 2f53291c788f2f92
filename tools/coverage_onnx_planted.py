"""Errors planted in cut files, of which a proof must find nearly all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from graphprune.ground.errors import VerificationError
from graphprune.importing.nested import places as constants
from graphprune.slicing.proof import FileProof, Run

__all__ = ["caught", "planted"]

COUNT = 20
_NUMBERS = ("group", "hidden_size", "split", "starts", "ends")


def planted(model: Any, original: Any, count: int = COUNT, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Copies of a cut file (onnx.ModelProto), each with one error, and what it is.

    Of tensors that were cut: two units change places, all move on by one, or a number is another; of numbers that say
    sizes, and of attributes that do: one more.
    """
    random = np.random.default_rng(seed)
    whole, held = tensors_of(original), tensors_of(model)
    places = [
        (kind, name)
        for name, item in held.items()
        if item.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        and (name not in whole or item.dims != whole[name].dims)
        for kind in ("units swapped", "units moved", "a number")
    ]
    sizes = {
        name
        for name, item in held.items()
        if item.data_type == onnx.TensorProto.INT64
        and name in whole
        and item.raw_data != whole[name].raw_data
    }
    places += [("a size", name) for name in sorted(sizes)]
    for place, (new, old) in enumerate(zip(model.graph.node, original.graph.node, strict=False)):
        if new != old and any(item.name in _NUMBERS for item in new.attribute):
            places.append(("an attribute", str(place)))
    found = 0
    for index in random.permutation(len(places)):
        kind, where = places[index]
        made = onnx.ModelProto()
        made.CopyFrom(model)
        if kind == "an attribute":
            _count_up(made.graph.node[int(where)])
            changed = True
        else:
            changed = _change(tensors_of(made)[where], kind, random)
        if changed:  # two units may be alike
            found += 1
            yield f"{kind}: {where}", made
        if found == count:
            return


def tensors_of(model: Any) -> dict[str, Any]:
    """Every constant that is a tensor, those of inner graphs too, by a name of its own."""
    found = {}
    for name, place in constants(model.graph).items():
        if isinstance(place, onnx.TensorProto):
            found[name] = place
        elif place.name == "value":
            found[name] = place.t
    return found


def _change(item: Any, kind: str, random: np.random.Generator) -> bool:
    """Whether its numbers are others afterwards."""
    array = before = np.array(numpy_helper.to_array(item))
    dim = int(np.argmax(array.shape)) if array.ndim else 0
    if kind == "units swapped":
        order = np.arange(array.shape[dim])
        order[[0, -1]] = order[[-1, 0]]
        array = array.take(order, dim)
    elif kind == "units moved":
        array = np.roll(array, 1, dim)
    else:
        array = before.copy()
        at = random.integers(array.size) if kind == "a number" else 0
        large = max(float(np.abs(array.astype(np.float64)).max()), 1.0) / 2
        array.reshape(-1)[at] += array.dtype.type(large if kind == "a number" else 1)
    item.CopyFrom(numpy_helper.from_array(array, item.name))
    return not np.array_equal(array, before)


def _count_up(node: Any) -> None:
    item = next(item for item in node.attribute if item.name in _NUMBERS)
    if item.ints:
        item.ints[0] += 1
    else:
        item.i += 1


def caught(proof: FileProof, runs: Sequence[Run], model: Any) -> bool:
    """Whether the checks that every file has to pass show that this one is wrong."""
    try:
        return not (proof.constants(model).passed and all(proof.compared(model, run).passed for run in runs))
    except VerificationError:
        return True
