"""What a unit's removal costs the loss once its consumers are refitted: reconstruction where it counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import gradients
from graphprune.calibration.sums import Sums
from graphprune.scoring.aggregation import Part
from graphprune.scoring.elimination import RIDGE, elimination_errors
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.reconstruction import Place, Products, collect_products, consumers
from graphprune.scoring.units import shape_of, sum_along

__all__ = ["REFIT"]


def _refit(least: float, view: View, group: Group) -> Iterator[Part]:
    """How much each removal adds to the loss of a batch when the consumers are refitted to the units that are left.

    The error at a consumer is that of `elimination_errors`, on variances, since biases take up the means. It becomes
    a loss with the loss's second derivative, which is approximated by two factors: E[x x'] of the consumer's inputs,
    and E[g_o^2], the mean squared gradient of its output channel o (Martens and Grosse, "Optimizing Neural Networks
    with Kronecker-factored Approximate Curvature" (2015, section 3); the second factor is taken to be diagonal). So
    the error of channel o is multiplied by E[g_o^2], and the scores of different groups can be compared.

    The ridge is in units of the mean variance. It grows with the number of units per position seen: few positions can
    be rebuilt from almost any few units, but that says nothing about other positions. ``least`` is its lower bound.
    At 1 the covariance is halfway between the one seen and that of independent units of equal variance (Ledoit and
    Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004); then a unit that is idle on
    these data still counts by its weights.
    """
    products, scales = view.collected
    for site, seen, rows in consumers(view, group, products, scales):
        variances = seen.products - seen.mean.unsqueeze(-1) * seen.mean.unsqueeze(-2)
        ridge = max(RIDGE + group.size / seen.count, least)
        found = [elimination_errors(matrix, row, ridge) for matrix, row in zip(variances, rows, strict=True)]
        yield Part(site.role, torch.stack([marginal(errors) for errors in found]).reshape(shape_of(group)))


def marginal(errors: Tensor) -> Tensor:
    """What each removal adds to the error ``[units]``, from errors summed up to and with it.

    Never less than what an earlier removal added, so that units keep their order.
    """
    ordered, order = errors.sort()
    added = ordered.diff(prepend=ordered.new_zeros(1)).clamp_min(0).cummax(0).values
    return torch.empty_like(errors).scatter(0, order, added)


def _collect(view: View) -> tuple[dict[Place, Products], dict[str, Tensor]]:
    """What reconstruction collects, and for each consuming call a scale of each of its output channels.

    The scale is the root of the channel's squared gradients. These are summed over the examples and positions of a
    batch, and averaged over the batches.
    """
    assert view.calibration is not None
    weights = {site.operation: site.weight for site in view.all_sites if site.weight}
    calls = {
        operation.outputs[0].name: operation.name
        for operation in view.graph.program.operations
        if operation.name in weights and operation.outputs
    }
    squares: Sums[str] = Sums()
    for found in gradients(view.graph.program, view.tensors, view.calibration, calls):
        squares.count += 1
        for value, (_, gradient) in found.values.items():
            call = calls[value]
            channels = gradient.dim() - view.tensors[weights[call]].dim() + 1
            if 0 <= channels < gradient.dim():
                squares.add(call, sum_along(gradient.double().square(), channels))
    return collect_products(view), {call: mean.sqrt() for call, mean in squares.means().items()}


ABOUT = "loss that is left when the consumers are refitted, for repairs (Martens 2015, Frantar 2022)"
REFIT: dict[str, Measure] = {
    "refit": Measure(partial(_refit, 0.0), ABOUT, _collect, normalise="none"),
    "refit_shrunk": Measure(
        partial(_refit, 1.0),
        "as refit, for data that show little of what the model will see (Ledoit 2004)",
        _collect,
        normalise="none",
    ),
}
