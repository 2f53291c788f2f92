"""Options that several commands share, and the texts of ``--help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphprune.cli.model_names import complete_model

__all__ = [
    "DISPLAY",
    "Debug",
    "Json",
    "Layer",
    "Mean",
    "Model",
    "NoLatency",
    "OrNumber",
    "Outputs",
    "Quiet",
    "Result",
    "ResultA",
    "ResultB",
    "Shapes",
    "Std",
    "examples",
]

MODEL = "zoo:NAME, torchvision:NAME, timm:NAME, NAME (found in that order) or path/to/file.py:factory."
DISPLAY = "What is shown"

# beside an option of text: a configuration file may say a number
OrNumber = "or a number"

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False, autocompletion=complete_model)
]
Layer = Annotated[
    str,
    typer.Argument(metavar="LAYER", help="A layer or tensor, such as layer1.0.conv1.", show_default=False),
]
WRITTEN = "A directory that shrink wrote."

Result = Annotated[Path, typer.Argument(metavar="DIR", help=WRITTEN, show_default=False)]
ResultA = Annotated[Path, typer.Argument(metavar="DIR_A", help=WRITTEN, show_default=False)]
ResultB = Annotated[Path, typer.Argument(metavar="DIR_B", help=WRITTEN, show_default=False)]
Shapes = Annotated[
    list[str],
    typer.Option(
        "--input-shape",
        metavar="N,...",
        help="Shape of the example input, batch first: 1,3,224,224. Once for all inputs, or once for each.",
        show_default=False,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="R,G,B", help="Of images between 0 and 1, in a folder; by default ImageNet's."),
]
Std = Annotated[str | None, typer.Option(metavar="R,G,B", help="Likewise.")]
Outputs = Annotated[
    list[str],
    typer.Option(
        "--keep-output",
        metavar="NAME",
        help="An output that the slim model shall return, such as logits, 0 or 'hidden_states.*'; may be repeated. "
        "By default all.",
        show_default=False,
    ),
]
NoLatency = Annotated[
    bool, typer.Option("--no-latency", metavar="", help="Do not time the models in onnxruntime.")
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Print one JSON document and nothing else on stdout.",
        rich_help_panel=DISPLAY,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", metavar="", help="Show neither progress nor tables.", rich_help_panel=DISPLAY
    ),
]
# read from the arguments by `failures.Commands`, so that it works before they are parsed
Debug = Annotated[
    bool,
    typer.Option("--debug", metavar="", help="Show the traceback of an error.", rich_help_panel=DISPLAY),
]


def examples(*lines: str) -> str:
    """An epilog with one example per line."""
    return "\n".join(("Examples:", *(f"  {line}" for line in lines)))
