"""What is minimised: the task's loss, the distance to the original's outputs, and to those of single layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from graphprune.asking.tuning import Tuning
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term
from graphprune.calibration import Loss, call_loss
from graphprune.capture import tensor_leaves
from graphprune.capture.operations import Operation
from graphprune.ground.errors import InputError
from graphprune.planning import Masks, Plan
from graphprune.planning.plan import make_masks
from graphprune.tuning.batches import Batch

__all__ = ["Objective", "Tap", "find_taps", "with_features"]

Seen = tuple[Any, Sequence[Tensor]]  # by one model: its outputs, and those of its taps
IGNORED = -100  # the label that cross-entropy leaves out
FAINT = 1e-6  # is added to the mean square that an error is divided by, which may be zero


@dataclass(frozen=True)
class Tap:
    """A layer whose output is compared in both models.

    Args:
        layer: its name, the same in both.
        kept: for every dimension that was cut, which indices of the original's output the slim model still has.
            ``{1: tensor([0, 2])}`` says that the slim channels 0 and 1 are the original's channels 0 and 2.
    """

    layer: str
    kept: Mapping[int, Tensor]


@dataclass(frozen=True)
class Objective:
    """The loss of one batch, a mean over its examples, so that shares of a batch average to the whole.

    Args:
        settings: weights of the parts, and the distance of outputs.
        loss: of the task, see `graphprune.calibration.losses.call_loss`; None takes cross-entropy where labels are
            whole numbers and the squared error where they are not, of the only output.
        taps: the layers that are compared.
    """

    settings: Tuning
    loss: Loss | None
    taps: Sequence[Tap]

    @property
    def needs_teacher(self) -> bool:
        """Whether the original has to be run."""
        return self.settings.distillation > 0 or self.settings.features > 0

    def parts(self, student: Seen, teacher: Seen | None, batch: Batch) -> dict[str, Tensor]:
        """The weighted parts by name; models give their outputs and what their taps see.

        Raises:
            InputError: labels do not fit the outputs, or the user's loss fails.
        """
        outputs, features = student
        settings, labels = self.settings, batch.labels
        found: dict[str, Tensor] = {}
        if settings.task and self.loss is not None:
            found["task"] = settings.task * call_loss(self.loss, outputs, batch.given, batch.labels)
        elif settings.task and labels is not None:
            found["task"] = settings.task * _default_loss(outputs, labels)
        if teacher is not None and settings.distillation:
            classes = "kl" if _are_classes(labels) else "mse"
            distance = _DISTANCES[classes if settings.match == "auto" else settings.match]
            terms = [distance(*pair, settings.temperature) for pair in _pairs(outputs, teacher[0])]
            found["distillation"] = settings.distillation * torch.stack(terms).mean()
        if teacher is not None and settings.features:
            terms = [
                _relative_error(one, _kept_part(other, tap), 1.0)
                for one, other, tap in zip(features, teacher[1], self.taps, strict=True)
            ]
            found["features"] = settings.features * torch.stack(terms).mean()
        if not found:
            raise InputError(
                "there is nothing to train on: the batches have no labels, and distillation is off",
                "give labels or a loss, or leave distillation on",
            )
        return found


def _are_classes(labels: Any) -> bool:
    return isinstance(labels, Tensor) and not labels.is_floating_point()


def _default_loss(outputs: Any, labels: Any) -> Tensor:
    leaves = tensor_leaves(outputs)
    remedy = "give a loss, a function of the outputs and the batch, or set task to 0"
    if len(leaves) != 1 or not isinstance(labels, Tensor):
        raise InputError(
            f"there is no loss of its own for {len(leaves)} outputs and labels that are a {type(labels).__name__}",
            remedy,
        )
    scores = leaves[0]
    if not _are_classes(labels):
        if labels.shape != scores.shape:
            raise InputError(
                f"the labels are {tuple(labels.shape)}, the output {tuple(scores.shape)}", remedy
            )
        return F.mse_loss(scores, labels.to(scores.dtype))
    if scores.dim() < 2 or labels.shape != scores.shape[:1] + scores.shape[2:]:
        raise InputError(
            f"labels {tuple(labels.shape)} are no classes of an output {tuple(scores.shape)}",
            "give one label for each example, or a loss",
        )
    counted, classes = labels[labels != IGNORED], scores.shape[1]
    if counted.numel() and (int(counted.min()) < 0 or int(counted.max()) >= classes):
        raise InputError(
            f"the labels run from {int(counted.min())} to {int(counted.max())}, the model has {classes} classes",
            f"number the classes from 0 to {classes - 1}, or give {IGNORED} to what is not to count",
        )
    return F.cross_entropy(scores, labels.long(), ignore_index=IGNORED)


def _pairs(outputs: Any, targets: Any) -> list[tuple[Tensor, Tensor]]:
    """The floating outputs of both models in pairs. Their shapes are the same, since outputs are never cut."""
    pairs = zip(tensor_leaves(outputs), tensor_leaves(targets), strict=True)
    floating = [(one, other) for one, other in pairs if one.is_floating_point() and one.requires_grad]
    if not floating:
        raise InputError("no output of the model can be distilled", "give a loss, and set distillation to 0")
    return floating


def _rows(value: Tensor) -> Tensor:
    """One row for each example, float32: half precision overflows in squares."""
    return value.float().reshape(value.shape[0] if value.dim() else 1, -1)


def _relative_error(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    one, other = _rows(one), _rows(other)
    return ((one - other).square().mean(1) / (other.square().mean(1) + FAINT)).mean()


def _divergence(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The Kullback-Leibler divergence of classes. Times the squared temperature, so that gradients keep their size
    when the temperature changes (Hinton et al., 2015, section 2)."""
    if one.dim() < 2 or one.shape[1] < 2:
        raise InputError(
            f"match='kl' needs scores of classes along dimension 1, an output is {tuple(one.shape)}",
            "use match='mse' or 'cosine'",
        )
    ours = F.log_softmax(one.float() / temperature, dim=1)
    theirs = F.log_softmax(other.float() / temperature, dim=1)
    each = F.kl_div(ours, theirs, log_target=True, reduction="none").sum(1)
    return each.mean() * temperature**2


