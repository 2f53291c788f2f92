"""What a shrink without options keeps of a model's answers, where there are no data: beside data that are real.

    python tools/bench_no_data.py                 # all models; goes on where it was stopped
    python tools/bench_no_data.py mtcnn_rnet --again
    python tools/bench_no_data.py --table         # docs/no-data.md from what was measured

Every slim model is judged on the task's test data, which no choice sees, and on what the zoo itself evaluates.
"weights" is `fast=True`. "no data" is the default without calibration data; MiniLM has its tokenizer, as on the command
line. "real" is the default with the task's unlabelled calibration data. The best of torch-pruning with the same real
data stands in docs/choice.md, and is read from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import version
from time import process_time
from typing import Any

import choice_tasks
import torch
from accuracy_tasks import TASKS as ACCURACY_TASKS
from accuracy_tasks import calibration, make_task
from bench_rows import Row, counter, key, run
from bench_task import Task
from no_data_table import write_table

import graphprune as gp
import models_zoo

SHARES = (0.9, 0.8, 0.7, 0.5, 0.3)
PACKAGES = ("graphprune", "torch")
MODELS = ("digits_resnet", "mtcnn_rnet", "digits_cnn_mnist", "crepe_tiny", "minilm", "efficientnet_lite0")

WAYS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "weights": lambda task: {"fast": True},
    "no data": lambda task: {"tokenizer": models_zoo.get(task.name).tokenizer},
    "real": lambda task: {"calibration": calibration(task)},
}


def measure(name: str, known: set[tuple[str, ...]]) -> Iterator[Row]:
    """Every slim model of one task that is not ``known``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = make_task(name) if name in ACCURACY_TASKS else choice_tasks.make_task(name)
    macs, own = counter(task.example), task.run(task.model)
    full = macs(task.model)
    graph = gp.trace(task.model, task.example)
    stamp = {"date": date.today().isoformat(), "data": task.data}
    stamp |= {"versions": {package: version(package) for package in PACKAGES}}

    def row(way: str, share: float) -> Row:
        found: Row = {"model": name, "tool": "graphprune", "choice": way, "share": share}
        if key(found) in known:
            return {}
        start = process_time()
        try:
            result = gp.shrink(graph, macs=share, align=1, **WAYS[way](task))
            found |= {"macs": macs(result.model) / full, "chosen": _chosen(result)}
            found["figures"] = task.compare(task.run(result.model), own, task.labels)
            if evaluate := models_zoo.get(name).evaluate:
                found["zoo"] = evaluate(result.model)
            found["answers"] = result.fidelity.to_dict() if result.fidelity else None
        except Exception as error:  # whatever is raised is a row of the table
            found["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        return {**found, "seconds": round(process_time() - start, 1), **stamp}

    original = {"model": name, "tool": "original", "choice": "", "share": 1.0}
    if key(original) not in known:
        yield {**original, "figures": task.compare(own, own, task.labels), **stamp}
    yield from filter(None, (row(way, share) for share in SHARES for way in WAYS))


def _chosen(result: gp.Result) -> str:
    repaired = ", repaired" if result.repair is not None and result.repair.kept else ""
    return f"{result.plan.request['importance']}, {result.plan.request['ranking']}{repaired}"


if __name__ == "__main__":
    raise SystemExit(run(str(__doc__), "no-data", list(MODELS), measure, write_table))
