"""A repair that a killed run had finished is taken up by the next one, if nothing that it follows from has changed."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import graphprune as gp
from graphprune.cutting import kept, repaired


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Linear(6, 24), nn.Linear(24, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.b(self.a(x).relu()).relu())


Shrink = Callable[..., gp.Result]
DATA = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def shrink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shrink:
    """Shrinks, and keeps every repair as if the run were killed afterwards."""
    monkeypatch.setenv("GRAPHPRUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "WORTH", 0)
    monkeypatch.setattr(atexit, "register", lambda *args: None)

    def run(data: object = DATA, **options: object) -> gp.Result:
        torch.manual_seed(0)
        given = {"ratio": 0.5, "importance": "l2", "calibration": data, "repair": True, "align": 1, **options}
        return gp.shrink(Net().eval(), torch.zeros(2, 6), **given)

    return run


@pytest.fixture
def no_repair(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a repair that is made anew fails."""

    def refuse(*args: object) -> None:
        raise AssertionError("it was made again")

    return lambda: monkeypatch.setattr(repaired, "repair", refuse)


@pytest.mark.parametrize("data", [DATA, [DATA[:32], DATA[32:]], DataLoader(TensorDataset(DATA), 16)])
def test_it_is_not_made_again(shrink: Shrink, no_repair: Callable[[], None], data: object) -> None:
    first = shrink(data)
    no_repair()
    second = shrink(data)
    assert second.verdict.passed
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    assert first.repair == second.repair


@pytest.mark.parametrize(
    "options", [{"data": DATA + 1}, {"ratio": 0.4}, {"repair": gp.Repair(biases=False)}, {"seed": 1}]
)
def test_what_it_follows_from_is_asked(
    shrink: Shrink, no_repair: Callable[[], None], options: dict[str, object]
) -> None:
    shrink()
    no_repair()
    with pytest.raises(AssertionError, match="made again"):
        shrink(**options)


@pytest.mark.parametrize("data", [DataLoader(TensorDataset(DATA), 16, shuffle=True), map(Tensor, [DATA])])
def test_data_that_come_otherwise_each_time_are_not_trusted(
    shrink: Shrink, data: object, tmp_path: Path
) -> None:
    if isinstance(data, DataLoader):  # a stream cannot be repaired with at all
        shrink(data)
    assert kept._again(data) is None
    assert not (tmp_path / "repair.safetensors").exists()


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_damaged_file_is_made_anew(shrink: Shrink, tmp_path: Path, damage: bytes | None) -> None:
    shrink()
    place = tmp_path / "repair.safetensors"
    place.write_bytes(place.read_bytes()[:-8] if damage is None else damage)
    result = shrink()
    assert result.verdict.passed
    assert result.repair is not None


def test_a_run_that_ends_takes_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shrink: Shrink
) -> None:
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", lambda call, *args: ends.append(lambda: call(*args)))
    shrink()
    place = tmp_path / "repair.safetensors"
    assert place.exists()
    ends[0]()
    assert not place.exists()
    shrink()
    shrink(DATA + 1)  # another run's
    ends[0]()
    assert place.exists()
