"""What a whole shrink takes beside a bare export of the original: CPU seconds of fresh processes with one thread.

    python tools/bench_whole.py                # all models, then docs/speed.md
    python tools/bench_whole.py resnet18       # one of them; the other rows stay
    python tools/bench_whole.py --table        # only docs/speed.md

The bare export is `torch.onnx.export(dynamo=True)` with a batch that varies, saved. The whole shrink halves the
multiply-accumulates by L2 importance, proves the slim model, writes and checks its ONNX file, and times it against the
original's. CPU seconds count what a process does, whoever else uses the machine; both include Python's imports and the
building of the model with random weights.

Then come the graph alone and the cut alone, beside torch-pruning's and, where torch-kirigami is installed, its graph.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time
from typing import Any

from speed_page import TEXT

ROOT = Path(__file__).parents[1]
ROWS, PAGE = ROOT / "build" / "whole.jsonl", ROOT / "docs" / "speed.md"
VISION = "resnet18 resnet50 mobilenet_v2 efficientnet_b0 densenet121 vit_b_16 swin_t convnext_tiny".split()
MODELS = [*VISION, "bert", "llama"]
DEEP = ["50 layers", "100 layers", "200 layers"]  # of a narrow transformer, to see what grows with a graph
BARE, WHOLE = "bare", "whole"
TOOLS = ["graphprune", "torch-pruning", "torch-kirigami"]  # whose graphs stand beside each other
LIMIT = 60.0  # seconds that one of them may take
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TIMING = ("export the original", "time")
# stages of a whole shrink under the names of the table
COLUMNS: dict[str, tuple[str, ...]] = {
    "imports, model": ("begin",),
    "capture": ("capture",),
    "plan": ("analyse", "learn the runtime's widths", "score", "plan", "rewrite"),
    "verify": ("verify",),
    "export": ("export",),
    "onnxruntime": ("run in onnxruntime", "compare on random weights"),
    "original": TIMING[:1],
    "timing": TIMING[1:],
}
Row = dict[str, Any]


def build(name: str, batch: int) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The model with random weights, and arguments and keywords of a call."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    if name in VISION:
        from models_zoo.sources import torchvision_model

        model, inputs, _ = torchvision_model(name, pretrained=False)
        return (model.eval(), *inputs(batch))
    if name in DEEP:
        layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        deep = torch.nn.TransformerEncoder(layer, int(name.split()[0]), enable_nested_tensor=False)
        return deep.eval(), (torch.randn(batch, 6, 32),), {}
    from models_zoo.small_transformers import SMALL_TRANSFORMERS

    row = SMALL_TRANSFORMERS[name]
    return (row.build(), *row.example_inputs(batch))


def bare(name: str, folder: Path) -> dict[str, float]:
    """CPU seconds up to the end of each stage."""
    import torch

    model, args, kwargs = build(name, 2)
    built = process_time()
    varying = {0: torch.export.Dim.DYNAMIC}
    shapes: Any = {key: varying for key in kwargs} if kwargs else tuple(varying for _ in args)
    program = torch.onnx.export(model, args, kwargs=kwargs, dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    program.save(folder / "model.onnx")
    return {"begin": built, "export": process_time() - built}


def whole(name: str, folder: Path) -> dict[str, float]:
    """CPU seconds of each stage."""
    model, args, kwargs = build(name, 1)
    import graphprune as gp

    stages: dict[str, float] = {}
    at, since = "begin", 0.0

    def progress(stage: str) -> None:
        nonlocal at, since
        stages[at] = stages.get(at, 0.0) + process_time() - since
        at, since = stage, process_time()

    result = gp.shrink(model, (args, kwargs), macs=0.5, importance="l2", progress=progress)
    progress("files")
    report = result.save(folder / "slim", progress=progress)
    progress("end")
    assert report["verdict"]["passed"]
    assert "latency" in report, report["notes"]
    return {**stages, "nodes": len(result.graph.program.graph.nodes)}


def kirigami(name: str) -> dict[str, float]:
    """CPU seconds of torch-kirigami's dependency graph."""
    from bench_peer import build as built
    from torch_kirigami import DependencyGraph

    model, example = built(name)
    start = process_time()
    DependencyGraph.build(model, args=(example,))
    return {"graph": process_time() - start}


def alone(tool: str, name: str) -> dict[str, float]:
    """CPU seconds of the graph and, where the tool was tried, of the cut."""
    from bench_peer import ours, theirs

    return {"graphprune": ours, "torch-pruning": theirs, "torch-kirigami": kirigami}[tool](name)


