"""onnxruntime's own operators, compared with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from graphprune.importing.interpreter import module_of
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.running import values_of
from graphprune.importing.values import tensor_from

DOMAIN = "com.microsoft"


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def scale(*shape: int) -> Any:
    return np.asarray(0.02 + 0.01 * np.abs(normal(*shape)), dtype=np.float32)


def byte(*shape: int, kind: Any = np.uint8) -> Any:
    limits = np.iinfo(kind)
    return np.random.default_rng(len(shape)).integers(limits.min, limits.max, shape, dtype=kind)


def quantised(*shape: int) -> tuple[Any, Any, Any]:
    """Bytes with a scale and a zero point."""
    return byte(*shape), scale(), np.uint8(120)


RESULT = (np.float32(0.05), np.uint8(117))  # scale and zero point of a result
X, Q = normal(2, 5, 12), quantised(2, 4, 6, 6)
LENGTHS, PADDING = np.array([5, 3], np.int32), np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32)
PACKED = [X, normal(12, 36), normal(36)]
EACH = [X, normal(2, 5, 12, seed=1), normal(2, 5, 12, seed=2), normal(36)]
IDS = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
TABLES = [normal(9, 8), normal(4, 8), normal(2, 8), normal(8), normal(8, seed=1)]
KINDS = np.array([[0, 0, 1], [0, 1, 1]], np.int32)
IMAGE, KERNEL = normal(2, 4, 6, 6), normal(8, 2, 3, 3)
WEIGHT8 = byte(4, 7, kind=np.int8)
EACH_COLUMN = (scale(7), byte(7, kind=np.int8))

# operator, inputs (None is left out), attributes, how many outputs
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("Attention", PACKED, {"num_heads": 3}, 1),
    ("Attention", [*PACKED, PADDING], {"num_heads": 3, "scale": 0.3}, 1),
    ("Attention", [*PACKED, LENGTHS], {"num_heads": 2, "unidirectional": 1}, 1),
    (
        "Attention",
        [X, normal(12, 28), normal(28)],
        {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 12]},
        1,
    ),
    ("Attention", [*PACKED, None, None, normal(1, 3, 5, 5)], {"num_heads": 3}, 1),
    ("BiasGelu", [X, normal(12)], {}, 1),
    ("DynamicQuantizeMatMul", [normal(3, 4), WEIGHT8, *EACH_COLUMN, normal(7)], {}, 1),
    ("DynamicQuantizeMatMul", [normal(3, 4), byte(4, 7), scale(), np.uint8(120)], {}, 1),
    ("EmbedLayerNormalization", [IDS, KINDS, *TABLES, np.ones((2, 3), np.int32)], {"epsilon": 1e-5}, 3),
    ("EmbedLayerNormalization", [IDS, None, *TABLES[:2], None, *TABLES[3:], None, KINDS], {}, 2),
    ("FastGelu", [X, normal(12)], {}, 1),
    ("FastGelu", [X], {}, 1),
    ("FusedConv", [IMAGE, KERNEL, normal(8)], {"group": 2, "pads": [1] * 4, "activation": "Relu"}, 1),
    (
        "FusedConv",
        [IMAGE, KERNEL, normal(8), normal(2, 8, 4, 4)],
        {"group": 2, "activation": "LeakyRelu", "activation_params": [0.2]},
        1,
    ),
    (
        "FusedConv",
        [IMAGE, KERNEL],
        {"group": 2, "activation": "Clip", "activation_params": [0.0, 1.0]},
        1,
    ),
    (
        "FusedGemm",
        [normal(3, 4), normal(5, 4), normal(5)],
        {"transB": 1, "alpha": 0.5, "activation": "LeakyRelu", "activation_alpha": 0.1},
        1,
    ),
    ("FusedMatMul", [normal(2, 4, 3), normal(2, 4, 5)], {"transA": 1, "alpha": 0.5}, 1),
    ("FusedMatMul", [normal(4, 2, 3), normal(2, 3, 5)], {"transBatchA": 1}, 1),
    ("Gelu", [X], {}, 1),
    ("MatMulIntegerToFloat", [byte(3, 4), WEIGHT8, scale(), scale(7), np.uint8(9)], {}, 1),
    ("MultiHeadAttention", EACH, {"num_heads": 3}, 1),
    ("MultiHeadAttention", [*EACH, PADDING], {"num_heads": 2, "scale": 0.4}, 1),
    ("MultiHeadAttention", [*EACH[:3], None, None, normal(1, 2, 5, 5)], {"num_heads": 2}, 1),
    (
        "QGemm",
        [*quantised(3, 4), WEIGHT8, *EACH_COLUMN, np.arange(7, dtype=np.int32), *RESULT],
        {},
        1,
    ),
    ("QGemm", [*quantised(3, 4), WEIGHT8.T.copy(), scale(), np.int8(3)], {"transB": 1, "alpha": 1.0}, 1),
    ("QLinearAdd", [*Q, byte(4, 1, 1), scale(), np.uint8(10), *RESULT], {}, 1),
    ("QLinearAveragePool", [*Q, *RESULT], {"kernel_shape": [2, 2], "strides": [2, 2]}, 1),
    ("QLinearConcat", [*RESULT, *Q, *quantised(2, 3, 6, 6)], {"axis": 1}, 1),
    ("QLinearGlobalAveragePool", [*Q, *RESULT], {"channels_last": 0}, 1),
    ("QLinearLeakyRelu", [*Q, *RESULT], {"alpha": 0.2}, 1),
    ("QLinearMul", [*Q, byte(4, 1, 1), scale(), np.uint8(10), *RESULT], {}, 1),
    ("QLinearSigmoid", [*Q, np.float32(1 / 256), np.uint8(0)], {}, 1),
    ("QLinearSoftmax", [*Q, np.float32(1 / 256), np.uint8(0)], {"axis": -1, "opset": 13}, 1),
    ("QLinearWhere", [normal(2, 4, 6, 6) > 0, *Q, *quantised(2, 4, 6, 6), *RESULT], {}, 1),
    ("QuickGelu", [X], {"alpha": 1.5}, 1),
    ("SkipLayerNormalization", [X, normal(2, 5, 12, seed=3), normal(12), normal(12), normal(12)], {}, 4),
    ("SkipLayerNormalization", [X, normal(2, 5, 12, seed=3), normal(12)], {"epsilon": 1e-3}, 1),
    ("SkipSimplifiedLayerNormalization", [X, normal(2, 5, 12, seed=3), normal(12), normal(12)], {}, 4),
]
UNREAD = {"SkipLayerNormalization": (1, 2), "SkipSimplifiedLayerNormalization": (1, 2)}  # outputs left out


def file_of(operator: str, inputs: list[Any], attributes: dict[str, Any], count: int) -> Any:
    """One node, whose first input is that of the file; the others are constants."""
    names = ["" if item is None else f"i{place}" for place, item in enumerate(inputs)]
    outputs = ["" if place in UNREAD.get(operator, ()) else f"o{place}" for place in range(count)]
    node = helper.make_node(operator, names, outputs, domain=DOMAIN, **attributes)
    first = helper.make_tensor_value_info(
        "i0", helper.np_dtype_to_tensor_dtype(np.asarray(inputs[0]).dtype), np.asarray(inputs[0]).shape
    )
    constants = [
        onnx.numpy_helper.from_array(np.asarray(item), name)
        for name, item in zip(names[1:], inputs[1:], strict=True)
        if name
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs if name]
    graph = helper.make_graph([node], "node", [first], results, constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.mark.parametrize(("operator", "inputs", "attributes", "count"), CASES)
def test_it_gives_what_onnxruntime_gives(
    operator: str, inputs: list[Any], attributes: dict[str, Any], count: int
) -> None:
    model = file_of(operator, inputs, attributes, count)
    with torch.no_grad():
        found = module_of(model)(tensor_from(np.asarray(inputs[0])))
    expected = values_of(model, {"i0": np.asarray(inputs[0])}, found, "the node")
    for name, result in found.items():
        wanted = expected[name]
        assert tuple(result.shape) == wanted.shape
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-4, atol=2e-5)
        else:  # what lies half-way between two steps may go either way
            assert np.abs(result.numpy().astype(int) - wanted.astype(int)).max() <= 1
            assert np.mean(result.numpy() == wanted) > 0.98


def test_every_operator_is_tried() -> None:
    assert {f"{DOMAIN}.{operator}" for operator, *_ in CASES} == {name for name in OPERATORS if "." in name}


def test_what_torch_has_not_is_computed_by_onnxruntime() -> None:
    past = normal(2, 2, 3, 4, 4)
    model = file_of("Attention", [*PACKED, None, past], {"num_heads": 3}, 2)
    with torch.no_grad():
        found = module_of(model)(tensor_from(X))
    wanted = values_of(model, {"i0": X}, found, "the node")
    assert all(np.array_equal(found[name].numpy(), wanted[name]) for name in ("o0", "o1"))
