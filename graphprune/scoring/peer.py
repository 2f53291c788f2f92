"""The criteria of torch-pruning on our groups: any ``torch_pruning.importance`` object scores them.

torch-pruning (Fang et al., "DepGraph", 2023) calls a criterion with a `Group`, a list of (dependency, indices): which
layer, which pruning function, which positions, and the unit of each position. Our members say the same, so the objects
are built from them. The library is imported when such a criterion is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group, Member
from graphprune.calibration.batches import Calibration, gradients
from graphprune.calibration.losses import Loss
from graphprune.calibration.sums import Sums
from graphprune.ground.errors import InputError
from graphprune.scoring.units import unit_maps

__all__ = ["PeerImportance", "is_peer", "takes_gradients"]

# type of layer in torch-pruning → its name in the pruning functions
FUNCTIONS = {
    "CONV": "conv",
    "DEPTHWISE_CONV": "depthwise_conv",
    "BN": "batchnorm",
    "PRELU": "prelu",
    "LINEAR": "linear",
    "LN": "layernorm",
    "EMBED": "embedding",
    "GN": "groupnorm",
    "IN": "instancenorm",
}


_Layers = Callable[[str], nn.Module | None]


def is_peer(importance: object) -> bool:
    """Whether it is one of torch-pruning's criteria, or derived from one."""
    return any(base.__module__.split(".")[0] == "torch_pruning" for base in type(importance).__mro__)


def takes_gradients(importance: object) -> bool:
    """Whether one of torch-pruning's criteria does."""
    from torch_pruning.pruner.importance import GroupHessianImportance, GroupTaylorImportance

    return isinstance(importance, GroupHessianImportance | GroupTaylorImportance)


@dataclass(frozen=True)
class PeerImportance:
    """A criterion of torch-pruning as a `graphprune.scoring.Importance`.

    It sees the user's own layers that it knows (convolutions, linear layers, norms, embeddings); parameters outside of
    such layers do not count. A group that it cannot judge stays whole. Taylor and Hessian criteria take gradients from
    ``calibration`` and ``loss``, set on stand-ins for the layers; without calibration data those that the user's model
    has. In a fibred group the rows are scored together. Where a unit has several positions in a layer (a head, or a
    channel behind a flatten), their reductions "sum" and "mean" add them up, all others keep one of them.

    Args:
        importance: any ``torch_pruning.importance`` object.
        calibration: batches, see `Calibration`.
        loss: ``loss(outputs)`` or ``loss(outputs, batch)``; None takes random signs.
    """

    importance: Any
    calibration: Any = None
    loss: Loss | None = None

    def __str__(self) -> str:
        return f"torch_pruning.{type(self.importance).__name__}"

    def __call__(
        self, graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor | None]:
        """Scores of every group, float64.

        Raises:
            InputError: there is no module, no gradients where they are needed, or the criterion fails.
        """
        model = graph.program.model
        if model is None:
            raise InputError(f"{self} looks at layers, and there is no module", "shrink a torch.nn.Module")
        if any(parameter.is_meta for parameter in model.parameters()):
            raise InputError(
                f"{self} looks at layers, and their weights stay in files", "name an importance, such as l2"
            )
        grads = self._gradients(graph, tensors, seed, model)
        layers = cache(lambda name: _layer(model, name, grads))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {group.name: self._scores(graph, group, layers) for group in graph.groups}

    def _gradients(
        self, graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int, model: nn.Module
    ) -> dict[str, Tensor]:
        """Mean gradients by parameter (their mean squares for the Hessian's diagonal); empty where none are needed."""
        from torch_pruning.pruner.importance import GroupHessianImportance

        hessian = isinstance(self.importance, GroupHessianImportance)
        if not takes_gradients(self.importance):
            if self.calibration is not None:
                raise InputError(f"{self} looks at no data", "leave calibration and loss out")
            return {}
        if self.calibration is None:
            if all(parameter.grad is None for parameter in model.parameters()):
                raise InputError(
                    f"{self} needs gradients, and the model has none",
                    "give calibration batches, or call backward()",
                )
            return {}
        sums: Sums[str, Tensor] = Sums()
        for batch in gradients(graph.program, tensors, Calibration(self.calibration, self.loss, seed)):
            sums.count += 1
            for name, (_, grad) in batch.parameters.items():
                sums.add(name, grad.square() if hessian else grad.clone())
        return {name: mean.to(tensors[name]) for name, mean in sums.means().items()}

    def _scores(self, graph: DependencyGraph, group: Group, layers: _Layers) -> Tensor | None:
        members = _peer_group(graph, group, layers)
        if not len(members):
            return None
        try:
            scores = self.importance(members)
        except Exception as error:  # whatever a criterion of others raises
            raise InputError(
                f"{self} fails on group {group.name}: {type(error).__name__}: {error}",
                "use another importance",
            ) from error
        if scores is None:
            return None
        # where the first member has several positions for each unit, scores are padded up to their number
        if scores.dim() != 1 or len(scores) < prod(group.shape):
            raise InputError(
                f"{self} gives {tuple(scores.shape)} for the {prod(group.shape)} units of {group.name}",
                "use another importance",
            )
        return scores[: prod(group.shape)].detach().double().cpu().reshape(group.shape)


