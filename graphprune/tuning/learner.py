"""The models of a run and its optimizer: how one step is taken, and what a checkpoint holds of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture import tensor_leaves
from graphprune.capture.raising import raise_program
from graphprune.ground.errors import InputError
from graphprune.tuning.batches import Batch, reseed
from graphprune.tuning.checkpoint import all_tensors, fill, pack_optimizer, unpack_optimizer
from graphprune.tuning.features import Tap, find_taps, with_features
from graphprune.tuning.job import Job
from graphprune.tuning.losses import Objective
from graphprune.tuning.optimisation import learning_rate, make_optimizer, update_average
from graphprune.tuning.setup import freeze, synchronised

__all__ = ["Learner"]


class Learner:
    """The slim model in training, the original as its teacher, and the running average of the weights.

    Args:
        job: says what is trained, and how.
        accelerator: says on which device, and with which other processes.
    """

    def __init__(self, job: Job, accelerator: Any) -> None:
        settings = job.settings
        self.settings, self.accelerator = settings, accelerator
        device = accelerator.device
        self.student = synchronised(copy.deepcopy(job.model).to(device), accelerator, settings)
        teacher = copy.deepcopy(raise_program(job.graph.program, "Original")).to(device).requires_grad_(False)
        taps: tuple[Tap, ...] = ()
        if settings.features > 0:
            taps = find_taps(job.graph, job.plan, settings.feature_layers, self.student, teacher)
        self.objective = Objective(settings, job.loss, taps)
        self.teacher = with_features(teacher, taps).eval() if self.objective.needs_teacher else None
        self.trained = with_features(self.student, taps)
        optimizer = make_optimizer(self.student, settings)
        self.wrapped, self.optimizer = accelerator.prepare(self.trained, optimizer)
        self.average = copy.deepcopy(self.student).requires_grad_(False) if settings.ema else None

    @property
    def best_guess(self) -> nn.Module:
        """The model that is evaluated and returned: with the averaged weights, or without ``ema`` the last ones."""
        return self.student if self.average is None else self.average

    def step(self, group: Sequence[Batch], step: int, steps: int) -> float:
        """Step ``step`` (from 0) of ``steps``; returns the loss, a mean over its batches and all processes.

        Raises:
            InputError: the loss is not finite, or cannot be computed.
        """
        reseed(self.settings.seed, step, self.accelerator.process_index)
        for options in self.optimizer.param_groups:
            options["lr"] = learning_rate(step, steps, self.settings)
        self.trained.train()
        if self.settings.freeze_norms:
            freeze(self.trained)
        losses = [self._gradients(batch, len(group), batch is group[-1], step) for batch in group]
        if self.settings.clip:
            self.accelerator.clip_grad_norm_(self.student.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            update_average(all_tensors(self.average), all_tensors(self.student), step, self.settings.ema)
        return sum(losses) / len(losses)

    def _gradients(self, batch: Batch, count: int, last: bool, step: int) -> float:
        """Adds the gradients of one batch; returns its loss, a mean over all processes."""
        batch = _moved(batch, self.accelerator.device)
        targets = None
        with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
            if self.teacher is not None:
                with torch.no_grad(), self.accelerator.autocast():
                    targets = self.teacher(*batch.args, **batch.kwargs)
            parts = self.objective.parts(self.wrapped(*batch.args, **batch.kwargs), targets, batch)
            total = torch.stack(list(parts.values())).sum()
            mean = float(self.accelerator.reduce(total.detach(), "mean"))
            if not math.isfinite(mean):
                raise _not_finite(parts, (batch.args, batch.kwargs), targets, step)
            self.accelerator.backward(total / count)
        return mean

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Weights, running average, optimizer and loss scaler: tensors by part and name, and the rest for JSON."""
        moments, optimizer = pack_optimizer(self.optimizer)
        parts = {"model": all_tensors(self.student), "optimizer": moments}
        if self.average is not None:
            parts["average"] = all_tensors(self.average)
        scaler = self.accelerator.scaler
        record = {"optimizer": optimizer, "scaler": None if scaler is None else scaler.state_dict()}
        return parts, record

    def restore(self, parts: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]) -> None:
        """Takes up what `state` gave."""
        fill(self.student, parts["model"])
        if self.average is not None:
            fill(self.average, parts["average"])
        unpack_optimizer(self.optimizer, parts["optimizer"], record["optimizer"])
        if self.accelerator.scaler is not None and record["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(record["scaler"])


def _not_finite(parts: Mapping[str, Tensor], inputs: Any, targets: Any, step: int) -> InputError:
    where = f"in step {step + 1}; checkpoints are as they were"
    if not _finite(inputs):
        return InputError(f"a batch holds NaN or infinity {where}", "clean the data")
    if not _finite(targets):
        return InputError(f"the original itself gives NaN or infinity {where}", "check its weights")
    names = [name for name, value in parts.items() if not torch.isfinite(value)] or list(parts)
    return InputError(
        f"the loss ({' and '.join(names)}) is not finite {where}",
        "take a smaller lr, precision 'bf16' instead of 'fp16', or check the labels",
    )


def _moved(batch: Batch, device: torch.device) -> Batch:
    from accelerate.utils import send_to_device

    return Batch(*send_to_device(tuple(vars(batch).values()), device, non_blocking=True))


def _finite(values: Any) -> bool:
    leaves = [leaf for leaf in tensor_leaves(values) if leaf.is_floating_point()]
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves)
