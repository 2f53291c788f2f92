"""Plans for another device: how near the time there comes to what was asked for.

    python tools/bench_device.py resnet18 mobilenet_v2     # rows, one model after the other
    python tools/bench_device.py --table > docs/device.md

No second device is at hand, so that one is simulated by another number of threads: the kit is timed by its own script
with so many, and nothing else here knows of them. Then a plan is made from times.json alone, and its file is timed
beside the original's with the same threads. Models are torchvision's, with random weights, one image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bench_latency import Row, build, read

import graphprune as gp
from graphprune import exporting
from graphprune.exporting.timing import timer

SHARES = (0.75, 0.5, 0.3)
SECONDS = {1: 20.0, 2: 60.0}  # by the wall's clock it takes longer until both cores were free for once
KEY = ("model", "threads", "case")


def rows(name: str, threads: int, shares: list[float]) -> Iterator[Row]:
    """One row for every share of the latency that is asked for."""
    model, image = build(name)
    graph = gp.trace(model, image)
    with TemporaryDirectory() as folder:
        kit, times = Path(folder, "kit"), Path(folder, "times.json")
        gp.write_kit(graph, None, kit)
        size = sum(path.stat().st_size for path in kit.iterdir())
        command = [
            sys.executable,
            str(kit / "time_kit.py"),
            "--threads",
            str(threads),
            "--output",
            str(times),
        ]
        command += ["--seconds", str(SECONDS[threads])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for share in shares:
            result = gp.shrink(graph, latency=share, times=times, fast=True)
            predicted = result.plan.request["measured"]["ratio"]
            original, slim = Path(folder, "original.onnx"), Path(folder, "slim.onnx")
            exporting.export_onnx(graph.program, original)
            exporting.export_onnx(result.slim, slim, result.model)
            before, after = fastest([original, slim], graph, threads)
            yield {
                "model": name,
                "threads": threads,
                "case": f"{share:g}",
                "macs": result.after.macs / result.before.macs,
                "predicted": predicted,
                "ratio": after / before,
                "original_ms": 1000 * before,
                "slim_ms": 1000 * after,
                "kit_bytes": size,
                "date": date.today().isoformat(),
            }


def fastest(paths: list[Path], graph: gp.DependencyGraph, threads: int) -> list[float]:
    """Seconds of the fastest run of each file; the files run in turn."""
    runs = [exporting.runner(exporting.session(path, threads), *graph.program.example) for path in paths]
    clock = timer(threads)
    best = [float("inf")] * len(runs)
    until = time.perf_counter() + SECONDS[threads]
    while time.perf_counter() < until:
        for place, run in enumerate(runs):
            start = clock()
            run()
            best[place] = min(best[place], clock() - start)
    return best


def add(path: Path, row: Row) -> None:
    """Adds a row in the place of an earlier one."""
    kept = [old for old in read(path) if any(old[name] != row[name] for name in KEY)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in [*kept, row]))


def line(row: Row) -> str:
    """One row of the table."""
    return (
        f"| {row['model']} | {row['threads']} | {row['case']} | {row['predicted']:.3f} | {row['ratio']:.3f} "
        f"| {row['ratio'] / float(row['case']) - 1:+.1%} | {row['macs']:.3f} "
        f"| {row['original_ms']:.2f} → {row['slim_ms']:.2f} | {row['kit_bytes'] / 1e6:.1f} MB |"
    )


TEXT = """# Plans for another device

Measured on {date} with {versions} by `tools/bench_device.py`.

The device is simulated by a number of threads. The kit of `graphprune profile --kit` is timed by its own script with so
many, a plan is made from its times.json alone, and the plan's file is timed beside the original's with as many threads.
Models are torchvision's with random weights, one image.

A device of one thread is timed by the clock of its processor. One of two threads is timed by the wall's, on two cores
that other work shared. Of every file the fastest run counts, to which the others have added least.

| model | threads | asked | predicted | measured | off | MACs kept | ms | kit |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

{verdict}
"""


def table(found: list[Row]) -> str:
    """The page."""
    within = sum(abs(row["ratio"] / float(row["case"]) - 1) <= 0.05 for row in found)
    return TEXT.format(
        date=max(row["date"] for row in found),
        versions=", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "torch", "torchvision")),
        rows="\n".join(map(line, found)),
        verdict=f"{within} of {len(found)} plans are within 5 % of what was asked for.",
    )


def main() -> None:
    """Parses the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("models", nargs="*", help="of torchvision")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="of the devices")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES), help="of the latency")
    parser.add_argument("--rows", type=Path, default=Path("out/device.jsonl"), help="where rows are kept")
    parser.add_argument("--table", action="store_true", help="print the page of all rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models:
        for threads in options.threads:
            for row in rows(name, threads, options.shares):
                add(options.rows, row)
                print(json.dumps(row), flush=True)
    if options.table:
        print(table(read(options.rows)), end="")


if __name__ == "__main__":
    main()
