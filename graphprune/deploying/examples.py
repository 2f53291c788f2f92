"""Examples for a file: some to take ranges from, others to judge on, and how far its outputs are off on those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy
import torch

from graphprune import exporting
from graphprune.calibration import Fidelity
from graphprune.calibration.fidelity import judged
from graphprune.exporting import Array, Model
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
    """

    seen: tuple[Feed, ...]
    held: tuple[Feed, ...]
    data: str
    held_out: bool

    @classmethod
    def of(cls, feeds: Iterable[Feed], data: str) -> Examples:
        """The last fifth is held out, where there is more than one batch.

        Raises:
            InputError: there are none.
        """
        known = list(feeds)
        if not known:
            raise InputError("there are no examples to take ranges from", "give calibration data")
        count = max(len(known) // PARTS, 1) if len(known) > 1 else 0
        seen, held = known[: len(known) - count], known[len(known) - count :]
        return cls(_few(seen), _few(held or seen), data, bool(count))

    def renamed(self, names: Mapping[str, str], fixed: Mapping[str, Sequence[int | str]]) -> Examples:
        """The same for a file whose inputs have other names, and whose batch may be fixed.

        Args:
            names: of the inputs, old → new.
            fixed: name of an input → its sizes.

        Raises:
            InputError: an example does not fit the sizes.
        """

        def fitting(feeds: Iterable[Feed]) -> tuple[Feed, ...]:
            renamed = [{names.get(name, name): array for name, array in feed.items()} for feed in feeds]
            return tuple(piece for feed in renamed for piece in _pieces(feed, fixed))

        return replace(self, seen=fitting(self.seen), held=fitting(self.held))

    def few(self, count: int) -> Examples:
        """So many of the ``seen`` examples alone, to judge on."""
        feed = self.seen[0]
        return replace(self, held=(_first(feed, min(count, _count(feed))),))

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
            (_tensors(one), _tensors(other), _count(feed))
            for one, other, feed in zip(expected, found, self.held, strict=True)
        )
        return judged(pairs, self.data, self.held_out)

    def measured(
        self, one: Model, other: Model, threads: int, batch: int, seconds: float
    ) -> exporting.Latency:
        """The two files' times beside each other, on the first of these examples."""
        feed = _first(self.held[0], batch)
        runs = [_runner(model, feed, threads) for model in (one, other)]
        return exporting.alternated(runs[0], runs[1], seconds, threads)


def _runner(model: Model, feed: Feed, threads: int) -> Callable[[], list[Array]]:
    session = exporting.session(model, threads)
    return exporting.feeder(session, exporting.fed(session, feed))


def _tensors(arrays: Iterable[Array]) -> list[torch.Tensor]:
    return [torch.as_tensor(array) for array in arrays]


def _count(feed: Feed) -> int:
    """Examples in a batch."""
    return max((len(array) for array in feed.values() if array.ndim), default=1)


def _few(feeds: Sequence[Feed]) -> tuple[Feed, ...]:
    """The first batches, so many that they hold `MOST` examples or a few more."""
    found: list[Feed] = []
    for feed in feeds:
        if found and sum(map(_count, found)) >= MOST:
            break
        found.append(feed)
    return tuple(found)


def _first(feed: Feed, batch: int) -> Feed:
    """So many examples of a batch, repeated where there are fewer; arrays that do not go with the batch stay."""
    count = _count(feed)
    rows = numpy.arange(batch) % count
    return {
        name: array[rows] if array.ndim and len(array) == count else array for name, array in feed.items()
    }


def _pieces(feed: Feed, fixed: Mapping[str, Sequence[int | str]]) -> Iterable[Feed]:
    """A batch in pieces of the size that the inputs' first dimension is fixed at."""
    wanted = {
        sizes[0]
        for name, sizes in fixed.items()
        if sizes and isinstance(sizes[0], int) and feed[name].ndim and len(feed[name]) != sizes[0]
    }
    for size in wanted:
        if len(wanted) > 1 or _count(feed) % size:
            raise InputError(
                f"a batch of {_count(feed)} examples does not fit a batch that is fixed at {sorted(wanted)}",
                "give calibration batches of that size, or leave dynamic out",
            )
        count = _count(feed)
        for start in range(0, count, size):
            yield {
                name: array[start : start + size] if array.ndim and len(array) == count else array
                for name, array in feed.items()
            }
        return
    yield feed
