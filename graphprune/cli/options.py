"""Options that several commands share: each is called where a request declares it, as ``json: bool = JSON()``."""

from __future__ import annotations

from dataclasses import MISSING
from functools import partial

from graphprune.cli.model_names import complete_model
from graphprune.ground.options import option

__all__ = ["DIRECTORY", "DISPLAY", "JSON", "MEAN", "MODEL", "NO_LATENCY", "QUIET", "SHAPES", "STD"]

DISPLAY = "What is shown"

MODEL = partial(
    option,
    MISSING,
    "zoo:NAME, torchvision:NAME, timm:NAME, NAME (found in that order) or path/to/file.py:factory.",
    shown="MODEL",
    argument=True,
    complete=complete_model,
)
DIRECTORY = partial(option, MISSING, "A directory that shrink wrote.", argument=True)
SHAPES = partial(
    option,
    (),
    "Shape of the example input, batch first: 1,3,224,224. Once for all inputs, or once for each.",
    shown="N,...",
    typed=list[str],
)
MEAN = partial(option, None, "Of images between 0 and 1, in a folder; by default ImageNet's.", shown="R,G,B")
STD = partial(option, None, "Likewise.", shown="R,G,B")
NO_LATENCY = partial(option, False, "Do not time the models in onnxruntime.")
JSON = partial(option, False, "Print one JSON document and nothing else on stdout.", DISPLAY)
QUIET = partial(option, False, "Show neither progress nor tables.", DISPLAY, short="-q")
