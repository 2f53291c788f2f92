"""How long stages take that have not begun: told from those that are done, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["TYPICAL", "plain_name", "seconds_of", "time_text", "whole_text"]

# Stages that cannot be counted: an earlier stage, and how many times as long as that they take. Medians of resnet18,
# resnet50, mobilenet_v2, shufflenet_v2, EfficientNet-Lite0, R-Net and digits_resnet. An export of one was off by a
# factor of 3.4 at most, a repair by 1.3, the short stages by 5, but for models that take no time at all.
TYPICAL: Mapping[str, tuple[str, float]] = {
    "analyse": ("capture", 0.01),
    "learn the runtime's widths": ("analyse", 1.0),  # they are kept from one run to the next
    "plan": ("analyse", 1.0),
    "rewrite": ("analyse", 1.0),
    "verify": ("capture", 0.6),
    "repair": ("try", 1.6),
    "verify the repair": ("verify", 0.12),
    "judge the answers": ("verify", 1.7),
    "export": ("capture", 2.1),
    "run in onnxruntime": ("export", 0.06),
    "compare on random weights": ("export", 0.33),
    "export the original": ("export", 0.32),
    "evaluate the slim model": ("evaluate the original", 1.0),
}
TIMED = 3.0  # seconds of timing, at most


def plain_name(stage: str) -> str:
    """The stage without the part that it belongs to, and without what is tried in it.

    >>> plain_name("macs 0.5: verify"), plain_name("try l2, isomorphic")
    ('verify', 'try')
    """
    name = stage.rpartition(": ")[2]
    return "try" if name.startswith("try ") else name


def seconds_of(stage: str, done: Mapping[str, float]) -> float | None:
    """How long a stage will take: as long as when it ran before, or by one that ran; None where nothing tells.

    Args:
        done: plain name of a stage → seconds, of the last one of that name.
    """
    name = plain_name(stage)
    if name in done:
        return done[name]
    if name == "time":
        return TIMED
    other, times = TYPICAL.get(name, ("", 0.0))
    base = seconds_of(other, done) if other else None
    return None if base is None else base * times


def whole_text(running: float | None, coming: Iterable[str], done: Mapping[str, float]) -> str:
    """What is left of a run, in words; empty where nothing tells.

    Args:
        running: seconds that are left of the stage that runs; None if that is unknown.
        coming: stages that have not begun.
        done: as for `seconds_of`.
    """
    parts = [running, *(seconds_of(stage, done) for stage in coming)]
    known = [part for part in parts if part is not None]
    if not known or sum(known) < 1:
        return ""
    how = "about" if len(known) == len(parts) else "at least"
    return f"{how} {time_text(sum(known))} left"


def time_text(seconds: float) -> str:
    """A duration, as coarse as an estimate of it.

    >>> time_text(7.4), time_text(83), time_text(14952)
    ('7 s', '1:23', '4 h 9 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
