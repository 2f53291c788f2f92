"""Which units to remove: graphprune's choices against torch-pruning's, on real pretrained models, without training.

    python tools/bench_choice.py                   # all models; goes on where it was stopped
    python tools/bench_choice.py mtcnn_rnet --again
    python tools/bench_choice.py --table           # docs/choice.md from what was measured

Every criterion and ranking of both tools cuts each model to 0.9, 0.8, 0.7 and 0.5 of its multiply-accumulates, as
torch's own counter measures them on both tools' results. Each slim model is compared with the original on held-out
data, see `choice_tasks`. One JSON line per cut, in build/choice.jsonl; what fails is a line too, with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

import torch
from choice_ours import Ours
from choice_ours import choices as our_choices
from choice_peer import Peer
from choice_peer import choices as peer_choices
from choice_table import write_table
from choice_tasks import TASKS, Task, make_task
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SHARES = (0.9, 0.8, 0.7, 0.5)
PACKAGES = ("graphprune", "torch", "torch-pruning")
ROOT = Path(__file__).parents[1]
FILE = ROOT / "build" / "choice.jsonl"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def counter(task: Task) -> Callable[[nn.Module], int]:
    """Multiply-accumulates of a model on the example, by torch's counter; fused attention is not counted on CPU."""
    args, kwargs = task.example

    def macs(model: nn.Module) -> int:
        with FlopCounterMode(display=False) as found, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            model(*args, **kwargs)
        return found.get_total_flops() // 2

    return macs


def measure(name: str, known: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Every cut of one model that is not ``known``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = make_task(name)
    macs = counter(task)
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


def key(row: dict[str, Any]) -> tuple[str, ...]:
    """What tells rows apart."""
    return tuple(str(row[name]) for name in ("model", "tool", "choice", "ranking", "share"))


def read() -> list[dict[str, Any]]:
    """All rows; a line that was cut off is left out."""
    lines = FILE.read_text().split("\n")[:-1] if FILE.exists() else []
    return [json.loads(line) for line in lines]


def main() -> int:
    """Measures each model in a fresh process, or writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=f"all of {', '.join(TASKS)} if none")
    parser.add_argument("--again", action="store_true", help="forget what was measured of these models")
    parser.add_argument("--table", action="store_true", help="only write docs/choice.md")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    models = options.models or list(TASKS)
    if options.child:
        warnings.simplefilter("ignore")
        with FILE.open("a") as file:
            for row in measure(models[0], {key(row) for row in read()}):
                print(json.dumps(row), file=file, flush=True)
        return 0
    if not options.table:
        kept = [row for row in read() if not (options.again and row["model"] in models)]
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text("".join(json.dumps(row) + "\n" for row in kept))
        for name in models:
            print(name, flush=True)
            command = [sys.executable, "-W", "ignore", __file__, "--child", name]
            if subprocess.run(command, env=ENVIRONMENT).returncode:
                print(f"{name} was not finished; run it again to go on", file=sys.stderr)
                return 1
    write_table(read(), ROOT / "docs" / "choice.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
