"""What commands share that train, or run in several processes: processes, evaluations, and how far training is."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from graphprune.calibration import Evaluate
from graphprune.cli.progress import Stages
from graphprune.report.formats import figure_text
from graphprune.tuning import Moment

__all__ = ["Figures", "end_processes", "is_first", "joined_processes", "on_its_device", "show_moment"]


def is_first() -> bool:
    """Whether this is the process that writes and shows; ``torchrun`` and ``accelerate launch`` number them."""
    return int(os.environ.get("RANK", "0")) == 0


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
    """``evaluate`` for a model on any device, though evaluations give tensors on the CPU and expect such back."""

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


class Figures:
    """What an evaluation gives for the original and for the slim model. If it fails, a note says so, and no error."""

    def __init__(self, evaluate: Evaluate | None, progress: Stages) -> None:
        self.evaluate, self.progress = evaluate, progress
        self.found: dict[str, Mapping[str, float]] = {}
        self.notes: list[str] = []

    def add(self, when: str, what: str, model: Any) -> None:
        """Evaluates ``model``, called ``what``, where there is an evaluation that has not failed."""
        if self.evaluate is None:
            return
        self.progress(f"evaluate the {what}")
        try:
            found = self.evaluate(model)
            self.found[when] = found if isinstance(found, Mapping) else {"metric": float(found)}
        except Exception as error:  # a fixed input shape, a missing package, anything the data asks for
            self.evaluate, self.found = None, {}
            self.notes.append(f"not evaluated: {' '.join(str(error).split())[:200]}")

    @property
    def extra(self) -> dict[str, Any]:
        return {"evaluation": self.found} if self.found else {}


def show_moment(moment: Moment, progress: Stages) -> None:
    """Shows the step, the loss, the figure of the evaluation and the time left."""
    metric = "" if moment.metric is None else f"  metric {figure_text(moment.metric)}"
    minutes, seconds = divmod(round(moment.seconds_left), 60)
    left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    text = f"step {moment.step}/{moment.steps}  loss {moment.loss:.4g}{metric}  {left} left"
    progress.say(text, lasting=moment.step == moment.steps or moment.step % max(moment.steps // 10, 1) == 0)
