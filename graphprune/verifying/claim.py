"""What is to be checked, and the stored tensors that it is checked on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import COUNTED
from graphprune.verifying.reference import Reference
from graphprune.verifying.tensors import Latest, like_stored

__all__ = ["Claim", "Values", "restricted"]


@dataclass(frozen=True)
class Claim:
    """What is to be checked: that ``slim`` computes what ``plan`` keeps of ``graph``."""

    graph: DependencyGraph
    plan: Plan
    slim: Program


@dataclass(frozen=True)
class Values:
    """The stored tensors of one comparison.

    Args:
        zeroed: of the masked original: everything that is removed is zero.
        cut: of the slim program.
        chosen: names of those that gradients are taken by; None where nobody takes any.
    """

    zeroed: Mapping[str, Tensor]
    cut: Mapping[str, Tensor]
    chosen: Collection[str] | None = None

    @classmethod
    def of(cls, claim: Claim, tensors: Mapping[str, Tensor]) -> Values:
        """Made of ``tensors`` whenever one is read."""
        masks = make_masks(claim.graph, claim.plan.groups)
        inputs = claim.graph.program.flat_inputs(*claim.graph.program.example)
        zeroed = Reference(claim.graph, masks.kept, inputs).zeroed(tensors)
        stored = claim.graph.program.stored
        return cls(like_stored(zeroed, stored), like_stored(restricted(tensors, claim.plan.kept), stored))

    def held(self) -> Values:
        """The same, each made once."""
        zeroed, cut, read = {}, {}, set(self.zeroed)
        for name in self.cut:  # both of one tensor after the other, which is drawn once
            cut[name] = self.cut[name]
            if name in read:
                zeroed[name] = self.zeroed[name]
        return replace(self, zeroed=zeroed, cut=cut)


def restricted(tensors: Mapping[str, Tensor], kept: Mapping[str, Mapping[int, Tensor]]) -> Latest:
    """Stored tensors cut to the plan. The indexing is our own, so that a fault of rewriting is no fault here."""

    def make(name: str) -> Tensor:
        tensor = tensors[name]
        for dim, indices in kept.get(name, {}).items():
            if dim == COUNTED:  # the places of its numbers among those that are left
                places = {number: place for place, number in enumerate(indices.tolist())}
                tensor = tensor.new_tensor([places[number] for number in tensor.tolist()])
            else:
                tensor = tensor[tuple([slice(None)] * dim + [indices])]
        return tensor

    return Latest(tensors, make)
