"""Runs in a process of its own: ``run_tune.py CHECKPOINT kill STEP``, ``… write NUMBER`` or ``… share OUTPUT``."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset
from tuning_models import data, loader, shrunk, tensors

import graphprune as gp
from graphprune.scoring import find_importance
from graphprune.tuning import Moment

EXACT = gp.Tuning(epochs=4, lr=5e-3, ema=0.9, features=0.1, save_every=2, evaluate_every=5, accumulate=2)
SHARED = gp.Tuning(
    epochs=2, lr=5e-3, ema=0.9, features=0.1, accumulate=2, freeze_norms=True, evaluate_every=2
)


def accuracy(model: torch.nn.Module) -> float:
    images, labels = data()
    return float((model(images).argmax(1) == labels).double().mean())


class Noisy(Dataset):
    """Augmented with numbers of all three generators."""

    def __len__(self) -> int:
        return len(data()[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        images, labels = data()
        noise = 0.1 * torch.randn(images[index].shape) + 0.1 * random.random() + 0.1 * numpy.random.rand()
        return images[index] + noise, int(labels[index])


def exact(checkpoint: Path | None, kill: int | None = None, workers: int = 0) -> gp.Result:
    """A run with everything that has a state; killed after step ``kill``."""

    def watch(moment: Moment) -> None:
        if moment.step == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    return gp.tune(
        shrunk(),
        DataLoader(Noisy(), 8, shuffle=True, num_workers=workers),
        EXACT,
        evaluate=accuracy,
        checkpoint=checkpoint,
        watch=watch,
    )


def shared() -> gp.Result:
    """A run whose steps are means over examples, so that it does not matter who computes which."""
    return gp.tune(shrunk(dropout=0.0), loader(16), SHARED, evaluate=accuracy)


def cross_entropy(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return F.cross_entropy(outputs, batch[1])


def scores(batches: list[Any]) -> dict[str, torch.Tensor]:
    """By criterion and group, of the data-driven criteria that gather statistics in different ways."""
    graph = shrunk(dropout=0.0).graph
    found = {}
    for name in ("activation_variance", "wanda", "reconstruction", "refit", "taylor", "taylor_abs", "fisher"):
        loss = cross_entropy if name in ("refit", "taylor", "taylor_abs", "fisher") else None
        criterion = find_importance(name, batches, loss)
        for group, score in criterion(graph, graph.program.tensors, 0).items():
            found[f"{name} {group}"] = score
    return found


def repaired(batches: list[Any]) -> dict[str, torch.Tensor]:
    """Tensors of a slim model that was repaired on the batches."""
    graph = shrunk(dropout=0.0).graph
    result = gp.shrink(graph, macs=0.5, align=1, importance="l1", calibration=batches, repair=True)
    assert result.repair is not None
    assert result.repair.kept
    assert result.repair.batches == 4
    return {f"repaired {name}": tensor for name, tensor in tensors(result.model).items()}


def harms(batches: list[Any], path: Path | None = None) -> dict[str, torch.Tensor]:
    """By measure, what the loss of units does to the outputs; ``path`` keeps the points of the first."""
    graph = shrunk(dropout=0.0).graph

    def energy(model: torch.nn.Module) -> float:
        assert os.environ.get("RANK", "0") == "0"
        return float(model(data()[0]).detach().square().mean())

    kinds = {"l2": {"path": path}, "kl": {"distance": "kl"}, "energy": {"evaluate": energy}}
    found = {
        name: gp.sensitivity(graph, calibration=batches, ratios=(0.25, 0.5), importance="wanda", **options)
        for name, options in kinds.items()
    }
    return {
        name: torch.tensor([point.value for point in one.points], dtype=torch.float64)
        for name, one in found.items()
    }


def check_file(batches: list[Any], path: Path) -> None:
    """A measurement that goes on measures nothing again, and a file of other data is refused in every process."""
    text = path.read_text()
    harms(batches, path)
    assert path.read_text() == text
    with pytest.raises(gp.GraphpruneError, match="measures something else: its data differs"):
        harms(batches[:1], path)


def batches() -> list[Any]:
    images, labels = data()
    return list(zip(images.split(12), labels.split(12), strict=True))


def main(checkpoint: Path, what: str, value: str) -> None:
    if what == "kill":
        exact(checkpoint, int(value))
    elif what == "write":
        left, replace = [int(value)], os.replace

        def dying(draft: object, path: object) -> None:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(draft, path)  # type: ignore[arg-type]

        os.replace = dying  # type: ignore[assignment]
        exact(checkpoint)
    else:
        try:
            share(value)
        finally:
            torch.distributed.destroy_process_group()


def share(output: str) -> None:
    result = shared()
    assert result.tuning["processes"] == 2
    rank = int(os.environ["RANK"])
    own = batches()[rank::2]
    found = scores(own) | repaired(own) | harms(own, Path(f"{output}.jsonl"))
    check_file(own, Path(f"{output}.jsonl"))
    save_file(tensors(result.model) | found, f"{output}.{rank}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
