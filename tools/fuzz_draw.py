"""Draws a whole random model: inputs, steps, and heads for what no step has used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fuzz_attention import MIXERS
from fuzz_builder import Builder, Op, Reject
from fuzz_layers import LAYERS
from fuzz_model import Model, widened
from fuzz_places import PLACED
from fuzz_views import MOVES
from fuzz_weights import WEIGHTS
from torch.utils._pytree import tree_leaves

__all__ = ["LENGTHS", "OPS", "draw", "runs"]

OPS: dict[Op, float] = {**LAYERS, **WEIGHTS, **MOVES, **PLACED, **MIXERS}
IMAGE, SIGNAL, TOKENS, VECTOR, VOLUME = "image signal tokens vector volume".split()
LENGTHS = (3, 6, 10, 14, 18)
KINDS = {IMAGE: 5, TOKENS: 3, SIGNAL: 1.5, VECTOR: 1, VOLUME: 0.5}


def _input(g: Builder) -> None:
    kind = g.random.choices(list(KINDS), list(KINDS.values()))[0]
    side = g.choice((4, 6, 8, 8))
    shapes = {
        IMAGE: (g.choice((1, 3, 4, 8)), side, g.choice((side, side, 6))),
        SIGNAL: (g.choice((1, 4, 8)), g.choice((8, 12, 16))),
        TOKENS: (g.choice((4, 6, 8, 9)), g.channels),
        VECTOR: (g.channels,),
        VOLUME: (g.choice((1, 2, 4)), 4, 4, g.choice((4, 6))),
    }
    x = g.input((-1, *shapes[kind]))
    if g.chance(0.8) and kind != TOKENS:  # a first layer, whose width is free
        g.kind = "stem"
        width = g.shapes[x][1]
        count = len(g.shapes[x]) - 2
        layer = (
            f"nn.Conv{count}d({width}, {g.channels}, 3, padding=1)"
            if count
            else f"nn.Linear({width}, {g.channels})"
        )
        g.add(f"{g.layer(layer)}({x})")
    elif kind == TOKENS and g.chance(0.7):
        g.kind = "stem"
        g.add(f"{g.layer(f'nn.Linear({g.shapes[x][-1]}, {g.channels})')}({x})")


def _vector(g: Builder, name: str, width: int) -> str:
    """``batch × width`` of a value."""
    shape = g.shapes[name]
    if shape[0] != -1 or any(size < 0 for size in shape):
        folded = next((dim for dim, size in enumerate(shape) if size < 0), None)
        if folded is None:
            raise Reject
        name = g.add(f"{name}.movedim({folded}, 0)") if folded else name
        name = g.add(f"{name}.reshape({g.inputs[0].name}.shape[0], -1)")
    shape = g.shapes[name]
    if len(shape) == 4:
        how = g.random.random()
        if how < 0.6:
            name = g.add(f"{name}.mean((2, 3))")
        elif how < 0.8:
            name = g.add(f"F.adaptive_avg_pool2d({name}, 1).flatten(1)")
        else:
            name = g.add(f"{name}.flatten(1)")
    elif len(shape) != 2:
        codes = ["{}.flatten(1)", "{}.reshape({}.shape[0], -1)"] + ["{}.mean(1)", "{}[:, 0]"] * (
            len(shape) == 3
        )
        name = g.add(g.choice(codes).format(name, name))
    return g.add(f"{g.layer(f'nn.Linear({g.shapes[name][-1]}, {width})')}({name})")


def _floating(g: Builder, name: str) -> bool:
    return g.env[0][name].is_floating_point()


def draw(seed: int, lengths: Sequence[int] = LENGTHS) -> Model:
    """The random model of this number, always the same one, of about one of so many steps.

    Raises:
        Reject: it came to nothing.
    """
    torch.manual_seed(seed)
    g = Builder(seed)
    for _ in range(g.choice((1, 1, 1, 2, 3))):
        _input(g)
    wanted = g.choice(lengths)
    names, weights = list(OPS), list(OPS.values())
    added = attempts = 0
    while added < wanted and attempts < 8 * wanted:
        attempts += 1
        added += g.attempt(g.random.choices(names, weights)[0])
    model = g.model(_outputs(g)).without_dead()
    if not runs(model):
        raise Reject
    return model


def runs(model: Model) -> bool:
    """Whether it runs with gradients, at both batch sizes, and comes to numbers of a sensible size."""
    try:
        module = model.build()
        for batch, double in ((model.batch, False), (model.batch + 3, True)):
            inputs = model.example(batch)
            outputs = widened(module)(*map(widened, inputs)) if double else module(*inputs)
            for output in tree_leaves(outputs):
                if not (output.isfinite().all() and 1e-3 < output.abs().max() < 1e4):
                    return False
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
        return False
    return bool(model.layers)


def _outputs(g: Builder) -> list[str]:
    """All that is left over comes together in heads; some of it is returned as it is."""
    left = [name for name in g.fresh if name in g.shapes and _floating(g, name)][-5:]
    g.kind = "head"
    raw = left[-1:] if g.chance(0.15) else []
    width, found = g.choice((3, 5, 10)), []
    for name in left:
        if name not in raw:

            def head(g: Builder, name: str = name) -> None:
                found.append(_vector(g, name, width))

            g.attempt(head)
    found = [name for name in found if name in g.shapes]
    outputs = [*raw]
    while len(found) > 1 and g.chance(0.7):
        found = [*found[2:], g.add(f"{found[0]} + {found[1]}")]
    outputs += found
    if not outputs:
        raise Reject
    return outputs
