"""The kept part of a tensor: zeroing the rest, taking the part out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.positions import occurrences
from graphprune.axes.terms import Atom, Product, Term, atoms, size_of
from graphprune.capture.program import Program
from graphprune.planning.masks import Masks

__all__ = [
    "COUNTED",
    "Region",
    "Regions",
    "actual_batches",
    "batch_sizes",
    "by_dimension",
    "narrowed",
    "region_of",
]


# in the place of a dimension, where the numbers of a tensor are positions of an axis that loses some
COUNTED = -1


def narrowed(tensor: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """``tensor`` at the ``kept`` indices of each dimension; dimensions that are not listed stay whole.

    Args:
        kept: dimension → indices ``[n]``, on any device; `COUNTED` → the positions that its numbers name, which are
            counted anew.
    """
    for dim, indices in kept.items():
        indices = indices.to(tensor.device)
        if dim == COUNTED:
            tensor = torch.searchsorted(indices, tensor.long()).to(tensor.dtype)
        else:
            tensor = tensor.index_select(dim, indices)
    return tensor


def by_dimension(mask: Tensor) -> dict[int, Tensor] | None:
    """What is kept of each dimension that is not whole; None where that differs along other dimensions."""
    found = {}
    for dim in range(mask.dim() if mask.numel() else 0):
        others = [other for other in range(mask.dim()) if other != dim]
        kept = mask.any(others) if others else mask
        if not bool(kept.all()):
            found[dim] = kept
    together = prod(int(found[dim].sum()) if dim in found else size for dim, size in enumerate(mask.shape))
    return found if together == int(mask.sum()) else None


@dataclass(frozen=True)
class Region:
    """Kept positions of one tensor.

    ``single`` holds a mask for a dimension, ``joint`` a mask over a pair of dimensions, for units that are
    chosen separately for each position of a fibre in another dimension.
    """

    single: dict[int, Tensor]
    joint: dict[tuple[int, int], Tensor]

    @property
    def whole(self) -> bool:
        """Whether everything is kept."""
        return not self.single and not self.joint

    def mask(self, rank: int) -> Tensor:
        """The kept positions, broadcastable to the tensor."""
        places = {(dim,): kept for dim, kept in self.single.items()} | self.joint
        laid = []
        for dims, kept in places.items():
            shape = [1] * rank
            for dim, size in zip(dims, kept.shape, strict=True):
                shape[dim] = size
            laid.append(kept.reshape(shape))
        return reduce(torch.logical_and, laid) if laid else torch.ones([1] * rank, dtype=torch.bool)

    def zero(self, value: Tensor) -> Tensor:
        """``value`` with everything that is removed set to zero."""
        if self.whole:
            return value
        mask = self.mask(value.dim()).to(value.device)
        return torch.where(mask, value, value.new_zeros(()))  # twice as fast as to fill

    def take(self, value: Tensor) -> Tensor:
        """The kept part of ``value``."""
        single = {dim: kept.nonzero().flatten() for dim, kept in self.single.items()}
        if not self.joint:
            return narrowed(value, single)
        if (gathered := self._gathered(value, single)) is not None:
            return gathered
        shape = list(value.shape)
        for dim, kept in self.single.items():
            shape[dim] = int(kept.sum())
        for (first, second), kept in self.joint.items():
            counts = kept.sum(1)
            shape[second] = int(counts.max())
            if first not in self.single and all(first != inner for _, inner in self.joint):
                shape[first] = int((counts > 0).sum())
        return value[self.mask(value.dim()).to(value.device).expand(value.shape)].reshape(shape)

    def _gathered(self, value: Tensor, single: Mapping[int, Tensor]) -> Tensor | None:
        """The kept part, row by row of one pair of dimensions, which masks take twice as long for; None for others."""
        ((first, second), kept), *others = self.joint.items()
        if others or first > second or {first, second} & set(single):
            return None
        kept = kept.to(value.device)
        rows = kept.any(1).nonzero().flatten()
        counts = kept[rows].sum(1)
        if not len(rows) or bool((counts != counts[0]).any()):
            return None
        value = narrowed(value, {**single, first: rows})
        index = kept[rows].nonzero()[:, 1].reshape(len(rows), -1)
        wide = [1] * value.dim()
        wide[first], wide[second] = index.shape
        taken = (*value.shape[:second], index.shape[1], *value.shape[second + 1 :])
        return value.gather(second, index.reshape(wide).expand(taken))


def region_of(terms: Sequence[Term], masks: Masks) -> Region:
    """The kept region of a tensor with ``terms``."""
    single: dict[int, Tensor] = {}
    joint: dict[tuple[int, int], Tensor] = {}
    for dim, term in enumerate(terms):
        if not masks.touches(term):
            continue
        mask, fibre = masks.opened(term)
        if fibre is None:
            single[dim] = mask
            continue
        place, units = next(
            (other, units)
            for other, outer in enumerate(terms)
            for units in occurrences(outer, fibre, masks.lengths)
            if bool((units >= 0).all())
        )
        joint[place, dim] = mask[units]
    return Region(single, joint)


class Regions:
    """The kept regions of all values of a program in one call.

    Args:
        kept: atom → boolean mask, see `Masks`.
        inputs: the call's flat inputs; their shapes give the actual sizes.
    """

    def __init__(self, graph: DependencyGraph, kept: Mapping[Atom, Tensor], inputs: list[Any]) -> None:
        lengths = graph.batch_sizes(actual_batches(graph.program, inputs))
        self.masks = Masks(kept, graph.fibres, lengths)
        self._graph = graph
        self._known: dict[str, Region] = {}
        # what stands in a stored tensor has one size in all calls
        self._stored = {
            atom for terms in graph.tensor_terms.values() for term in terms for atom in atoms(term)
        }
        for name, given in zip(graph.program.inputs, inputs, strict=True):
            if isinstance(given, Tensor):
                self.saw(name, given)

    def saw(self, name: str, value: Tensor) -> None:
        """The sizes that ``name`` has at full width in this call; they may follow from those of the inputs."""
        terms, lengths = self._graph.analysis.terms.get(self._value(name), ()), self.masks.lengths
        if value.dim() < len(terms):  # a squeeze has dropped what has the size 1 in this call alone
            terms = tuple(term for term in terms if size_of(term, lengths) != 1)
            if len(terms) == value.dim():
                self._known[self._value(name)] = region_of(terms, self.masks)
        for term, size in zip(terms, value.shape, strict=False):
            if (taken := size_of(term, lengths)) == size:
                continue
            parts = [term] if isinstance(term, Atom) else term.parts
            varying = [
                part
                for part in parts
                if isinstance(part, Atom) and part not in self.masks.kept and part not in self._stored
            ]
            if isinstance(term, Product):
                unseen = [atom for atom in varying if atom not in lengths]
                if len(unseen) == 1 and size % (rest := taken // unseen[0].size) == 0:
                    lengths[unseen[0]] = size // rest
                continue
            # of a size that varies nothing is removed, so which of its parts is how long does not matter
            longest = max(varying, key=lambda atom: lengths.get(atom, atom.size), default=None)
            if longest is not None:
                lengths[longest] = lengths.get(longest, longest.size) + size - taken

    def is_other(self, name: str, value: Tensor) -> bool:
        """Whether a dimension of which something is removed has another size than its axes say.

        What had one piece in the example, such as the rows of windows of a small image, is no axis there. Where there
        are more, they stand in the same dimension.
        """
        terms = self._graph.analysis.terms.get(self._value(name), ())
        return value.dim() == len(terms) and any(
            self.masks.touches(term) and size_of(term, self.masks.lengths) != size
            for term, size in zip(terms, value.shape, strict=True)
        )

    def learn(self, name: str, mask: Tensor) -> None:
        """Takes what is kept of a value from ``mask``, which has its shape, if it is kept dimension by dimension."""
        if (single := by_dimension(mask)) is not None:
            self._known[self._value(name)] = Region(single, {})

    def take_over(self, name: str, value: Tensor, sources: Sequence[Region]) -> None:
        """Takes what is kept of a dimension that has another size from the same dimension of what it was made of."""
        single = {}
        for dim, term in enumerate(self._graph.analysis.terms.get(self._value(name), ())):
            size = value.shape[dim]
            if not self.masks.touches(term):
                continue
            if size_of(term, self.masks.lengths) == size and self.masks.opened(term)[1] is None:
                single[dim] = self.masks.of(term)
                continue
            found = (region.single[dim] for region in sources if dim in region.single)
            kept = next((mask for mask in found if len(mask) == size), None)
            if kept is None:
                return
            single[dim] = kept
        self._known[self._value(name)] = Region(single, {})

    def of(self, name: str) -> Region:
        """The kept region of the value ``name``; all of it if it is no tensor."""
        known = self._value(name)
        if known not in self._known:
            self._known[known] = region_of(self._graph.analysis.terms.get(known, ()), self.masks)
        return self._known[known]

    def _value(self, name: str) -> str:
        values = self._graph.program.values  # the item of a tuple has the name of its getitem, too
        node, _, place = name.rpartition(".")
        if name not in values and place.isdigit():
            # a dimension that is longer than at capture is split into more pieces: each is kept like the last one known
            name = next((f"{node}.{n}" for n in range(int(place), -1, -1) if f"{node}.{n}" in values), name)
        return values[name].name if name in values else ""


def actual_batches(program: Program, inputs: list[Any]) -> dict[int, int]:
    """Batch prime → the batch size of a call with these ``inputs``."""
    batches: dict[int, int] = {}
    for name, given in zip(program.inputs, inputs, strict=True):
        batches |= batch_sizes(program, name, given)
    return batches


def batch_sizes(program: Program, name: str, given: Any) -> dict[int, int]:
    """Batch prime → the size that stands in its place in ``given``, which is the value ``name`` in some call."""
    value = program.values.get(name)
    if value is None or not isinstance(given, Tensor) or given.dim() != len(value.shape):
        return {}  # a squeeze may have dropped a dimension
    pairs = zip(value.shape, given.shape, strict=True)
    return {size: actual for size, actual in pairs if size in program.batch_primes}
