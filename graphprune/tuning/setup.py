"""The processes, devices and precision of a run, by Hugging Face Accelerate."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from graphprune.asking.tuning import Tuning
from graphprune.ground.errors import InputError

__all__ = ["freeze", "kept_random_state", "make_accelerator", "synchronised"]

# data parallelism alone: every process holds the whole model
PARALLEL = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_MLU", "MULTI_MUSA", "MULTI_HPU")


def make_accelerator(settings: Tuning) -> Any:
    """An Accelerator for whatever launched this process; it joins a process group that there is already.

    Raises:
        InputError: accelerate is not installed, the precision cannot be had, or the launcher asks for sharding.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError as error:
        raise InputError("fine-tuning needs accelerate", "pip install 'graphprune[tune]'") from error
    try:
        accelerator = Accelerator(
            mixed_precision=settings.precision,
            # without one, accelerate forms a group of processes only where it is told to stay on the CPU
            cpu=not torch.accelerator.is_available(),
            # some outputs may count for nothing in the loss
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise InputError(
            f"precision {settings.precision!r} cannot be used here: {' '.join(str(error).split())[:160]}",
            "leave precision out, take 'bf16' on a CPU, or start a new process: it holds for the whole process",
        ) from error
    if accelerator.distributed_type.name not in PARALLEL:
        raise InputError(
            f"the launcher asks for {accelerator.distributed_type.name}",
            "take plain data parallelism: a slim model fits on one device",
        )
    return accelerator


def synchronised(model: fx.GraphModule, accelerator: Any, settings: Tuning) -> fx.GraphModule:
    """The model with batch norms that take their statistics over all processes, where its device can (CPUs cannot)."""
    if accelerator.num_processes == 1 or accelerator.device.type == "cpu" or settings.freeze_norms:
        return model
    converted: fx.GraphModule = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return converted


def freeze(model: nn.Module) -> None:
    """Batch norms use their running statistics and leave them as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Afterwards the random state of Python, numpy and torch is what it was."""
    import numpy

    python, legacy = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(legacy)
