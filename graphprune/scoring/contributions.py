"""``contribution``: which share each unit has in what its readers make.

In a network with residual streams, a few examples and positions can be thousands of times larger than the others, and
later layers that are added to a large stream matter less than their norms say. What reads the stream is normalised, so
only shares count there. So what a unit adds is taken relative to what it is added to, position by position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, fx

from graphprune.axes.groups import Group
from graphprune.calibration.batches import Calibration, forward
from graphprune.calibration.sums import Sums
from graphprune.capture.additions import PASSING, addition_after
from graphprune.scoring.measures import Measure, Part, View
from graphprune.scoring.readers import weighted
from graphprune.scoring.sites import Site
from graphprune.scoring.units import unit_maps

__all__ = ["CONTRIBUTIONS"]

RESHAPING = (
    "aten.view",
    "aten.reshape",
    "aten._unsafe_view",
)  # the last dimension stays in front of an addition


class _Shares(NamedTuple):
    """Of every position along a site's dimension, ``[size]``: sums of x² over what it is added to, and of how many."""

    number: Tensor
    square: Tensor


def _collect(view: View, calibration: Calibration) -> dict[Site, _Shares]:
    """The shares at every site that is read, in one pass. A value is held until what it is added to is known."""
    totals = {node.name: _total(node) for node in view.graph.program.graph.nodes}
    sites = [site for site in view.all_sites if site.weight and site.operation in totals]
    read: dict[str, list[Site]] = {}
    waiting: dict[str, list[tuple[Site, Tensor]]] = {}
    for site in sites:
        read.setdefault(site.value, []).append(site)
    sums: Sums[Site, _Shares] = Sums()
    wanted = {*read, *(totals[site.operation] for site in sites)}
    for name, value in forward(view.graph.program, view.tensors, calibration, wanted):
        for site in read.get(name, ()) if value.is_floating_point() else ():
            waiting.setdefault(totals[site.operation], []).append((site, value))
        for site, source in waiting.pop(name, ()):
            sums.add(site, _shares(source, site.dim, value))
    return sums.total()


def _total(node: fx.Node) -> str:
    """The addition that a call's result goes into, or the call."""
    return (addition_after(node, (*PASSING, *RESHAPING)) or node).name


def _shares(source: Tensor, dim: int, total: Tensor) -> _Shares:
    """Squares over the squared norm of the same position of ``total``, or of all where positions do not line up."""
    rows = source.movedim(dim, -1).reshape(-1, source.shape[dim]).double()
    lined = dim == source.dim() - 1 and source.shape[:-1].numel() == total.shape[:-1].numel()
    if lined:
        norms = total.double().square().sum(-1).reshape(-1, 1)
    else:
        norms = (total.double().square().sum() / len(rows)).reshape(1, 1)
    squares = torch.where(norms > 0, rows.square() / norms, 0.0).sum(0)
    return _Shares(torch.full_like(squares, float(len(rows))), squares)


def _contribution(view: View, group: Group) -> Iterator[Part]:
    """The mean over positions of ``|w|² x² / |y|²``, summed over the weights w of a unit: y is the reader's result, or
    the sum that it goes into."""
    for site in view.sites[group.name]:
        shares = view.collected.get(site)
        term = view.graph.analysis.terms[site.value][site.dim]
        for units in unit_maps(term, group) if shares is not None else ():
            if len(units) == len(shares.square):
                mean = weighted(view, group, (site, shares, units), 2, lambda sums: sums.square / sums.number)
                yield Part(site.role, mean)


CONTRIBUTIONS: dict[str, Measure] = {
    "contribution": Measure(
        _contribution,
        "share of what a unit adds in what it is added to, for transformers",
        _collect,
        normalise="none",
    ),
}
