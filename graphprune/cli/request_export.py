"""What ``graphprune export`` takes, see `graphprune.cli.request`."""

# ruff: noqa: RUF009 – fields of the dataclasses are made by calls
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from graphprune.asking.deployment import Deployment
from graphprune.cli.declared import asked_options
from graphprune.cli.shared_options import FORCE, JSON, MEAN, NO_LATENCY, QUIET, STD
from graphprune.ground.options import option

__all__ = ["ExportRequest"]


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
