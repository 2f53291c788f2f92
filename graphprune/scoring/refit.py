"""What a unit's removal costs the loss once its consumers are refitted: reconstruction where it counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import gradients
from graphprune.scoring.aggregation import Part
from graphprune.scoring.elimination import RIDGE, elimination_errors
from graphprune.scoring.gradients import averages
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.reconstruction import Products, collect_products, consumers
from graphprune.scoring.units import shape_of

__all__ = ["REFIT"]


def _refit(least: float, view: View, group: Group) -> Iterator[Part]:
    """What each removal adds to `elimination_errors` at each consumer, as loss of a batch; biases take means.

    With E[x x'] of its inputs and the mean squared gradients of its outputs as factors of the loss's second derivative
    (Martens and Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature" (2015, section 3),
    the second one diagonal), the error of the output channel o counts E[g_o^2] times. So groups can be compared.

    The ridge, of the units' mean variance, grows with units per position seen: few positions can be rebuilt from any
    few units, but not others. It is at ``least`` so much: at 1 the variances are drawn halfway to those of independent
    units that are all alike (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", 2004), so that a unit which these data leave idle still counts by its weights.
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


def _collect(view: View) -> tuple[dict[tuple[str, int, str], Products], dict[str, Tensor]]:
    """`collect_products`; and for each consuming call the root of its outputs' squared gradients ``[channels]``, summed
    over the examples and positions of a batch, meant over batches."""
    assert view.calibration is not None
    weights = {site.operation: site.weight for sites in view.sites.values() for site in sites if site.weight}
    outputs = {
        operation.outputs[0].name: operation.name
        for operation in view.graph.program.operations
        if operation.name in weights and operation.outputs
    }
    squares: dict[str, Tensor] = {}
    count = 0
    for found in gradients(view.graph.program, view.tensors, view.calibration, outputs):
        count += 1
        for value, (_, gradient) in found.values.items():
            call = outputs[value]
            channels = gradient.dim() - view.tensors[weights[call]].dim() + 1
            if 0 <= channels < gradient.dim():
                rows = gradient.detach().movedim(channels, 0).flatten(1)
                sums = rows.double().square().sum(1).cpu()
                squares[call] = squares.get(call, torch.zeros_like(sums)) + sums
    return collect_products(view), {call: mean.sqrt() for call, mean in averages(squares, count).items()}


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
