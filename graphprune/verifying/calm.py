"""Random values for a module with which its outputs depend on its inputs, and rounding does not drown that."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from graphprune.verifying.randomised import Lively

__all__ = ["calm"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
GAINS = (1.5, 1.25, 1.1, 1.0)
GROWTH = 50.0  # of a relative error in every value, up to the outputs
ERROR = 64  # that error, in units of rounding: what a runtime's own order of additions comes to
SHAKES = 2  # what switches between two states does so in one direction only


@torch.no_grad()
def calm(module: nn.Module, inputs: Sequence[Call], seed: int) -> Lively:
    """The liveliest values under which an error of rounding grows little on its way to the outputs.

    Deep products with gates (squeeze and excitation) are chaotic on random values that enlarge by half: there an
    error of 1e-7 comes out as 0.4 in efficientnet_b4, and a right file would be called wrong; attention is so for
    some inputs. So values are shaken by a little more than rounding, and others are drawn until the outputs hold
    still; if they never do, the stillest are taken. One copy of the module's tensors is held.

    Args:
        inputs: arguments and keywords of the calls that are to be compared.
    """
    growths: dict[tuple[int, float], float] = {}
    for drawn in product((seed, seed + 1), GAINS):
        growths[drawn] = _growth(module, Lively(module, *drawn), inputs)
        if growths[drawn] <= GROWTH:
            break
    return Lively(module, *min(growths, key=lambda drawn: growths[drawn]))


def _growth(module: nn.Module, values: Lively, inputs: Sequence[Call]) -> float:
    """How much larger the outputs' relative error is than the one that is put on all values, at the most."""
    held = {name: values[name] for name in values.own}
    dtypes = {tensor.dtype for tensor in held.values() if tensor.is_floating_point()}
    if not dtypes:
        return 0.0
    size = ERROR * max(torch.finfo(dtype).eps for dtype in dtypes)
    before, moved = _outputs(module, held, inputs), 0.0
    for seed in range(SHAKES):
        del held  # drawn anew, so that one copy is held at a time
        generator = torch.Generator().manual_seed(seed)
        held = {name: _shaken(values[name], size, generator) for name in values.own}
        moved = max(moved, *map(_moved, before, _outputs(module, held, inputs)), 0.0)
    return moved / size


def _shaken(tensor: Tensor, size: float, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    noise = torch.rand(tensor.shape, generator=generator).sub_(0.5).mul_(2 * size).add_(1)
    return tensor.mul(noise.to(tensor))


def _outputs(module: nn.Module, held: dict[str, Tensor], inputs: Sequence[Call]) -> list[Tensor]:
    leaves = [leaf for call in inputs for leaf in tree_leaves(functional_call(module, held, *call))]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _moved(one: Tensor, other: Tensor) -> float:
    """Largest difference over the largest value; infinite where a value is not finite in one of them alone."""
    if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    finite = one.isfinite()
    scale = float(one[finite].abs().max()) if finite.any() else 0.0
    return float((one - other)[finite].abs().max()) / scale if scale else 0.0
