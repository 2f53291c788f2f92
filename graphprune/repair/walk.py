"""Walks over the calibration batches, block of steps by block of steps, within a bound on memory and on passes.

Between two blocks every batch waits, as the values that are still to be read, while there is room for them; the others
start anew from their inputs. So where everything fits, each step is a block of its own and each node runs about
twice; where it does not, steps are put together so that starting anew costs at most `RESTARTS` passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from torch import Tensor

from graphprune.calibration.batches import Calibration
from graphprune.repair.pair import Pair, Pairs
from graphprune.repair.steps import Step

__all__ = ["RESTARTS", "Walk", "make_blocks"]

RESTARTS = 5.0  # forward passes, of both programs together


@dataclass
class Walk:
    """Runs on every batch.

    Args:
        calibration: the batches, which can be walked again and again.
        room: bytes that waiting batches may take.
    """

    pairs: Pairs
    calibration: Calibration
    room: int
    waiting: dict[int, Pair] = field(default_factory=dict)
    count: int = 0

    def to(self, name: str) -> Iterator[tuple[int, Pair]]:
        """The number of every batch, and a run on it that stands before the node ``name`` and is free to go on."""
        used = 0
        for number, pair in self._runs():
            pair.advance(name)
            self.waiting.pop(number, None)
            if self.pairs.forks and used + (size := pair.bytes()) <= self.room:
                used += size
                self.waiting[number] = pair
                pair = pair.fork()
            yield number, pair

    def whole(self) -> Iterator[tuple[int, Pair]]:
        """A new run on every batch, before its first node."""
        for number, (_, leaves) in enumerate(self.calibration.walk(self.pairs.graph.program)):
            yield number, self.pairs.start(leaves)

    def _runs(self) -> Iterator[tuple[int, Pair]]:
        if self.count and len(self.waiting) == self.count:
            yield from list(self.waiting.items())
            return
        self.count = 0
        for number, pair in self.whole():
            self.count = number + 1
            yield number, self.waiting.get(number, pair)

    def replace(self, name: str, tensor: Tensor) -> None:
        """Another tensor of the slim model from here on."""
        self.pairs.tensors[name] = tensor
        for pair in self.waiting.values():
            pair.slim.replace(name, tensor)


def make_blocks(
    steps: Sequence[Step], sizes: Mapping[str, int], shares: Mapping[str, float], room: int
) -> list[list[Step]]:
    """Steps in blocks.

    Args:
        sizes: first call of a step → bytes of all batches that wait there.
        shares: first call of a step → the share of a forward pass that comes before it.
        room: bytes there are for waiting batches.
    """
    prices, missing = [], 1.0
    for step in steps:
        prices.append(missing * 2 * shares[step.calls[0]])
        missing = max(0.0, 1 - room / max(sizes[step.calls[0]], 1))
        missing = 0.0 if missing < 1e-9 else missing
    together = max(1, ceil(sum(prices) / RESTARTS))
    blocks: list[list[Step]] = []
    for step, price in zip(steps, prices, strict=True):
        if blocks and price and len(blocks[-1]) < together:
            blocks[-1].append(step)
        else:
            blocks.append([step])
    return blocks
