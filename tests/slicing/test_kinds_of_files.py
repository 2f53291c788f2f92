"""Files as exporters, optimisers and quantisers write them: cut, and proved at every node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import graphprune as gp
from graphprune.slicing.matching import match_values
from graphprune.slicing.proof import checks_of_file
from graphprune.slicing.slice import sliced
from tests.importing.building import graph_of, node
from tests.importing.test_tracing import normal

DOMAIN = "com.microsoft"


def cut_file(model: onnx.ModelProto, folder: Path, **options: Any) -> onnx.ModelProto:
    """The file without some units of every group, drawn at random. Every check of it passes."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    graph = gp.trace(path)
    asked = {"ratio": 0.4, "importance": "random", "align": 1, "seed": 1} | options
    plan = gp.plan(graph, **asked).plan
    match = match_values(graph, graph.program.model)
    cut = sliced(graph, plan, match)
    failed = [str(check) for check in checks_of_file(graph, plan, match, cut) if not check.passed]
    assert failed == []
    assert len(plan.groups) == len(graph.groups) > 0
    return cut


def giving(model: onnx.ModelProto, *shape: int | str) -> onnx.ModelProto:
    """With the shape of its output y, which shape inference does not find."""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", 1, shape))
    return model


def numbers(model: onnx.ModelProto, name: str) -> list[int]:
    """The attributes and constants that a node of this name reads, as far as they are whole numbers."""
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    (found,) = [item for item in model.graph.node if item.name == name]
    attributes = [item.i for item in found.attribute if item.type == onnx.AttributeProto.INT]
    return attributes + [
        int(number)
        for read in found.input
        if read in arrays and arrays[read].dtype == np.int64
        for number in arrays[read].flat
    ]


def attention() -> onnx.ModelProto:
    """Two heads of size 6 of a width of 12; their size, and the root of it, are computed of the width."""
    nodes = [
        node("MatMul", ["x", "w0"], ["h"], name="first"),
        *(node("MatMul", ["h", f"w{name}"], [name], name=name) for name in "qkv"),
        node("Shape", ["h"], ["s"]),
        *(
            node("Gather", ["s", f"at{place}"], [name], axis=0)
            for place, name in enumerate(("n", "t", "width"))
        ),
        node("Div", ["width", "heads"], ["size"]),
        node("Concat", ["n", "t", "heads", "size"], ["shape"], axis=0),
        *(node("Reshape", [name, "shape"], [f"{name}1"], name=f"part {name}") for name in "qkv"),
        *(
            node("Transpose", [f"{name}1"], [f"{name}2"], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3])
            for name in "qkv"
        ),
        node("MatMul", ["q2", "k2"], ["raw"]),
        node("Cast", ["size"], ["real"], to=1),
        node("Sqrt", ["real"], ["root"]),
        node("Div", ["raw", "root"], ["scores"]),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("MatMul", ["p", "v2"], ["mixed"]),
        node("Transpose", ["mixed"], ["m2"], perm=[0, 2, 1, 3]),
        node("Concat", ["n", "t", "rest"], ["flat"], axis=0),
        node("Reshape", ["m2", "flat"], ["m3"]),
        node("MatMul", ["m3", "wo"], ["y"], name="last"),
    ]
    constants = {
        "w0": normal(5, 12),
        **{f"w{name}": normal(12, 12) for name in "qkv"},
        "wo": normal(12, 4),
        **{f"at{place}": np.array([place]) for place in range(3)},
        "heads": np.array([2]),
        "rest": np.array([-1]),
    }
    return giving(graph_of(nodes, {"x": ["n", "t", 5]}, ["y"], constants, opset=13), "n", "t", 4)


def test_a_size_that_is_computed_of_a_width_becomes_a_constant(tmp_path: Path) -> None:
    cut = cut_file(attention(), tmp_path, ratios={"v.weight:1/1": 0.7})
    concat = [item for item in cut.graph.node if item.op_type == "Concat" and len(item.input) == 4]
    assert len(concat) == 2  # values are not as wide as queries and keys any more
    assert all("kept" in item.input[3] for item in concat)
    (root,) = [item for item in cut.graph.node if item.op_type == "Sqrt"]
    assert numbers_read(cut, root) == [6]


