"""The models of a run and its optimizer: how one step is taken, and what a checkpoint holds of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.asking.tuning import Tuning
from graphprune.capture import tensor_leaves
from graphprune.capture.raising import raise_program
from graphprune.ground.errors import InputError
from graphprune.tuning.batches import Batch, reseed
from graphprune.tuning.checkpoint import all_tensors, fill, pack_optimizer, unpack_optimizer
from graphprune.tuning.job import Job
from graphprune.tuning.losses import Objective, Tap, find_taps, with_features

__all__ = ["Learner", "learning_rate", "update_average"]


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
        self.student = _synchronised(copy.deepcopy(job.model).to(device), accelerator, settings)
        teacher = raise_program(job.graph.program, "Original")
        if device.type != "cpu":  # where it is, nothing of it changes, so that it needs no copy
            teacher = copy.deepcopy(teacher).to(device)
        taps: tuple[Tap, ...] = ()
        if settings.features > 0:
            taps = find_taps(job.graph, job.plan, settings.feature_layers, self.student, teacher)
        self.objective = Objective(settings, job.loss, taps)
        self.teacher = with_features(teacher, taps).eval() if self.objective.needs_teacher else None
        self.trained = with_features(self.student, taps)
        optimizer = _make_optimizer(self.student, settings)
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
            _freeze(self.trained)
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


def _make_optimizer(model: nn.Module, settings: Tuning) -> torch.optim.Optimizer:
    """Of the parameters that may be trained; only those with two dimensions or more decay.

    Raises:
        InputError: all of them are frozen.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError("no parameter of the model requires gradients", "call requires_grad_() on some")
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


def learning_rate(step: int, steps: int, settings: Tuning) -> float:
    """The learning rate of step ``step`` (from 0) of ``steps``: a linear warm-up, then half a cosine down to zero."""
    warm = round(float(settings.warmup) * steps)
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * (1 + cos(pi * (step - warm) / max(steps - warm, 1))) / 2


def update_average(
    average: Mapping[str, Tensor], tensors: Mapping[str, Tensor], step: int, decay: float
) -> None:
    """Moves ``average`` towards ``tensors`` in place, after step ``step`` (from 0); counters are copied.

    The decay starts small, min(decay, (1 + step) / (10 + step)), so that a short run is not all beginning.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor.detach(), weight)
        else:
            average[name].copy_(tensor)


def _synchronised(model: fx.GraphModule, accelerator: Any, settings: Tuning) -> fx.GraphModule:
    """The model with batch norms that take their statistics over all processes, where its device can (CPUs cannot)."""
    if accelerator.num_processes == 1 or accelerator.device.type == "cpu" or settings.freeze_norms:
        return model
    converted: fx.GraphModule = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return converted


def _freeze(model: nn.Module) -> None:
    """Batch norms use their running statistics and leave them as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
