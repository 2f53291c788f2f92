"""Refits a layer: with the slim model's inputs it is to give what the original gives with the original's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from graphprune.calibration.sums import Sums
from graphprune.capture.operators import arguments
from graphprune.repair.linear import LINEAR, Linear
from graphprune.repair.regression import RowSums, fit
from graphprune.repair.report import StepReport
from graphprune.repair.rows import HeldRows
from graphprune.repair.steps import Step
from graphprune.repair.walk import Pair, Walk

__all__ = ["ROWS", "ROWS_PER_REGRESSOR", "Refit"]

ROWS = 4096  # output positions of a layer that are looked at, or
ROWS_PER_REGRESSOR = 10  # so many for each of its regressors, if that is more
LIMIT = 4096  # regressors: the products of half the data are a matrix of 134 MB; of more, rows are held themselves
WIDEST = 32768  # regressors whose rows are held: 0.5 GB of them
SMALL = 1e-3  # of the largest: batch norm scales below it say nothing about what comes in


@dataclass
class Refit:
    """One layer: a regression of what its result lacks on what it is given, from sums over all calls and batches.

    Args:
        values: how many numbers its calls give in all; where there are more than needed, a part of them is looked at.
        batches: of calibration data, over all processes. The ridge is chosen by predicting even batches from odd ones
            and the reverse; of a single batch, the two halves are taken.
    """

    step: Step
    walk: Walk
    values: int
    batches: int
    seed: int
    weights: bool = True
    biases: bool = True
    halves: Sums[int, RowSums] = field(default_factory=Sums)
    rows: HeldRows = field(default_factory=HeldRows)
    energy: Sums[str, Tensor] = field(default_factory=Sums)
    _held: dict[str, tuple[Tensor, dict[str, Any]]] = field(default_factory=dict)

    @property
    def layer(self) -> Linear:
        """The family of the operator."""
        return LINEAR[self.step.family]

    @property
    def weight(self) -> Tensor:
        """As it is now."""
        return self.walk.tensors[self.step.weight]

    @cached_property
    def fan_in(self) -> int:
        """The regressors of each output."""
        return self.layer.fan_in(self.weight, arguments(self.walk.slim_nodes[self.step.calls[0]]))

    @property
    def wide(self) -> bool:
        """Whether there are so many regressors that rows are held in the place of their products."""
        return self.weights and LIMIT < self.fan_in <= WIDEST

    def moments(self, call: str) -> tuple[str, ...]:
        """The nodes at which `look` is to be called: the call, and where its result is complete."""
        return call, self.step.last(call)

    def look(self, moment: int, call: str, pair: Pair, number: int) -> None:
        """At the first of its `moments` it keeps the input; at the second it adds what the result lacks to the sums."""
        if moment == 0:
            source = pair.argument(call, self.layer.source)[1]
            self._held[call] = (source, pair.given(call))
            return
        source, given = self._held.pop(call)
        wanted, made = pair.through(self.step.last(call))
        norm = self.step.norms.get(call)
        scale = self._scale(norm) if norm is not None else 1.0
        rows = wanted.numel() // self.layer.outputs(self.weight, given)
        for half, picked in self._picked(call, rows, number):
            aim, have = (self.layer.rows(value, given, picked) / scale for value in (wanted, made))
            counts = self._counts(call, aim)
            targets = self.layer.targets(aim - have, given)
            regressors = self._regressors(source, given, picked)
            if self.wide:
                self.rows.add(number, half, regressors, targets, counts)
            else:
                sums = RowSums.of(regressors, targets, counts)
                self.halves.add(half, sums)
                self.halves.expect(1 - half, sums)  # a process may see batches of one half alone
            self.energy.add("", ((aim - aim.mean(0)).double().square().sum(1) * counts).sum())

    def _counts(self, call: str, aim: Tensor) -> Tensor:
        """How much each row counts, one on average: in a residual stream of tokens by what it is beside the stream.

        What reads such a stream divides each position by its norm. Some positions of language models are a thousand
        times the others (Sun et al., "Massive Activations in Large Language Models", 2024), and would be all that is
        fitted.
        """
        if self.step.last(call) == call or type(self.layer) is not Linear:
            return aim.new_ones(len(aim), dtype=torch.float64)
        squares = aim.double().square().sum(1)
        counts = torch.where(squares > 0, 1 / squares, 0.0)
        return counts / counts.mean().clamp_min(torch.finfo(torch.float64).tiny)

    def _regressors(self, source: Tensor, given: Mapping[str, Any], picked: Tensor) -> Tensor:
        if self.weights and self.fan_in <= WIDEST:
            return self.layer.regressors(source, self.weight, given, picked)
        return source.new_zeros((given.get("groups", 1), len(picked), 0))

    def _picked(self, call: str, rows: int, number: int) -> list[tuple[int, Tensor]]:
        """Rows to look at, for each half of the data."""
        given = arguments(self.walk.slim_nodes[call])
        wanted = ROWS if self.wide else max(ROWS, ROWS_PER_REGRESSOR * self.fan_in)
        total = self.values // self.layer.outputs(self.weight, given)
        picked = torch.arange(rows)
        if wanted < total:
            place = self.walk.order[call]
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + place * 10_007 + number)
            count = max(round(rows * wanted / total), 1)
            picked = torch.randperm(rows, generator=generator)[:count].sort().values
        if self.batches > 1:
            return [(number % 2, picked)]
        return [(0, picked[: len(picked) // 2]), (1, picked[len(picked) // 2 :])]

    def _scale(self, norm: str) -> Tensor:
        """What the batch norm multiplies each channel with; infinite where next to nothing comes through."""
        given = arguments(self.walk.slim_nodes[norm])
        tensors = self.walk.tensors
        scale = (tensors[str(given["running_var"].target)] + given["eps"]).rsqrt()
        if given["weight"] is not None:
            scale = scale * tensors[str(given["weight"].target)]
        return torch.where(scale.abs() > SMALL * scale.abs().max(), scale, float("inf"))

    def _summed(self) -> list[RowSums]:
        found = self.halves.total()
        return [found[number] for number in (0, 1) if found[number].rows]

    def solve(self) -> tuple[StepReport, dict[str, Tensor]]:
        """A report, and the tensors that change."""
        step, changed = self.step, {}
        halves = self.rows.halves() if self.wide else self._summed()
        rows = sum(int(half.rows) for half in halves)
        energy = float(self.energy.total()[""]) or 1.0
        fitted = fit(halves, bool(step.bias) and self.biases, bool(halves[0].x.numel()))
        if fitted.slope is not None:
            given = arguments(self.walk.slim_nodes[step.calls[0]])
            changed[step.weight] = self.weight + self.layer.packed(fitted.slope, self.weight, given).to(
                self.weight
            )
        if isinstance(fitted.shift, Tensor):
            bias, shift = self.walk.tensors[step.bias], fitted.shift.flatten()
            changed[step.bias] = bias + (-shift if step.negative else shift).to(bias)
        kind = "weights" if fitted.slope is not None else "bias" if changed else "none"
        return StepReport(
            step.layer, kind, fitted.before / energy, fitted.after / energy, fitted.ridge, rows
        ), changed
