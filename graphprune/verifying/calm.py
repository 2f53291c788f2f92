"""Random values for a module on which two runtimes can be compared: they differ by rounding, and hardly more.

Outputs must depend on inputs, or a wrong file would pass; and rounding must not grow on its way to the outputs, or a
right file would fail.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from graphprune.capture.inputs import Inputs
from graphprune.verifying.differences import largest_error
from graphprune.verifying.tensors import Lively, drawn_like, is_inexact

__all__ = ["calm"]

GAINS = (1.5, 1.25, 1.1, 1.0)
GROWTH = 50.0  # what a relative error in every value may be multiplied by until it reaches the outputs
ERROR = 64  # that error in units of rounding: as much as another order of additions makes of it
# A comparison, a rounding or an argmax jumps when its input crosses a threshold. One random change may move the input
# away from the threshold, so a second one is tried.
SHAKES = 2


@torch.no_grad()
def calm(module: nn.Module, inputs: Inputs, seed: int) -> Lively:
    """The most lively values with which a rounding error stays small on its way to the outputs.

    Some models are chaotic on random values. In efficientnet_b4, which multiplies its features by gates (squeeze and
    excitation), matrices that enlarge by half turn an error of 1e-7 into 0.4 at the output, and a right file would be
    called wrong. So all values are changed by a little more than rounding, and others are drawn until the outputs move
    less than `GROWTH` times as much. If they always move more, the values that moved them least are taken. One copy of
    the module's tensors is held at a time.

    Args:
        inputs: arguments and keywords of a call like those that are to be compared.
    """
    growths: dict[tuple[int, float], float] = {}
    for drawn in product((seed, seed + 1), GAINS):
        growths[drawn] = _growth(module, Lively(module, *drawn), inputs)
        if growths[drawn] <= GROWTH:
            break
    return Lively(module, *min(growths, key=lambda drawn: growths[drawn]))


def _growth(module: nn.Module, values: Lively, inputs: Inputs) -> float:
    """The largest relative change of an output, over the relative change of all values that caused it."""
    held = {name: values[name] for name in values.own}
    dtypes = {tensor.dtype for tensor in held.values() if is_inexact(tensor.dtype)}
    if not dtypes:
        return 0.0
    size = ERROR * max(torch.finfo(dtype).eps for dtype in dtypes)
    before, moved = _outputs(module, held, inputs), 0.0
    for seed in range(SHAKES):
        del held  # drawn anew, so that one copy is held at a time
        generator = torch.Generator().manual_seed(seed)
        held = {name: _shaken(values[name], size, generator) for name in values.own}
        moved = max(moved, largest_error(before, _outputs(module, held, inputs)))
    return moved / size


def _shaken(tensor: Tensor, size: float, generator: torch.Generator) -> Tensor:
    if not is_inexact(tensor.dtype):
        return tensor
    real = tensor.real if tensor.is_complex() else tensor
    noise = drawn_like(real, generator, uniform=True).sub_(0.5).mul_(2 * size).add_(1)
    return tensor.mul(noise.to(tensor))


def _outputs(module: nn.Module, held: dict[str, Tensor], inputs: Inputs) -> list[Tensor]:
    leaves = tree_leaves(functional_call(module, held, *inputs))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and is_inexact(leaf.dtype)]
