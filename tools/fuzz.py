"""Shrinks random models, judges every result by oracles of its own, and keeps one JSON line per model.

    python tools/fuzz.py --count 1000 --shard 0/2        # goes on where it was stopped
    python tools/fuzz.py --show 17                       # the source of a model, and what becomes of it
    python tools/fuzz.py --reduce 17                     # the smallest model of which the same is found
    python tools/fuzz.py --table                         # docs/fuzzing.md from what was found

A model is drawn by its number (`fuzz_draw`), and shrunk by a random plan. The slim model is compared with the masked
original (`fuzz_tape`): the module itself, run eagerly, each operator on tensors that are zero where the plan removes.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from types import FrameType
from typing import Any

import torch
from fuzz_builder import Reject
from fuzz_check import Record, check
from fuzz_draw import LENGTHS, draw
from fuzz_model import Model
from fuzz_reduce import reduced
from fuzz_table import read, write_table

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "fuzz.jsonl"
LIMIT = 240  # seconds of a processor for one model


def measured(seed: int, every: int, lengths: Sequence[int] = LENGTHS) -> dict[str, Any] | None:
    """What becomes of one model; None if the number gives none."""
    start = process_time()
    try:
        model = draw(seed, lengths)
    except Reject:
        return None
    drawn = round(process_time() - start, 4)
    record = judged(model, every)
    kinds = sorted({model.kinds[name] for name in model.steps if name in model.kinds})
    found = {"seed": seed, "outcome": record.outcome, "reason": record.reason, "flags": record.flags}
    found |= {**record.facts, "kinds": kinds, "seconds": {"draw": drawn, **record.seconds}}
    if record.outcome != "exact" or record.flags:
        found["model"] = model.to_dict()
    return found


def judged(model: Model, every: int) -> Record:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {LIMIT} s")

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    try:
        return check(model, files=model.seed % every == 0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def kinds_of(record: Record) -> dict[str, str]:
    """What is to be explained → words without numbers, which say whether two findings are of one kind."""
    found = dict(record.flags)
    if record.outcome != "exact":
        found[record.outcome] = record.reason
    return {kind: re.sub(r"[^a-z ]+", "", text.lower())[:60] for kind, text in found.items()}


def smallest(model: Model, every: int, kind: str | None = None) -> Model:
    """The smallest model of which the first (or the given) finding holds."""
    wanted = kinds_of(judged(model, every))
    kind = kind or next(iter(wanted), None)
    if kind not in wanted:
        return model
    loose = kind in ("wrong", "untrainable", "needless pin", "size fixed", "batch fixed")

    def same(candidate: Model) -> bool:
        found = kinds_of(judged(candidate, every))
        return kind in found and (loose or found[kind] == wanted[kind])

    return reduced(model, same)


def wanted(options: argparse.Namespace) -> Iterator[int]:
    part, parts = map(int, options.shard.split("/"))
    done = {line["seed"] for line in read(options.out)}
    for seed in range(options.first, options.first + options.count):
        if seed % parts == part and seed not in done:
            yield seed


def run(options: argparse.Namespace) -> int:
    """Judges what is wanted; returns how many models had a fault."""
    faults = 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    running = options.out.with_suffix(f".{options.shard.replace('/', '_')}")
    died, times = map(int, running.read_text().split()) if running.exists() else (-1, 0)
    if times > 1:  # once, someone may have stopped it
        _append(
            options.out, {"seed": died, "outcome": "crash", "reason": "the process died twice", "flags": {}}
        )
    for seed in wanted(options):
        running.write_text(f"{seed} {times + 1 if seed == died else 1}")
        found = measured(seed, options.every) or {"seed": seed, "outcome": "none", "reason": "", "flags": {}}
        _append(options.out, found)
        if found["outcome"] in ("wrong", "crash", "false refusal") or found["flags"]:
            faults += 1
            print(seed, found["outcome"], found["reason"][:200], found["flags"], flush=True)
    running.unlink(missing_ok=True)
    return faults


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:  # one write, as two shards may share the file
        file.write(json.dumps(line) + "\n")


def show(model: Model, every: int) -> None:
    record = judged(model, every)
    print(model.source)
    print(f"# inputs {[(item.name, item.shape) for item in model.inputs]}, batch {model.batch}")
    print(f"# {record.outcome} {record.reason}")
    for kind, text in record.flags.items():
        print(f"# {kind}: {text}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument("--count", type=int, default=200, help="how many numbers")
    parser.add_argument("--shard", default="0/1", help="which part of how many")
    parser.add_argument(
        "--every", type=int, default=20, help="every how-manieth is saved, loaded and run as ONNX"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="JSON lines")
    parser.add_argument("--show", type=int, metavar="NUMBER")
    parser.add_argument("--reduce", type=int, metavar="NUMBER")
    parser.add_argument("--kind", help="of the finding to reduce, such as 'needless pin'")
    parser.add_argument("--table", nargs="?", type=Path, const=ROOT / "docs" / "fuzzing.md", metavar="PAGE")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.table is not None:
        write_table(read(options.out), options.table)
        return 0
    if options.show is not None:
        show(draw(options.show), options.every)
        return 0
    if options.reduce is not None:
        show(smallest(draw(options.reduce), options.every, options.kind), options.every)
        return 0
    return min(run(options), 1)


if __name__ == "__main__":
    raise SystemExit(main())
