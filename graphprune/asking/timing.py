"""The options of a shrink that say how and where its ONNX file runs."""

# ruff: noqa: RUF009 – fields of the dataclass are made by calls
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphprune.ground.options import COUNTS, THREADS, among, option

__all__ = ["EXPORT_DTYPES", "GOAL", "TEXT", "Timing"]

EXPORT_DTYPES = ("float32", "float16")
GOAL = "What to reach"

TEXT: Any = str | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The type of the file's numbers, and what is timed."""

    export_dtype: str | None = option(
        None,
        "The type of the ONNX file's numbers, float32 or float16; by default the model's own. onnxruntime computes "
        "little in bfloat16 and float64.",
        None,
        "DTYPE",
        TEXT,
        complete=among(*EXPORT_DTYPES),
    )
    times: str | Path | None = option(
        None,
        "Plan a latency for the device whose times.json this is, see graphprune profile --kit. It is predicted; the "
        "file is not timed there.",
        GOAL,
        "FILE",
        TEXT,
        recorded="changed",
    )
    threads: int = option(
        1, "Threads of onnxruntime where it is timed.", None, "N", int, recorded="changed", within=THREADS
    )
    batch: int = option(
        1, "Examples in a run that is timed.", None, "N", int, recorded="changed", within=COUNTS
    )
