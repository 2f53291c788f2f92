"""Mutated results through every command that reads one: each must end with an answer or a refusal.

    python tools/attack.py --count 20000 --out attack.jsonl     # goes on where it was stopped
    python tools/attack.py --table --out attack.jsonl           # what is in docs/security.md

Each mutation has a number, from which it is drawn: the same seed and number make the same mutation. It is run in a
process of its own kind, with bounds on memory and time, and gives one line of JSON: the file, what was done to it, the
command, and how that ended. "answer" and "refused" are right; "mistake" (an exception that is none of graphprune's),
"signal", "time" and "memory" are not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from attack_mutations import FILES, mutate
from typer.testing import CliRunner

import graphprune as gp
from graphprune import exporting
from graphprune.cli import original
from graphprune.cli.app import app
from graphprune.ground.documents import read_text
from graphprune.ground.errors import GraphpruneError

SECONDS = 60  # of one mutation
MEMORY = 6 * 2**30  # that a process may take beyond what it began with
BATCH = 25  # mutations of one process
MODEL = "zoo:mlp"
RIGHT = ("answer", "refused")


Ending = tuple[str, str]  # how a command ended, and what it said


def _cli(*words: object) -> Ending:
    done = CliRunner().invoke(app, [str(word) for word in words])
    line = (done.stderr.strip().splitlines() or [""])[-1]
    raised = done.exception is not None and not isinstance(done.exception, SystemExit)
    if raised or done.exit_code == 1 or "Traceback" in done.output:
        return "mistake", f"{done.exception!r} {line}"[:400]
    return ("answer" if done.exit_code == 0 else "refused"), line[:200]


def _python(call: Callable[[], Any]) -> Ending:
    try:
        call()
    except GraphpruneError as error:
        return "refused", str(error)[:200]
    except Exception as error:
        return "mistake", f"{type(error).__name__}: {error}"[:400]
    return "answer", ""


def _load(folder: Path) -> Ending:
    loaded: list[Any] = []
    ending = _python(lambda: loaded.append(gp.load(folder)))
    for model in loaded:  # what a graph cannot compute is torch's to refuse
        with contextlib.suppress(Exception):
            model.eval()(torch.zeros(1, 784))
    return ending


def _export(folder: Path) -> Ending:
    def export() -> None:
        model = gp.load(folder)
        exporting.module_source(model, "A model.", ())
        exporting.save_model(model, folder / "again.safetensors")

    return _python(export)


def _replay(folder: Path) -> Ending:
    return _python(lambda: gp.shrink(_original(), plan=gp.Plan.from_json(read_text(folder / "plan.json"))))


def _shrink_by_plan(folder: Path) -> Ending:
    options = ("--no-latency", "-q", "-o", folder.with_name("again"))
    return _cli("shrink", MODEL, "--plan", folder / "plan.json", *options)


@cache
def _original() -> gp.DependencyGraph:
    source = original.resolve(MODEL)
    return gp.trace(source.model, source.inputs)


COMMANDS: Mapping[str, Callable[[Path], Ending]] = {
    "load": _load,
    "export": _export,
    "verify": lambda folder: _cli("verify", folder),
    "report": lambda folder: _cli("report", folder),
    "diff": lambda folder: _cli("diff", folder, folder.parents[1] / "base"),
    "shrink --plan": _shrink_by_plan,
    "shrink(plan=)": _replay,
    "shrink --config": lambda folder: _cli("shrink", "--config", folder / "shrink.toml", "--dry-run"),
}
# the commands that read a file, those that do most with it more often
READERS: Mapping[str, Sequence[str]] = {
    "plan.json": ("verify", "report", "diff", "diff", "shrink --plan", "shrink(plan=)"),
    "report.json": ("verify", "report", "report", "diff"),
    "model.safetensors": ("load", "export", "verify"),
    "shrink.toml": ("shrink --config",),
    "model.onnx": ("verify",),
}


def attack(number: int, seed: int, base: Path) -> dict[str, Any]:
    """One mutation, in this process."""
    random = Random(f"{seed}:{number}")
    file = random.choice(FILES)
    command = random.choice(READERS[file])
    with tempfile.TemporaryDirectory(dir=base.parent) as place:
        folder = Path(place, "slim")
        shutil.copytree(base, folder, copy_function=os.link)
        kind = mutate(folder, file, random)
        start = time.monotonic()
        outcome, said = COMMANDS[command](folder)
    seconds = round(time.monotonic() - start, 3)
    return {
        **{"number": number, "file": file, "kind": kind, "command": command, "outcome": outcome},
        **{"said": said.replace(place, ""), "seconds": seconds},
    }


def _child(numbers: Sequence[int], seed: int, base: Path, pipe: int) -> None:
    """Writes a line for each number, and before it which number it is."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft = int(_status("VmData")) * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (soft, soft))
    with os.fdopen(pipe, "w") as out:
        for number in numbers:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            print(json.dumps(attack(number, seed, base)), file=out, flush=True)
    os._exit(0)


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def attacked(numbers: Sequence[int], seed: int, base: Path) -> Iterable[dict[str, Any]]:
    """A row for each number; each batch in a process, and a new one where that is ended."""
    left = list(numbers)
    while left:
        batch = left[:BATCH]
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            try:
                _child(batch, seed, base, write)
            finally:
                os._exit(70)
        os.close(write)
        with os.fdopen(read) as lines:
            rows = [json.loads(line) for line in lines]
        _, status = os.waitpid(child, 0)
        yield from rows
        if len(rows) < len(batch):
            yield _ended(batch[len(rows)], seed, status)
            rows.append({})
        left = left[len(rows) :]


