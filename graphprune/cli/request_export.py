"""What ``graphprune export`` and ``graphprune profile`` take, see `graphprune.cli.request`."""

# ruff: noqa: RUF009 – fields of the dataclasses are made by calls
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from graphprune.asking.deployment import Deployment
from graphprune.cli.declared import asked_options
from graphprune.cli.shared_options import (
    DYNAMIC,
    FEED,
    FORCE,
    INPUT,
    JSON,
    MEAN,
    MODEL,
    NO_LATENCY,
    QUIET,
    SHAPES,
    STD,
    WEIGHTS,
)
from graphprune.ground.options import COUNTS, SEEDS, option

__all__ = ["ExportRequest", "ProfileRequest"]


@dataclass(frozen=True)
class ExportRequest:
    """Writes ONNX files for where a result will run: float16, 8 bits, other names, sizes and operators' versions."""

    EXAMPLES = (
        "graphprune export slim --int8 --calibration images/",
        "graphprune export slim --fp16 --int8 --opset 17 --dynamic none -o deploy",
        "graphprune export detector.onnx --int8 -o deploy",
    )

    source: Path = option(
        MISSING, "A directory that shrink wrote, or an ONNX file.", None, "DIR", argument=True
    )
    output: Path | None = option(
        None, "Where the files go; by default deploy in DIR.", None, "NEW", short="-o"
    )
    asked: Mapping[str, Any] = asked_options(Deployment)
    mean: str | None = MEAN()
    std: str | None = STD()
    no_latency: bool = NO_LATENCY()
    force: bool = FORCE()
    json: bool = JSON()
    quiet: bool = QUIET()


@dataclass(frozen=True)
class ProfileRequest:
    """Writes a folder of models to time on another device, so that shrink --latency plans for that."""

    EXAMPLES = (
        "graphprune profile mobilenet_v2 --kit kit",
        "python kit/time_kit.py --threads 4          # there, with onnxruntime alone",
        "graphprune shrink mobilenet_v2 --latency 0.5 --times times.json -o slim",
    )

    model: str = MODEL()
    kit: Path = option(MISSING, "Where the folder is written.", None, "DIR")
    batch: int = option(1, "Examples in one run.", None, "N", int, within=COUNTS)
    weights: str | None = WEIGHTS("As for shrink; times do not depend on them.")
    input_shape: Sequence[str] = SHAPES()
    input: Sequence[str] = INPUT()
    feed: Path | None = FEED()
    dynamic: Sequence[str] = DYNAMIC()
    seed: int = option(0, "Of random weights and inputs.", None, "N", int, within=SEEDS)
    force: bool = FORCE()
    json: bool = JSON()
    quiet: bool = QUIET()