def test_heads_may_share_a_dimension_with_the_batch(tmp_path: Path) -> None:
    """``[length, batch · heads, size]``: the factor in the file is changed, for each reader by itself."""
    nodes = [
        *(node("MatMul", ["x", f"w{name}"], [name], name=name) for name in "qkv"),
        node("Shape", ["x"], ["s"]),
        *(node("Gather", ["s", f"at{place}"], [name], axis=0) for place, name in enumerate("tn")),
        node("Mul", ["n", "heads"], ["rows"]),
        node("Concat", ["t", "rows", "size"], ["shape"], axis=0),
        *(node("Reshape", [name, "shape"], [f"{name}1"], name=f"part {name}") for name in "qkv"),
        *(
            node("Transpose", [f"{name}1"], [f"{name}2"], perm=[1, 2, 0] if name == "k" else [1, 0, 2])
            for name in "qkv"
        ),
        node("MatMul", ["q2", "k2"], ["scores"]),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("MatMul", ["p", "v2"], ["mixed"]),
        node("Transpose", ["mixed"], ["m2"], perm=[1, 0, 2]),
        node("Concat", ["t", "n", "rest"], ["flat"], axis=0),
        node("Reshape", ["m2", "flat"], ["m3"]),
        node("MatMul", ["m3", "wo"], ["y"], name="last"),
    ]
    constants = {
        **{f"w{name}": normal(6, 12) for name in "qkv"},
        "wo": normal(12, 4),
        **{"at0": np.array([0]), "at1": np.array([1])},
        **{"heads": np.array([4]), "size": np.array([3]), "rest": np.array([-1])},
    }
    model = giving(graph_of(nodes, {"x": ["t", "n", 6]}, ["y"], constants, opset=13), "t", "n", 4)
    cut = cut_file(model, tmp_path, ratio=0.5)
    factors = {tuple(numbers_read(cut, item)) for item in cut.graph.node if item.op_type == "Mul"}
    assert (2,) in factors


def numbers_read(model: onnx.ModelProto, item: Any) -> list[int]:
    arrays = {held.name: numpy_helper.to_array(held) for held in model.graph.initializer}
    return [int(number) for read in item.input if read in arrays for number in arrays[read].flat]


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_equal_parts_may_become_unequal(opset: int, tmp_path: Path) -> None:
    more = {"num_outputs": 2} if opset == 18 else {}
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="first"),
        node("Split", ["a"], ["left", "right"], name="split", axis=1, **more),
        node("Conv", ["left", "w2"], ["b"], name="second"),
        node("Conv", ["right", "w3"], ["c"], name="third"),
        node("Concat", ["b", "c"], ["y"], axis=1),
    ]
    constants = {"w1": normal(16, 3, 1, 1), "w2": normal(4, 8, 1, 1), "w3": normal(4, 8, 1, 1)}
    model = graph_of(nodes, {"x": ["n", 3, 4, 4]}, ["y"], constants, opset=opset)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    names = [group.name for group in gp.trace(path).groups]
    cut = cut_file(model, tmp_path, ratios={names[0]: 0.25, names[1]: 0.5})
    held = {item.name: list(item.dims) for item in cut.graph.initializer}
    assert sorted([held["w2"][1], held["w3"][1]]) == [4, 6]


@pytest.mark.parametrize("kind", ["GroupNormalization 18", "GroupNormalization 21", "InstanceNormalization"])
def test_channels_within_groups_of_a_norm_go(kind: str, tmp_path: Path) -> None:
    operator, *version = kind.split()
    opset = int(version[0]) if version else 17
    constants = {"w1": normal(12, 3, 1, 1), "w2": normal(4, 12, 1, 1)}
    if version:
        many = 4 if opset < 21 else 12
        middle = [node(operator, ["a", "scale", "shift"], ["b"], name="norm", num_groups=4)]
        constants |= {"scale": normal(many), "shift": normal(many)}
    else:
        middle = [
            node("Reshape", ["a", "parts"], ["a1"], name="apart"),
            node(operator, ["a1", "scale", "shift"], ["a2"], name="norm"),
            node("Shape", ["a"], ["whole"]),
            node("Reshape", ["a2", "whole"], ["b"]),
        ]
        constants |= {"parts": np.array([0, 4, -1]), "scale": normal(4), "shift": normal(4)}
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="first"),
        *middle,
        node("Relu", ["b"], ["c"]),
        node("Conv", ["c", "w2"], ["y"], name="last"),
    ]
    model = giving(graph_of(nodes, {"x": ["n", 3, 4, 5]}, ["y"], constants, opset=opset), "n", 4, 4, 5)
    cut = cut_file(model, tmp_path, ratio=0.5)
    groups = numbers(cut, "norm" if version else "apart")
    assert 2 in groups


