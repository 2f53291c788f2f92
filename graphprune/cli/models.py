"""MODEL on the command line: a name of the zoo, torchvision or timm, or a factory in the user's own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.cli.shapes import Inputs, reshaped, standard_inputs
from graphprune.cli.user_file import made_by_factory, without_factory
from graphprune.cli.weights import load_weights, read_weights
from graphprune.ground.errors import InputError

__all__ = ["FACTORY", "Source", "resolve"]

Evaluate = Callable[[Callable[..., Any]], dict[str, float]]

NO_WEIGHTS = "none"
PUBLISHED = "published"
FACTORY = "factory"  # a user's file gives its model the weights it likes
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".onnx")


@dataclass(frozen=True)
class Source:
    """A model that was named on the command line.

    Attributes:
        spec: the name that makes the same model again.
        model: in eval mode.
        inputs: (args, kwargs) of one example.
        weights: "published", "none", "factory" or the name of a file.
        seed: of random weights and random inputs.
        shapes: those of ``--input-shape``.
        notes: what the user should know.
        evaluate: gives figures of a model; None where there is no data.
    """

    spec: str
    model: nn.Module
    inputs: Inputs
    weights: str
    seed: int
    shapes: tuple[tuple[int, ...], ...] = ()
    notes: tuple[str, ...] = ()
    evaluate: Evaluate | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Made:
    """A model as its source makes it. ``inputs`` is None where the user has to say the shape."""

    model: nn.Module
    inputs: Inputs | None
    weights: str
    note: str = ""
    evaluate: Evaluate | None = None


def resolve(
    spec: str, weights: str | None = None, shapes: Sequence[tuple[int, ...]] = (), seed: int = 0
) -> Source:
    """Builds the model that ``spec`` names.

    Args:
        spec: ``zoo:NAME``, ``torchvision:NAME``, ``timm:NAME``, ``NAME`` or ``FILE.py:FACTORY``. A user's
            file is run.
        weights: "published", "none" or a file; None takes the published ones, if the model has any.
        shapes: shapes of the example inputs, the model's own if there are none.
        seed: of random weights and random inputs.

    Raises:
        InputError: there is no such model, or it cannot be built; the message names the nearest ones.
        WeightsError: the weights cannot be had or do not fit.
    """
    full, make = _find(spec)
    # Read before the model is built: a wrong path should not cost minutes.
    state = None if weights in (None, PUBLISHED, NO_WEIGHTS) else read_weights(Path(str(weights)))
    torch.manual_seed(seed)
    made = make(NO_WEIGHTS if state is not None else weights)
    used, notes = made.weights, [made.note] if made.note else []
    if state is not None:
        load_weights(made.model, state, str(weights), full)
        used, notes = str(weights), []
    return Source(
        spec=full,
        model=made.model.eval(),
        inputs=_inputs(full, made.inputs, shapes, seed),
        weights=used,
        seed=seed,
        shapes=tuple(shapes),
        notes=tuple(notes),
        evaluate=made.evaluate,
    )


def _inputs(spec: str, example: Inputs | None, shapes: Sequence[tuple[int, ...]], seed: int) -> Inputs:
    if example is not None:
        return reshaped(example, shapes, seed)
    if not shapes:
        raise InputError(
            f"{spec} gives no example inputs", "say their shape with --input-shape, such as 1,3,224,224"
        )
    return standard_inputs(shapes, seed)


_Make = Callable[[str | None], _Made]


def _find(spec: str) -> tuple[str, _Make]:
    """The full spec, and the function that makes its model with "published", "none" or default weights."""
    prefix, colon, rest = spec.partition(":")
    if colon and prefix in _LIBRARIES:
        return spec, lambda weights: _LIBRARIES[prefix](rest, weights)
    path, colon, factory = spec.rpartition(":")
    if colon and path.endswith(".py"):
        return spec, lambda weights: _from_file(Path(path), factory, weights)
    if colon:
        raise InputError(
            f"MODEL {spec!r} has no known prefix {prefix!r}",
            "use zoo:NAME, torchvision:NAME, timm:NAME, NAME or path/to/file.py:factory",
        )
    if spec.endswith(".py"):
        raise without_factory(Path(spec))
    if spec.endswith(WEIGHT_SUFFIXES):
        raise InputError(
            f"{spec} is a file of weights, not a model",
            f"name the model that they belong to, and give them with --weights {spec}",
        )
    library = _library_with(spec)
    return f"{library}:{spec}", lambda weights: _LIBRARIES[library](spec, weights)


def _library_with(name: str) -> str:
    """Where a bare name is found first."""
    known: list[str] = []
    for library, names in _NAMES.items():
        here = names()
        # timm's names may end in a tag of published weights
        if name in here or (library == "timm" and name.partition(".")[0] in here):
            return library
        known += here
    from models_zoo.registry import nearest

    raise InputError(
        f"there is no model {name!r} in {_searched()}", nearest(name, list(dict.fromkeys(known)))
    )


def _searched() -> str:
    missing = [library for library, names in _NAMES.items() if not names()]
    text = "the zoo, torchvision or timm"
    return f"{text} ({' and '.join(missing)} not installed)" if missing else text


def _zoo_names() -> Sequence[str]:
    import models_zoo

    return models_zoo.names()


def _torchvision_names() -> Sequence[str]:
    return _listed("torchvision", "torchvision.models")


def _timm_names() -> Sequence[str]:
    return _listed("timm", "timm")


def _listed(distribution: str, module: str) -> Sequence[str]:
    from importlib.util import find_spec

    from models_zoo import torchvision_ops, wheels

    if find_spec(distribution) is None or find_spec("torchvision") is None:
        return ()
    torchvision_ops.ensure()
    names: Sequence[str] = wheels.module(distribution, module).list_models()
    return names


def _from_zoo(name: str, weights: str | None) -> _Made:
    import models_zoo

    entry = models_zoo.get(name)
    published = entry.load_weights is not None
    used = weights or (PUBLISHED if published else NO_WEIGHTS)
    fallen_back = weights is None and not published
    note = f"zoo:{name} has no published weights: random ones are used" if fallen_back else ""
    model = models_zoo.load(name, used)
    return _Made(model, entry.example_inputs(1), used, note, entry.evaluate)


def _from_torchvision(name: str, weights: str | None) -> _Made:
    from models_zoo.sources import torchvision_model

    model, example_inputs, _ = torchvision_model(name, weights != NO_WEIGHTS)
    return _Made(model, example_inputs(1), weights or PUBLISHED)


def _from_timm(name: str, weights: str | None) -> _Made:
    from models_zoo.sources import timm_model

    model, example_inputs, _ = timm_model(name, weights != NO_WEIGHTS)
    return _Made(model, example_inputs(1), weights or PUBLISHED)


def _from_file(path: Path, factory: str, weights: str | None) -> _Made:
    if weights == PUBLISHED:
        raise InputError(
            f"{path} has no published weights",
            "leave --weights out for those that the factory gives, or name a file",
        )
    model, inputs = made_by_factory(path, factory)
    return _Made(model, inputs, FACTORY)


_LIBRARIES: Mapping[str, Callable[[str, str | None], _Made]] = {
    "zoo": _from_zoo,
    "torchvision": _from_torchvision,
    "timm": _from_timm,
}
_NAMES: Mapping[str, Callable[[], Sequence[str]]] = {
    "zoo": _zoo_names,
    "torchvision": _torchvision_names,
    "timm": _timm_names,
}
