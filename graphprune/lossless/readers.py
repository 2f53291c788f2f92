"""Which units an operator needs: those without which its result would change.

A choice of units is held at zero, and each operator says which of them it needs back:

- an operator that works position by position (relu, add) needs none, since it only passes zeros on;
- a sum over units (linear, convolution) needs each unit whose terms vary. Where they are constant, its bias can make
  up for them, as in ``relu(w x + b)`` with w = 0, which is the constant ``relu(b)``;
- an operator that averages or compares (mean, softmax, norms) needs all of them, and so does one without a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from graphprune.axes.terms import Term
from graphprune.capture.operations import Operation, Value
from graphprune.lossless.facts import BIASED, Fact, KnownCall, count, factors, per_position, reads
from graphprune.lossless.transfer import CREATORS, POINTWISE, REARRANGED, WINDOWS
from graphprune.planning.masks import Masks
from graphprune.planning.region import region_of

__all__ = ["READ", "Constant", "Need", "Reading", "needs"]

READ = "is read"


@dataclass(frozen=True)
class Need:
    """Positions of a value's dimension whose units must stay, and why; `READ` if their values vary and are read."""

    value: Value
    dim: int
    positions: Tensor
    why: str


@dataclass(frozen=True)
class Constant:
    """What a call's bias must make up for: ``[output channels]``, in float64."""

    operation: Operation
    amount: Tensor


@dataclass(frozen=True)
class Reading:
    """One operator call while a choice of units is held at zero."""

    operation: Operation
    step: KnownCall
    values: Mapping[str, Fact]
    terms: Mapping[str, tuple[Term, ...]]
    masks: Masks
    problem: str = ""

    @property
    def touched(self) -> bool:
        """Whether anything is removed from its inputs."""
        return any(self.removed_dims(value) for value in self.operation.inputs)

    def removed_dims(self, value: Value) -> list[int]:
        """Dimensions from which something is removed."""
        return [dim for dim, term in enumerate(self.terms[value.name]) if self.masks.touches(term)]

    def kept(self, value: Value) -> Tensor:
        """Which elements of a value are kept."""
        shape = self.values[value.name].value.shape
        return region_of(self.terms[value.name], self.masks).mask(len(shape)).expand(shape)

    def whole(self, value: Value, dim: int, why: str) -> Iterator[Need]:
        """All positions of a dimension; those whose values vary are read, the others stay because of ``why``."""
        varies = per_position(~self.values[value.name].known, dim)
        yield Need(value, dim, varies, READ)
        yield Need(value, dim, ~varies, why)


Row = Callable[[Reading], Iterator[Need | Constant]]


def needs(reading: Reading) -> Iterator[Need | Constant]:
    """What one operator call needs of the units that are held at zero."""
    family = reading.operation.family
    if factors(reading.step):
        yield from _product(reading)
    elif family not in _TRANSPARENT:
        yield from _ROWS.get(family, _unknown)(reading)


def _product(reading: Reading) -> Iterator[Need | Constant]:
    """Terms that vary are read; terms that are constant must add up to a bias."""
    pair = factors(reading.step)
    assert pair is not None
    one, two = pair
    value = next(v for v in reading.operation.inputs if reading.values[v.name] is one)
    wanted = reading.kept(reading.operation.outputs[0])
    read = reads(reading.step, (~one.known, one.constant), (two.nonzero, ~two.known), wanted)
    for dim in reading.removed_dims(value):
        yield Need(value, dim, per_position(read, dim), READ)
    away = ~reading.kept(value) & reads(reading.step, (one.constant,), (two.constant,), wanted)
    if away.any():
        yield from _constants(reading, value, pair, away, wanted)


def _constants(
    reading: Reading, value: Value, pair: tuple[Fact, Fact], away: Tensor, wanted: Tensor
) -> Iterator[Need | Constant]:
    """The amount of a bias, if it is the same everywhere; otherwise the positions that prevent it."""
    channel = _channel(reading.step)
    if reading.operation.family not in BIASED or reading.problem:
        why = reading.problem or f"{_where(reading)} has no bias that could take the constant"
        for dim in reading.removed_dims(value):
            yield Need(value, dim, per_position(away, dim), why)
        return
    amount = _amount(reading.step, pair, away, wanted, channel)
    if amount is not None:
        yield Constant(reading.operation, amount)
        return
    source = channel % len(value.shape)
    positions = per_position(away, source)
    for position in positions.nonzero().flatten().tolist():
        only = torch.zeros_like(away).index_fill_(source, torch.tensor(position), True)
        positions[position] = _amount(reading.step, pair, away & only, wanted, channel) is None
    if not positions.any():
        positions = per_position(away, source)
    yield Need(
        value, source, positions, f"the padding of {_where(reading)} makes the constant differ at its border"
    )


