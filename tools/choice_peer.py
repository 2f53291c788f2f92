"""torch-pruning's side of `bench_choice`: its own pruner with its own criteria and rankings, at a share of the MACs.

Its pruner is asked for a ratio of channels, so the ratio is searched until the *measured* multiply-accumulates of the
pruned model meet the share. What is documented for a model class is done for it: output layers are ignored, gradients
and activations are collected as its docstrings show, attention layers are declared with their heads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
import torch_pruning as tp
from bench_task import Task, called, joined
from torch import Tensor, nn
from torch_pruning.pruner.importance import ActivationImportance, FPGMImportance
from torch_pruning.pruner.importance import GroupMagnitudeImportance as Magnitude

from graphprune.calibration.losses import signs_loss

__all__ = ["CRITERIA", "RANKINGS", "Peer", "PeerChoice", "choices"]

# its names → how it is made; the normaliser is left to the choice
CRITERIA: Mapping[str, Callable[[Any], Any]] = {
    "magnitude p=1": lambda normalizer: Magnitude(p=1, normalizer=normalizer),
    "magnitude p=2": lambda normalizer: Magnitude(p=2, normalizer=normalizer),
    "magnitude p=1 first": lambda normalizer: Magnitude(p=1, group_reduction="first", normalizer=normalizer),
    "bn scale": lambda normalizer: tp.importance.BNScaleImportance(normalizer=normalizer),
    "lamp": lambda normalizer: tp.importance.LAMPImportance(),
    "fpgm": lambda normalizer: FPGMImportance(normalizer=normalizer),
    "taylor": lambda normalizer: tp.importance.GroupTaylorImportance(normalizer=normalizer),
    "hessian": lambda normalizer: tp.importance.GroupHessianImportance(normalizer=normalizer),
    "activation": lambda normalizer: ActivationImportance(normalizer=normalizer),
    "random": lambda normalizer: tp.importance.RandomImportance(),
}
RANKINGS: Mapping[str, dict[str, bool]] = {
    "local": {},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
}
GRADIENTS = ("taylor", "hessian")
OVERSHOOT = 1.01  # of the share: the largest model below this counts
STEPS = 12  # at most, for one share


@dataclass(frozen=True)
class PeerChoice:
    """One way to choose: criterion, ranking, normaliser, for attention whether whole heads or widths go, and whether
    layers stay whole whose flattened outputs torch-pruning does not follow."""

    criterion: str
    ranking: str
    normalizer: str | None = "mean"
    heads: bool = False
    held: bool = False

    def __str__(self) -> str:
        norm = (
            "" if self.ranking == "local" or self.criterion in ("lamp", "random") else f":{self.normalizer}"
        )
        return f"{self.criterion}{norm}" + " heads" * self.heads + " held" * self.held


def choices(task: Task) -> Iterator[PeerChoice]:
    """All that make a difference: locally no normaliser does, and some criteria have none; fewer of a heavy model."""
    normalizers = ("mean", None) if task.heavy else ("mean", "max", None)
    has_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in task.model.modules())
    for criterion in CRITERIA:
        if criterion == "bn scale" and not has_norm:
            continue
        for heads, held in product(_both(_attention(task.model)), _both(task.held)):
            for ranking in RANKINGS:
                plain = ranking == "local" or criterion in ("lamp", "random")
                for normalizer in ("mean",) if plain else normalizers:
                    yield PeerChoice(criterion, ranking, normalizer, heads, held)


def _both(able: Collection[Any]) -> tuple[bool, ...]:
    return (False, True) if able else (False,)


def _attention(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if hasattr(module, "num_attention_heads")]


@dataclass
class Peer:
    """Prunes copies of one model; what it measured once is remembered.

    Args:
        macs: measured multiply-accumulates of a model.
    """

    task: Task
    macs: Callable[[nn.Module], int]
    grads: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    seen: dict[str, Tensor] = field(default_factory=dict)
    known: dict[PeerChoice, dict[float, int]] = field(default_factory=dict)

    def at(self, choice: PeerChoice, share: float) -> nn.Module:
        """The largest model that costs at most `OVERSHOOT` times ``share``.

        Raises:
            ValueError: no ratio makes one.
        """
        known = self.known.setdefault(choice, {0.0: self.macs(self.task.model)})
        full, limit = known[0.0], share * known[0.0] * OVERSHOOT
        for _ in range(STEPS):
            above = max((ratio for ratio, macs in known.items() if macs > limit), default=0.0)
            below = min(
                (ratio for ratio, macs in known.items() if macs <= limit and ratio > above), default=1.0
            )
            close = below in known and known[below] >= limit - 0.01 * full
            if close or below - above < 2e-3:
                break
            guess = self._between(known, above, below, limit / OVERSHOOT)
            known[guess] = self.macs(self.pruned(choice, guess))
        fitting = [ratio for ratio, macs in known.items() if macs <= limit]
        if not fitting:
            raise ValueError("no ratio makes a model that small")
        return self.pruned(choice, max(fitting, key=lambda ratio: known[ratio]))

    def _between(self, known: dict[float, int], above: float, below: float, target: float) -> float:
        """Where a straight line between two known ratios meets the target, kept off the ends."""
        if below not in known:
            return (above + 1.0) / 2
        part = (known[above] - target) / max(known[above] - known[below], 1)
        return above + (below - above) * min(max(part, 0.1), 0.9)

    def pruned(self, choice: PeerChoice, ratio: float) -> nn.Module:
        """A copy with this share of its channels removed by torch-pruning."""
        torch.manual_seed(0)
        model = copy.deepcopy(self.task.model)
        importance = CRITERIA[choice.criterion](choice.normalizer)
        self._prepare(choice.criterion, model)
        args, kwargs = self.task.example
        attention = _attention(model)
        heads = {
            layer: module.num_attention_heads
            for module in attention
            for layer in (module.query, module.key, module.value)
        }
        pruner = tp.pruner.BasePruner(
            model,
            kwargs or args[0],
            importance=importance,
            pruning_ratio=ratio,
            ignored_layers=[model.get_submodule(name) for name in self._ignored(choice)],
            num_heads=dict(heads),
            prune_num_heads=choice.heads,
            prune_head_dims=not choice.heads,
            head_pruning_ratio=ratio if choice.heads else 0.0,
            output_transform=_floating,
            **RANKINGS[choice.ranking],
        )
        pruner.step()
        for module in attention:  # as in torch-pruning's own example for BERT
            module.num_attention_heads = pruner.num_heads[module.query]
            module.attention_head_size = module.query.out_features // module.num_attention_heads
            module.all_head_size = module.query.out_features
        model.zero_grad()
        return model

    def _ignored(self, choice: PeerChoice) -> tuple[str, ...]:
        return (*self.task.fixed, *self.task.held) if choice.held else self.task.fixed

    def _prepare(self, criterion: str, model: nn.Module) -> None:
        if criterion in GRADIENTS:
            grads = self._gradients(criterion)
            for name, parameter in model.named_parameters():
                # its criteria refuse a layer that the loss does not reach
                parameter.grad = grads[name].clone() if name in grads else torch.zeros_like(parameter)
        elif criterion == "activation":
            for name, value in self._activations().items():
                model.get_submodule(name)._importance = value

    def _activations(self) -> dict[str, Tensor]:
        """What `ActivationImportance` notes at every layer; it keeps the last call, so that takes all examples."""
        if not self.seen:
            importance = CRITERIA["activation"](None)
            with importance.compute_importance(self.task.model), torch.no_grad():
                called(self.task.model, joined([inputs for inputs, _ in self.task.batches]))
            for name, module in self.task.model.named_modules():
                if hasattr(module, "_importance"):
                    self.seen[name] = module.__dict__.pop("_importance")
        return self.seen

    def _gradients(self, criterion: str) -> dict[str, Tensor]:
        """Mean gradients over the calibration data; for the Hessian's diagonal, means of their squares."""
        if criterion not in self.grads:
            model, generator = copy.deepcopy(self.task.model), torch.Generator().manual_seed(0)
            power, sums = (2 if criterion == "hessian" else 1), {}
            for inputs, target in self.task.batches:
                model.zero_grad()
                result = called(model, inputs)
                loss = self.task.loss
                value = (
                    signs_loss(_plain(result), generator) if loss is None else loss(result, (inputs, target))
                )
                value.backward()
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        sums[name] = sums.get(name, 0) + parameter.grad**power
            self.grads[criterion] = {name: total / len(self.task.batches) for name, total in sums.items()}
        return self.grads[criterion]


def _plain(result: Any) -> Any:
    return dict(result) if isinstance(result, Mapping) else result


def _floating(result: Any) -> Any:
    """One tensor that torch-pruning can follow back."""
    leaves = list(result.values()) if isinstance(result, Mapping) else result
    return sum(leaf.sum() for leaf in leaves) if isinstance(leaves, list | tuple) else leaves
