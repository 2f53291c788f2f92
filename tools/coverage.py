"""Prunes every model of many lists at random, proves each exact, and keeps one JSON line per model.

    python tools/coverage.py --list torchvision --list timm      # goes on where it was stopped
    python tools/coverage.py timm:convnext_atto zoo:minilm --again
    python tools/coverage.py --table                             # docs/coverage.md from what was measured

Each model has a fresh process, a time limit and a memory limit. It is built with random weights, exported with
plain torch.export (to compare its time), then captured, analysed, cut by a random half of every group and
verified, then exported to ONNX and compared in onnxruntime. A model that fails is a line too, with its reason.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from json import dumps
from pathlib import Path
from time import perf_counter, process_time
from typing import IO, Any

import torch
from coverage_models import LISTS, build, names
from coverage_sizes import known_dimensions, signature, with_onnx
from coverage_table import Record, append, parsed, read, summary, write_table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from graphprune import shrink
from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture import Program, capture, tensor_leaves
from graphprune.capture.raising import raise_program
from graphprune.ground.clock import Clock
from graphprune.report.facts import inspection
from graphprune.results.onnx_checks import write_checked
from graphprune.results.result import Result

PACKAGES = ("graphprune", "torch", "torchvision", "timm", "transformers", "onnxruntime")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class Facts:
    """Writes what is known as it becomes known, one JSON object per line, so that it survives a crash."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    def __call__(self, **facts: Any) -> None:
        print(dumps(facts), file=self.stream, flush=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Says that a stage runs, and what it took, also where it fails."""
        self(stage=name)
        wall, cpu = perf_counter(), process_time()
        try:
            yield
        finally:
            self.seconds[name] = round(perf_counter() - wall, 3)
            self.cpu_seconds[name] = round(process_time() - cpu, 3)
            self(seconds=self.seconds, cpu_seconds=self.cpu_seconds)


def measure(name: str, onnx: bool, facts: Facts) -> None:
    """All stages of one model in this process. Raises where one fails, except torch.export alone and ONNX."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with facts.stage("build"):
        model, args, kwargs, outputs = build(name)
    facts(shapes=[list(leaf.shape) for leaf in tensor_leaves((args, kwargs))], outputs=outputs)
    _export_alone(model, args, kwargs, facts)
    with facts.stage("capture"):
        program = capture(model, (args, kwargs), outputs)
    facts(dynamic_batch=program.dynamic_batch, notes=list(program.notes), operators=len(program.operations))
    with facts.stage("sizes"):
        dimensions = known_dimensions(model, program)
    facts(dimensions=dimensions)
    with facts.stage("analyse"):
        graph = build_graph(program)
    facts(**_known(graph))
    result = shrink(graph, ratio=0.5, importance="random", seed=0, progress=lambda stage: facts(stage=stage))
    facts.seconds |= {stage: round(seconds, 3) for stage, seconds in result.seconds.items()}
    facts(ok=True, seconds=facts.seconds, **_outcome(result))
    if onnx:
        with facts.stage("onnx"):
            compared = _onnx(result)
        shapes, fixed = compared.pop("shapes", []), compared.pop("fixed", {})
        facts(onnx=compared, dimensions=with_onnx(dimensions, shapes, fixed))


def _export_alone(model: nn.Module, args: Any, kwargs: Any, facts: Facts) -> None:
    """Plain torch.export, warm, for comparison; that it fails is a fact, not a failure."""
    torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),), strict=False)
    try:
        with facts.stage("torch.export"):
            torch.export.export(model, args, kwargs, strict=False)
    except Exception as error:  # torch.export raises whatever the model's code or its own passes raise
        facts(export_failure=_text(error))


def _known(graph: DependencyGraph) -> dict[str, Any]:
    """What analysis says: reachable parameters, the pins that cost most, and operators without a rule."""
    members = {member.tensor for group in graph.groups for member in group.members}
    stored = [item for item in graph.program.stored.values() if item.kind == "parameter"]
    reachable = sum(item.tensor.numel() for item in stored if item.name in members)
    layers = {operation.name: operation.layer for operation in graph.program.operations}
    return {
        "groups": len(graph.groups),
        "reachable": reachable / max(graph.cost().params, 1),
        "pins": inspection(graph)["pins"][:3],
        "unruled": {
            operator: {"count": len(found), "layer": layers.get(found[0], "")}
            for operator, found in graph.analysis.unruled.items()
        },
    }


def _outcome(result: Result) -> dict[str, Any]:
    return {
        "before": {"macs": result.before.macs, "params": result.before.params},
        "after": {"macs": result.after.macs, "params": result.after.params},
        "checks": {check.name: check.figure for check in result.verdict.checks},
    }


def _onnx(result: Result) -> dict[str, Any]:
    """onnxruntime's error on the slim model; where that fails, whether the unpruned model fails too."""
    program = result.graph.program
    try:
        return {"failure": None, "unpruned": True, **_onnx_compared(result.model, result.slim)}
    except Exception as error:  # the exporter's errors have no common base class
        failure = _text(error)
    try:
        _onnx_compared(raise_program(program), program)
    except Exception as error:  # likewise
        failure = f"exporter fails on the unpruned model too: {_text(error)}"
        return {"error": None, "failure": failure, "unpruned": False}
    return {"error": None, "failure": failure, "unpruned": True}


