"""Training from the command line: processes, evaluations, how far it is, and ``graphprune shrink --tune``."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from graphprune.asking.tuning import Tuning
from graphprune.calibration import Evaluate
from graphprune.cli.data import read_data
from graphprune.cli.images import DataOptions, parse_channels
from graphprune.cli.models import Source
from graphprune.cli.output import stdout_is_kept
from graphprune.cli.progress import Stages
from graphprune.cli.request import ShrinkRequest
from graphprune.cli.user_file import read_function
from graphprune.face.shrink_and_tune import Loop, shrink_and_tune
from graphprune.ground.errors import InputError
from graphprune.ground.options import share
from graphprune.report.formats import figure_text
from graphprune.tuning import Moment

__all__ = [
    "Figures",
    "check_training",
    "end_processes",
    "is_first",
    "joined_processes",
    "looped",
    "on_its_device",
    "parse_tuning",
    "show_moment",
]


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
        return {"evaluation": dict(self.found)} if self.found else {}


def show_moment(moment: Moment, progress: Stages) -> None:
    """Shows the step, the loss, the figure of the evaluation and the time left."""
    metric = "" if moment.metric is None else f"  metric {figure_text(moment.metric)}"
    minutes, seconds = divmod(round(moment.seconds_left), 60)
    left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    text = f"step {moment.step}/{moment.steps}  loss {moment.loss:.4g}{metric}  {left} left"
    progress.say(text, lasting=moment.step == moment.steps or moment.step % max(moment.steps // 10, 1) == 0)


def check_training(request: ShrinkRequest) -> None:
    """Refuses options about training between rounds that are not understood, or have no effect.

    Raises:
        InputError: a setting is unknown or no number; there is no ``--tune``.
    """
    parse_tuning(request.tuning)
    if not request.tune and (request.tuning or request.min_metric is not None):
        raise InputError("--tuning and --min-metric have no effect without --tune", "say --tune DATA")


def looped(request: ShrinkRequest, source: Source, progress: Stages, **options: Any) -> Loop:
    """Prunes and fine-tunes in rounds; each is a directory in ``OUTPUT.rounds``.

    Args:
        options: of `graphprune.shrink_and_tune`.
    """
    assert request.tune is not None
    assert request.output is not None
    settings, data_options = parse_tuning(request.tuning)
    place = request.output.resolve()
    with stdout_is_kept():
        evaluate = read_function("--evaluate", request.evaluate) or source.evaluate
        loop = shrink_and_tune(
            source.model,
            source.inputs,
            read_data(request.tune, source.inputs, data_options),
            settings,
            evaluate=None if evaluate is None else on_its_device(evaluate),
            min_metric=request.min_metric,
            directory=place.with_name(f"{place.name}.rounds"),
            watch=lambda moment: show_moment(moment, progress),
            progress=progress,
            **options,
        )
    end_processes()
    return loop


def parse_tuning(items: Sequence[str]) -> tuple[Tuning, DataOptions]:
    """``NAME=VALUE`` as settings of the training, and of the data.

    Raises:
        InputError: a name is unknown, or its value is of another kind.
    """
    known = {field.name: (cls, field.default) for cls in (Tuning, DataOptions) for field in fields(cls)}
    found: dict[type, dict[str, Any]] = {Tuning: {}, DataOptions: {}}
    for item in items:
        name, equals, text = item.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            raise InputError(f"--tuning {item!r} is no setting", f"use NAME=VALUE with {', '.join(known)}")
        cls, default = known[name]
        found[cls][name] = _value(name, text, default)
    return Tuning(**found[Tuning]), DataOptions(**found[DataOptions])


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple(text.split(",")) if isinstance(default[0], str) else parse_channels(name, text, default)
    if isinstance(default, bool):
        kind: Callable[[str], Any] = {"true": True, "false": False}.__getitem__
    else:
        kind = int if name == "steps" else str if default is None else type(default)
    try:
        return share(name, text) if kind is float else kind(text)
    except (ValueError, KeyError, InputError) as error:
        raise InputError(f"--tuning {name}={text} does not fit", f"it is {default!r} by default") from error
