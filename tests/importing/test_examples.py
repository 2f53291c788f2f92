"""Example inputs made from a file's signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from graphprune.ground.errors import InputError
from graphprune.importing.examples import examples, read_feed
from graphprune.importing.interpreter import OnnxModule, module_of
from tests.importing.building import graph_of, node

INT, BOOL = TensorProto.INT64, TensorProto.BOOL


def texts() -> OnnxModule:
    """A table of seven rows, a table of two, a mask, and a rate that must be 16000."""
    nodes = [
        node("Cast", ["ids"], ["small"], to=TensorProto.INT32),
        node("Gather", ["words", "small"], ["a"]),
        node("Gather", ["kinds", "types"], ["b"]),
        node("Add", ["a", "b"], ["c"]),
        node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["m", "last"], ["m3"]),
        node("Mul", ["c", "m3"], ["d"]),
        node("Equal", ["rate", "usual"], ["same"]),
        node("Cast", ["same"], ["factor"], to=TensorProto.FLOAT),
        node("Mul", ["d", "factor"], ["y"]),
    ]
    whole = {"ids": ["n", "t"], "types": ["n", "t"], "mask": ["n", "t"], "rate": []}
    constants = {"words": np.ones((7, 4), np.float32), "kinds": np.ones((2, 4), np.float32)}
    more = {"last": np.array([-1]), "usual": np.array(16000)}
    return module_of(graph_of(nodes, whole, ["y"], constants | more, types=dict.fromkeys(whole, INT)))


def test_indices_stay_within_their_tables_and_masks_hide_nothing() -> None:
    ids, types, mask, rate = examples(texts())
    assert ids.shape == types.shape == mask.shape == (1, 16)
    assert ids.dtype == torch.int64
    assert int(ids.max()) == 6
    assert set(types.flatten().tolist()) == {0, 1}
    assert mask.all()
    assert rate.item() == 16000
    assert all(
        torch.equal(one, other)
        for one, other in zip(examples(texts()), (ids, types, mask, rate), strict=True)
    )


def image(sizes: Any = ("n", 3, "h", "w"), rows: int = 40) -> OnnxModule:
    """Rows of an image in parts of a fixed number: only heights of that many fit."""
    nodes = [node("Reshape", ["x", "s"], ["r"]), node("MatMul", ["r", "v"], ["y"])]
    constants = {"s": np.array([0, 3, -1, rows * 2]), "v": np.ones((rows * 2, 2), np.float32)}
    return module_of(graph_of(nodes, {"x": sizes}, ["y"], constants))


def test_sizes_are_those_at_which_the_model_runs() -> None:
    (x,) = examples(image())
    assert x.shape == (1, 3, 320, 320)  # the first whose square is a multiple of 80
    (x,) = examples(image(rows=41))
    assert x.shape[1:] == (3, 82, 82)  # which stands in the file
    product = graph_of(
        [node("MatMul", ["x", "v"], ["y"])],
        {"x": ["n", 3, "h", "w"]},
        ["y"],
        {"v": np.ones((1013, 2), np.float32)},
    )
    with pytest.raises(InputError, match=r"no sizes were found .* x \(n, 3, h, w\): node MatMul_0"):
        examples(module_of(product))


def test_what_is_given_is_taken_and_checked() -> None:
    module = image()
    x = torch.zeros(2, 3, 8, 10)
    assert examples(module, x)[0] is x
    assert examples(module, {"x": (2, 3, 8, 10)})[0].shape == (2, 3, 8, 10)
    assert torch.equal(examples(module, [x.numpy()])[0], x)
    for given, why in (
        ({"z": x}, "no input 'z'"),
        ((x, x), "2 inputs are given for a file of 1"),
        (x.double(), "is given as torch.float64"),
        ({"x": (2, 4, 8, 10)}, r"shape \(2, 4, 8, 10\), and the file takes x \(n, 3, h, w\)"),
        ({"x": (2, 0, 8, 10)}, "is no shape of x"),
    ):
        with pytest.raises(InputError, match=why):
            examples(module, given)


def test_one_symbol_has_one_size() -> None:
    with pytest.raises(InputError, match="t is both 5 and 6"):
        examples(texts(), {"ids": (1, 5), "mask": (1, 6)})
    ids, types, *_ = examples(texts(), {"mask": (3, 5)})
    assert ids.shape == types.shape == (3, 5)


def test_a_feed_is_read_without_running_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "feed.npz", x=np.ones(3))
    assert read_feed(tmp_path / "feed.npz")["x"].sum() == 3
    np.savez(tmp_path / "bad.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_feed(tmp_path / "bad.npz")
