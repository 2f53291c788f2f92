"""How much accuracy a slim model keeps: graphprune's repair beside torch-pruning, at the same measured cost.

    python tools/bench_accuracy.py                 # all models; goes on where it was stopped
    python tools/bench_accuracy.py mtcnn_rnet --again
    python tools/bench_accuracy.py --table         # docs/accuracy.md from what was measured

Ours is one setting for all models: importance "auto", which judges on calibration data, and repair on the same.
torch-pruning's is the best of its criteria and rankings *on the test data*, model by model and share by share (where
build/choice.jsonl has measured all of them, the best few of those are run again). Then both are fine-tuned at a quarter
of the cost, by the same trainer with the same data, steps and rate, ours and the best few of torch-pruning's: towards
labels and the original's outputs where there are labels, else ours towards its outputs and layers (what torch-pruning's
layers stand for is not known afterwards). Where examples are shuffled, figures are means of several orders.
Each line of build/accuracy.jsonl is one slim model; what fails is a line too, with its reason. Its data:
`pip install mnist1d` and, without its dependencies, `pip install --no-deps aeon==1.6.0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from accuracy_table import TUNED, write_table
from accuracy_tasks import TASKS, calibration, make_task, training
from bench_rows import BUILD, Row, counter, key, read, run
from bench_task import Task
from choice_peer import Peer, PeerChoice, choices
from torch import nn

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.raising import raise_program
from graphprune.planning import make_plan
from graphprune.tuning import Job, fine_tune

SHARES = (0.7, 0.5, 0.3)
OTHER_SHARES = {"efficientnet_lite0": (0.9, 0.8, 0.7), "minilm": (0.9, 0.8, 0.7)}
BEST = 5  # of torch-pruning's choices that have been measured
STEPS, HEAVY_STEPS = 300, 40  # of fine-tuning, with 32 labelled or 16 unlabelled examples each
SEEDS = (0, 1)  # orders of labelled examples
PACKAGES = ("graphprune", "torch", "torch-pruning", "aeon", "mnist1d")

Made = tuple[list[nn.Module], dict[str, Any]]  # models of which figures are averaged, and more of the row


def repaired(task: Task, graph: DependencyGraph, share: float) -> Made:
    """Chosen and repaired on the same unlabelled examples."""
    batches = calibration(task)
    result = gp.shrink(graph, macs=share, importance="auto", calibration=batches, repair=True, align=1)
    assert result.repair is not None
    seconds = {f"{name}_seconds": value for name, value in result.repair.seconds.items()}
    return [result.model], {"kept": result.repair.kept, "chosen": chosen(result), **seconds}


def cut(task: Task, graph: DependencyGraph, share: float) -> Made:
    """Chosen for a plain cut, and not repaired."""
    batches = calibration(task)
    result = gp.shrink(graph, macs=share, importance="auto", calibration=batches, repair=False, align=1)
    return [result.model], {"chosen": chosen(result)}


def tunings(task: Task) -> list[gp.Tuning]:
    """Of both tools: labels where there are any, and the original's outputs."""
    labelled = task.train is not None
    steps = HEAVY_STEPS if task.heavy else STEPS
    return [gp.Tuning(steps=steps, seed=seed) for seed in (SEEDS if labelled else SEEDS[:1])]


def tuned(task: Task, result: gp.Result) -> Made:
    """Repaired and then fine-tuned."""
    # the plan says which units of the original's layers a slim layer stands for
    features = float(task.train is None)
    models = [
        gp.tune(result, training(task), replace(settings, features=features)).model
        for settings in tunings(task)
    ]
    return models, {"chosen": chosen(result)}


def contenders(
    task: Task, graph: DependencyGraph, known: set[tuple[str, ...]]
) -> Iterator[tuple[str, Callable[[], gp.Result]]]:
    """What is fine-tuned: what "auto" takes, and where there are labels the next best of what it has tried."""
    count = 1 if task.train is None else BEST
    if sum(model == task.name and choice.startswith("tuned") for model, _, choice, *_ in known) == count:
        return
    options: dict[str, Any] = {"macs": TUNED, "calibration": calibration(task), "repair": True, "align": 1}
    first = gp.shrink(graph, importance="auto", **options)
    yield "tuned", lambda: first
    tried = first.plan.request["tried"]
    for name in sorted(tried, key=tried.get)[1:count]:
        criterion, ranking = name.split(", ")
        more = {"importance": criterion, "ranking": ranking}
        yield f"tuned {name}", lambda more=more: gp.shrink(graph, **more, **options)


