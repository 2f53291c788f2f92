"""The choice bench on its smallest model: both tools meet the share, and the table says who lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
pytest.importorskip("sklearn")

from bench_choice import measure
from bench_rows import counter, key
from bench_task import Task
from choice_ours import Choice, Ours
from choice_ours import choices as our_choices
from choice_peer import Peer, PeerChoice
from choice_peer import choices as peer_choices
from choice_table import write_table
from choice_tasks import make_task


@pytest.fixture(scope="module")
def task() -> Task:
    torch.set_num_threads(1)
    return make_task("digits_resnet")


def test_calibration_and_test_data_are_apart(task: Task) -> None:
    tests = torch.cat(task.tests)
    for inputs, _ in task.batches:
        assert not (tests == inputs).flatten(1).all(1).any()


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_both_tools_meet_the_share(task: Task, share: float) -> None:
    macs = counter(task.example)
    full = macs(task.model)
    theirs = Peer(task, macs).at(PeerChoice("magnitude p=2", "global"), share)
    assert share - 0.03 < macs(theirs) / full <= share * 1.01
    ours = Ours(task)
    for choice in (Choice("l1", "mean", "global"), Choice("fisher", "none", "per_cost", rounds=2)):
        assert share - 0.02 < macs(ours.at(choice, share)) / full <= share
    figures = task.compare(task.run(ours.at(choice, share)), task.run(task.model), task.labels)
    assert set(figures) == {"accuracy", "agreement", "kl"}
    assert task.compare(task.run(task.model), task.run(task.model), task.labels)["kl"] == pytest.approx(
        0, abs=1e-6
    )


def test_every_choice_is_one_row(task: Task) -> None:
    for found in (list(our_choices(task)), list(peer_choices(task))):
        names = [(str(choice), choice.ranking) for choice in found]
        assert len(set(names)) == len(names)


def test_what_is_known_is_not_measured_again() -> None:
    first = next(measure("digits_resnet", set()))
    second = next(measure("digits_resnet", {key(first)}))
    assert key(first) != key(second)
    assert {"macs", "figures", "calibration", "seconds", "date", "versions"} <= set(first)


def test_a_lost_row_is_shown_as_lost(tmp_path: Path) -> None:
    def row(tool: str, share: float, accuracy: float, choice: str = "l1::max") -> dict[str, object]:
        figures = {"accuracy": accuracy, "agreement": accuracy, "kl": 1 - accuracy}
        stamp = {"date": "2026-01-01", "data": "digits", "versions": "graphprune 0"}
        made = {"macs": share, "figures": figures, "calibration": 1 - accuracy, "seconds": 1.0}
        return {
            "model": "m",
            "tool": tool,
            "choice": choice,
            "ranking": "global",
            "share": share,
            **made,
            **stamp,
        }

    rows = [
        row("graphprune", 0.5, 0.7),
        row("torch-pruning", 0.5, 0.8),
        row("torch-pruning", 0.5, 0.6, "lamp"),
    ]
    rows += [row("graphprune", 0.9, 0.9), row("torch-pruning", 0.9, 0.8)]
    failed = {**row("torch-pruning", 0.9, 0.0, "taylor:None"), "failure": "ValueError: none"}
    write_table(
        [*rows, {k: v for k, v in failed.items() if k not in ("figures", "macs")}], tmp_path / "choice.md"
    )
    text = (tmp_path / "choice.md").read_text()
    assert "| m | 0.5 | lamp" not in text
    assert "accuracy 80.0%, KL 0.2 | l1::max, global | 0.500 | accuracy 70.0%, KL 0.3 | **lost** |" in text
    assert "1 **lost**, 1 better." in text
    assert "| m | torch-pruning | 1 | ValueError: none |" in text
