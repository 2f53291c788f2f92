"""The time of each layer: kernels of a real file, traced back to the layers, and together the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture import capture
from graphprune.exporting import NodeTime, layer_times, make_feed, node_times, session
from graphprune.exporting.layer_times import Nodes, layer_of
from graphprune.exporting.onnx_file import export_onnx


class Net(nn.Module):
    """Convolutions with norms that are folded into them, a residual, a layer without weights, three in one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32))
        self.pool = nn.MaxPool2d(2)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.pool(F.relu(x + self.body(x))).flatten(2).transpose(1, 2)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


WEIGHTED = ["stem.0", "body.0", "attention", "attention.out_proj", "head"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    torch.manual_seed(0)
    result = gp.shrink(Net().eval(), torch.randn(1, 3, 16, 16), ratio=0.5, align=1)
    folder = tmp_path_factory.mktemp("slim") / "out"
    return folder / "model.onnx", result.save(folder)


def test_names_are_layers_and_the_sum_is_the_whole(saved: tuple[Path, dict[str, Any]]) -> None:
    """Real kernels, each of which takes a millisecond here: what a clock says depends on who else uses the machine."""
    path, _ = saved
    feed = make_feed(session(path), (torch.randn(1, 3, 16, 16),), {})
    kernels = [NodeTime(kernel.name, kernel.operator, (1.0,)) for kernel in node_times(path, feed, 2)]
    found = layer_times(path, kernels)
    assert set(found) >= {*WEIGHTED, "pool"}
    assert set(found) <= {name for name, _ in Net().named_modules() if name} | {"other"}
    assert not {"stem.1", "body.1"} & set(found)  # norms were folded into the convolutions
    assert next(iter(found)) == "stem.0"
    assert sum(found.values()) == len(kernels)
    assert found["stem.0"] == found["body.0"] == 1


def test_the_report_has_both(saved: tuple[Path, dict[str, Any]]) -> None:
    latency = saved[1]["latency"]
    assert set(latency["layers"]) >= {*WEIGHTED, "pool"}
    assert list(latency["layers"])[-1] == "other"
    for before, after in (latency["layers"][name] for name in WEIGHTED):
        assert before > 0
        assert after > 0
    assert "other" in latency["layers_note"]


def test_nodes_carry_their_layers(saved: tuple[Path, dict[str, Any]]) -> None:
    """Also those that the exporter made anew, of several, or whose weight it transposed."""
    graph = onnx.load(str(saved[0])).graph
    layers: dict[str, list[str]] = {}
    for node in graph.node:
        layers.setdefault(layer_of(node.name), []).append(node.op_type)
    assert layers["stem.0"] == ["Conv"]
    assert layers["stem.2"] == ["Relu"]
    assert "MatMul" in layers["attention"]
    assert "Softmax" in layers[""]
    assert len({node.name for node in graph.node}) == len(graph.node)


@pytest.mark.parametrize(
    ("name", "operator", "layer"),
    [
        ("stem.0/node_Conv_1", "Conv", "stem.0"),
        ("stem.0/node_Conv_1/MatMulScaleFusion/", "FusedMatMul", "stem.0"),
        ("stem.0/node_Conv_12", "Conv", ""),  # another node
        ("relu_nchwc", "Conv", "stem.0"),  # named after what the activation makes
        ("getitem_3_nchwc", "Conv", "body"),
        ("relu_nchwc", "MaxPool", ""),
        ("node_add", "Add", ""),
        ("SkipLayerNormalization_token_1", "SkipLayerNormalization", ""),
    ],
)
def test_kernels_are_traced_back(name: str, operator: str, layer: str) -> None:
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w"], ["getitem"], "stem.0/node_Conv_1"),
        make("Relu", ["getitem"], ["relu"], "stem.1/node_relu"),
        make("Conv", ["relu", "v"], ["getitem_3"], "body/node_Conv_2"),
        make("Add", ["relu", "getitem_3"], ["add"], "node_add"),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [])
    assert Nodes.of(graph).layer(NodeTime(name, operator, (1.0,))) == layer


def test_layers_of_a_user_keep_slashes_out(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model.add_module("a/b", nn.Linear(4, 2))
    export_onnx(capture(model, torch.randn(2, 4)), tmp_path / "m.onnx")
    names = [layer_of(node.name) for node in onnx.load(str(tmp_path / "m.onnx")).graph.node]
    assert set(names) == {"0", "a/b"}