def _angle(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    return (1 - F.cosine_similarity(_rows(one), _rows(other))).mean()


def _tokens(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The divergence of next tokens, whose scores stand in the last dimension."""
    return _divergence(one.movedim(-1, 1), other.movedim(-1, 1), temperature)


_DISTANCES: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl": _divergence,
    "mse": _relative_error,
    "cosine": _angle,
    "tokens": _tokens,
}


def find_taps(
    graph: DependencyGraph, plan: Plan, patterns: Sequence[str], *models: fx.GraphModule
) -> tuple[Tap, ...]:
    """The layers of those names that all ``models`` call exactly once.

    Raises:
        InputError: there are none.
    """
    masks = make_masks(graph, plan.groups)
    makers = _makers(graph)
    shared = [layer for layer in makers if all(len(_calls(model, layer)) == 1 for model in models)]
    chosen = [layer for layer in shared if any(fnmatchcase(layer, pattern) for pattern in patterns)]
    taps = [
        Tap(layer, kept)
        for layer in chosen
        if (kept := _kept(graph.analysis.terms[makers[layer].outputs[0].name], masks)) is not None
    ]
    if not taps:
        raise InputError(
            f"no layer that both models run once is called {' or '.join(map(repr, patterns))}",
            f"choose among {', '.join(shared[:8])}" if shared else "set features to 0",
        )
    return tuple(taps)


def _makers(graph: DependencyGraph) -> dict[str, Operation]:
    """Layers whose tensors are read by one operation, which gives one floating tensor: that operation by name."""
    attributes = graph.program.attributes
    readers: dict[str, list[Operation]] = {}
    for operation in graph.program.operations:
        held = [attributes[value.name] for value in operation.inputs if value.name in attributes]
        for layer in dict.fromkeys(name.rpartition(".")[0] for name in held):
            readers.setdefault(layer, []).append(operation)
    return {
        layer: found[0]
        for layer, found in readers.items()
        if len(found) == 1 and len(found[0].outputs) == 1 and "float" in found[0].outputs[0].dtype
    }


def _kept(terms: tuple[Term, ...], masks: Masks) -> dict[int, Tensor] | None:
    """The indices kept of every dimension that is cut. None where they differ along another dimension, as the units
    of each attention head do: then no list of indices can say what was kept."""
    kept = {}
    for dim, term in enumerate(terms):
        if masks.touches(term):
            mask, fibre = masks.opened(term)
            if fibre is not None:
                return None
            kept[dim] = mask.nonzero().flatten()
    return kept


def _calls(model: fx.GraphModule, layer: str) -> list[fx.Node]:
    return [node for node in model.graph.nodes if node.op == "call_module" and node.target == layer]


def with_features(model: fx.GraphModule, taps: Sequence[Tap]) -> fx.GraphModule:
    """A module that shares the layers of ``model`` and returns its outputs, and beside them those of every tap."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    outputs: Any = graph.graph_copy(model.graph, copies)
    graph.output((outputs, tuple(copies[_calls(model, tap.layer)[0]] for tap in taps)))
    return fx.GraphModule(model, graph)


def _kept_part(value: Tensor, tap: Tap) -> Tensor:
    """The original's ``value`` on the units that were kept."""
    for dim, indices in tap.kept.items():
        value = value.index_select(dim, indices.to(value.device))
    return value
