"""Operators of older versions, and those with several settings, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphprune.importing.interpreter import module_of
from tests.importing.building import in_onnxruntime, one_node


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


IMAGE = normal(2, 4, 6, 9)
SLICE = {"starts": [1, -3], "ends": [9999, -1], "axes": [1, 3]}
UP = np.array([1, 1, 2, 3], dtype=np.float32)

CASES: list[tuple[str, int, list[Any], dict[int, Any], dict[str, Any]]] = [
    ("BatchNormalization", 7, [IMAGE], {place: abs(normal(4)) for place in range(1, 5)}, {}),
    ("Clip", 6, [IMAGE], {}, {"min": -0.3, "max": 0.5}),
    ("Clip", 11, [IMAGE], {1: None, 2: np.float32(0.2)}, {}),
    ("Dropout", 7, [IMAGE], {}, {"ratio": 0.4}),
    ("Dropout", 10, [IMAGE], {}, {}),
    ("Gemm", 7, [normal(3, 5), normal(7, 5)], {2: normal(7)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", 11, [normal(5, 3), normal(5, 7)], {}, {"transA": 1}),
    ("Gemm", 11, [normal(3, 5)], {1: normal(7, 5), 2: normal(3, 1)}, {"transB": 1}),
    ("GlobalLpPool", 11, [IMAGE], {}, {"p": 3}),
    ("Hardmax", 11, [IMAGE], {}, {"axis": 2}),
    ("InstanceNormalization", 7, [IMAGE, normal(4), normal(4)], {}, {}),
    ("LogSoftmax", 11, [IMAGE], {}, {"axis": 1}),
    ("MaxPool", 8, [IMAGE], {}, {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("MaxPool", 12, [IMAGE], {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("MaxPool", 12, [IMAGE], {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", 7, [IMAGE], {}, {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 1, 0, 1]}),
    ("AveragePool", 11, [IMAGE], {}, {"kernel_shape": [3, 3], "pads": [1, 0, 0, 2], "count_include_pad": 1}),
    ("AveragePool", 11, [IMAGE], {}, {"kernel_shape": [3, 3], "pads": [1, 0, 0, 2]}),
    (
        "Conv",
        7,
        [IMAGE],
        {1: normal(6, 2, 3, 3), 2: normal(6)},
        {"group": 2, "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
    ("Conv", 11, [IMAGE], {1: normal(6, 4, 3, 2)}, {"dilations": [2, 1], "pads": [0, 1, 2, 0]}),
    (
        "ConvTranspose",
        11,
        [IMAGE],
        {1: normal(4, 3, 3, 3)},
        {"strides": [2, 2], "output_shape": [12, 18], "auto_pad": "SAME_UPPER"},
    ),
    (
        "ConvTranspose",
        11,
        [IMAGE],
        {1: normal(4, 3, 3, 3)},
        {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 1]},
    ),
    ("Pad", 2, [IMAGE], {}, {"pads": [0, 0, 1, 2, 0, 1, 0, 3], "mode": "reflect"}),
    ("Pad", 2, [IMAGE], {}, {"pads": [0, 0, 1, 2, 0, 1, 0, 3], "value": 2.5}),
    ("Pad", 11, [IMAGE], {1: np.array([0, 0, 1, 0, 0, 0, 1, 0]), 2: np.float32(1.5)}, {}),
    ("ReduceMean", 11, [IMAGE], {}, {"axes": [-1, 2], "keepdims": 0}),
    ("ReduceSum", 11, [IMAGE], {}, {"axes": [1]}),
    ("Resize", 10, [IMAGE], {1: UP}, {"mode": "nearest"}),
    ("Resize", 10, [IMAGE], {1: UP}, {"mode": "linear"}),
    ("Resize", 11, [IMAGE], {1: normal(0), 2: UP}, {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}),
    ("Resize", 13, [IMAGE], {1: None, 2: None, 3: np.array([2, 4, 9, 20])}, {"mode": "linear"}),
    ("Resize", 13, [IMAGE], {1: None, 2: np.array([1, 1, 1.6, 0.7], dtype=np.float32)}, {"mode": "linear"}),
    ("Resize", 13, [IMAGE], {1: None, 2: UP}, {"mode": "cubic", "cubic_coeff_a": -0.5}),
    ("Slice", 9, [IMAGE], {}, SLICE),
    (
        "Slice",
        10,
        [IMAGE],
        {1: np.array([-1]), 2: np.array([-(2**31)]), 3: np.array([2]), 4: np.array([-2])},
        {},
    ),
    ("Softmax", 11, [IMAGE], {}, {"axis": 1}),
    ("Softmax", 11, [IMAGE], {}, {"axis": -1}),
    ("Split", 2, [IMAGE], {}, {"axis": 1, "split": [1, 3], "outputs": 2}),
    ("Split", 11, [IMAGE], {}, {"axis": 2, "outputs": 3}),
    ("Squeeze", 11, [normal(2, 1, 3, 1)], {}, {"axes": [1, -1]}),
    ("TopK", 9, [IMAGE], {}, {"k": 3, "axis": 3, "outputs": 2}),
    ("Unsqueeze", 11, [IMAGE], {}, {"axes": [0, -1]}),
    ("Upsample", 7, [IMAGE], {}, {"scales": [1.0, 1.0, 2.0, 3.0]}),
    ("Upsample", 9, [IMAGE], {1: UP}, {"mode": "linear"}),
]
WAYS = [(kind, way) for kind in ("LSTM", "GRU", "RNN") for way in ("forward", "reverse", "bidirectional")]


def agrees(
    operator: str, opset: int, arrays: list[Any], constants: dict[int, Any], attributes: dict[str, Any]
) -> None:
    model = one_node(operator, opset, arrays, constants, **attributes)
    results = module_of(model)(*map(torch.from_numpy, arrays)).values()
    for result, expected in zip(results, in_onnxruntime(model, arrays), strict=True):
        np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{'-'.join(case[4])}")
def test_older_versions_and_settings(case: Any) -> None:
    agrees(*case)


@pytest.mark.parametrize(("kind", "way"), WAYS)
@pytest.mark.parametrize("reset", [0, 1])
def test_recurrent_layers(kind: str, way: str, reset: int) -> None:
    """With the states at the end, biases and first states."""
    gates, count = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 2 if way == "bidirectional" else 1
    weights = {
        1: normal(count, gates * 5, 3),
        2: normal(count, gates * 5, 5),
        3: normal(count, gates * 10),
        4: None,
    }
    attributes = {"hidden_size": 5, "direction": way, "outputs": 3 if kind == "LSTM" else 2}
    if kind == "GRU":
        attributes["linear_before_reset"] = reset
    states = [normal(count, 2, 5)] * (2 if kind == "LSTM" else 1)
    agrees(kind, 14, [normal(7, 2, 3), *states], weights, attributes)
