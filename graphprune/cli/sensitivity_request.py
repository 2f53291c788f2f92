"""The options of ``graphprune sensitivity``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from graphprune.cli.options import Debug, Json, Mean, Model, Quiet, Shapes, Std, examples
from graphprune.ground.shares import share

__all__ = ["EXAMPLES", "SensitivityRequest"]

EXAMPLES = examples(
    "graphprune sensitivity zoo:digits_resnet -o sensitivity.jsonl",
    "graphprune sensitivity resnet50 --calibration images.npy --distance kl --ratios 0.25,0.5",
    "graphprune sensitivity net.py:make --evaluate net.py:accuracy --json > curves.json",
    "torchrun --nproc-per-node 4 -m graphprune.cli sensitivity resnet50 --calibration images.npy",
)


@dataclass(frozen=True)
class SensitivityRequest:
    """One measurement; None, false or empty where the user said nothing."""

    model: Model
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where points are kept as they are measured; a run that was ended goes on from it.",
            show_default=False,
        ),
    ] = None
    ratios: Annotated[str, typer.Option(metavar="F,...", help="Shares of each group's units to remove.")] = (
        "0.1,0.3,0.5,0.7,0.9"
    )
    distance: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of outputs: l2 (relative), or kl (of the softmax over the last dimension)."
        ),
    ] = "l2"
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Inputs to compare on, as for shrink; else the example inputs."),
    ] = None
    mean: Mean = None
    std: Std = None
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="file.py:function of the model that gives a number, higher is better, instead of a distance.",
        ),
    ] = None
    importance: Annotated[
        str, typer.Option(metavar="NAME", help="Which units of a group go first, as for shrink.")
    ] = "l2"
    loss: Annotated[str | None, typer.Option(metavar="FILE", help="For importance, as for shrink.")] = None
    weights: Annotated[str | None, typer.Option(metavar="W", help="As for shrink.")] = None
    input_shape: Shapes = field(default_factory=list)
    seed: Annotated[int, typer.Option(metavar="N", help="Of random weights and importance.")] = 0
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False

    @property
    def shares(self) -> tuple[float, ...]:
        """``--ratios`` as numbers.

        Raises:
            InputError: they are none.
        """
        return tuple(sorted({share("--ratios", part) for part in self.ratios.split(",")}))
