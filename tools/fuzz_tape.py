"""The masked original: the user's module, run eagerly, with everything that a plan removes held at zero.

The module itself runs once, and each operator that PyTorch dispatches is noted with its tensors: no export, no graph,
no axes. Then the notes are played again, every tensor with a twin of zeros and ones beside it that says which of its
elements are kept. Twins of parameters come from the plan; those of results from what the operator does (`fuzz_masks`).
As views of values are views of twins too, writes in place land in both.

The values are ordinary tensors, so gradients can be taken through the second run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fuzz_held import Unknown
from fuzz_masks import held
from fuzz_masks_places import PRODUCTS
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

__all__ = ["Masked", "Tape", "Unknown", "masks_of"]

Kept = Mapping[str, Mapping[int, Tensor]]
Literals = Sequence[tuple[Tensor, Mapping[int, Tensor]]]  # tensors that the user's code makes of numbers


class Tape(TorchDispatchMode):
    """Notes of one run: operator, arguments, result. Tensors are kept alive, so that each is known by its identity."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        # a later operator may change the shape of a tensor in place
        forms = [(tuple(leaf.shape), leaf.stride()) for leaf in leaves]
        self.notes.append((func, args, kwargs or {}, list(zip(leaves, forms, strict=True))))
        return result


@dataclass
class Masked:
    """What the second run gives.

    Attributes:
        outputs: of the module, zero where removed.
        tensors: parameters and buffers by name, leaves of the outputs' gradients.
        plain: nothing but zeros was needed, and only weights read what has holes: the module itself on zeroed weights
            must give the same.
        ties: equal values were put in order, so that positions may be others in another run.
    """

    outputs: list[Tensor]
    tensors: dict[str, Tensor]
    plain: bool = True
    ties: bool = False


def masks_of(module: nn.Module, kept: Kept) -> dict[str, Tensor]:
    """Name of every parameter and buffer → ones where it is kept."""
    masks = {}
    for name, tensor in _tensors(module).items():
        masks[name] = _mask(tensor, kept.get(name, {}))
    return masks


def _mask(tensor: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    mask = torch.ones(tensor.shape, dtype=torch.float64)
    for dim, indices in kept.items():
        if dim < 0:  # the positions that the tensor's numbers name, all of which are there still
            continue
        part = torch.zeros(tensor.shape[dim], dtype=torch.float64)
        part[indices] = 1
        mask *= part.reshape([-1 if at == dim else 1 for at in range(tensor.dim())])
    return mask


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """By the first name."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def play(module: nn.Module, inputs: Sequence[Tensor], kept: Kept, literals: Literals = ()) -> Masked:
    """The masked run of ``module`` on ``inputs``; of ``literals`` some elements are removed too.

    Raises:
        Unknown: an operator has no definition for removed elements.
    """
    masks, tensors = masks_of(module, kept), {}
    known: dict[int, tuple[Tensor, Tensor]] = {}
    given = [item.clone() for item in inputs]  # the module may write into them, in both runs
    for item, copied in zip(inputs, given, strict=True):
        known[id(copied)] = (item.clone(), torch.ones(item.shape, dtype=torch.float64))
    with Tape() as tape, sdpa_kernel(SDPBackend.MATH):
        returned = module(*given)
    for name, tensor in _tensors(module).items():
        value = (
            tensor.detach() * masks[name].to(tensor.dtype) if tensor.is_floating_point() else tensor.detach()
        )
        if tensor.requires_grad:
            value = value.requires_grad_()
        tensors[name] = value
        known[id(tensor)] = (value, masks[name])
    run = _Run(known, {id(item) for item in given}, literals)
    for func, args, kwargs, result in tape.notes:
        run.step(func, args, kwargs, result)
    outputs = [run.value(leaf) for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
    return Masked(outputs, tensors, run.plain, run.ties)


_ORDERING = {f"aten::{name}" for name in "argsort msort sort topk".split()}


def _has_ties(tensor: Tensor) -> bool:
    """Whether any two values are the same but for rounding, wherever they stand."""
    flat = tensor.detach().double().flatten().sort().values
    scale = float(flat.abs().max()) if flat.numel() else 0.0
    return bool((flat.diff() <= 1e-12 * scale).any())


class _Run:
    def __init__(
        self, known: dict[int, tuple[Tensor, Tensor]], given: set[int], literals: Literals = ()
    ) -> None:
        self.known, self.literals = known, literals
        self.stored = {*known} - given  # tensors of the module, and what is made of them alone
        self.plain, self.ties = True, False

    def pair(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        if id(tensor) not in self.known:  # an input or a literal
            self.known[id(tensor)] = (tensor.detach(), self._literal_mask(tensor))
        return self.known[id(tensor)]

    def _literal_mask(self, tensor: Tensor) -> Tensor:
        """By what it holds, since it has no name in the module."""
        masks = [_mask(tensor, kept) for literal, kept in self.literals if torch.equal(literal, tensor)]
        if any(not torch.equal(mask, masks[0]) for mask in masks):
            raise Unknown("two equal literals of which not the same is removed")
        return masks[0] if masks else torch.ones(tensor.shape, dtype=torch.float64)

    def value(self, tensor: Tensor) -> Tensor:
        return self.pair(tensor)[0]

    def step(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        flat, spec = tree_flatten((args, kwargs))
        pairs = [self.pair(item) if isinstance(item, Tensor) else (item, item) for item in flat]
        values = tree_unflatten([value for value, _ in pairs], spec)
        twins = tree_unflatten([twin for _, twin in pairs], spec)
        found = held(func, values, twins)
        self.ties = self.ties or (func._schema.name in _ORDERING and _has_ties(values[0][0]))
        self.plain = self.plain and found.plain and not self._multiplies(func, flat, pairs)
        if all(id(item) in self.stored for item in flat if isinstance(item, Tensor)):
            self.stored |= {id(leaf) for leaf, _ in result}
        values_out = [leaf for leaf in tree_leaves(found.value) if isinstance(leaf, Tensor)]
        masks_out = [leaf for leaf in tree_leaves(found.mask) if isinstance(leaf, Tensor)]
        fresh = all(item.alias_info is None for item in func._schema.returns)
        for (leaf, (shape, stride)), value, mask in zip(result, values_out, masks_out, strict=True):
            if not value.numel() and not mask.numel():
                continue  # statistics that nobody reads
            if not value.shape == mask.shape == shape:
                raise Unknown(f"{func}: a result {list(shape)} with a twin {list(mask.shape)}")
            if fresh:  # views of it must be possible as they were
                value, mask = (_laid(item, stride) for item in (value, mask))
            self.known[id(leaf)] = (value, mask)

    def _multiplies(self, func: Any, flat: Any, pairs: Any) -> bool:
        """Whether two values that have holes are multiplied: there a removed unit may meet itself."""
        if func._schema.name.removeprefix("aten::") not in PRODUCTS:
            return False
        values = [item for item in flat if isinstance(item, Tensor) and id(item) not in self.stored]
        return len(values) > 1 and any(not bool(twin.all()) for _, twin in pairs if isinstance(twin, Tensor))


def _laid(tensor: Tensor, stride: tuple[int, ...]) -> Tensor:
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)