def chosen(result: gp.Result) -> str:
    """What "auto" has taken."""
    return f"{result.plan.request['importance']}, {result.plan.request['ranking']}"


# what graphprune makes without training, by the name of the table's column
OURS: dict[str, Callable[[Task, DependencyGraph, float], Made]] = {"cut": cut, "repaired": repaired}


def measure(name: str, known: set[tuple[str, ...]]) -> Iterator[Row]:
    """Every slim model of one task that is not ``known``; first the original itself."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = make_task(name)
    macs = counter(task.example)
    own, full = task.run(task.model), macs(task.model)
    stamp = {
        "date": date.today().isoformat(),
        "data": task.data,
        "versions": {package: version(package) for package in PACKAGES},
    }

    def row(tool: str, choice: str, share: float, make: Callable[[], Made]) -> Iterator[Row]:
        found = {"model": name, "tool": tool, "choice": choice, "share": share}
        if key(found) in known:
            return
        start = perf_counter()
        try:
            models, more = make()
            figures = [task.compare(task.run(model), own, task.labels) for model in models]
            means = {name: fmean(one[name] for one in figures) for name in figures[0]}
            found |= {"macs": macs(models[0]) / full, "figures": means, **more}
        except Exception as error:  # whatever either tool, or the model that it made, raises
            found["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        yield {**found, "seconds": round(perf_counter() - start, 2), **stamp}

    shares = OTHER_SHARES.get(name, SHARES)
    yield from row("original", "", 1.0, lambda: ([task.model], {}))
    graph = gp.trace(task.model, task.example)
    for choice, make in OURS.items():
        for share in shares:
            yield from row(
                "graphprune", choice, share, lambda make=make, share=share: make(task, graph, share)
            )
    peer = Peer(task, macs)
    for share in shares:
        for other in promising(task, share):
            text = f"{other}, {other.ranking}"
            yield from row(
                "torch-pruning", text, share, lambda other=other, share=share: ([peer.at(other, share)], {})
            )
    yield from fine_tuned(task, graph, peer, min(shares), row, known)


def fine_tuned(
    task: Task,
    graph: DependencyGraph,
    peer: Peer,
    share: float,
    row: Callable[..., Iterator[Row]],
    known: set[tuple[str, ...]],
) -> Iterator[Row]:
    """Ours and theirs; theirs are those that did best at ``share``."""
    for choice, cutting in contenders(task, graph, known):
        yield from row("graphprune", choice, TUNED, lambda cutting=cutting: tuned(task, cutting()))
    for other in promising(task, share, BUILD / "accuracy.jsonl"):

        def taught(other: PeerChoice = other) -> Made:
            program = gp.trace(peer.at(other, TUNED), task.example).program
            # no plan: it is for distances of layers alone, which these settings leave out
            plan, data = make_plan(graph, {}), training(task)
            return [
                fine_tune(Job(graph, plan, raise_program(program), data, settings))[0]
                for settings in tunings(task)
            ], {}

        yield from row("torch-pruning", f"{other}, {other.ranking}", TUNED, taught)


def promising(task: Task, share: float, file: Path = BUILD / "choice.jsonl") -> list[PeerChoice]:
    """torch-pruning's choices: all, or the best of those that have been measured on this model."""
    every = {f"{choice}, {choice.ranking}": choice for choice in choices(task)}
    rows = [
        row
        for row in read(file)
        if row["model"] == task.name and row["tool"] == "torch-pruning" and "figures" in row
    ]
    rows = [row for row in rows if row["share"] > TUNED]
    if not rows:
        return list(every.values())
    nearest = min({row["share"] for row in rows}, key=lambda known: abs(known - share))
    rows = [row for row in rows if row["share"] == nearest]
    rows.sort(key=lambda row: harm(row["figures"]))
    names = [", ".join(filter(None, (row["choice"], row.get("ranking")))) for row in rows[:BEST]]
    return [every[name] for name in names]


def harm(figures: dict[str, float]) -> tuple[float, float]:
    """What is lost: first where there are labels, then of the outputs themselves."""
    return -figures.get("accuracy", 0.0), figures.get("kl", 1 - figures.get("cosine", 1.0))


if __name__ == "__main__":
    raise SystemExit(run(str(__doc__), "accuracy", list(TASKS), measure, write_table))
