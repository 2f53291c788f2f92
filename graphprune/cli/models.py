"""MODEL on the command line: of the zoo, torchvision or timm, a factory in a user's file, an ONNX file, or a result."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.calibration import Evaluate
from graphprune.capture.inputs import Inputs
from graphprune.cli.file_kinds import holds_result, kind_of_file, not_a_model
from graphprune.cli.onnx_file import is_onnx, opened_file
from graphprune.cli.result_folder import opened_result
from graphprune.cli.shapes import reshaped, standard_inputs
from graphprune.cli.user_file import made_by_factory, named_in, without_factory
from graphprune.cli.weights import load_weights, read_weights
from graphprune.ground.errors import InputError
from graphprune.importing.reading import AS_USUAL, Tidying

__all__ = ["FACTORY", "LIBRARIES", "Source", "known_names", "resolve"]

LIBRARIES = ("zoo", "torchvision", "timm")  # a bare name is looked for in this order
NO_WEIGHTS = "none"
PUBLISHED = "published"
FACTORY = "factory"  # a user's file gives its model the weights it likes
FILE = "file"  # an ONNX file or a result holds its own
HUB = "hf-hub"  # a model of timm by its name on the Hugging Face hub
FOLDERS = "hf"  # see `graphprune.cli.pretrained`
KNOWN = (
    "zoo:NAME, torchvision:NAME, timm:NAME, NAME, hf:FOLDER, hf-hub:OWNER/NAME, path/to/file.py:factory, "
    "path/to/file.onnx or a directory that shrink wrote"
)
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
DETECTOR = (
    "this is the network of {}, without what decides on boxes; with --graft it fits into the detector again: "
    "docs/guides/detection.md"
)


@dataclass(frozen=True)
class Source:
    """A model that was named on the command line.

    Attributes:
        spec: the name that makes the same model again.
        model: in eval mode.
        inputs: (args, kwargs) of one example.
        weights: "published", "none", "factory", "file" or the name of a file.
        seed: of random weights and random inputs.
        shapes: those of ``--input-shape``.
        notes: what the user should know.
        evaluate: gives figures of a model; None where there is no data, and for random weights, which have
            nothing to lose.
        tokenizer: of a model that reads text, where it comes with one.
    """

    spec: str
    model: nn.Module
    inputs: Inputs
    weights: str
    seed: int
    shapes: tuple[tuple[int, ...], ...] = ()
    notes: tuple[str, ...] = ()
    evaluate: Evaluate | None = field(default=None, repr=False)
    tokenizer: Callable[..., Any] | None = None


@dataclass(frozen=True)
class _Made:
    """A model as its source makes it. ``inputs`` is None where the user has to say the shape."""

    model: nn.Module
    inputs: Inputs | None
    weights: str
    note: str = ""
    evaluate: Evaluate | None = None
    tokenizer: Callable[..., Any] | None = None
    network: Callable[[nn.Module], nn.Module] | None = None  # what can be captured, once it has its weights


def resolve(
    spec: str,
    weights: str | None = None,
    shapes: Sequence[tuple[int, ...]] = (),
    seed: int = 0,
    given: Mapping[str, Any] = {},
    tidying: Tidying = AS_USUAL,
) -> Source:
    """Builds the model that ``spec`` names.

    Args:
        spec: ``zoo:NAME``, ``torchvision:NAME``, ``timm:NAME``, ``NAME``, ``hf-hub:OWNER/NAME``, ``FILE.py:FACTORY``,
            ``FILE.onnx`` or a directory that shrink wrote. A user's file of Python is run.
        weights: "published", "none" or a file; None takes the published ones, if the model has any.
        shapes: shapes of the example inputs, the model's own if there are none.
        seed: of random weights and random inputs.
        given: of an ONNX file, shapes and arrays by the names of inputs.
        tidying: of an ONNX file.

    Raises:
        InputError: there is no such model, or it cannot be built; the message names the nearest ones.
        WeightsError: the weights cannot be had or do not fit.
    """
    if is_onnx(spec):
        return _from_onnx(spec, weights, shapes, seed, given, tidying)
    if given:
        raise InputError(
            f"--input and --feed are for ONNX files, and {spec} is none", "say shapes with --input-shape"
        )
    if holds_result(Path(spec)):
        return _from_result(Path(spec), weights, shapes, seed)
    full, make = _find(spec)
    # Read before the model is built: a wrong path should not cost minutes.
    state = None if weights in (None, PUBLISHED, NO_WEIGHTS) else read_weights(Path(str(weights)))
    torch.manual_seed(seed)
    made = make(NO_WEIGHTS if state is not None else weights)
    if state is not None:
        load_weights(made.model, state, str(weights), full)
        made = replace(made, weights=str(weights), note="" if made.network is None else made.note)
    model = made.model if made.network is None else made.network(made.model)
    return Source(
        spec=full,
        model=model.eval(),
        inputs=_inputs(full, made.inputs, shapes, seed),
        weights=made.weights,
        seed=seed,
        shapes=tuple(shapes),
        notes=(made.note,) if made.note else (),
        evaluate=None if made.weights == NO_WEIGHTS else made.evaluate,
        tokenizer=made.tokenizer,
    )


def _from_onnx(
    spec: str,
    weights: str | None,
    shapes: Sequence[tuple[int, ...]],
    seed: int,
    given: Mapping[str, Any],
    tidying: Tidying,
) -> Source:
    if weights not in (None, NO_WEIGHTS, FILE):
        raise InputError(f"--weights {weights} is given for {spec}", "leave it out: the file has its own")
    if (wrong := kind_of_file(Path(spec))) is not None:
        raise wrong
    model, inputs = opened_file(spec, shapes, given, tidying)
    return Source(spec, model, inputs, FILE, seed, tuple(tuple(item.shape) for item in inputs[0]))


def _from_result(folder: Path, weights: str | None, shapes: Sequence[tuple[int, ...]], seed: int) -> Source:
    """The slim model of a result, to go on from it."""
    if weights not in (None, NO_WEIGHTS, FILE):
        raise InputError(f"--weights {weights} is given for {folder}", "leave it out: the result has its own")
    opened = opened_result(folder)
    if isinstance(opened, Path):
        return _from_onnx(str(opened), weights, shapes, seed, {}, AS_USUAL)
    inputs = _inputs(str(folder), opened.inputs, shapes, seed)
    notes, evaluate = (f"goes on from {folder}: budgets are shares of what that holds",), None
    if opened.model_name.startswith("zoo:"):
        evaluate = _from_zoo(opened.model_name.removeprefix("zoo:"), NO_WEIGHTS).evaluate
    return Source(str(folder), opened.model, inputs, FILE, seed, tuple(shapes), notes, evaluate)


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
    prefix, colon, name = spec.partition(":")
    if colon and prefix in LIBRARIES:
        return spec, partial(_from_library, prefix, name)
    if colon and prefix == HUB:
        return f"timm:{spec}", partial(_from_library, "timm", spec)
    if named := named_in(spec):
        return spec, partial(_from_file, *named)
    if spec.endswith(".py"):
        raise without_factory(Path(spec))
    if (wrong := not_a_model(Path(spec))) is not None:
        raise wrong
    if colon and prefix == FOLDERS:
        raise InputError(
            f"{spec} is for shrink, inspect, verify and tune", "name a path/to/file.py:factory that loads it"
        )
    if colon:
        raise InputError(f"MODEL {spec!r} has no known prefix {prefix!r}", f"use {KNOWN}")
    if Path(spec).suffix in WEIGHT_SUFFIXES and not Path(spec).exists():
        raise InputError(
            f"there is no file {spec}", "check the path; weights go to their model with --weights FILE"
        )
    if Path(spec).exists() or Path(spec).parent != Path():
        what = "is no model" if Path(spec).exists() else "does not exist"
        raise InputError(f"the file or directory {spec} {what}", f"use {KNOWN}")
    library = _library_with(spec)
    return f"{library}:{spec}", partial(_from_library, library, spec)


def _library_with(name: str) -> str:
    """The first library that has a model of that name."""
    known = {library: known_names(library) for library in LIBRARIES}
    for library, names in known.items():
        # timm's names may end in a tag of published weights
        if name in names or (library == "timm" and name.partition(".")[0] in names):
            return library
    from models_zoo.registry import nearest

    missing = [library for library, names in known.items() if not names]
    note = f" ({' and '.join(missing)} not installed)" if missing else ""
    raise InputError(
        f"there is no model {name!r} in the zoo, torchvision or timm{note}",
        nearest(name, dict.fromkeys(chain(*known.values()))),
    )


def known_names(library: str) -> Sequence[str]:
    """The models of "zoo", "torchvision" or "timm"; none where the library is not installed."""
    import models_zoo
    from models_zoo import torchvision_ops, wheels

    if library == "zoo":
        return models_zoo.names()
    if not all(map(importlib.util.find_spec, (library, "torchvision"))):
        return ()
    torchvision_ops.ensure()
    listing = wheels.module(library, "torchvision.models" if library == "torchvision" else library)
    names: Sequence[str] = listing.list_models()
    return names


def _from_library(library: str, name: str, weights: str | None) -> _Made:
    if library == "zoo":
        return _from_zoo(name, weights)
    from models_zoo import sources

    make = sources.torchvision_model if library == "torchvision" else sources.timm_model
    model, example_inputs, shape = make(name, weights != NO_WEIGHTS)
    made = _Made(model, example_inputs(1), weights or PUBLISHED)
    if library == "torchvision" and sources.is_detector(name):
        from models_zoo.detection import DetectionNetwork, detection_inputs

        made = replace(
            made,
            inputs=(detection_inputs(model, 1, shape[-1]), {}),
            note=DETECTOR.format(name),
            network=DetectionNetwork,
        )
    return made


def _from_zoo(name: str, weights: str | None) -> _Made:
    import models_zoo

    entry = models_zoo.get(name)
    used, note = weights or PUBLISHED, ""
    if weights is None and entry.load_weights is None:
        used, note = NO_WEIGHTS, f"zoo:{name} has no published weights: random ones are used"
    model, inputs = models_zoo.load(name, used), entry.example_inputs(1)
    return _Made(model, inputs, used, note, entry.evaluate, entry.tokenizer)


def _from_file(path: Path, factory: str, weights: str | None) -> _Made:
    if weights == PUBLISHED:
        raise InputError(
            f"{path} has no published weights",
            "leave --weights out for those that the factory gives, or name a file",
        )
    return _Made(*made_by_factory(path, factory), FACTORY)