def _ended(number: int, seed: int, status: int) -> dict[str, Any]:
    """The row of a mutation that ended its process."""
    random = Random(f"{seed}:{number}")
    file = random.choice(FILES)
    ending = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    outcome = "time" if ending == signal.SIGALRM else "signal" if ending else "mistake"
    said = signal.Signals(ending).name if ending else f"exit {os.WEXITSTATUS(status)}"
    return {
        **{"number": number, "file": file, "kind": "?", "command": random.choice(READERS[file])},
        **{"outcome": outcome, "said": said, "seconds": None},
    }


def make_base(folder: Path) -> None:
    """The result that is mutated, and what the commands would make again each time: the original and its graph."""
    done = _cli("shrink", MODEL, "--ratio", 0.5, "--no-latency", "-q", "-o", folder)
    assert done[0] == "answer", done
    settings = folder / "shrink.toml"  # without the folder, so that nothing is written
    settings.write_text("\n".join(line for line in settings.read_text().split("\n") if "output" not in line))
    original.resolve = cache_by_text(original.resolve)
    gp.trace = cache_by_text(gp.trace)
    _original()
    COMMANDS["verify"](folder)
    COMMANDS["report"](folder)


def cache_by_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same answer for arguments that print alike."""
    known: dict[str, Any] = {}

    def cached(*args: Any, **kwargs: Any) -> Any:
        key = repr((args, kwargs))
        if key not in known:
            known[key] = function(*args, **kwargs)
        return known[key]

    return cached


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: one line for each command, and how its mutations ended."""
    names = ("answer", "refused", "mistake", "signal", "time")
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row["command"], Counter())[row["outcome"]] += 1
    lines = [f"| command | mutations | {' | '.join(names)} |", "| --- |" + " ---: |" * (len(names) + 1)]
    for command in (*COMMANDS, "all"):
        found = sum(counts.values(), Counter()) if command == "all" else counts.get(command, Counter())
        cells = " | ".join(f"{found[name]:,}" for name in names)
        lines.append(f"| {command} | {found.total():,} | {cells} |")
    return "\n".join(lines)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows so far; a last line that was cut off is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/attack.jsonl"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = read(options.out)
    if not options.table:
        done = {row["number"] for row in rows}
        numbers = [number for number in range(options.start, options.count) if number not in done]
        torch.set_num_threads(1)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as place, options.out.open("a") as out:
            os.environ["GRAPHPRUNE_CACHE"] = place  # where reports of mistakes go
            base = Path(place, "base")
            make_base(base)
            for row in attacked(numbers, options.seed, base):
                rows.append(row)
                print(json.dumps(row), file=out, flush=True)
    print(table(rows))
    for row in [row for row in rows if row["outcome"] not in RIGHT][:20]:
        print(row)


if __name__ == "__main__":
    main()
