"""Reduces a random model to the smallest one of which the same is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from fuzz_builder import Builder, Reject, Shape
from fuzz_draw import runs
from fuzz_model import Input, Model, values_in

__all__ = ["reduced", "shapes_of"]


def reduced(model: Model, same: Callable[[Model], bool], attempts: int = 150) -> Model:
    """The smallest model for which ``same`` still holds; every step makes it shorter.

    Outputs are dropped, a value takes the place of another of its shape, and a new input that of a whole part.
    """
    found = True
    while found and attempts > 0:
        found = False
        for candidate in _smaller(model):
            candidate = candidate.without_dead()
            if _size(candidate) >= _size(model) or not runs(candidate):
                continue
            attempts -= 1
            if same(candidate):
                model, found = candidate, True
                break
            if attempts <= 0:
                break
    return model


def _size(model: Model) -> tuple[int, int]:
    return len(model.steps) + len(model.outputs), len(model.inputs)


def _smaller(model: Model) -> Iterator[Model]:
    """Large pieces first."""
    if len(model.outputs) > 1:
        for name in model.outputs:
            yield replace(model, outputs=(name,), form="one")
    shapes = shapes_of(model)
    names = list(model.steps)
    for name in names:  # what comes before a value goes
        if name in shapes and values_in(model.steps[name]) - {name}:
            yield _as_input(model, name, shapes[name])
    for name in reversed(names):  # the last values are returned instead
        if name in shapes and name not in model.outputs:
            yield replace(model, outputs=(name,), form="one")
    for place, name in enumerate(names):
        before = [item.name for item in model.inputs] + names[:place]
        for other in reversed(before):
            if other in shapes and shapes[other] == shapes.get(name):
                yield _instead(model, name, other)


def _instead(model: Model, name: str, other: str) -> Model:
    """``other`` in the place of the value ``name``."""
    steps = {
        key: re.sub(rf"\b{name}\b", other, statement) for key, statement in model.steps.items() if key != name
    }
    outputs = tuple(dict.fromkeys(other if item == name else item for item in model.outputs))
    form = model.form if len(outputs) > 1 else "one"
    return replace(model, steps=steps, outputs=outputs, form=form)


def _as_input(model: Model, name: str, shape: Shape) -> Model:
    number = 1 + max((int(item.name[1:]) for item in model.inputs), default=-1)
    item = Input(f"x{number}", shape)
    return _instead(replace(model, inputs=(*model.inputs, item)), name, item.name)


def shapes_of(model: Model) -> dict[str, Shape]:
    """The shape of every value, with the batch as in `Builder`."""
    builder = Builder(model.seed)
    builder.batch, builder.sizes = model.batch, (model.batch, model.batch + 3)
    shapes: dict[str, Shape] = {}
    for item in model.inputs:
        builder.place(item)
        shapes[item.name] = item.shape
    for name, line in model.layers.items():
        builder.setup(name, line)
    for name, statement in model.steps.items():
        try:
            builder.run(statement)
            shapes[name] = builder.shape_of(name)
        except Reject:
            continue  # several values
        except Exception:
            break
    return shapes
