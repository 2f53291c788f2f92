"""Kills runs at random moments, and lets two write one folder at once; looks whether a whole result is there each time.

    python tools/bench_kills.py --kills 200 --pairs 100       # goes on where it was stopped
    python tools/bench_kills.py --table                       # what was found so far

Every trial has a number, from which the kind of run and the moment are drawn: half of the moments by the clock, half as
a step on the disk, before which the run dies. A run is a process of its own, forked from one that has imported
everything, and ended by SIGKILL. Then the result must be the old one or the new one, whole;
and the same run once more must come to the new one, and leave nothing beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_rows import BUILD, read
from kills_runs import NET, Kind, kinds, save, shrunk, state

import graphprune as gp
from graphprune.cli.app import app
from graphprune.ground.digest import digest

FILE = BUILD / "kills.jsonl"
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")


@dataclass(frozen=True)
class First:
    """What a run of a kind takes that is not killed: seconds, and steps on the disk; and the results that it leaves."""

    seconds: float
    steps: int
    states: Mapping[str, str]


def forked(run: Callable[[], None]) -> int:
    """The process in which it runs, in silence."""
    if child := os.fork():
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        run()
        code = 0
    except SystemExit as done:
        code = int(done.code or 0)
    finally:
        os._exit(code)


def counted(folder: Path, at: Callable[[int], None]) -> None:
    """Calls ``at`` with the number of every step on the disk that this process takes below a folder."""
    steps = itertools.count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event in STEPS
            and isinstance(arguments[0], str | Path)
            and str(arguments[0]).startswith(str(folder))
        ):
            at(next(steps))

    sys.addaudithook(hook)


def dying(kind: Kind, folder: Path, last: int) -> None:
    """The run, which kills itself before its step of that number."""
    counted(folder, lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == last else None)
    kind.run(folder)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left(folder: Path, kind: Kind) -> list[str]:
    """What is in the folder, or below one of its own, and should not be."""
    known = {*kind.places, *kind.others, *(place.partition("/")[0] for place in kind.places)}
    found = [*folder.iterdir(), *(entry for place in folder.glob("rounds") for entry in place.iterdir())]
    return sorted(name for name in (str(entry.relative_to(folder)) for entry in found) if name not in known)


def killed(kind: Kind, first: First, chance: random.Random, folder: Path) -> dict[str, Any]:
    """A run that is killed, and the same run once more."""
    kind.prepare(folder)
    old, new = {place: state(folder / place) for place in kind.places}, first.states
    if chance.random() < 0.5:
        child = forked(partial(dying, kind, folder, chance.randint(1, first.steps)))
    else:
        child = forked(lambda: kind.run(folder))
        time.sleep(chance.uniform(0, first.seconds))
        os.kill(child, signal.SIGKILL)
    died = ended(child) == -signal.SIGKILL
    between = {place: state(folder / place) for place in kind.places}
    litter = left(folder, kind)
    again = ended(forked(lambda: kind.run(folder)))
    after = {place: state(folder / place) for place in kind.places}
    wrong = [
        f"{place} is {found}" for place, found in between.items() if found not in (old[place], new[place])
    ]
    wrong += [
        f"{place} is {found} after the next run" for place, found in after.items() if found != new[place]
    ]
    wrong += [f"{name} is left" for name in left(folder, kind)] + ["the next run fails"] * bool(again)
    finds = "new" if between == dict(new) else "old" if between == old else "a part of the rounds"
    return {"died": died, "finds": finds, "litter": bool(litter), "wrong": wrong}


def pair(
    kind: Kind, results: Mapping[str, gp.Result], seconds: float, chance: random.Random, folder: Path
) -> Any:
    """Two that write one folder at once, where there may be a result already; one of them may be killed."""
    if chance.random() < 0.5:
        kind.prepare(folder)
    children = [forked(partial(save, folder, results[name])) for name in ("one", "other")]
    time.sleep(chance.uniform(0, seconds))
    if dies := chance.random() < 0.3:
        os.kill(children[0], signal.SIGKILL)
    codes = [ended(child) for child in children]
    allowed = [digest(dict(result.model.state_dict()))[:12] for result in results.values()]
    found, litter = state(folder / "out"), left(folder, kind)
    wrong = [f"the result is {found}"] * (found not in allowed) + ["a writer fails"] * bool(codes[1])
    if codes[0] == -signal.SIGKILL:
        ended(forked(partial(save, folder, results["one"])))
    wrong += [f"{name} is left" for name in left(folder, kind)]
    return {"died": dies and codes[0] < 0, "finds": "a result", "litter": bool(litter), "wrong": wrong}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        FILE.parent.mkdir(exist_ok=True)
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            trials(options, Path(folder))
    print(table(read(FILE)))
    return int(any(row["wrong"] for row in read(FILE)))


def trials(options: argparse.Namespace, folder: Path) -> None:
    """All trials that are not in the file yet."""
    results = {"one": shrunk(0.25), "other": shrunk(0.5)}
    results["one"].save(folder / "unused", latency=False)  # so that all is imported
    net = folder / "net.py"
    net.write_text(NET)
    start = folder / "start"
    settings = ["--ratio", "0.75", "--align", "1", "--no-latency", "--quiet"]
    assert not ended(forked(lambda: app(["shrink", f"{net}:make", *settings, "-o", str(start)]))), "no start"
    known = kinds(start, results["one"], results["other"])
    first = {name: once(kind, folder / "first" / name) for name, kind in known.items()}
    done = {(row["kind"], row["number"]) for row in read(FILE)}
    for number in range(options.kills):
        name = list(known)[number % len(known)]
        if (name, number) not in done:
            chance, place = random.Random(f"{options.seed} {number}"), fresh(folder)
            add(name, number, killed(known[name], first[name], chance, place))
    for number in range(options.pairs):
        if ("two writers", number) not in done:
            chance, place = random.Random(f"{options.seed} pair {number}"), fresh(folder)
            add("two writers", number, pair(known["save"], results, first["save"].seconds, chance, place))


def once(kind: Kind, folder: Path) -> First:
    """A run that is not killed."""
    folder.mkdir(parents=True)
    kind.prepare(folder)
    note, begin = folder.with_suffix(".steps"), time.perf_counter()

    def run() -> None:
        steps = [0]
        counted(folder, lambda step: steps.__setitem__(0, step))
        kind.run(folder)
        note.write_text(str(steps[0]))

    assert not ended(forked(run)), "a run fails that is not killed"
    states = {place: state(folder / place) for place in kind.places}
    return First(time.perf_counter() - begin, int(note.read_text()), states)


def fresh(folder: Path) -> Path:
    place = folder / "trial"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def add(kind: str, number: int, found: dict[str, Any]) -> None:
    if found["wrong"]:
        print(kind, number, *found["wrong"], sep="; ", file=sys.stderr, flush=True)
    with FILE.open("a") as file:
        print(json.dumps({"kind": kind, "number": number, **found}), file=file)


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each kind of run."""
    lines = [
        "| run | trials | killed while it ran | old result found | new one found | left until the next run | wrong |"
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        finds = Counter(row["finds"] for row in own)
        found = [finds["old"], finds["new"]] if kind != "two writers" else ["–", "–"]
        figures = [len(own), sum(row["died"] for row in own), *found]
        figures += [sum(row["litter"] for row in own), sum(bool(row["wrong"]) for row in own)]
        lines.append(f"| {kind} | {' | '.join(map(str, figures))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