def _layer(model: nn.Module, name: str, grads: Mapping[str, Tensor]) -> nn.Module | None:
    """The user's layer, or a stand-in with the same parameters and other gradients; None where it is no module."""
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        return None
    if not grads:
        return layer
    twin = copy.copy(layer)
    twin.__dict__["_parameters"] = own = dict(layer._parameters)
    for key, parameter in layer._parameters.items():
        if parameter is not None:
            own[key] = held = nn.Parameter(parameter.detach(), parameter.requires_grad)
            # their criteria fail without a gradient; where the loss does not depend on a parameter, it is zero
            held.grad = grads.get(f"{name}.{key}", torch.zeros_like(held))
    return twin


def _peer_group(graph: DependencyGraph, group: Group, layers: _Layers) -> Any:
    """torch-pruning's own `Group`: of each weight a layer, a pruning function, positions, and the unit of each.

    Producers come first, since torch-pruning's root is the layer that makes the units.
    """
    from torch_pruning.dependency import Dependency, Node
    from torch_pruning.dependency import Group as PeerGroup

    found = PeerGroup()
    root: Any = None
    for member in sorted(group.members, key=lambda member: member.role != "produces"):
        layer = layers(member.layer)
        if layer is None or member.tensor.rpartition(".")[2] != "weight":
            continue
        function = _function(layer, member.dim)
        for units in unit_maps(graph.tensor_terms[member.tensor][member.dim], group) if function else ():
            whole = _all_groups(layer, member, units)
            positions = (whole >= 0).nonzero().flatten()
            node = Node(layer, None, member.layer)
            root = root or (function, node)
            found.add_dep(Dependency(root[0], function, root[1], node), positions.tolist())
            found[len(found) - 1].root_idxs = whole[positions].tolist()
    return found


def _all_groups(layer: nn.Module, member: Member, units: Tensor) -> Tensor:
    """A grouped convolution's weight has the channels of one group; its pruning functions count those of all."""
    groups = getattr(layer, "groups", 1)
    return units.repeat(groups) if member.dim == 1 and isinstance(groups, int) and groups > 1 else units


def _function(layer: nn.Module, dim: int) -> Any:
    """The pruning function for dimension ``dim`` of the layer's weight; None where torch-pruning has none."""
    from torch_pruning import ops
    from torch_pruning.pruner import function

    kind = ops.module2type(layer).name
    if kind not in FUNCTIONS:
        return None
    out = 1 if kind == "EMBED" or getattr(layer, "transposed", False) else 0
    side = "out" if dim == out else "in"
    if side == "in" and kind not in ("CONV", "LINEAR"):
        return None
    return getattr(function, f"prune_{FUNCTIONS[kind]}_{side}_channels")
