"""The options of ``graphprune tune``, each declared here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from graphprune.asking.tuning import Tuning
from graphprune.cli.declared import asked_options
from graphprune.cli.options import Debug, Json, Mean, NoLatency, Quiet, Result, Std, examples

__all__ = ["EXAMPLES", "TuneRequest"]

EXAMPLES = examples(
    "graphprune tune slim --data images/ --epochs 5",
    "graphprune tune slim --data zoo:digits --epochs 20 --lr 2e-3 --ema 0.99",
    "graphprune tune slim --data train.py:loader --teacher net.py:make -o tuned",
    "torchrun --nproc-per-node 4 -m graphprune.cli tune slim --data images/",
)


@dataclass(frozen=True)
class TuneRequest:
    """One run of fine-tuning; None or false where the user said nothing. ``asked`` has settings as they were typed."""

    directory: Result
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="A folder of images (or of one folder for each class), zoo:digits, zoo:faces, zoo:photographs, "
            "a .npz or .safetensors file, or file.py:function that returns batches.",
            show_default=False,
        ),
    ]
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="NEW", help="Where to; by default DIR itself.")
    ] = None
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="The original, which teaches; by default the one that the report records."
        ),
    ] = None
    weights: Annotated[str | None, typer.Option(metavar="W", help="The teacher's weights, likewise.")] = None
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="file.py:function of the model; the weights with its highest figure are kept.",
        ),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="file.py:function of the outputs, and the batch; else cross-entropy."
        ),
    ] = None
    asked: Mapping[str, Any] = asked_options(Tuning)
    batch: Annotated[int, typer.Option(metavar="N", help="Examples of a step, over all processes.")] = 32
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From which a stopped run goes on; by default beside the output."),
    ] = None
    augment: Annotated[
        bool, typer.Option("--augment", metavar="", help="Crop and mirror the images of a folder at random.")
    ] = False
    mean: Mean = None
    std: Std = None
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that read images.")] = 0
    no_latency: NoLatency = False
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False

    @property
    def place(self) -> Path:
        """Where the result goes."""
        return self.directory if self.output is None else self.output

    @property
    def state(self) -> Path:
        """The checkpoint; beside the result, which is only there when all is done."""
        place = self.place.resolve()
        return self.checkpoint or place.with_name(f"{place.name}.checkpoint.safetensors")
