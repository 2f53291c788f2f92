"""The runs that `bench_kills.py` kills: what is there before, what each writes, and whether a result is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.cli import shrink, tune  # noqa: F401 – or each run would import them
from graphprune.cli.app import app
from graphprune.ground.digest import digest

__all__ = ["NET", "Kind", "kinds", "save", "shrunk", "state"]

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
    return model.eval(), torch.zeros(2, 6)
"""
SETTINGS = gp.Tuning(epochs=3, save_every=1)
BATCHES = 6


def data() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(8 * BATCHES, 6, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()


def made() -> tuple[nn.Module, Tensor]:
    names: dict[str, Any] = {}
    exec(NET, names)
    return names["make"]()


def shrunk(ratio: float) -> gp.Result:
    return gp.shrink(*made(), ratio=ratio, align=1)


def state(place: Path) -> str:
    """What stands for the numbers of a result that is whole; else what is wrong, with a blank in it."""
    if not place.exists():
        return "nothing"
    try:
        report = json.loads((place / "report.json").read_text())
        gp.Plan.from_json((place / "plan.json").read_text())
        whole = report["verdict"]["passed"] and (place / "report.html").read_text().rstrip().endswith(
            "</html>"
        )
        return digest(dict(gp.load(place).state_dict()))[:12] if whole else "a check has failed"
    except (OSError, ValueError, KeyError, gp.GraphpruneError) as error:
        return f"{type(error).__name__} {error}"


@dataclass(frozen=True)
class Kind:
    """A kind of run in a folder.

    Args:
        prepare: what is there before it.
        run: the run.
        places: the results that it writes, in the folder.
        others: what else is there afterwards.
    """

    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    places: tuple[str, ...]
    others: tuple[str, ...] = ()


def save(folder: Path, result: gp.Result, onnx: bool = False) -> None:
    result.save(folder / "out", latency=False, onnx=onnx)


def command(folder: Path) -> None:
    """`graphprune tune` in place; a result that is trained already is refused, which is right."""
    os.chdir(folder)
    options = (
        "--teacher",
        "net.py:make",
        "--data",
        "data.npz",
        "--epochs",
        "3",
        "--batch",
        "8",
        "--no-latency",
    )
    try:
        app(["tune", "out", *options, "--quiet"])
    except SystemExit as done:
        if done.code not in (0, 2):
            raise


def rounds(folder: Path) -> None:
    inputs, labels = data()
    batches = list(zip(inputs.split(8), labels.split(8), strict=True))
    model, example = made()
    gp.shrink_and_tune(
        model, example, batches, SETTINGS, rounds=2, macs=0.5, align=1, directory=folder / "rounds"
    )


def with_data(folder: Path, start: Path) -> None:
    import numpy

    shutil.copytree(start, folder / "out")
    (folder / "net.py").write_text(NET)
    inputs, labels = data()
    numpy.savez(folder / "data.npz", input=inputs.numpy(), labels=labels.numpy())


def kinds(start: Path, old: gp.Result, new: gp.Result) -> Mapping[str, Kind]:
    copied = partial(shutil.copytree, start)
    return {
        "save": Kind(lambda folder: copied(folder / "out") and None, partial(save, result=new), ("out",)),
        "save with ONNX": Kind(
            lambda folder: copied(folder / "out") and None, partial(save, result=new, onnx=True), ("out",)
        ),
        "tune": Kind(partial(with_data, start=start), command, ("out",), ("net.py", "data.npz")),
        "rounds": Kind(lambda folder: None, rounds, ("rounds/round_1", "rounds/round_2")),
    }
