"""What ``graphprune shrink`` takes beside the options of `graphprune.shrink`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from graphprune.asking.options import ORDER, ROUNDS, Options
from graphprune.cli.declared import asked_options
from graphprune.cli.options import Debug, Json, Model, NoLatency, Quiet, Shapes

__all__ = ["ShrinkRequest"]


@dataclass(frozen=True)
class ShrinkRequest:
    """One shrink; None, false or empty where the user said nothing. ``asked`` has options as they were typed."""

    model: Model
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Where the result is written.", show_default=False
        ),
    ] = None
    asked: Mapping[str, Any] = asked_options(Options)
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Of images between 0 and 1 in a folder of --calibration; by default ImageNet's.",
            rich_help_panel=ORDER,
        ),
    ] = None
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="Likewise.", rich_help_panel=ORDER)] = None
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
    input_shape: Shapes = field(default_factory=list)
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
