"""One model with its data, for the benchmarks of slim models, and how faithful a slim one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models_zoo
from models_zoo import crepe

__all__ = [
    "CALIBRATED",
    "Outputs",
    "Task",
    "called",
    "classes",
    "cosine",
    "cross_entropy",
    "examples",
    "joined",
    "load",
    "log_softmax",
    "pitches",
]

Outputs = Callable[[Any, Any], Tensor]
CALIBRATED = 96  # examples, each a batch of its own, so that squared gradients are those of single examples


@dataclass(frozen=True)
class Task:
    """One model with its data.

    Args:
        batches: calibration batches of one example, each ``(inputs, target)``.
        loss: ``loss(outputs, batch)`` for criteria that take gradients; None takes the default of each tool.
        tests: held-out inputs, each what the model is called with.
        labels: of the held-out examples, where there are any.
        outputs: what counts of (what the model returned, its inputs), ``[examples, ...]``.
        compare: figures from (slim, original, labels); the first is the headline, higher is better.
        fixed: layers that torch-pruning must not touch, since their outputs are the model's.
        data: what it is, for the table.
        held: layers whose flattened outputs torch-pruning mixes up; both tools are tried with and without holding them.
        heavy: whether a cut takes seconds, so that fewer choices are tried.
        train: examples and labels to fine-tune on, where there are more than those of ``batches``.
    """

    name: str
    model: nn.Module
    example: tuple[tuple[Any, ...], dict[str, Any]]
    batches: list[tuple[Any, Any]]
    loss: Callable[..., Tensor] | None
    tests: list[Any]
    labels: Tensor | None
    outputs: Outputs
    compare: Callable[[Tensor, Tensor, Tensor | None], dict[str, float]]
    fixed: tuple[str, ...]
    data: str
    held: tuple[str, ...] = ()
    heavy: bool = False
    train: tuple[Tensor, Tensor] | None = None

    def sample(self) -> list[tuple[Any, Any]]:
        """Calibration examples to measure slim models on, in batches of 8; of a heavy model few of them."""
        count = 32 if self.heavy else CALIBRATED
        chosen = self.batches[:: max(len(self.batches) // count, 1)][:count]
        rows = [chosen[start : start + 8] for start in range(0, len(chosen), 8)]
        return [(joined([x for x, _ in row]), joined([y for _, y in row])) for row in rows]

    def harm(self, slim: Tensor, original: Tensor) -> float:
        """How far it is from the original: the divergence, or one less the mean cosine."""
        figures = self.compare(slim, original, None)
        return figures["kl"] if "kl" in figures else 1 - figures["cosine"]

    def run(self, model: Callable[..., Any], batches: list[Any] | None = None) -> Tensor:
        """What the model says on the held-out inputs, or on others."""
        with torch.no_grad():
            given = self.tests if batches is None else batches
            return torch.cat([self.outputs(called(model, inputs), inputs) for inputs in given])


def called(model: Callable[..., Any], inputs: Any) -> Any:
    """The model on a tensor, or on keywords."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def joined(parts: list[Any]) -> Any:
    """Batches as one: of tensors, of keywords, or nothing."""
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return None if parts[0] is None else torch.cat(parts)


def classes(slim: Tensor, original: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Of log probabilities ``[examples, classes]``."""
    figures = {} if labels is None else {"accuracy": _share(slim.argmax(1) == labels)}
    figures["agreement"] = _share(slim.argmax(1) == original.argmax(1))
    figures["kl"] = float((original.exp() * (original - slim)).sum(1).mean())
    return figures


def cosine(slim: Tensor, original: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Of embeddings ``[texts, width]``: cosines, and whether each text is nearest to its own."""
    cosines = F.normalize(slim, dim=1) @ F.normalize(original, dim=1).T
    own = torch.arange(len(cosines))
    return {"cosine": float(cosines.diagonal().mean()), "retrieval": _share(cosines.argmax(1) == own)}


def pitches(slim: Tensor, original: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Of logits ``[tones, bins]``: raw pitch accuracy (within 50 cents), and the divergence of all bins."""
    p = original.sigmoid()
    kl = p * (F.logsigmoid(original) - F.logsigmoid(slim)) + (1 - p) * (
        F.logsigmoid(-original) - F.logsigmoid(-slim)
    )
    close = (crepe._pitch(slim.sigmoid()) - crepe._pitch(p)).abs() < 50
    figures = {"agreement": _share(close), "kl": float(kl.sum(1).mean())}
    if labels is None:
        return figures
    return {"accuracy": _share((crepe._pitch(slim.sigmoid()) - labels).abs() < 50), **figures}


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()


def load(name: str) -> tuple[nn.Module, Any]:
    return models_zoo.load(name), models_zoo.get(name).example_inputs(2)


def examples(inputs: Tensor, labels: Tensor | None = None) -> list[tuple[Tensor, Any]]:
    rows = [inputs[i : i + 1] for i in range(len(inputs))]
    return [(row, None if labels is None else labels[i : i + 1]) for i, row in enumerate(rows)]


def cross_entropy(logits: Any, batch: Any) -> Tensor:
    return F.cross_entropy(logits, batch[1])


def log_softmax(logits: Any, inputs: Any) -> Tensor:
    return logits.log_softmax(1)
