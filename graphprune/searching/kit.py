"""A kit: models of many widths as small files, to be timed on the device that counts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy

from graphprune import exporting
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.kinds import KINDS
from graphprune.cutting.cut import cut
from graphprune.ground.clock import Clock
from graphprune.planning import Budget, Constraints, Plan, Target, choose, find_limits
from graphprune.planning.plan import fingerprint, make_plan
from graphprune.profiling.device import MULTIPLE
from graphprune.profiling.lone_layers import OPERATORS
from graphprune.scoring import find_importance

__all__ = ["NAMES", "kit_files"]

SHARES = (1.0, 0.75, 0.5, 0.35, 0.25)
MIXED = 8  # models in which every group keeps a share of its own
SCRIPT, WEIGHTS, INPUTS, KIT = "time_kit.py", "weights.bin", "inputs.npz", "kit.json"
MODELS = tuple(f"model-{place:02}.onnx" for place in range(len(SHARES) + MIXED))
NAMES = (*MODELS, SCRIPT, WEIGHTS, INPUTS, KIT)
Writer = Callable[[Path], None]


def kit_files(graph: DependencyGraph, batch: int, seed: int, clock: Clock) -> dict[str, Writer]:
    """Name → what writes it: the models, their weights, inputs, what they are, and the script that times them.

    Raises:
        ExportError: a model cannot be exported.
    """
    weights = exporting.SharedWeights(OPERATORS)
    sizes: dict[str, dict[str, int]] = {}
    for name, plan in zip(MODELS, _plans(graph, seed), strict=False):
        with clock("write models to time"):
            slim = cut(graph, plan).slim
            weights.add(name, exporting.OnnxProgram.of(slim).finished())
        sizes[name] = plan.sizes
    example = graph.program.example_at({"batch": batch} if graph.program.dynamic_batch else {})
    names = [value.name for value in weights.models[next(iter(sizes))].graph.input]
    feed = {
        name: exporting.to_numpy(tensor) for name, tensor in exporting.match_inputs(names, *example).items()
    }
    document = {
        "format": 1,
        "model": fingerprint(graph),
        "batch": batch,
        "inputs": {name: list(array.shape) for name, array in feed.items()},
        "models": {name: {"sizes": widths} for name, widths in sizes.items()},
    }
    script = files("graphprune.profiling").joinpath(SCRIPT).read_text(encoding="utf-8")
    return {
        **dict.fromkeys(sizes, weights.write_model),
        WEIGHTS: weights.write_weights,
        INPUTS: partial(_write_inputs, feed=feed),
        KIT: partial(_write_text, text=json.dumps(document, indent=1) + "\n"),
        SCRIPT: partial(_write_text, text=script),
    }


def _plans(graph: DependencyGraph, seed: int) -> Iterator[Plan]:
    """The original, models in which all groups keep the same share, and models in which each keeps one of its own."""
    limits = find_limits(graph, Constraints(align=dict.fromkeys(KINDS, MULTIPLE)))
    scores = find_importance("l2")(graph, graph.program.tensors, seed)
    drawn = random.Random(seed)
    known: set[tuple[int, ...]] = set()
    for number in range(len(SHARES) + MIXED):
        even = SHARES[number] if number < len(SHARES) else None
        wanted = {name: limit.at(1 - (even or drawn.choice(SHARES))) for name, limit in limits.items()}
        plan = make_plan(graph, choose(graph, scores, [_all(graph)], wanted, "uniform"))
        widths = tuple(plan.sizes.values())
        if widths not in known:
            known.add(widths)
            yield plan


def _all(graph: DependencyGraph) -> Target:
    """A budget that asks for nothing: the limits say all."""
    return Target(Budget("macs", 1.0), graph.macs)


def _write_inputs(path: Path, feed: Mapping[str, exporting.Array]) -> None:
    numpy.savez(path, **feed)  # type: ignore[arg-type]


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
