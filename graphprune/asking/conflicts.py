"""Options that do not go together, as one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphprune.asking.options import AUTO, EXPORT_DTYPES, SYNTHETIC

__all__ = ["CONFLICTS", "Conflict"]


class Conflict(NamedTuple):
    """Something that a request must not say. ``{0}`` in the message is the request."""

    is_in: Callable[[Any], Any]
    message: str
    remedy: str


def _is_made(calibration: Any) -> bool:
    """Whether these data are to be made, or have been."""
    name = calibration if isinstance(calibration, str) else getattr(calibration, "name", "")
    return bool(name == SYNTHETIC)


SETTLED = "leave them out: what goes is settled"

CONFLICTS = (
    Conflict(
        lambda r: isinstance(r.outputs, str),
        "outputs={0.outputs!r} is a text",
        "give a list of names, such as outputs=['logits']",
    ),
    Conflict(
        lambda r: r.export_dtype is not None and r.export_dtype not in EXPORT_DTYPES,
        "export_dtype={0.export_dtype!r} is not a type of an ONNX file",
        f"use one of {', '.join(EXPORT_DTYPES)}",
    ),
    Conflict(
        lambda r: r.evaluate is not None and not r.trials,
        "evaluate is given, and there are no trials",
        "give trials=50, or leave it out",
    ),
    Conflict(lambda r: r.instead and r.rounds != 1, "rounds have no effect on {0.instead[0]}", SETTLED),
    Conflict(lambda r: r.instead and r.trials, "trials have no effect on {0.instead[0]}", SETTLED),
    Conflict(
        lambda r: r.instead and r.not_slower,
        "not_slower has no effect on {0.instead[0]}",
        "leave it out: what goes is settled",
    ),
    Conflict(
        lambda r: r.not_slower and r.align != AUTO,
        "not_slower looks for wider multiples, and align={0.align} says which",
        "leave one of them out",
    ),
    Conflict(
        lambda r: r.not_slower and r.is_timed,
        "latency says how slow, and not_slower too",
        "leave not_slower out",
    ),
    Conflict(
        lambda r: r.tokenizer is not None and r.calibration is not None and not _is_made(r.calibration),
        "tokenizer has no effect on calibration data that are given",
        "leave it out: it is for data that are made",
    ),
    Conflict(
        lambda r: r.times is not None and not r.is_timed,
        "times are of a device, and no latency is asked for",
        "give latency=0.5, or leave times out",
    ),
    Conflict(
        lambda r: r.times is not None and (r.threads != 1 or r.batch != 1),
        "threads and batch are those of the times",
        "give them to time_kit.py, and to profile --kit, or leave times out",
    ),
    Conflict(
        lambda r: r.fast and r.importance != AUTO,
        "fast chooses by weights alone, and importance={0.importance!r} says otherwise",
        "leave one of them out",
    ),
    Conflict(
        lambda r: r.fast and (r.repair or r.calibration is not None or r.loss is not None),
        "fast looks at no data",
        "leave it out, or leave repair, calibration and loss out",
    ),
    Conflict(
        lambda r: r.repair and r.is_lossless,
        "a lossless shrink leaves nothing to repair",
        "leave repair out",
    ),
    Conflict(
        lambda r: r.between is not None and r.rounds == 1,
        "between is given, and there is one round",
        "give rounds=2 or more",
    ),
    Conflict(
        lambda r: r.between is not None and r.trials,
        "trials measure the original's weights, and between changes them",
        "leave one of them out",
    ),
    Conflict(
        lambda r: r.between is not None and (r.is_timed or r.not_slower),
        "latency is measured before anything is trained, and between trains",
        "give macs, or tune the result afterwards",
    ),
)