def _onnx_compared(model: nn.Module, program: Program) -> dict[str, Any]:
    """Largest relative error at several sizes, on own and random tensors; the shapes of the file's inputs.

    Raises where the error is out of bounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        written, checks = write_checked(program, model, path, Clock(lambda stage: None))
        shapes = signature(path)
    if failed := [check for check in checks if not check.passed]:
        raise ValueError(f"onnxruntime differs: {failed[0]}")
    error = max(check.figure for check in checks)
    return {"error": error, "shapes": shapes, "fixed": dict(written.fixed)}


def _text(error: BaseException) -> str:
    """The kind of an error, and the first line of what it says."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"[:500]


def child(options: argparse.Namespace) -> None:
    """Measures one model and writes its facts, and its failure, to standard output."""
    size = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    facts, sys.stdout = Facts(sys.stdout), sys.stderr  # what libraries print is no fact
    facts(date=date.today().isoformat(), versions={name: version(name) for name in PACKAGES})
    try:
        measure(options.models[0], not options.no_onnx, facts)
    except Exception as error:  # any failure is a row of the table
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        facts(ok=False, failure=_text(error), where=where)
    facts(peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(name: str, options: argparse.Namespace) -> Record:
    """Runs one model in a fresh process; its record, also where that process does not come back."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", name, "--memory", str(options.memory)]
    command += ["--no-onnx"] * options.no_onnx
    record: Record = {"list": name.partition(":")[0], "name": name, "ok": False}
    start = perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            done = subprocess.run(command, stdout=out, stderr=err, timeout=options.limit, env=ENVIRONMENT)
            failure = _death(done.returncode, err)
        except subprocess.TimeoutExpired:
            failure = f"over {options.limit:.0f} s"
        out.seek(0)
        for line in out:
            record |= parsed(line)
    if failure and record["ok"]:  # proved exact before that
        record["onnx"] = {"error": None, "failure": failure, "unpruned": True}
    elif failure:
        record["failure"] = failure
    return record | {"wall_seconds": round(perf_counter() - start, 2)}


def _death(code: int, err: IO[str]) -> str:
    """Why a process ended that could not tell its own failure; empty if it did."""
    if code < 0:
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"
    err.seek(0)
    return (err.read().strip().splitlines() or [f"exit code {code}"])[-1][:300] if code else ""


def run(todo: Sequence[str], options: argparse.Namespace) -> Iterator[Record]:
    """Measures model by model; each record is on disk before it is yielded."""
    for name in todo:
        record = measured(name, options)
        append(options.out, record)
        yield record


def show(todo: Sequence[str], records: Iterator[Record]) -> None:
    """A bar on a terminal, with the failures above it; plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        for index, record in enumerate(records, 1):
            print(f"[{index}/{len(todo)}] {summary(record)}", flush=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(todo[0] if todo else "nothing to do", total=len(todo))
        for index, record in enumerate(records, 1):
            progress.update(task, advance=1, description=todo[index] if index < len(todo) else "done")
            if not record["ok"]:
                progress.console.print(summary(record), style="red", markup=False, highlight=False)


def chosen(options: argparse.Namespace) -> list[str]:
    """The names asked for that still have to be measured."""
    wanted = list(options.models)
    for which in options.list or ([] if wanted else LISTS):
        wanted += names(which)
    number, shards = options.shard
    known = {} if options.again else read(options.out)
    return [
        name
        for name in list(dict.fromkeys(wanted))[number - 1 :: shards]
        if name not in known or (options.retry_failed and not known[name]["ok"])
    ]


def _shard(text: str) -> tuple[int, int]:
    number, _, shards = text.partition("/")
    if not 1 <= int(number) <= int(shards):
        raise ValueError(text)
    return int(number), int(shards)


def main() -> None:
    """Measures, or writes the table. Failures are lines, not exit codes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("models", nargs="*", help="LIST:NAME; all lists if neither models nor lists are given")
    add("--list", action="append", choices=LISTS, help="every model of a list; may be repeated")
    add("--out", type=Path, default=Path("build/coverage.jsonl"), help="JSON lines, appended to")
    add("--limit", type=float, default=300, help="seconds for one model")
    add("--memory", type=float, default=16, help="gigabytes of address space for one model")
    add("--shard", type=_shard, default=(1, 1), metavar="I/N", help="every Nth model, from the Ith on")
    add("--no-onnx", action="store_true", help="neither export to ONNX nor run onnxruntime")
    add("--again", action="store_true", help="measure models anew that have a line")
    add("--retry-failed", action="store_true", help="measure models anew that failed")
    table = "only write the table of what was measured, to docs/coverage.md if not told otherwise"
    add("--table", type=Path, nargs="?", const=Path("docs/coverage.md"), metavar="FILE", help=table)
    add("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
    elif options.table:
        write_table(list(read(options.out).values()), options.table)
    else:
        todo = chosen(options)
        show(todo, run(todo, options))


if __name__ == "__main__":
    main()
