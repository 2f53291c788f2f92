"""What commands share that train or run in several processes: evaluation, progress, and which process speaks."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from graphprune.cli.progress import Stages
from graphprune.cli.user_file import named_in_file
from graphprune.ground.errors import InputError
from graphprune.report.formats import figure_text
from graphprune.tuning import Evaluate, Moment

__all__ = ["end_processes", "is_first", "joined_processes", "on_its_device", "show_moment", "user_evaluation"]


def is_first() -> bool:
    """Whether this is the process that writes and shows; ``torchrun`` and ``accelerate launch`` number them."""
    return int(os.environ.get("RANK", "0")) == 0


def user_evaluation(spec: str) -> Evaluate:
    """The function that ``file.py:function`` names. The file is run.

    Raises:
        InputError: there is no such file or function.
    """
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InputError(f"--evaluate {spec!r} names no function", "give path/to/file.py:function")
    return named_in_file(Path(path), name, "return a number, given the model")


@contextmanager
def joined_processes() -> Iterator[None]:
    """While the body runs, the processes that ``torchrun`` started are one group, if there are several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Functions of this module have the group of the time of its import as a default argument. Were it imported
        # later, by torch.export, the group would outlive its end, and its threads could abort the process at exit.
        importlib.import_module("torch.distributed.nn")
        torch.distributed.init_process_group("gloo")
    try:
        yield
    finally:
        end_processes()


def end_processes() -> None:
    """Leaves the group of processes, if there is one; the first goes on to write."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # a trained model that is no longer used may still hold the group
        distributed.destroy_process_group()


atexit.register(end_processes)  # commands that end by an error, too


def on_its_device(evaluate: Evaluate) -> Evaluate:
    """``evaluate`` for a model anywhere: evaluations give tensors on the CPU and want such back."""

    def run(model: nn.Module) -> float | Mapping[str, float]:
        device = next(iter(model.parameters())).device
        if device.type == "cpu":
            return evaluate(model)

        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = tree_map_only(Tensor, lambda leaf: leaf.to(device), (args, kwargs))
            return tree_map_only(Tensor, torch.Tensor.cpu, model(*args, **kwargs))

        judge: Callable[..., Any] = evaluate
        return judge(call)

    return run


def show_moment(moment: Moment, progress: Stages) -> None:
    """Step, loss, metric and time left."""
    metric = "" if moment.metric is None else f"  metric {figure_text(moment.metric)}"
    minutes, seconds = divmod(round(moment.seconds_left), 60)
    left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    text = f"step {moment.step}/{moment.steps}  loss {moment.loss:.4g}{metric}  {left} left"
    progress.say(text, lasting=moment.step == moment.steps or moment.step % max(moment.steps // 10, 1) == 0)
