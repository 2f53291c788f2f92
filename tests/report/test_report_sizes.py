"""Which sizes vary and which are fixed and why, in whole words, wherever it is told."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture.dimensions import Dimension
from graphprune.report.facts import inspection, network_facts
from graphprune.report.page import render
from graphprune.report.sizes import dimension_rows, input_lines, size_lines

WHY = (
    "the model asserts it, since its table of positions has 197 rows and no code to interpolate it " * 3
    + "(net.py:268)"
)


def _tensor(name: str, place: int, *sizes: int, **named: str) -> list[Dimension]:
    names = {int(key[1:]): name for key, name in named.items()}
    return [Dimension(name, place, dim, size, names.get(dim, "")) for dim, size in enumerate(sizes)]


IMAGE = _tensor("x", 0, 2, 3, 64, 96, d0="batch", d2="height", d3="width")


@pytest.mark.parametrize(
    ("dimensions", "lines"),
    [
        ([], []),
        (_tensor("x", 0, 2, 3), ["x (2, 3)"]),
        (_tensor("x", 0, 5, d0="points"), ["x (points,), captured with (5,)"]),
        (IMAGE, ["x (batch, 3, height, width), captured with (2, 3, 64, 96)"]),
        (
            [replace(at, multiple=32 if at.dim > 1 else 1) for at in IMAGE],
            [
                "x (batch, 3, height, width), captured with (2, 3, 64, 96)",
                "height and width are multiples of 32",
            ],
        ),
        (
            [replace(IMAGE[2], multiple=7), replace(IMAGE[3], multiple=14)],
            [
                "x (height, width), captured with (64, 96)",
                "height is a multiple of 7",
                "width is a multiple of 14",
            ],
        ),
        (
            [replace(at, name="", reason=WHY if at.dim == 2 else "") for at in IMAGE],
            ["x (2, 3, 64, 96)", f"x[2] is fixed at 64: {WHY}"],
        ),
        (
            [Dimension("x", 0, dim, 8, reason="asserted") for dim in (0, 1)],
            ["x (8, 8)", "x[0] and x[1] are fixed at 8: asserted"],
        ),
        (
            [at for place in range(6) for at in _tensor(f"past.{place}", place, 1, 7, d1="past")],
            ["past.0, past.1, past.2 and 3 more (1, past), captured with (1, 7)"],
        ),
        (
            [*_tensor("x", 0, 2, 5, d1="sequence"), *_tensor("y", 1, 2, 9, d1="memory")],
            ["x (2, sequence), captured with (2, 5)", "y (2, memory), captured with (2, 9)"],
        ),
    ],
)
def test_lines(dimensions: list[Dimension], lines: list[str]) -> None:
    rows = json.loads(json.dumps(dimension_rows(dimensions)))
    assert list(size_lines(rows)) == lines


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3))) * scale


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    """As if a size were fixed for a long reason, and the others had names."""
    torch.manual_seed(0)
    found = gp.trace(Net().eval(), (torch.randn(2, 3, 64, 96), torch.tensor(2.0)), dynamic=False)
    dimensions = [
        replace(at, reason=WHY if at.dim == 2 else "", name="" if at.dim == 2 else at.name) for at in IMAGE
    ]
    return replace(found, program=replace(found.program, dimensions=tuple(dimensions)))


def test_the_page_says_it_before_its_picture(graph: gp.DependencyGraph) -> None:
    page = render({**inspection(graph), **network_facts(graph)}, "net")
    head = page[: page.index('id="network"')]
    shown = [html.unescape(item) for item in re.findall(r"<li>(.*?)</li>", head)]
    assert shown == ["x (batch, 3, 64, width), captured with (2, 3, 64, 96)", f"x[2] is fixed at 64: {WHY}"]


def test_a_report_of_an_older_version_has_no_sizes(graph: gp.DependencyGraph) -> None:
    found = {**inspection(graph), **network_facts(graph)}
    del found["dimensions"]
    assert "captured with" not in render(found, "net")


def test_every_word_stands_in_80_columns(graph: gp.DependencyGraph) -> None:
    out = StringIO()
    console = Console(file=out, width=80)
    for line in size_lines(inspection(graph)["dimensions"]):
        console.print(Text(line))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert " ".join(WHY.split()) in " ".join(out.getvalue().split())


def test_model_py_says_it_with_the_dtypes(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    assert list(input_lines(graph.program)) == [
        "x torch.float32 (batch, 3, 64, width), captured with (2, 3, 64, 96)",
        f"x[2] is fixed at 64: {WHY}",
        "scale torch.float32 ()",
    ]


def test_a_result_says_it_everywhere(tmp_path: Path) -> None:
    torch.manual_seed(0)
    result = gp.shrink(
        nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)), torch.randn(2, 6), ratio=0.5
    )
    report = result.save(tmp_path / "out", latency=False, onnx=False)
    first = report["dimensions"][0]
    assert (first["input"], first["dim"], first["size"], first["name"]) == ("input", 0, 2, "batch")
    assert set(first) == {"input", "place", "dim", "size", "name", "multiple", "reason"}
    assert report["dynamic_batch"] is True
    said = "input torch.float32 (batch, 6), captured with (2, 6)"
    assert f"\nInputs:\n{said}\n" in (tmp_path / "out" / "model.py").read_text()
    assert "<li>input (batch, 6), captured with (2, 6)</li>" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["dimensions"] == report["dimensions"]


def test_what_is_printed_of_a_graph(graph: gp.DependencyGraph) -> None:
    assert str(graph).endswith(", varying=[batch, width])")
    assert str(graph.program).endswith(", varying=[batch, width])")
