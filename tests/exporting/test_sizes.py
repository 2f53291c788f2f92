"""ONNX files at sizes other than the example's: every dimension that varies in the program varies in the file."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from graphprune.capture import Program, capture
from graphprune.exporting import export_onnx, parity
from graphprune.ground.arguments import require

IMAGE = torch.randn(1, 3, 32, 40)
HEIGHT, WIDTH = {2: "height"}, {3: "width"}


def varying(model: nn.Module, example: Tensor, names: Mapping[int, str], multiple: int = 1) -> Program:
    """The captured model, with further dimensions of its input named; literals are left to `measured`."""
    program = capture(model.eval(), example)
    dimensions = tuple(
        dataclasses.replace(at, name=names[at.dim], multiple=multiple) if at.dim in names else at
        for at in program.dimensions
    )
    return dataclasses.replace(program, dimensions=dimensions, tried=())


def size_node(graph: fx.Graph, dim: int) -> fx.Node:
    """The input's size in that dimension, as the capture writes it into a graph."""
    source = next(iter(graph.find_nodes(op="placeholder")))
    with graph.inserting_after(source):
        node = graph.call_function(torch.ops.aten.sym_size.int, (source, dim))
    node.meta["val"] = source.meta["val"].shape[dim]
    return node


def errors(program: Program, path: Path, sizes: list[dict[str, int]]) -> float:
    """The largest error of the file against the model at these sizes."""
    file = export_onnx(program, path)
    assert file.fixed == {}
    assert program.model is not None
    rows = parity(file.path, program.model, program.example, sizes)
    assert [row.sizes for row in rows] == sizes
    assert all(row.change is None or row.change > 1e-3 for row in rows)
    return max(row.max_rel for row in rows)


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.body(x), size=x.shape[-2:], mode="bilinear")


SIZES = [
    {"batch": 1, "height": 32, "width": 40},
    {"batch": 3, "height": 33, "width": 47},
    {"batch": 2, "height": 64, "width": 16},
]


def test_height_and_width_vary(tmp_path: Path) -> None:
    program = varying(Segmenter(), IMAGE, HEIGHT | WIDTH)
    (resize,) = (node for node in program.graph.nodes if "upsample" in node.name)
    resize.update_arg(1, [size_node(program.graph, 2), size_node(program.graph, 3)])
    assert errors(program, tmp_path / "model.onnx", SIZES) < 1e-5
    (value,) = onnx.load(tmp_path / "model.onnx").graph.input
    shape = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
    assert shape == ["batch", 3, "height", "width"]


class Pooled(nn.Module):
    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.conv, self.pool, self.head = nn.Conv2d(3, 4, 3, padding=1), pool, nn.Linear(4 * 5 * 3, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.conv(x)).flatten(1))


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d((5, 3)), nn.AdaptiveMaxPool2d((5, 3))])
def test_pooling_to_a_size_takes_any_size(pool: nn.Module, tmp_path: Path) -> None:
    """Cells overlap and differ where the sizes are no multiples."""
    program = varying(Pooled(pool), IMAGE, HEIGHT | WIDTH)
    assert errors(program, tmp_path / "model.onnx", SIZES) < 1e-5


class Divided(nn.Module):
    """Numbers from sizes: quotients both ways, the larger of two, what is left over, a negative one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        y = self.fc(x)[:, : -(-length // 2)] / length
        y = y.sum(1) * (length % 3 + max(length, 7) + (length - 9) // 4)
        return y + math.sqrt(length / 7) * math.floor(length / 2)


def test_numbers_are_computed_from_sizes(tmp_path: Path) -> None:
    program = varying(Divided(), torch.randn(2, 6, 3), {1: "length"})
    graph, aten = program.graph, torch.ops.aten
    length = size_node(graph, 1)

    def made(target: object, *args: object) -> fx.Node:
        return graph.call_function(target, args)  # type: ignore[arg-type]

    (cut,) = (node for node in graph.nodes if node.target is aten.slice.Tensor and node.args[1] == 1)
    with graph.inserting_before(cut):
        end = made(operator.neg, made(operator.floordiv, made(operator.neg, length), 2))
        left, larger = made(operator.mod, length, 3), made(torch.sym_max, length, 7)
        fewer = made(operator.floordiv, made(operator.sub, length, 9), 4)
        times = made(operator.add, made(operator.add, left, larger), fewer)
        root = made(math.sqrt, made(operator.truediv, made(torch.sym_float, length), 7))
        seventh = made(operator.mul, root, made(math.floor, made(operator.truediv, length, 2)))
    cut.update_arg(3, end)
    nodes = {node.target: node for node in graph.nodes}
    for target, value in ((aten.div.Tensor, length), (aten.mul.Tensor, times), (aten.add.Tensor, seventh)):
        nodes[target].update_arg(1, value)
    sizes = [{"batch": batch, "length": length} for batch, length in ((2, 6), (1, 1), (3, 13), (1, 64))]
    assert errors(program, tmp_path / "model.onnx", sizes) < 1e-5


def test_conditions_are_taken_along(tmp_path: Path) -> None:
    program = varying(Segmenter(), IMAGE, HEIGHT)
    graph = program.graph
    height = size_node(graph, 2)
    (resize,) = (node for node in graph.nodes if "upsample" in node.name)
    resize.update_arg(1, [height, 40])
    with graph.inserting_before(resize):
        small = graph.call_function(operator.le, (height, 4))
        large = graph.call_function(operator.not_, (small,))
        graph.call_function(require, (large, "x[2] is small"))
    sizes = [{"batch": 1, "height": 32}, {"batch": 2, "height": 35}]
    assert errors(program, tmp_path / "model.onnx", sizes) < 1e-5


class Convolutions(nn.Module):
    """Two halvings, so that heights must be multiples of four."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 4, 4), nn.ConvTranspose2d(4, 3, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x).relu()) + x


def test_sizes_stay_multiples(tmp_path: Path) -> None:
    program = varying(Convolutions(), IMAGE, HEIGHT | WIDTH, multiple=4)
    sizes = [{"batch": 1, "height": 4, "width": 60}, {"batch": 3, "height": 32, "width": 40}]
    assert errors(program, tmp_path / "model.onnx", sizes) < 1e-5


class Coarse(nn.Module):
    """A number that is the same for every small size."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).sum(1) * max(x.shape[1] // 40, 1)


def test_a_number_that_seldom_changes_is_computed_all_the_same(tmp_path: Path) -> None:
    program = varying(Coarse(), torch.randn(2, 6, 3), {1: "length"})
    graph = program.graph
    length = size_node(graph, 1)
    (sum_,) = (node for node in graph.nodes if node.name.startswith("sum"))
    with graph.inserting_after(length):
        part = graph.call_function(operator.floordiv, (length, 40))
    with graph.inserting_after(part):
        times = graph.call_function(torch.sym_max, (part, 1))
    product = next(iter(sum_.users), None)
    if product is None or product.op == "output":  # multiplied by one
        with graph.inserting_after(sum_):
            product = graph.call_function(torch.ops.aten.mul.Tensor, (sum_, times))
        sum_.replace_all_uses_with(product, lambda user: user is not product)
        program = dataclasses.replace(program, outputs=product.name)
    else:
        product.update_arg(1, times)
    sizes = [{"batch": 2, "length": length} for length in (6, 39, 40, 200)]
    assert errors(program, tmp_path / "model.onnx", sizes) < 1e-5
