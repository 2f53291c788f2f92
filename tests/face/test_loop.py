"""Prune, fine-tune, evaluate, in rounds: the budget or the floor, and rounds that are taken up again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp

SETTINGS = gp.Tuning(epochs=2, lr=1e-2)


def data() -> tuple[Tensor, Tensor]:
    """Two features decide between four classes."""
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    inputs, labels = data()
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model.eval()


def accuracy(model: nn.Module) -> float:
    inputs, labels = data()
    return float((model(inputs).argmax(1) == labels).double().mean())


def batches() -> list[tuple[Tensor, Tensor]]:
    inputs, labels = data()
    return list(zip(inputs.split(16), labels.split(16), strict=True))


def run(model: nn.Module, directory: Path | None, **options: Any) -> gp.Loop:
    wished = {"rounds": 3, "macs": 0.3, "align": 1, "evaluate": accuracy, "settings": SETTINGS, **options}
    return gp.shrink_and_tune(model, torch.zeros(2, 6), batches(), directory=directory, **wished)


def state(result: gp.Result) -> dict[str, Tensor]:
    return dict(result.model.state_dict())


def equal(one: gp.Result, other: gp.Result) -> bool:
    return all(torch.equal(tensor, state(other)[name]) for name, tensor in state(one).items())


@pytest.fixture(scope="module")
def whole(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[gp.Loop, Path]:
    directory = tmp_path_factory.mktemp("loop") / "rounds"
    return run(model, directory), directory


def test_the_budget_is_met_in_rounds(whole: tuple[gp.Loop, Path], model: nn.Module) -> None:
    loop, directory = whole
    assert loop.reason == "the budget is met"
    shares = [item.macs for item in loop.rounds]
    assert len(shares) == 3
    assert 1 > shares[0] > shares[1] > shares[2]
    assert 0.25 < shares[2] <= 0.3
    assert loop.rounds[-1].metric == accuracy(loop.result.model) > 0.9
    assert loop.result.verdict.passed
    # one plan, relative to the original
    replayed = gp.shrink(model, torch.zeros(2, 6), plan=loop.result.plan)
    assert {k: v.shape for k, v in state(replayed).items()} == {
        k: v.shape for k, v in state(loop.result).items()
    }
    assert sorted(path.name for path in directory.iterdir()) == ["round_1", "round_2", "round_3"]
    for number, item in enumerate(loop.rounds, 1):
        place = directory / f"round_{number}"
        assert accuracy(gp.load(place)) == item.metric
        report = json.loads((place / "report.json").read_text())
        assert report["verdict"]["passed"]
        assert report["tuning"]["metric"]["best"] == item.metric


def test_complete_rounds_are_taken_up(
    whole: tuple[gp.Loop, Path], model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, directory = whole
    rounds = Path(shutil.copytree(directory, tmp_path / "rounds"))
    shutil.rmtree(rounds / "round_3")
    tuned: list[int] = []
    monkeypatch.setattr(
        "graphprune.face.shrink_and_tune.tune", lambda *a, **k: tuned.append(1) or gp.tune(*a, **k)
    )
    again = run(model, rounds)
    assert tuned == [1]
    assert again.rounds == loop.rounds
    assert equal(again.result, loop.result)


def test_what_a_killed_run_has_left_beside_complete_rounds_goes(
    whole: tuple[gp.Loop, Path], model: nn.Module, tmp_path: Path
) -> None:
    rounds = Path(shutil.copytree(whole[1], tmp_path / "rounds"))
    (rounds / "round_3.checkpoint.safetensors").write_text("killed before this was deleted")
    draft = rounds / ".round_3.abcdefgh.draft"
    draft.mkdir()
    (draft / "lock").touch()
    assert equal(run(model, rounds).result, whole[0].result)
    assert sorted(path.name for path in rounds.iterdir()) == ["round_1", "round_2", "round_3"]


def test_a_round_that_was_stopped_goes_on(
    whole: tuple[gp.Loop, Path], model: nn.Module, tmp_path: Path
) -> None:
    """Interrupted in the second round: its checkpoint is there, the first round is complete."""
    steps = 0

    def watch(moment: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 8 + 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, watch=watch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round_1", "round_2.checkpoint.safetensors"]
    again = run(model, tmp_path)
    assert equal(again.result, whole[0].result)
    assert json.loads((tmp_path / "round_2" / "report.json").read_text())["tuning"]["resumed_at"] == 4


def test_the_last_good_round_is_kept(model: nn.Module) -> None:
    loop = run(model, None, macs=0.02, rounds=4, min_metric=0.9, settings=gp.Tuning(epochs=1, lr=1e-4))
    number = len(loop.rounds)
    assert 1 < number < 4
    assert [item.good for item in loop.rounds] == [True] * (number - 1) + [False]
    assert accuracy(loop.result.model) == loop.rounds[-2].metric >= 0.9 > (loop.rounds[-1].metric or 0)
    assert f"round {number} comes to" in loop.reason
    assert f"the floor is 0.9: round {number - 1} is kept" in loop.reason


def test_refusals(whole: tuple[gp.Loop, Path], model: nn.Module) -> None:
    directory = whole[1]
    other = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    with pytest.raises(gp.BudgetError, match=r"round 1 comes to .*, the floor is 1.1, and it is the first"):
        run(model, None, min_metric=1.1)
    with pytest.raises(gp.InputError, match="min_metric is given, and no evaluation"):
        run(model, None, min_metric=0.5, evaluate=None)
    for options, message in (
        ({"model": other}, "round_1 is a round of another model"),
        ({"settings": gp.Tuning(epochs=3)}, "round_1 is a round that was tuned with other settings"),
        ({"macs": 0.2}, "round_1 is a round that kept other units"),
    ):
        wished: dict[str, Any] = {"model": model, "directory": directory, **options}
        with pytest.raises(gp.InputError, match=message):
            run(**wished)