def measured(side: str, name: str) -> Row:
    """A row: its seconds in all, by stage, and the peak of memory in MB; or why there is none."""
    row: Row = {"side": side, "model": name}
    command = [sys.executable, "-W", "ignore", __file__, name, "--child", side]
    limit = LIMIT if side in TOOLS else None
    try:
        ran = subprocess.run(
            command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {**row, "failure": f"over {limit:.0f} s"}
    if ran.returncode:
        return {**row, "failure": (ran.stderr.strip() or "it was ended").splitlines()[-1][:200]}
    return {**row, **json.loads(ran.stdout.splitlines()[-1])}


def child(side: str, name: str) -> None:
    """Prints what `measured` reads."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        stages = alone(side, name) if side in TOOLS else {BARE: bare, WHOLE: whole}[side](name, Path(folder))
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"seconds": process_time(), "stages": stages, "peak": peak}))


def read() -> list[Row]:
    """All rows so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def table(rows: Iterable[Row]) -> str:
    """docs/speed.md."""
    found = {(row["side"], row["model"]): row for row in rows}
    pairs = {
        name: (found[BARE, name], found[WHOLE, name])
        for name in MODELS
        if (BARE, name) in found and (WHOLE, name) in found
    }
    names = (
        "graphprune torch onnx onnxscript onnxruntime torchvision transformers torch-pruning torch-kirigami"
    )
    return TEXT.format(
        date=date.today().isoformat(),
        versions=", ".join(filter(None, map(_with_version, names.split()))),
        whole="\n".join(_whole_line(name, *pair) for name, pair in pairs.items()),
        head=" | ".join(COLUMNS),
        rules=" | ".join("---" for _ in COLUMNS),
        stages="\n".join(_stage_line(name, row) for name, (_, row) in pairs.items() if "failure" not in row),
        alone="\n".join(
            _alone_line(name, *(found[tool, name] for tool in TOOLS))
            for name in VISION
            if all((tool, name) in found for tool in TOOLS)
        ),
        deep="\n".join(
            _stage_line(f"{row['stages']['nodes']:,}", row)
            for name in DEEP
            if "stages" in (row := found.get((WHOLE, name), {}))
        ),
    )


def _with_version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _alone_line(name: str, own: Row, pruning: Row, kirigami: Row) -> str:
    """Seconds of the graph, and with a cut, of each tool; a ratio where both have one."""

    def spent(row: Row, *stages: str) -> str:
        return (
            row["failure"].partition(":")[0]
            if "failure" in row
            else f"{sum(row['stages'][stage] for stage in stages):.2f}"
        )

    def ratio(other: Row, *stages: str) -> str:
        mine, theirs = (
            sum(row["stages"][stage] for stage in stages) if "stages" in row else 0.0 for row in (own, other)
        )
        return f"{mine / theirs:.2f}" if mine and theirs else "–"

    graph, both = ("graph",), ("graph", "prune")
    cells = (
        spent(own, *graph),
        spent(pruning, *graph),
        spent(kirigami, *graph),
        ratio(kirigami, *graph),
        spent(own, *both),
        spent(pruning, *both),
        ratio(pruning, *both),
    )
    return f"| {name} | {' | '.join(cells)} |"


def _whole_line(name: str, bare: Row, whole: Row) -> str:
    for side, row in ((BARE, bare), (WHOLE, whole)):
        if "failure" in row:
            return f"| {name} | {side}: {row['failure']} | – | – | – | – | – |"
    untimed = whole["seconds"] - sum(whole["stages"].get(stage, 0.0) for stage in TIMING)
    return (
        f"| {name} | {bare['seconds']:.1f} | {whole['seconds']:.1f} | {whole['seconds'] / bare['seconds']:.2f} "
        f"| {untimed / bare['seconds']:.2f} | {bare['peak']:.0f} | {whole['peak']:.0f} |"
    )


def _stage_line(name: str, row: Row) -> str:
    figures = (sum(row["stages"].get(stage, 0.0) for stage in stages) for stages in COLUMNS.values())
    return f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |"


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=f"of {', '.join([*MODELS, *DEEP])}; all if none")
    parser.add_argument("--table", action="store_true", help="only write the page")
    parser.add_argument("--child", choices=[BARE, WHOLE, *TOOLS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, *options.models)
        return 0
    ROWS.parent.mkdir(exist_ok=True)
    for name in () if options.table else options.models or [*MODELS, *DEEP]:
        for side in (WHOLE,) if name in DEEP else (BARE, WHOLE, *(TOOLS if name in VISION else ())):
            row = measured(side, name)
            kept = [old for old in read() if (old["side"], old["model"]) != (side, name)]
            ROWS.write_text("".join(json.dumps(each) + "\n" for each in [*kept, row]))
            print(json.dumps(row), flush=True)
    PAGE.write_text(table(read()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
