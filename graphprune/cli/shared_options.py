"""Options that several commands share; each is called where a request declares it."""

from __future__ import annotations

from dataclasses import MISSING, field
from functools import partial
from typing import Any

from graphprune.asking.options import Options
from graphprune.cli.declared import DISPLAY, REPLACED
from graphprune.cli.model_names import complete_model
from graphprune.ground.options import option

__all__ = [
    "DIRECTORY",
    "DYNAMIC",
    "EXPORT_DTYPE",
    "FEED",
    "FILE",
    "FORCE",
    "INPUT",
    "JSON",
    "MEAN",
    "MODEL",
    "NO_LATENCY",
    "QUIET",
    "SHAPES",
    "STD",
    "TIMINGS",
    "TRUST_CODE",
    "WEIGHTS",
    "as_in_shrink",
]


def as_in_shrink(name: str) -> Any:
    """A field for an option that `graphprune.shrink` has too, called ``name`` there."""
    item = Options.__dataclass_fields__[name]
    default = () if item.metadata["option"].typed == list[str] else item.default
    return field(default=default, metadata=item.metadata)


MODEL = partial(
    option,
    MISSING,
    "zoo:NAME, torchvision:NAME, timm:NAME, NAME (found in that order), hf:FOLDER, hf-hub:OWNER/NAME, "
    "path/to/file.py:factory, path/to/file.onnx, or a directory that shrink wrote.",
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
INPUT = partial(
    option,
    (),
    "Of an ONNX file: the shape of an input's example, by its name: image=1,3,320,320. May be repeated.",
    shown="NAME=N,...",
    typed=list[str],
)
FEED = partial(
    option,
    None,
    "Of an ONNX file: a .npz file with example arrays by the names of inputs.",
    shown="FILE",
)
DYNAMIC = partial(as_in_shrink, "dynamic")
EXPORT_DTYPE = partial(as_in_shrink, "export_dtype")
FILE = partial(option, None, shown="FILE")
WEIGHTS = partial(option, None, shown="W")
MEAN = partial(option, None, "Of images between 0 and 1, in a folder; by default ImageNet's.", shown="R,G,B")
STD = partial(option, None, "Likewise.", shown="R,G,B")
TRUST_CODE = partial(
    option,
    False,
    "Of a folder of transformers: run the code that it brings, where its class is in no package.",
)
NO_LATENCY = partial(option, False, "Do not time the models in onnxruntime.")
FORCE = partial(
    option,
    False,
    "Replace an earlier result in the directory even if its training, or files of yours, are lost with it.",
    REPLACED,
)
JSON = partial(option, False, "Print one JSON document and nothing else on stdout.", DISPLAY)
QUIET = partial(option, False, "Show neither progress nor tables.", DISPLAY, short="-q")
TIMINGS = partial(option, False, "Show at the end what took how long.", DISPLAY)