def test_a_transformer_of_fused_nodes_is_cut(tmp_path: Path) -> None:
    """As onnxruntime's transformer optimiser writes a BERT."""
    width, hidden = 12, 20
    constants: dict[str, Any] = {
        "words": normal(30, width),
        "places": normal(16, width),
        "out": normal(width, 3),
    }
    for name, shape in {
        "qkv": (width, 3 * width),
        "bias": (3 * width,),
        "o": (width, width),
        "f": (width, hidden),
        "fb": (hidden,),
        "g": (hidden, width),
        **{f"{norm}{part}": (width,) for norm in ("n0", "n1", "n2") for part in ("s", "b")},
        "gb": (width,),
    }.items():
        constants[name] = normal(*shape)
    own = {"domain": DOMAIN}
    layers = [
        node("Cast", ["ids"], ["i32"], to=6),
        node("Cast", ["mask"], ["m32"], to=6),
        node(
            "EmbedLayerNormalization",
            ["i32", "", "words", "places", "", "n0s", "n0b", "m32"],
            ["e", "lengths"],
            name="embed",
            epsilon=1e-5,
            **own,
        ),
        node("Attention", ["e", "qkv", "bias", "lengths"], ["a"], name="attend", num_heads=3, **own),
        node("MatMul", ["a", "o"], ["ao"], name="o"),
        node(
            "SkipLayerNormalization",
            ["ao", "e", "n1s", "n1b"],
            ["h1"],
            name="skip 1",
            epsilon=1e-5,
            **own,
        ),
        node("MatMul", ["h1", "f"], ["f1"], name="f"),
        node("BiasGelu", ["f1", "fb"], ["f2"], name="gelu", **own),
        node("MatMul", ["f2", "g"], ["g1"], name="g"),
        node(
            "SkipLayerNormalization",
            ["g1", "h1", "n2s", "n2b", "gb"],
            ["h2"],
            name="skip 2",
            epsilon=1e-5,
            **own,
        ),
        node("MatMul", ["h2", "out"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        layers,
        "bert",
        [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", "t"]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("y", 1, ["n", "t", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)], ir_version=8
    )
    cut = cut_file(model, tmp_path, ratio=0.3)
    (attend,) = [item for item in cut.graph.node if item.name == "attend"]
    said = {item.name: helper.get_attribute_value(item) for item in attend.attribute}
    assert said["num_heads"] == 2
    assert said["scale"] == pytest.approx(0.5)
    assert {item.op_type for item in cut.graph.node} == {item.op_type for item in model.graph.node}


def dynamic(kind: Any) -> onnx.ModelProto:
    """As onnxruntime's quantiser writes a Gemm whose input may be negative; weights of ``kind``."""
    zero = np.array(131 if kind == np.uint8 else 0, dtype=kind)
    nodes = [
        node("MatMul", ["x", "w0"], ["h"], name="first"),
        node("DynamicQuantizeLinear", ["h"], ["q", "qs", "qz"], name="bytes"),
        node("MatMulInteger", ["q", "w1", "qz", "z1"], ["whole"], name="middle"),
        node("Cast", ["whole"], ["real"], to=1),
        node("Mul", ["qs", "s1"], ["both"]),
        node("Mul", ["real", "both"], ["scaled"]),
        node("Relu", ["scaled"], ["r"]),
        node("MatMul", ["r", "w2"], ["y"], name="last"),
    ]
    info = np.iinfo(kind)
    bytes_ = np.random.default_rng(0).integers(info.min, info.max, (10, 8), dtype=kind)
    constants = {
        "w0": normal(6, 10),
        "w1": bytes_,
        "z1": zero,
        "s1": np.float32(0.02),
        "w2": normal(8, 3),
    }
    return graph_of(nodes, {"x": ["n", 6]}, ["y"], constants, opset=13)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_weights_of_eight_bits_are_cut_whatever_stands_for_zero(kind: Any, tmp_path: Path) -> None:
    cut = cut_file(dynamic(kind), tmp_path)
    held = {item.name: list(item.dims) for item in cut.graph.initializer}
    assert held["w1"] == [6, 5]


def test_weights_of_eight_bits_are_scored_by_what_they_stand_for(tmp_path: Path) -> None:
    """Bytes of 131 stand for zero here: the column that is nothing goes, though its bytes are large."""
    model = dynamic(np.uint8)
    (weight,) = [item for item in model.graph.initializer if item.name == "w1"]
    array = numpy_helper.to_array(weight).copy()
    array[:, :3] = 131
    array[:, 3:] = np.where(np.abs(array[:, 3:].astype(int) - 131) < 20, 90, array[:, 3:])
    weight.CopyFrom(numpy_helper.from_array(array, "w1"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    graph = gp.trace(path)
    (group,) = [group for group in graph.groups if group.size == 8]
    plan = gp.plan(graph, ratio=0.0, ratios={group.name: 3 / 8}, importance="l2", align=1).plan
    assert plan.groups[group.name].tolist() == torch.arange(3, 8).tolist()


def body_of(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], held: dict[str, Any]) -> Any:
    """A graph of a node's own, which says its sizes; truth values and counters have none."""

    def infos(named: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in named.items()]

    constants = [numpy_helper.from_array(value, name) for name, value in held.items()]
    return helper.make_graph(nodes, "body", infos(inputs), infos(outputs), constants)


STATE = (onnx.TensorProto.FLOAT, ["n", 16])


def test_bodies_of_scans_are_cut(tmp_path: Path) -> None:
    """A recurrent layer whose weights stand outside of it."""
    steps = [
        node("MatMul", ["xt", "w"], ["p"], name="in"),
        node("MatMul", ["h", "r"], ["q"], name="again"),
        node("Add", ["p", "q"], ["s"]),
        node("Tanh", ["s"], ["h2"]),
        node("Identity", ["h2"], ["out"]),
    ]
    given = {"h": STATE, "xt": (onnx.TensorProto.FLOAT, ["n", 6])}
    body = body_of(steps, given, {"h2": STATE, "out": STATE}, {})
    nodes = [
        node("MatMul", ["x0", "e"], ["h0"], name="start"),
        node("Scan", ["h0", "x"], ["hl", "all"], name="scan", body=body, num_scan_inputs=1),
        node("MatMul", ["hl", "wo"], ["y"], name="last"),
    ]
    constants = {"e": normal(5, 16), "w": normal(6, 16), "r": normal(16, 16) / 4, "wo": normal(16, 3)}
    model = giving(graph_of(nodes, {"x0": ["n", 5], "x": ["t", "n", 6]}, ["y"], constants), "n", 3)
    cut = cut_file(model, tmp_path, ratio=0.5)
    held = {item.name: list(item.dims) for item in cut.graph.initializer}
    assert (held["r"], held["wo"]) == ([8, 8], [8, 3])


@pytest.mark.parametrize("within", [True, False])
def test_bodies_of_loops_are_cut(within: bool, tmp_path: Path) -> None:
    """A residual block that runs five times; its weights stand in the body, or outside of it."""
    weights = {"w1": normal(16, 24) / 4, "w2": normal(24, 16) / 4}
    steps = [
        node("MatMul", ["h", "w1"], ["a"], name="up"),
        node("Relu", ["a"], ["c"]),
        node("MatMul", ["c", "w2"], ["d"], name="down"),
        node("Add", ["h", "d"], ["h2"]),
        node("Identity", ["more"], ["more2"]),
    ]
    truth, count = (onnx.TensorProto.BOOL, []), (onnx.TensorProto.INT64, [])
    given = {"i": count, "more": truth, "h": STATE}
    body = body_of(steps, given, {"more2": truth, "h2": STATE}, weights if within else {})
    nodes = [
        node("MatMul", ["x", "e"], ["h0"], name="start"),
        node("Loop", ["five", "yes", "h0"], ["hl"], name="loop", body=body),
        node("MatMul", ["hl", "wo"], ["y"], name="last"),
    ]
    constants = {"e": normal(5, 16), "wo": normal(16, 3), "five": np.int64(5), "yes": np.bool_(True)}
    model = graph_of(nodes, {"x": ["n", 5]}, ["y"], constants | ({} if within else weights))
    cut = cut_file(giving(model, "n", 3), tmp_path, ratio=0.5)
    (loop,) = [item for item in cut.graph.node if item.op_type == "Loop"]
    (inner,) = [item.g for item in loop.attribute if item.name == "body"]
    held = {item.name: list(item.dims) for item in (*inner.initializer, *cut.graph.initializer)}
    assert (held["w1"], held["wo"]) == ([8, 12], [8, 3])


def test_a_shape_may_be_that_of_another_tensor(tmp_path: Path) -> None:
    """What is laid out like ``x`` need not keep as many units as ``x`` does."""
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("MatMul", ["x", "w2"], ["b"], name="second"),
        node("Shape", ["a"], ["whole"]),
        node("Relu", ["b"], ["b2"]),
        node("Reshape", ["b2", "whole"], ["c"], name="laid out"),
        node("MatMul", ["a", "w3"], ["d"], name="third"),
        node("MatMul", ["c", "w4"], ["e"], name="fourth"),
        node("Add", ["d", "e"], ["y"]),
    ]
    constants = {"w1": normal(5, 12), "w2": normal(5, 12), "w3": normal(12, 3), "w4": normal(12, 3)}
    model = giving(graph_of(nodes, {"x": ["n", "t", 5]}, ["y"], constants), "n", "t", 3)
    cut = cut_file(model, tmp_path, ratios={"second.weight:1": 0.75})
    held = {item.name: list(item.dims) for item in cut.graph.initializer}
    assert (held["w3"], held["w4"]) == ([7, 3], [3, 3])
    (added,) = [item for item in cut.graph.node if item.op_type == "Add" and item.output[0] != "y"]
    assert numbers_read(cut, added) == [0, 0, -4]


@pytest.mark.parametrize(("kv", "left"), [(4, (2, 2)), (2, (1, 1))])
def test_onnx_own_attention_is_cut(kv: int, left: tuple[int, int], tmp_path: Path) -> None:
    """Four heads of queries; fewer of keys and values: half of them go, and half of the queries of each."""
    nodes = [
        *(node("MatMul", ["x", f"w{name}"], [name], name=name) for name in "qkv"),
        node("Attention", ["q", "k", "v"], ["a"], name="attend", q_num_heads=4, kv_num_heads=kv, is_causal=1),
        node("MatMul", ["a", "wo"], ["y"], name="last"),
    ]
    sizes = {"wq": (7, 24), "wk": (7, 6 * kv), "wv": (7, 5 * kv), "wo": (20, 3)}
    constants = {name: normal(*shape) for name, shape in sizes.items()}
    model = giving(graph_of(nodes, {"x": ["n", "t", 7]}, ["y"], constants, opset=23), "n", "t", 3)
    cut = cut_file(model, tmp_path, ratio=0.5)
    (attend,) = [item for item in cut.graph.node if item.name == "attend"]
    said = {item.name: helper.get_attribute_value(item) for item in attend.attribute}
    assert (said["q_num_heads"], said["kv_num_heads"]) == left
    assert said["scale"] == pytest.approx(6**-0.5)
    held = {item.name: list(item.dims) for item in cut.graph.initializer}
    assert held["wq"] == [7, left[0] * 3]


def normed(opset: int) -> onnx.ModelProto:
    """onnxruntime has LayerNormalization in every opset, ONNX since 17."""
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("LayerNormalization", ["a", "scale", "shift"], ["b"], name="norm", axis=-1, epsilon=1e-5),
        node("Relu", ["b"], ["c"], name="relu"),
        node("MatMul", ["c", "w2"], ["y"], name="last"),
    ]
    constants = {"w1": normal(5, 12), "scale": normal(12), "shift": normal(12), "w2": normal(12, 3)}
    model = giving(graph_of(nodes, {"x": ["n", 5]}, ["y"], constants, opset=17), "n", 3)
    model.opset_import[0].version = opset
    return model


def test_operators_may_be_newer_than_the_opset(tmp_path: Path) -> None:
    cut = cut_file(normed(14), tmp_path)
    assert cut.opset_import[0].version == 14


def test_nodes_may_be_out_of_order(tmp_path: Path) -> None:
    model = normed(17)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([nodes[1], nodes[3], nodes[0], nodes[2]])
    cut = cut_file(model, tmp_path)
    assert [item.name for item in cut.graph.node] == ["first", "norm", "relu", "last"]
    model.graph.node[0].input[0] = "y"
    path = tmp_path / "circle.onnx"
    onnx.save(model, path)
    with pytest.raises(gp.InputError, match="read each other in a circle"):
        gp.trace(path)


def test_attention_with_a_cache_keeps_its_size(tmp_path: Path) -> None:
    """onnxruntime computes it; the layers around it are cut."""
    own = {"domain": DOMAIN, "num_heads": 2}
    nodes = [
        node("MatMul", ["x", "w0"], ["h"], name="first"),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "w1"], ["e"], name="second"),
        node("Attention", ["e", "qkv", "bias", "", "past"], ["a", "present"], name="attend", **own),
        node("MatMul", ["a", "w2"], ["b"], name="third"),
        node("Relu", ["b"], ["c"]),
        node("MatMul", ["c", "w3"], ["y"], name="last"),
    ]
    constants = {
        **{"w0": normal(5, 10), "w1": normal(10, 8), "qkv": normal(8, 24), "bias": normal(24)},
        **{"past": normal(2, 1, 2, 3, 4), "w2": normal(8, 10), "w3": normal(10, 3)},
    }
    graph = helper.make_graph(
        nodes,
        "cached",
        [helper.make_tensor_value_info("x", 1, [1, "t", 5])],
        [helper.make_tensor_value_info("y", 1, [1, "t", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    cut = cut_file(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path)
    held = {item.name: list(item.dims) for item in cut.graph.initializer}
    assert (held["qkv"], held["w0"], held["w3"]) == ([8, 24], [5, 6], [6, 3])
