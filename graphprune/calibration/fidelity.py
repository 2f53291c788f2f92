"""What a cut did to a model's answers: how often they are the same, and how far outputs are off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from graphprune.calibration.batches import Calibration
from graphprune.calibration.distances import Difference
from graphprune.calibration.sums import Sums
from graphprune.capture import run, tensor_leaves
from graphprune.capture.program import Program
from graphprune.ground.arguments import examples_in

__all__ = ["Fidelity", "fidelity", "judged"]

Answers = tuple[list[Tensor], list[Tensor], int]

SYNTHETIC = "synthetic"
CLASSES = 2  # at least, for the largest of them to be an answer
POOR_AGREEMENT, POOR_ERROR = 0.9, 0.5


@dataclass(frozen=True)
class Fidelity:
    """The slim model's outputs beside the original's.

    Args:
        error: the relative error of the outputs, see `Difference`.
        agreement: of outputs with a row of scores for each example or token, the share of rows whose largest score is
            in the same place; None where no output is of that kind.
        examples: that were looked at, over all processes.
        data: what they are.
        held_out: whether neither choice nor repair has seen them.
    """

    error: float
    agreement: float | None
    examples: int
    data: str
    held_out: bool

    @property
    def is_poor(self) -> bool:
        """Whether the slim model answers otherwise so often that it has to be trained before it is of use.

        Inputs that are made often lie between classes, so that the largest score says little there.
        """
        by_error = self.agreement is None or self.data.startswith(SYNTHETIC)
        # an error that is no number is not small
        return not self.error <= POOR_ERROR if by_error else float(self.agreement or 0) < POOR_AGREEMENT

    def __str__(self) -> str:
        alike = "" if self.agreement is None else f"{self.agreement:.1%} alike, "
        return f"{alike}outputs off by {self.error:.1%} on {self.examples} examples of {self.data}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "poor": self.is_poor}


def fidelity(program: Program, slim: Program, batches: Iterable[Any], data: str, held_out: bool) -> Fidelity:
    """The fidelity of ``slim`` on ``batches``, each what `Calibration` takes; both models run on each once."""

    def pairs() -> Iterator[Answers]:
        for _, leaves in Calibration(batches).walk(program):
            with torch.no_grad():
                own, other = (
                    tensor_leaves(run(each.graph, each.tensors, list(leaves))) for each in (program, slim)
                )
            yield own, other, examples_in(leaves)

    return judged(pairs(), data, held_out)


def judged(pairs: Iterable[Answers], data: str, held_out: bool) -> Fidelity:
    """The fidelity of the second outputs of each pair to the first; with each pair the number of its examples."""
    difference, sums = Difference(), Sums[str, Tensor]()
    for name in ("alike", "rows", "examples"):
        sums.expect(name, torch.zeros(()))
    for own, other, examples in pairs:
        difference.add(own, other)
        alike, rows = _alike(own, other)
        sums.add("alike", alike)
        sums.add("rows", rows)
        sums.add("examples", torch.tensor(examples))
    total: Mapping[str, Tensor] = sums.total()
    rows_seen = float(total["rows"])
    agreement = float(total["alike"]) / rows_seen if rows_seen else None
    return Fidelity(difference.value, agreement, int(total["examples"]), data, held_out)


def _alike(own: list[Tensor], other: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of scores whose largest is in the same place, and rows; of the first output that has such rows."""
    for one, two in zip(own, other, strict=True):
        if one.is_floating_point() and one.dim() in (2, 3) and one.shape[-1] >= CLASSES:
            same = one.argmax(-1) == two.argmax(-1)
            return same.sum(), torch.tensor(same.numel())
    return torch.tensor(0), torch.tensor(0)
