"""Operators that torch's library lacks: medians, distances of pairs, and plain recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.capture.execution import Execution
from graphprune.exporting import export_onnx, parity, session
from graphprune.exporting.fixed_dtypes import with_fixed_dtypes
from graphprune.exporting.forms import value_forms
from graphprune.exporting.translation import translate

ORDER: dict[str, Callable[[Tensor], Tensor]] = {
    "median of all": lambda y: y.median().expand(len(y)),
    "median along an odd number": lambda y: y[:, :, :5].median(-1).values,
    "median along an even number": lambda y: y.median(1, keepdim=True).values,
    "place of the median": lambda y: y.median(-1).indices,
    "distances": lambda y: torch.cdist(y, y.flip(1) + 1),
    "distances by 1": lambda y: torch.cdist(y, y[:, :2] - 1, p=1.0),
    "distances by 3": lambda y: torch.cdist(y, y.roll(1, 0) + 2, p=3.0),
    "distances by the largest": lambda y: torch.cdist(y, y + 1, p=float("inf")),
    "distances to what is stored": lambda y: torch.cdist(y, torch.arange(12.0).view(2, 6)),
}


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.fc(x)
        return {name: compute(y) for name, compute in ORDER.items()}


class Recurrent(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.rnn = nn.RNN(5, 7, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, last = self.rnn(x)
        return output, last


def check(model: nn.Module, x: Tensor, path: Path, limit: float = 1e-5) -> None:
    program = capture(model.eval(), x)
    translate(with_fixed_dtypes(program))  # not torch's exporter
    file = export_onnx(program, path)
    assert not file.fixed
    sizes = [dict(program.sizes), *program.tried, {"batch": 1}]
    rows = parity(file.path, model, program.example, sizes)
    assert len(rows) >= 2
    assert max(row.max_rel for row in rows) < limit


def test_medians_and_distances(tmp_path: Path) -> None:
    torch.manual_seed(0)
    check(Rows(), torch.randn(3, 4, 6), tmp_path / "model.onnx")


class Medians(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.median(), *x.median(-1), *x.median(1, keepdim=True)


def test_the_median_of_what_is_no_number(tmp_path: Path) -> None:
    x = torch.randn(3, 4, 6)
    x[1, 2, 3], x[1, 2, 5], x[2, 0, 0], x[0, 0, 1] = torch.nan, torch.nan, torch.inf, -torch.inf
    program = capture(Medians().eval(), torch.randn(3, 4, 6))
    file = export_onnx(program, tmp_path / "model.onnx")
    for given in (x, x[:1]):
        found = session(file.path).run(None, {file.input_names[0]: given.numpy()})
        for expected, value in zip(Medians()(given), found, strict=True):
            torch.testing.assert_close(torch.from_numpy(value), expected, equal_nan=True)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_first": True},
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
        {"nonlinearity": "relu", "bias": False},
    ],
)
def test_recurrent_layers(options: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    check(Recurrent(**options), torch.randn(2, 3, 5), tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"batch_first": True, "bidirectional": True, "num_layers": 2}])
def test_sizes_of_recurrent_layers_are_those_of_a_run(
    kind: type[nn.RNNBase], options: dict[str, object]
) -> None:
    program = capture(kind(5, 7, **options).eval(), torch.randn(2, 4, 5))
    forms = value_forms(program)
    inputs = program.flat_inputs(*program.example)
    (found,) = [
        (forms[node], value)
        for node, value in Execution(program.graph, program.tensors, inputs)
        if str(node.target).endswith(".input")
    ]
    sizes, values = found
    assert [form.seen[0] for form in sizes] == [tuple(value.shape) for value in values]
    assert [form.dtype for form in sizes] == [value.dtype for value in values]


class Resized(nn.Module):
    """A table as large as the input; twice the input, and one; half of it."""

    def __init__(self, dims: int, **options: object) -> None:
        super().__init__()
        self.dims, self.options = dims, options
        self.table = nn.Parameter(torch.randn(1, 3, *(5, 6, 7)[:dims]))

    def forward(self, x: Tensor) -> list[Tensor]:
        size = x.shape[2:]
        resize = partial(nn.functional.interpolate, **self.options)
        larger, smaller = ([s * 2 + 1 for s in size], [(s + 1) // 2 for s in size])
        return [
            x + resize(self.table, size=size),
            resize(x, size=larger),
            resize(x, size=smaller),
            resize(x, 1),
        ]


@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (1, {"mode": "linear"}),
        (1, {"mode": "linear", "align_corners": True}),
        (1, {"mode": "nearest-exact"}),
        (2, {"mode": "nearest-exact"}),
        (3, {"mode": "nearest-exact"}),
    ],
)
def test_images_of_a_size_that_varies(dims: int, options: dict[str, object], tmp_path: Path) -> None:
    check(Resized(dims, **options), torch.randn(2, 3, *(9, 10, 11)[:dims]), tmp_path / "model.onnx")
