"""The options of ``graphprune tune``, each declared here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

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
    """One run of fine-tuning; None or false where the user said nothing.

    Fields that `graphprune.Tuning` has too are its settings.
    """

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
    epochs: Annotated[int, typer.Option(metavar="N", help="Walks over the data.")] = 10
    steps: Annotated[int | None, typer.Option(metavar="N", help="Optimizer steps instead.")] = None
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="adamw or sgd.")] = "adamw"
    lr: Annotated[float, typer.Option(metavar="F", help="The largest learning rate.")] = 1e-3
    warmup: Annotated[float, typer.Option(metavar="F", help="Share of the steps in which it rises.")] = 0.05
    weight_decay: Annotated[float, typer.Option(metavar="F", help="Of weights, not biases and norms.")] = 0.01
    batch: Annotated[int, typer.Option(metavar="N", help="Examples of a step, over all processes.")] = 32
    accumulate: Annotated[int, typer.Option(metavar="N", help="Batches that make one step.")] = 1
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="no, bf16 or fp16; by default the launcher's.")
    ] = None
    ema: Annotated[float, typer.Option(metavar="F", help="Decay of a running average of the weights.")] = 0.0
    task: Annotated[float, typer.Option(metavar="F", help="Weight of the loss on labels, if any.")] = 1.0
    distillation: Annotated[
        float, typer.Option(metavar="F", help="Weight of the distance to the original's outputs.")
    ] = 1.0
    match: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="That distance: kl, mse, cosine, or auto: kl where labels are classes."
        ),
    ] = "auto"
    temperature: Annotated[float, typer.Option(metavar="F", help="Of kl.")] = 2.0
    features: Annotated[
        float, typer.Option(metavar="F", help="Weight of the distance to the original's layers.")
    ] = 0.0
    freeze_norms: Annotated[
        bool, typer.Option("--freeze-norms", metavar="", help="Batch norms keep their running statistics.")
    ] = False
    patience: Annotated[int, typer.Option(metavar="N", help="Evaluations without progress; 0 ignores.")] = 0
    evaluate_every: Annotated[int, typer.Option(metavar="N", help="In steps; 0 is every epoch.")] = 0
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", metavar="", help="Of the evaluation's figure.")
    ] = False
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
    seed: Annotated[int, typer.Option(metavar="N", help="Of order, augmentation and dropout.")] = 0
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