def _channel(step: KnownCall) -> int:
    """The dimension of channels, from the end."""
    return -1 if step.family == "aten.linear" else 1 - step["weight"].value.dim()


def _amount(
    step: KnownCall, pair: tuple[Fact, Fact], away: Tensor, wanted: Tensor, channel: int
) -> Tensor | None:
    """What the terms of ``away`` add to each channel; None if that differs from place to place."""
    with torch.no_grad():
        given = count(step, torch.where(away, pair[0].value, 0.0), pair[1].value)
    rows = torch.where(wanted, given, 0.0).movedim(channel, 0).flatten(1)
    first = rows[:, 0]
    # rounding in float64 is all that may differ
    tolerance = 1e-13 * float(pair[0].value[away].abs().max() * pair[1].value.flatten(1).abs().sum(1).max())
    return None if bool(((rows - first[:, None]).abs() > tolerance).any()) else first


def _where(reading: Reading) -> str:
    return reading.operation.layer or reading.operation.name


def _summed(reading: Reading) -> Iterator[Need]:
    """A sum needs what is not zero."""
    value = next(reading.operation.inputs)
    for dim in _dims(reading, value):
        fact = reading.values[value.name]
        yield Need(value, dim, per_position(~fact.known, dim), READ)
        yield Need(value, dim, per_position(fact.constant, dim), f"{_where(reading)} sums it")


def _over(dims: Callable[[Reading, Value], list[int]], verb: str, reading: Reading) -> Iterator[Need]:
    """What takes all positions of some dimensions of its first input together needs them all."""
    value = next(reading.operation.inputs)
    for dim in dims(reading, value):
        yield from reading.whole(value, dim, f"{_where(reading)} {verb}")


def _dims(reading: Reading, value: Value) -> list[int]:
    """The dimensions that are reduced and from which something is removed."""
    dims = reading.step.given.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    rank = len(value.shape)
    reduced = {dim % rank for dim in dims} if dims else set(range(rank))
    return [dim for dim in reading.removed_dims(value) if dim in reduced]


def _trailing(reading: Reading, value: Value) -> list[int]:
    first = len(value.shape) - len(reading.step["normalized_shape"])
    return [dim for dim in reading.removed_dims(value) if dim >= first]


def _group_norm(reading: Reading) -> Iterator[Need]:
    """Whole groups may go; a part of one may not."""
    value = next(reading.operation.inputs)
    kept = per_position(reading.kept(value), 1)
    rows = kept.reshape(reading.step["num_groups"], -1)
    mixed = rows.any(1) & ~rows.all(1)
    positions = (mixed[:, None] & ~rows).flatten()
    for need in reading.whole(value, 1, f"{_where(reading)} normalises over it"):
        yield Need(value, 1, need.positions & positions, need.why)


def _attention(reading: Reading) -> Iterator[Need]:
    """Widths of queries and keys are summed; positions of keys are compared."""
    query, key = (reading.operation.arguments[name] for name in ("query", "key"))
    facts = reading.values[query.name], reading.values[key.name]
    last = [per_position(fact.nonzero, fact.value.dim() - 1) for fact in facts]
    yield Need(query, len(query.shape) - 1, last[0] & last[1], READ)
    if len(key.shape) - 2 in reading.removed_dims(key):
        yield from reading.whole(key, len(key.shape) - 2, f"{_where(reading)} compares it")


def _unknown(reading: Reading) -> Iterator[Need]:
    for value in reading.operation.inputs:
        for dim in reading.removed_dims(value):
            yield from reading.whole(value, dim, f"{reading.operation.op} reads it ({_where(reading)})")


_TRANSPARENT: frozenset[str] = (
    POINTWISE
    | REARRANGED
    | WINDOWS
    | CREATORS
    | {f"aten.upsample_{kind}" for kind in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")}
    | {"aten.batch_norm", "aten.embedding", "aten.glu"}
)
_ROWS: dict[str, Row] = {
    "aten.sum": _summed,
    **dict.fromkeys(
        [f"aten.{name}" for name in "mean amax amin var std softmax log_softmax logsumexp prod".split()],
        partial(_over, _dims, "averages or compares over it"),
    ),
    **dict.fromkeys(["aten.layer_norm", "aten.rms_norm"], partial(_over, _trailing, "normalises over it")),
    "aten.group_norm": _group_norm,
    "aten.scaled_dot_product_attention": _attention,
}
