"""What the benchmarks of slim models share: a count of their cost, rows on disk, and a fresh process per model."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["BUILD", "DOCS", "Row", "counter", "keep", "key", "read", "run"]

ROOT = Path(__file__).parents[1]
BUILD, DOCS = ROOT / "build", ROOT / "docs"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
# what tells rows apart; a row may lack some
NAMES = ("model", "tool", "choice", "ranking", "share")

Row = dict[str, Any]
Key = tuple[str, ...]


def counter(example: tuple[tuple[Any, ...], dict[str, Any]]) -> Callable[[nn.Module], int]:
    """Multiply-accumulates of a model on the example, by torch's counter; fused attention is not counted on CPU."""
    args, kwargs = example

    def macs(model: nn.Module) -> int:
        with FlopCounterMode(display=False) as found, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            model(*args, **kwargs)
        return found.get_total_flops() // 2

    return macs


def key(row: Row) -> Key:
    """What tells rows apart."""
    return tuple(str(row.get(name, "")) for name in NAMES)


def read(path: Path) -> list[Row]:
    """All rows of a file; a line that was cut off is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def keep(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Adds rows to a file and shows them, each in the place of the one with the same values of these ``names``."""
    for row in rows:
        others = [old for old in read(path) if any(old[name] != row[name] for name in names)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(item) + "\n" for item in [*others, row]))
        print(json.dumps(row), flush=True)


def run(
    about: str,
    name: str,
    models: Sequence[str],
    measure: Callable[[str, set[Key]], Iterable[Row]],
    write_table: Callable[[list[Row], Path], None],
) -> int:
    """The command line of a benchmark; returns the exit code.

    Args:
        about: the tool's docstring.
        name: of its files, ``build/NAME.jsonl`` and ``docs/NAME.md``.
        measure: rows of one model that are not among the known keys.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"all of {', '.join(models)} if none")
    parser.add_argument("--again", action="store_true", help="forget what was measured of these models")
    parser.add_argument("--table", action="store_true", help=f"only write docs/{name}.md")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    file = BUILD / f"{name}.jsonl"
    file.parent.mkdir(exist_ok=True)
    if options.child:
        warnings.simplefilter("ignore")
        with file.open("a") as out:
            for row in measure(options.models[0], {key(row) for row in read(file)}):
                print(json.dumps(row), file=out, flush=True)
        return 0
    chosen = options.models or list(models)
    if not options.table:
        kept = [row for row in read(file) if not (options.again and row["model"] in chosen)]
        file.write_text("".join(json.dumps(row) + "\n" for row in kept))
        for model in chosen:
            print(model, flush=True)
            command = [sys.executable, "-W", "ignore", sys.argv[0], "--child", model]
            if subprocess.run(command, env=ENVIRONMENT).returncode:
                print(f"{model} was not finished; run it again to go on", file=sys.stderr)
                return 1
    write_table(read(file), DOCS / f"{name}.md")
    return 0
