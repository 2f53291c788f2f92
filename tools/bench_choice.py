"""Which units to remove: graphprune's choices against torch-pruning's, on real pretrained models, without training.

    python tools/bench_choice.py                   # all models; goes on where it was stopped
    python tools/bench_choice.py mtcnn_rnet --again
    python tools/bench_choice.py --table           # docs/choice.md from what was measured

Every criterion and ranking of both tools cuts each model to 0.9, 0.8, 0.7 and 0.5 of its multiply-accumulates, as
torch's own counter measures them on both tools' results. Each slim model is compared with the original on held-out
data, see `choice_tasks`. One JSON line per cut, in build/choice.jsonl; what fails is a line too, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from time import process_time
from typing import Any

import torch
from bench_rows import Row, counter, key, run
from bench_task import Task
from choice_ours import Ours
from choice_ours import choices as our_choices
from choice_peer import Peer
from choice_peer import choices as peer_choices
from choice_table import write_table
from choice_tasks import TASKS, make_task

SHARES = (0.9, 0.8, 0.7, 0.5)
PACKAGES = ("graphprune", "torch", "torch-pruning")


def measure(name: str, known: set[tuple[str, ...]]) -> Iterator[Row]:
    """Every cut of one model that is not ``known``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = make_task(name)
    macs = counter(task.example)
    own, full = task.run(task.model), macs(task.model)
    sample = [inputs for inputs, _ in task.sample()]
    expected = task.run(task.model, sample)
    ours, peer = Ours(task), Peer(task, macs)
    tools: list[tuple[str, Any, Any]] = [("torch-pruning", peer, c) for c in peer_choices(task)]
    tools += [("adapter" if c.peers else "graphprune", ours, c) for c in our_choices(task)]
    for tool, maker, choice in tools:
        for share in SHARES:
            row = {
                "model": name,
                "tool": tool,
                "choice": str(choice),
                "ranking": choice.ranking,
                "share": share,
            }
            if key(row) in known:
                continue
            start = process_time()
            try:
                slim = maker.at(choice, share)
                figures = task.compare(task.run(slim), own, task.labels)
                chosen_by = task.harm(task.run(slim, sample), expected)
                row |= {"macs": macs(slim) / full, "figures": figures, "calibration": chosen_by}
            except Exception as error:  # whatever either tool, or the model that it made, raises
                row["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
            yield {**row, "seconds": round(process_time() - start, 2), **stamp(task)}


def stamp(task: Task) -> dict[str, Any]:
    """When, and with what."""
    return {
        "date": date.today().isoformat(),
        "data": task.data,
        "versions": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    }


if __name__ == "__main__":
    raise SystemExit(run(str(__doc__), "choice", list(TASKS), measure, write_table))
