"""The options of ``graphprune shrink``, each declared here and nowhere else.

The panel of the help that an option stands in says what it is: those of ORDER and LIMITS have no effect where a plan
is replayed. Fields and properties that `graphprune.shrink` knows by the same name are handed to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from graphprune.cli.options import Debug, Json, Model, NoLatency, OrNumber, Outputs, Quiet, Shapes
from graphprune.ground.errors import InputError

__all__ = ["LIMITS", "ORDER", "Request"]

GOAL = "What to reach"
ORDER = "Which units go first"
LIMITS = "What is left alone"
ROUNDS = "In rounds, with training"


@dataclass(frozen=True)
class Request:
    """One shrink; None, false or empty where the user said nothing."""

    model: Model
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Where the result is written.", show_default=False
        ),
    ] = None
    macs: Annotated[
        str | None,
        typer.Option(
            metavar="F",
            help="Share of the multiply-accumulates to keep, 0 to 1, or an amount such as 300M. Of the budgets down "
            "to --latency several may be given, and all are met.",
            rich_help_panel=GOAL,
        ),
        OrNumber,
    ] = None
    params: Annotated[
        str | None,
        typer.Option(metavar="F", help="Share of the parameters to keep, or 5M.", rich_help_panel=GOAL),
        OrNumber,
    ] = None
    onnx_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="F", help="Share of the ONNX file's bytes to keep, or 12MB.", rich_help_panel=GOAL
        ),
        OrNumber,
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="F",
            help="Share of one example's peak activation memory to keep, or 4MB.",
            rich_help_panel=GOAL,
        ),
        OrNumber,
    ] = None
    latency: Annotated[
        str | None,
        typer.Option(
            metavar="F",
            help="Share of the time of one run in onnxruntime to keep, measured here, or 4ms.",
            rich_help_panel=GOAL,
        ),
        OrNumber,
    ] = None
    ratio: Annotated[
        float | None,
        typer.Option(
            metavar="F", help="Share of the units to remove from every group.", rich_help_panel=GOAL
        ),
    ] = None
    lossless: Annotated[
        bool,
        typer.Option(
            "--lossless",
            metavar="",
            help="Remove only what is dead: the model computes what it computed.",
            rich_help_panel=GOAL,
        ),
    ] = False
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay a plan.json instead of a budget.", rich_help_panel=GOAL),
    ] = None
    importance: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Which units matter: l1, l2, linf, lamp, bn_scale, fpgm, cosine or random; with --calibration also "
            "activation_mean, activation_variance, apoz, wanda, reconstruction, refit, refit_shrunk, taylor, "
            "taylor_abs, obd, fisher, or auto, which tries seven of them and their rankings. "
            "NAME:AGGREGATE:NORMALISE adds how members are put together (sum, mean, max, prod, first, producers) "
            "and units made comparable between groups (none, mean, max, sum, standard, lamp).",
            rich_help_panel=ORDER,
        ),
    ] = "l2"
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="For importance and --repair: a folder of images, a .npy, .npz or .safetensors file, zoo:NAME, or "
            "file.py:function (batches).",
            rich_help_panel=ORDER,
        ),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Of images between 0 and 1 in a folder of --calibration; by default ImageNet's.",
            rich_help_panel=ORDER,
        ),
    ] = None
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="Likewise.", rich_help_panel=ORDER)] = None
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="For gradients: file.py:function of the outputs, and the batch.",
            rich_help_panel=ORDER,
        ),
    ] = None
    ranking: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="In which order units go: global (all scores together), uniform (the same share of every group), "
            "isomorphic (among groups of the same structure) or per_cost (score over cost saved).",
            rich_help_panel=ORDER,
        ),
    ] = "global"
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Tune how much each group loses by N measurements of the outputs on --calibration.",
            rich_help_panel=ORDER,
        ),
    ] = 0
    align: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Widths are multiples of N, 1 for any; auto for the multiples that onnxruntime likes here, learned "
            "once.",
            rich_help_panel=LIMITS,
        ),
        OrNumber,
    ] = "auto"
    min_keep: Annotated[
        int,
        typer.Option(metavar="N", help="Units that every group keeps at least.", rich_help_panel=LIMITS),
    ] = 1
    protect: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN",
            help="Layers that must not change, such as 'head*'; may be repeated.",
            show_default=False,
            rich_help_panel=LIMITS,
        ),
    ] = field(default_factory=list)
    max_ratio: Annotated[
        float,
        typer.Option(metavar="F", help="Share of its units that any group may lose.", rich_help_panel=LIMITS),
    ] = 1.0
    layer_ratio: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN=F",
            help="Share of the units to remove that these layers make, such as 'layer4*=0.5'; may be repeated.",
            show_default=False,
            rich_help_panel=LIMITS,
        ),
    ] = field(default_factory=list)
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            metavar="",
            help="After the proof, refit weights, biases and batch norms to --calibration, without training.",
        ),
    ] = False
    rounds: Annotated[
        int,
        typer.Option(
            metavar="N", help="Go there in N rounds, with scores of what is left.", rich_help_panel=ROUNDS
        ),
    ] = 1
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Fine-tune in every round; DATA as for graphprune tune --data.",
            rich_help_panel=ROUNDS,
        ),
    ] = None
    tuning: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=V",
            help="A setting of it, such as epochs=5, lr=0.002 or batch=64; may be repeated.",
            show_default=False,
            rich_help_panel=ROUNDS,
        ),
    ] = field(default_factory=list)
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Its evaluation: file.py:function of the model.", rich_help_panel=ROUNDS
        ),
    ] = None
    min_metric: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Stop where the figure falls below F; the round before is kept.",
            rich_help_panel=ROUNDS,
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W", help="published (the default, where there are any), none (random), or a file."
        ),
    ] = None
    keep_output: Outputs = field(default_factory=list)
    input_shape: Shapes = field(default_factory=list)
    seed: Annotated[int, typer.Option(metavar="N", help="Of random weights, importance and checks.")] = 0
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of onnxruntime where it is timed.")] = 1
    batch: Annotated[int, typer.Option(metavar="N", help="Examples in a run that is timed.")] = 1
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Show the plan and what is in reach; cut and write nothing."
        ),
    ] = False
    no_latency: NoLatency = False
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False

    @property
    def ratios(self) -> dict[str, float]:
        """``--layer-ratio`` by pattern.

        Raises:
            InputError: one is no pattern with a number.
        """
        found = {}
        for text in self.layer_ratio:
            pattern, equals, number = text.rpartition("=")
            try:
                found[pattern] = float(number)
            except ValueError:
                equals = ""
            if not equals or not pattern:
                raise InputError(f"--layer-ratio {text!r} is not PATTERN=F", "write it as 'layer4*=0.5'")
        return found

    @property
    def outputs(self) -> list[str]:
        """``--keep-output``, under Python's name."""
        return self.keep_output
