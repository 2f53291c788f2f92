"""An oracle that knows nothing of graphs: the user's own module with every removed slice set to zero by hand.

Where a unit that is held at zero leaves no trace (convolutions, linear layers, batch norm, products, sums),
that module and the slim one must agree. Layer, group and RMS norms average over units, so in the copy they
are replaced by ones that look at the kept units only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import graphprune as gp


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    """Imported by each file of this folder."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


TOLERANCE = 1e-5  # relative to the largest output, float32


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Parameters and running statistics that hide nothing: no zero bias, no zero-initialised layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            fan_in = max(parameter[0].numel(), 1) if parameter.dim() > 1 else 4
            parameter.copy_(values * fan_in**-0.5 + (0.5 if parameter.dim() == 1 else 0.0))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model


class _Kept(nn.Module):
    """A norm over the kept units of dimension ``dim``; the others come out as zero."""

    def __init__(self, norm: nn.Module, kept: Tensor) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x: Tensor) -> Tensor:
        dim = 1 if isinstance(self.norm, nn.GroupNorm) else -1
        part = x.index_select(dim, self.kept)
        weight = self.norm.weight[self.kept]
        bias = getattr(self.norm, "bias", None)
        bias = None if bias is None else bias[self.kept]
        if isinstance(self.norm, nn.GroupNorm):
            width = self.norm.num_channels // self.norm.num_groups
            groups = len(torch.unique(self.kept // width))
            result = F.group_norm(part, groups, weight, bias, self.norm.eps)
        elif isinstance(self.norm, nn.LayerNorm):
            result = F.layer_norm(part, [len(self.kept)], weight, bias, self.norm.eps)
        else:
            result = F.rms_norm(part, [len(self.kept)], weight, self.norm.eps)
        return torch.zeros_like(x).index_copy(dim, self.kept, result)


def zeroed(model: nn.Module, kept: Mapping[str, Mapping[int, Tensor]]) -> nn.Module:
    """A copy of ``model`` with every slice that is not ``kept`` set to zero, in the weights' own places."""
    model = copy.deepcopy(model).eval()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in set(kept) & set(
            parameters
        ):  # whatever a buffer holds for a removed unit, nobody reads it
            for dim, indices in kept[name].items():
                removed = (
                    torch.ones(parameters[name].shape[dim]).index_fill(0, indices, 0).nonzero().flatten()
                )
                parameters[name].index_fill_(dim, removed, 0)
    norms: dict[nn.Module, _Kept] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm) and f"{path}.weight" in kept:
            norms[module] = _Kept(module, kept[f"{path}.weight"][0])
        if module in norms:
            model.set_submodule(path, norms[module])
    return model


def fresh(inputs: Any, seed: int = 99, batch: int | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Other values than those captured, as ``(args, kwargs)``."""
    if isinstance(inputs, Tensor):
        inputs = ((inputs,), {})
    elif isinstance(inputs, dict):
        inputs = ((), inputs)
    elif not (len(inputs) == 2 and isinstance(inputs[1], dict) and isinstance(inputs[0], tuple)):
        inputs = (tuple(inputs), {})
    generator = torch.Generator().manual_seed(seed)

    def draw(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if batch is not None and leaf.dim():
            leaf = leaf[:1].repeat(batch, *[1] * (leaf.dim() - 1))
        return (
            torch.randn(leaf.shape, generator=generator).to(leaf.dtype) if leaf.is_floating_point() else leaf
        )

    return pytree.tree_map(draw, inputs)


def leaves(outputs: Any) -> list[Tensor]:
    if hasattr(outputs, "__dataclass_fields__"):
        outputs = dict(vars(outputs))
    return [leaf.detach() for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def difference(expected: Any, given: Any) -> float:
    """The largest difference of two outputs, relative to the largest expected value of each tensor."""
    expected, given = leaves(expected), leaves(given)
    assert [tuple(e.shape) for e in expected] == [tuple(g.shape) for g in given]
    assert expected
    worst = 0.0
    for e, g in zip(expected, given, strict=True):
        assert e.dtype == g.dtype
        scale = float(e.double().abs().max())
        assert scale > 1e-6, "an output of zeros proves nothing"
        worst = max(worst, float((e.double() - g.double()).abs().max()) / scale)
    return worst


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def assert_exact(
    model: nn.Module, result: gp.Result, inputs: Any, tolerance: float = TOLERANCE, batch: int | None = None
) -> None:
    """The slim model equals the zeroed original, which in turn is not the original."""
    assert result.verdict.passed
    models = zeroed(model, result.plan.kept), result.model, copy.deepcopy(model).eval()
    if batch is not None:
        inputs = result.graph.program.example_at({"batch": batch})
    outputs = []
    for each in models:
        args, kwargs = fresh(inputs)
        with torch.no_grad():
            outputs.append(each(*args, **kwargs))
    expected, given, whole = outputs
    assert difference(expected, given) < tolerance
    assert difference(whole, given) > 1e-2, "nothing of weight was removed"


def shrunk(
    model: nn.Module,
    inputs: Any,
    *,
    ratio: float = 0.5,
    seeds: tuple[int, ...] = (0, 1),
    tolerance: float = TOLERANCE,
    batch: int | None = 3,
) -> gp.Result:
    """Shrinks ``model`` with random importance, once for each seed; every time exact and really smaller."""
    randomise(model)
    for seed in seeds:
        result = gp.shrink(model, inputs, ratio=ratio, importance="random", seed=seed)
        assert_exact(model, result, inputs, tolerance, batch if result.graph.program.dynamic_batch else None)
        assert parameters(result.model) < parameters(model)
        assert result.after.params < result.before.params
        assert result.after.macs < result.before.macs
    return result


def sizes(result: gp.Result) -> dict[str, int]:
    """Group name → number of units in the original."""
    return {group.name: group.size for group in result.graph.groups}


def pins(result: gp.Result, tensor: str, dim: int) -> set[str]:
    """The texts with which dimension ``dim`` of ``tensor`` is pinned."""
    from graphprune.axes.terms import atoms

    term = result.graph.tensor_terms[tensor][dim]
    return {reason.text for atom in atoms(term) for reason in atom.pins}
