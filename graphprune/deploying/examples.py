"""Examples for a file: some to take ranges from, others to judge on, and how far its outputs are off on those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy
import torch

from graphprune import exporting
from graphprune.calibration import Fidelity
from graphprune.calibration.fidelity import judged
from graphprune.exporting import Array, Latency, Model
from graphprune.ground.errors import InputError

__all__ = ["Examples", "Feed"]

Feed = Mapping[str, Array]
PARTS = 5  # one of them is held out
MOST = 64  # examples that ranges are taken from, and as many to judge on


@dataclass(frozen=True)
class Examples:
    """Arrays by the names of a file's inputs.

    Args:
        seen: that ranges are taken from.
        held: that files are judged on.
        data: what they are, for messages.
        held_out: whether ``held`` are others than ``seen``.
        batched: whether the first dimension of all inputs is the batch, of any size.
    """

    seen: tuple[Feed, ...]
    held: tuple[Feed, ...]
    data: str
    held_out: bool
    batched: bool = True

    @classmethod
    def of(cls, feeds: Iterable[Feed], data: str, batched: bool = True) -> Examples:
        """The last fifth is held out, where there is more than one batch.

        Raises:
            InputError: there are none.
        """
        known = list(feeds)
        if not known:
            raise InputError("there are no examples to take ranges from", "give calibration data")
        count = max(len(known) // PARTS, 1) if len(known) > 1 else 0
        seen, held = known[: len(known) - count], known[len(known) - count :]
        made = cls(tuple(seen), tuple(held or seen), data, bool(count), batched)
        return replace(made, seen=made._few(made.seen, MOST), held=made._few(made.held, MOST))

    def renamed(self, names: Mapping[str, str]) -> Examples:
        """The same for a file whose inputs have other names, old → new."""

        def changed(feeds: Iterable[Feed]) -> tuple[Feed, ...]:
            return tuple({names.get(name, name): array for name, array in feed.items()} for feed in feeds)

        return replace(self, seen=changed(self.seen), held=changed(self.held))

    def in_batches(self, size: int) -> Examples:
        """The same in batches of that size.

        Raises:
            InputError: a batch cannot be divided so.
        """

        def cut(feeds: Iterable[Feed]) -> tuple[Feed, ...]:
            return tuple(piece for feed in feeds for piece in self._pieces(feed, size))

        return replace(self, seen=cut(self.seen), held=cut(self.held)) if self.batched else self

    def few(self, count: int) -> Examples:
        """So many of the ``seen`` examples alone, to judge on; more only where a batch is fixed."""
        feeds = self._few(self.seen, count)
        return replace(self, held=(self.first(feeds[0], count),) if len(feeds) == 1 else feeds)

    def first(self, feed: Feed, count: int) -> Feed:
        """So many examples of a batch, repeated where there are fewer."""
        if not self.batched:
            return feed
        rows = numpy.arange(count) % self._count(feed)
        return {name: array[rows] for name, array in feed.items()}

    def run(self, model: Model) -> list[list[Array]]:
        """What a model gives for the held examples.

        Raises:
            ExportError: onnxruntime cannot load or run it.
        """
        session = exporting.session(model)
        return [exporting.feeder(session, exporting.fed(session, feed))() for feed in self.held]

    def fidelity(self, expected: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> Fidelity:
        """How far outputs are off on the held examples."""
        pairs = (
            (_tensors(one), _tensors(other), self._count(feed))
            for one, other, feed in zip(expected, found, self.held, strict=True)
        )
        return judged(pairs, self.data, self.held_out)

    def measured(self, one: Model, other: Model, threads: int, batch: int, seconds: float) -> Latency:
        """The two files' times beside each other, on the first of these examples."""
        feed = self.first(self.held[0], batch)
        runs = [_runner(model, feed, threads) for model in (one, other)]
        return exporting.alternated(runs[0], runs[1], seconds, threads)

    def _count(self, feed: Feed) -> int:
        """Examples in a batch."""
        return len(next(iter(feed.values()))) if self.batched else 1

    def _few(self, feeds: Sequence[Feed], count: int) -> tuple[Feed, ...]:
        """The first batches, so many that they hold ``count`` examples or a few more."""
        found: list[Feed] = []
        for feed in feeds:
            if found and sum(map(self._count, found)) >= count:
                break
            found.append(feed)
        return tuple(found)

    def _pieces(self, feed: Feed, size: int) -> Iterator[Feed]:
        if self._count(feed) % size:
            raise InputError(
                f"a batch of {self._count(feed)} examples does not divide into the batch of {size} that is fixed",
                "give calibration batches of that size, or leave dynamic out",
            )
        for start in range(0, self._count(feed), size):
            yield {name: array[start : start + size] for name, array in feed.items()}


def _runner(model: Model, feed: Feed, threads: int) -> Callable[[], list[Array]]:
    session = exporting.session(model, threads)
    return exporting.feeder(session, exporting.fed(session, feed))


def _tensors(arrays: Iterable[Array]) -> list[torch.Tensor]:
    return [torch.as_tensor(array) for array in arrays]
