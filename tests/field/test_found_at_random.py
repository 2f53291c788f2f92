"""What random models found, each as the smallest model of its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from black_box import zeroed
from torch import Tensor, nn

import graphprune as gp


class Through(nn.Module):
    """Three heads of eight between two layers; the middle does something with them."""

    def __init__(self, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.i, self.o, self.middle = nn.Linear(12, 24), nn.Linear(24, 4), middle

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.middle(self.i(x).view(x.shape[0], -1, 3, 8))
        return self.o(y.flatten(2)), y.sum((1, 3))  # the heads are an output: none of them may go


@pytest.mark.parametrize(
    "middle",
    [
        lambda y: y.flip(2),
        lambda y: y.flip(2, 3),
        lambda y: torch.rot90(y, 2, (1, 2)),
        lambda y: y[:, :, [2, 0, 1]],
        lambda y: y.index_select(2, torch.tensor([1, 2, 0])),
    ],
)
def test_heads_in_another_order_keep_the_same_units(middle: Callable[[Tensor], Tensor]) -> None:
    graph = gp.trace(Through(middle), torch.randn(2, 5, 12))
    assert [group.fibre for group in graph.groups] == [None]
    assert gp.shrink(graph, ratio=0.5, importance="random").model.i.weight.shape == (12, 12)


class Pieces(nn.Module):
    """Cut along a size that varies, into more pieces the longer it is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu().split(4, 3)[1])


def test_there_may_be_more_pieces_than_at_capture(tmp_path: Path) -> None:
    model = Pieces().eval()
    result = gp.shrink(model, torch.randn(2, 3, 8, 8), ratio=0.5, importance="random")
    assert "width" in {at.name for at in result.graph.program.dimensions}
    result.save(tmp_path / "slim", latency=False)
    x, reference = torch.randn(2, 3, 8, 18), zeroed(model, result.plan.kept)
    with torch.no_grad():
        expected = reference(x)
        torch.testing.assert_close(result.model(x), expected)
        torch.testing.assert_close(gp.load(tmp_path / "slim")(x), expected)
    found = _run(tmp_path / "slim" / "model.onnx", x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _run(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


class Rows(nn.Module):
    """Reads rows by number, of an image that must have so many."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 16, 1), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())[:, :, [6, 0, 7, 1]]


class Chunks(nn.Module):
    """Four pieces are asked for, of six rows there are three."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Conv2d(4, 16, 1), nn.Conv2d(16, 8, 1), nn.Linear(96, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, *_, last = self.b(self.a(x).relu()).chunk(4, 2)
        return self.o((first * last).flatten(1))


@pytest.mark.parametrize(("model", "rows"), [(Rows(), 8), (Chunks(), 6)])
def test_a_file_is_written_where_smaller_sizes_do_not_run(
    model: nn.Module, rows: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    result = gp.shrink(model.eval(), torch.randn(2, 4, rows, 6), ratio=0.5, importance="random")
    result.save(tmp_path / "slim", latency=False)
    assert not [str(warning.message) for warning in recwarn if "onnx" in str(warning.message)]
    x = torch.randn(3, 4, rows, 6)
    found = _run(tmp_path / "slim" / "model.onnx", x)
    torch.testing.assert_close(found, result.model(x).detach(), rtol=1e-4, atol=1e-5)


class Transposed(nn.Module):
    """PyTorch differentiates a norm over the channels of one image wrongly where they come last afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.o = (
            nn.Conv2d(3, 8, 3),
            nn.InstanceNorm2d(8, affine=True),
            nn.Linear(288, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
        return self.o(F.relu(y).reshape(x.shape[0], -1))


def test_gradients_of_one_image_are_not_taken_for_those_of_the_model() -> None:
    result = gp.shrink(Transposed().eval(), torch.randn(4, 3, 8, 8), ratio=0.5, importance="random")
    assert result.verdict.passed
    assert result.model.conv.weight.shape[0] == 4


class Whole(nn.Module):
    """A slice of everything, whose sizes a decision of PyTorch's own code reads."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.norm, self.o = nn.Conv1d(4, 8, 1), nn.GroupNorm(2, 8), nn.Conv1d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.norm(self.i(x)[:, 0:]))


def test_a_decision_may_be_on_the_sizes_of_a_slice_of_everything() -> None:
    result = gp.shrink(Whole().eval(), torch.randn(3, 4, 16), ratio=0.5, importance="random")
    assert result.model(torch.randn(2, 4, 9)).shape == (2, 4, 9)


class Shuffled(nn.Module):
    """Channels meet themselves shuffled: (four two) = (two four), so that all of them are one axis three times."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.i(x)
        return self.o(y + y.unflatten(1, (4, 2)).transpose(1, 2).flatten(1, 2))


def test_channels_that_meet_themselves_shuffled() -> None:
    result = gp.shrink(Shuffled().eval(), torch.randn(2, 3, 6, 6), ratio=0.5, importance="random")
    assert result.model.i.weight.shape[0] == 1  # of each of the three factors one of two


class Wide(nn.Module):
    """Five positions wide, so that no size can be much smaller than the example's."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Conv3d(2, 8, 3, padding=1, dilation=2), nn.Conv3d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.i(x))


def test_several_sizes_that_cannot_be_smaller_vary() -> None:
    result = gp.shrink(Wide().eval(), torch.randn(2, 2, 4, 4, 4), ratio=0.5, importance="random")
    assert [at.name for at in result.graph.program.dimensions] == ["batch", "", "depth", "height", "width"]
    assert result.model(torch.randn(3, 2, 9, 8, 7)).shape == (3, 4, 7, 6, 5)


class Picked(nn.Module):
    """Columns inside heads are taken by number: what they count is the same in every head."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(12, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.i(x).reshape(x.shape[0], 8, 2, 4)
        return self.o(heads.index_select(3, torch.tensor([0, 3])).flatten(2))


class FirstPart(nn.Module):
    """Of a length that varies the first seven places are read, by a layer that has weights for seven."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(4, 24), nn.Linear(56, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = x.split(7, dim=1)[0]
        parts = self.i(first).reshape(first.shape[0], first.shape[1], 3, 4, 2).permute(2, 0, 3, 1, 4)
        return self.o(parts[0].reshape(x.shape[0], -1))


class Gram(nn.Module):
    """Products of all pairs of channels, laid flat: a place of them has two channels, each in a group of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Conv2d(4, 8, 1, groups=2), nn.Linear(17 * 17, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        channels = self.i(x).sum(2)
        rows = torch.cat([channels, y, channels], dim=1)
        return self.o((rows @ rows.transpose(1, 2)).reshape(x.shape[0], -1))


@pytest.mark.parametrize(
    ("model", "shapes", "seed"),
    [
        (Picked(), ((2, 8, 12),), 0),
        (FirstPart(), ((2, 9, 4),), 407),
        (Gram(), ((2, 4, 3, 4), (2, 1, 4)), 0),
        (Gram(), ((2, 4, 3, 4), (2, 1, 4)), 1),
    ],
)
def test_what_stands_in_several_places_is_told_apart(
    model: nn.Module, shapes: tuple[tuple[int, ...], ...], seed: int
) -> None:
    inputs = tuple(torch.randn(shape) for shape in shapes)
    result = gp.shrink(model.eval(), inputs, ratio=0.5, importance="random", seed=seed)
    assert result.verdict.passed
    assert result.after.params < result.before.params
