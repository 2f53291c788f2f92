"""Composes fine-tuning with what a shrink returned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from graphprune.asking.tuning import Tuning
from graphprune.calibration import Evaluate, Loss
from graphprune.results.result import Result
from graphprune.tuning import Job, Watch, fine_tune

__all__ = ["tune"]


def tune(
    result: Result,
    loader: Any,
    settings: Tuning | None = None,
    *,
    loss: Loss | None = None,
    evaluate: Evaluate | None = None,
    checkpoint: str | Path | None = None,
    watch: Watch | None = None,
) -> Result:
    """Fine-tunes the slim model with the original as teacher; ``result`` is left as it was.

    Runs unchanged under ``torchrun`` and ``accelerate launch``: every process calls this with the same arguments and
    takes its share of each batch, so the number of processes changes neither the steps nor their size.

    Args:
        result: of `shrink`.
        loader: a DataLoader, or any iterable of batches that can be walked again. A batch is what ``example_inputs``
            may be, a pair of that and labels, or a dict with ``labels`` beside the inputs; without labels the model
            learns from the original alone.
        settings: see `Tuning`.
        loss: ``loss(outputs)`` or ``loss(outputs, batch)`` → a number, the mean over the batch; without one,
            cross-entropy where labels are whole numbers and the squared error elsewhere.
        evaluate: ``evaluate(model)`` → a number, or a dict whose first one counts; run by the first process before
            the first step and after each epoch. The weights with the best figure are returned.
        checkpoint: a file. Where it exists, training goes on from it, to the same weights as without a stop.
        watch: called after every step, in the first process.

    Returns:
        The result with the tuned model, and what happened as ``tuning``.

    Raises:
        InputError: accelerate is missing; the data is empty or does not fit; labels are out of range; a loss or a
            figure is not finite; the checkpoint belongs to another model or other settings. It stays as it was.
    """
    place = Path(checkpoint) if checkpoint is not None else None
    settings = settings or Tuning()
    job = Job(result.graph, result.plan, result.model, loader, settings, loss, evaluate, place, watch)
    model, report = fine_tune(job)
    return replace(result, model=model, tuning=report)
