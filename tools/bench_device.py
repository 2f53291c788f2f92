"""Plans for another device: how near the time there comes to what was asked for.

    python tools/bench_device.py resnet18 mobilenet_v2     # rows, one model after the other
    python tools/bench_device.py --table > docs/device.md

No second device is at hand, so that some are simulated: by another number of threads, and by a runtime without the
layouts and fusions that make some layers fast here. The kit is timed by its own script in that way, and nothing else
here knows of it. Then a plan is made from times.json alone, and its file is timed beside the original's likewise.
Models are torchvision's, with random weights, one image.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from bench_latency import build
from bench_rows import Row, keep, read

import graphprune as gp
from graphprune import exporting

SHARES = (0.75, 0.5, 0.3)
# name → options of time_kit.py, and seconds of timing: by the wall's clock it takes longer until both cores were free
DEVICES = {
    "1 thread": (["--threads", "1"], 20.0),
    "1 thread, basic optimisations": (["--threads", "1", "--level", "basic"], 20.0),
    "2 threads": (["--threads", "2"], 60.0),
}
KEY = ("model", "device", "case")


def rows(name: str, device: str, shares: list[float]) -> Iterator[Row]:
    """One row for every share of the latency that is asked for."""
    model, image = build(name)
    graph = gp.trace(model, image)
    with TemporaryDirectory() as folder:
        kit, times = Path(folder, "kit"), Path(folder, "times.json")
        gp.write_kit(graph, None, kit)
        size = sum(path.stat().st_size for path in kit.iterdir())
        how, seconds = DEVICES[device]
        command = [sys.executable, str(kit / "time_kit.py"), *how, "--output", str(times)]
        subprocess.run([*command, "--seconds", str(seconds)], check=True, stdout=subprocess.DEVNULL)
        for share in shares:
            result = gp.shrink(graph, latency=share, times=times, fast=True)
            predicted = result.plan.request["measured"]["ratio"]
            original, slim = Path(folder, "original.onnx"), Path(folder, "slim.onnx")
            exporting.export_onnx(graph.program, original)
            exporting.export_onnx(result.slim, slim, result.model)
            timed = measured([original, slim], graph, device)
            yield {
                "model": name,
                "device": device,
                "case": f"{share:g}",
                "macs": result.after.macs / result.before.macs,
                "predicted": predicted,
                "ratio": timed.ratio,
                "interval": timed.interval,
                "original_ms": timed.original_ms,
                "slim_ms": timed.slim_ms,
                "kit_bytes": size,
                "date": date.today().isoformat(),
            }


def session(path: Path, device: str) -> Any:
    """As time_kit.py makes it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2 if device.startswith("2") else 1
    if "basic" in device:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measured(paths: list[Path], graph: gp.DependencyGraph, device: str) -> exporting.Latency:
    """The second file's time beside the first one's."""
    runs = [exporting.runner(session(path, device), *graph.program.example) for path in paths]
    return exporting.alternated(runs[0], runs[1], DEVICES[device][1], 2 if device.startswith("2") else 1)


def line(row: Row) -> str:
    """One row of the table."""
    low, high = row["interval"]
    found = f"{row['ratio']:.3f} ± {(high - low) / 2:.3f}"
    return (
        f"| {row['model']} | {row['device']} | {row['case']} | {row['predicted']:.3f} | {found} "
        f"| {row['ratio'] / float(row['case']) - 1:+.1%} | {row['macs']:.3f} "
        f"| {row['original_ms']:.2f} → {row['slim_ms']:.2f} | {row['kit_bytes'] / 1e6:.1f} MB |"
    )


TEXT = """# Plans for another device

Measured on {date} with {versions} by `tools/bench_device.py`.

Devices are simulated: by another number of threads, and by a runtime without the layouts and fusions that make some
layers fast here. The kit of `graphprune profile --kit` is timed by its own script in that way, a plan is made from its
times.json alone, and the plan's file is timed beside the original's in the same way. Models are torchvision's with
random weights, one image.

A device of one thread is timed by the clock of its processor, the two files in alternation. {threads}

| model | device | asked | predicted | measured | off | MACs kept | ms | kit |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

{verdict}
"""


TIMED = "One of two threads is timed by the wall's clock."
UNTIMED = """One of two threads was not measured
for this page: it is timed by the wall's clock, which says nothing while other work has the cores."""


def table(found: list[Row]) -> str:
    """The page."""
    within = sum(abs(row["ratio"] / float(row["case"]) - 1) <= 0.05 for row in found)
    return TEXT.format(
        date=max(row["date"] for row in found),
        versions=", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "torch", "torchvision")),
        threads=TIMED if any(row["device"].startswith("2") for row in found) else UNTIMED,
        rows="\n".join(map(line, found)),
        verdict=f"{within} of {len(found)} plans are within 5 % of what was asked for.",
    )


def main() -> None:
    """Parses the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("models", nargs="*", help="of torchvision")
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=list(DEVICES), help="simulated ones")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES), help="of the latency")
    parser.add_argument("--rows", type=Path, default=Path("out/device.jsonl"), help="where rows are kept")
    parser.add_argument("--table", action="store_true", help="print the page of all rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models:
        for device in options.devices:
            keep(options.rows, rows(name, device, options.shares), KEY)
    if options.table:
        print(table(read(options.rows)), end="")


if __name__ == "__main__":
    main()
