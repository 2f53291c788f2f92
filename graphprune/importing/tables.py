"""Constants that are no weights: a Fourier basis, a filter bank, bins, anchors, positions. Nobody trained them.

A norm of their rows says nothing of what they are worth, so that a criterion on weights would remove them by mistake.
They are known by what they hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from graphprune.importing.step import Step

__all__ = ["table_kind", "tables_of"]

Array = np.ndarray[Any, Any]
FEWEST, LONG = 8, 32  # numbers that tell a table; of a wave
ROWS = 64  # of so many at equal distances all must be alike
PURE = 0.999  # of a wave's energy, in five neighbouring frequencies


def tables_of(module: nn.Module) -> dict[str, str]:
    """Path of a node of a file's module → what the table is that it reads."""
    found = {}
    for path, step in module.named_modules():
        for held in step.held.values() if isinstance(step, Step) else ():
            tensor = getattr(step, held.attribute).detach()
            if tensor.is_floating_point() and (kind := table_kind(tensor.numpy())):
                found[path] = kind
    return found


def table_kind(array: Array) -> str:
    """What a constant is a table of; empty of weights, whose numbers follow no rule.

    >>> table_kind(np.arange(16.0).reshape(1, 16, 1, 1)), table_kind(np.random.default_rng(0).normal(size=(8, 16)))
    ('numbers in equal steps', '')
    """
    wide = np.squeeze(np.asarray(array, dtype=np.float64))
    if wide.size < FEWEST or not np.isfinite(wide).all() or not wide.any():
        return ""
    rows = wide.reshape(1, -1) if wide.ndim == 1 else wide.reshape(wide.shape[0], -1)
    for lines in (rows, rows.T):
        if lines.shape[1] >= FEWEST and (kind := _kind_of(lines[:: -(-len(lines) // ROWS)])):
            return kind
    return "whole and half numbers" if wide.ndim > 1 and _is_grid(wide) else ""


def _kind_of(lines: Array) -> str:
    steps = np.diff(lines, axis=1)
    scale = np.abs(lines).max()
    if np.abs(steps).max() > 1e-6 * scale and np.ptp(steps, axis=1).max() <= 1e-5 * scale:
        return "numbers in equal steps"
    if lines.shape[1] >= LONG and len(lines) > 1:
        if _is_bank(lines):
            return "a filter bank"
        if np.mean([_is_wave(line) for line in lines]) > 0.9:
            return "waves"
    return ""


def _is_wave(line: Array) -> bool:
    """A sine, perhaps under a window: nearly all of it is in a few neighbouring frequencies, but not in the lowest."""
    if not line.any():
        return True  # the sine of no frequency
    energy = np.abs(np.fft.rfft(line)) ** 2
    top = int(energy.argmax())
    near = energy[max(top - 2, 0) : top + 3].sum() >= PURE * energy.sum()
    inner, around = line[1:-1], line[2:] + line[:-2]
    ratio = (inner @ around) / max(float(inner @ inner), 1e-300)  # twice the cosine of the step
    pure = bool(np.linalg.norm(around - ratio * inner) <= 1e-3 * np.linalg.norm(inner))
    return bool(near) or pure


def _is_bank(lines: Array) -> bool:
    """Each row is zero but for one run of positive numbers."""
    held = lines > 0
    runs = np.diff(held.astype(np.int8), axis=1, prepend=0) == 1
    return bool((lines >= 0).all() and held.mean() < 0.5 and (runs.sum(axis=1) <= 1).all() and held.any())


def _is_grid(array: Array) -> bool:
    """Anchors and positions: many different whole numbers, or halves."""
    return bool((array * 2 == np.round(array * 2)).all()) and len(np.unique(array)) >= FEWEST
