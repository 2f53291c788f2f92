"""Sums over batches, and over processes that have met other keys first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from graphprune.calibration import sums as module
from graphprune.calibration.sums import Sums


class Row(NamedTuple):
    values: Tensor
    number: Tensor


def test_sums_and_means() -> None:
    sums: Sums[str, Tensor] = Sums()
    for batch in torch.randn(4, 3, 2).unbind():
        sums.count += 3
        sums.add("a", batch.float().sum(0))
        sums.add("b", torch.tensor(2))
    assert sums.total()["a"].dtype == torch.float64
    assert float(sums.total()["b"]) == 8
    assert float(sums.means()["b"]) == pytest.approx(8 / 12)


def test_processes_may_meet_keys_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent has no names, so that all processes must send in one order."""
    sent: list[list[str]] = []

    def over_processes(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sent.append([str(key) for key in given])
        return dict(given)

    monkeypatch.setattr(module, "over_processes", over_processes)
    for order in ((0, 1), (1, 0)):
        records: Sums[int, Row] = Sums()
        first, second = order
        records.add(first, Row(torch.ones(2), torch.tensor(2)))
        records.expect(second, Row(torch.ones(2), torch.tensor(2)))
        found = records.total()
        assert found[first].values.tolist() == [1, 1]
        assert found[second].values.tolist() == [0, 0]
    assert sent[0] == sent[1]
    assert len(sent[0]) == 4
