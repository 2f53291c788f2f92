"""``graphprune shrink --tune``: prune, fine-tune and evaluate, in rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from graphprune.asking.tuning import Tuning
from graphprune.cli.data import read_data
from graphprune.cli.images import DataOptions, parse_channels
from graphprune.cli.models import Source
from graphprune.cli.output import stdout_is_kept
from graphprune.cli.progress import Stages
from graphprune.cli.request import ShrinkRequest
from graphprune.cli.training import end_processes, on_its_device, show_moment
from graphprune.cli.user_file import read_evaluation
from graphprune.face.shrink_and_tune import Loop, shrink_and_tune
from graphprune.ground.errors import InputError
from graphprune.ground.options import share

__all__ = ["check_training", "looped", "parse_tuning"]


def check_training(request: ShrinkRequest) -> None:
    """Refuses options about training between rounds that are not understood, or have no effect.

    Raises:
        InputError: a setting is unknown or no number; there is no ``--tune``.
    """
    parse_tuning(request.tuning)
    if not request.tune and (request.tuning or request.evaluate or request.min_metric is not None):
        raise InputError(
            "--tuning, --evaluate and --min-metric have no effect without --tune", "say --tune DATA"
        )


def looped(request: ShrinkRequest, rounds: int, source: Source, progress: Stages, **options: Any) -> Loop:
    """Prunes and fine-tunes in ``rounds``; each is a directory in ``OUTPUT.rounds``.

    Args:
        options: of `graphprune.shrink_and_tune`.
    """
    assert request.tune is not None
    assert request.output is not None
    settings, data_options = parse_tuning(request.tuning)
    place = request.output.resolve()
    with stdout_is_kept():
        evaluate = read_evaluation(request.evaluate) or source.evaluate
        loop = shrink_and_tune(
            source.model,
            source.inputs,
            read_data(request.tune, source.inputs, data_options),
            settings,
            rounds=rounds,
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
