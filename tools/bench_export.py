"""float16 and 8 bits of slim models, side by side with the unpruned ones: size, latency, error.

    python tools/bench_export.py resnet18 digits_resnet    # rows, one model after the other
    python tools/bench_export.py --table > docs/deployment.md

Models of the zoo have their published weights, and are pruned as `graphprune.shrink` does by default. Models of
torchvision have random ones here, and are pruned by weights alone: their times and sizes are those of any weights. Both
models of a pair are quantised on the same made data, with the same options.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from bench_rows import Row, keep, read

import graphprune as gp
import models_zoo
from graphprune import exporting
from graphprune.synthetic import make_inputs
from models_zoo.sources import torchvision_model

MACS = 0.5
SECONDS = 5.0
TORCHVISION = ("resnet18", "mobilenet_v2", "vit_b_16")
WEIGHTED = tuple(name for name in models_zoo.names() if models_zoo.get(name).load_weights is not None)
KINDS = {"model.onnx": "float32", "model_fp16.onnx": "float16", "model_int8.onnx": "8 bits"}


def build(name: str) -> tuple[torch.nn.Module, Any, dict[str, Any]]:
    """The model, one example, and how it is pruned."""
    torch.manual_seed(0)
    if name in TORCHVISION:
        model, example_inputs, _ = torchvision_model(name, pretrained=False)
        return model.eval(), example_inputs(1), {"fast": True}
    return models_zoo.load(name).eval(), models_zoo.get(name).example_inputs(1), {}


def rows(name: str) -> Iterator[Row]:
    """Three files of the model, and three of the slim one."""
    model, example, how = build(name)
    graph = gp.trace(model, example)
    made = make_inputs(graph)
    with TemporaryDirectory() as place:
        folder = Path(place)
        exporting.export_onnx(graph.program, folder / "original.onnx")
        gp.shrink(graph, macs=MACS, **how).save(folder / "slim", latency=False)
        first = folder / "of original" / "model.onnx"
        for which, source in (("original", folder / "original.onnx"), ("slim", folder / "slim")):
            out = folder / f"of {which}"
            report = gp.export(source, out, latency=False, fp16=True, int8=True, calibration=list(made))
            for file, row in report["files"].items():
                timed = exporting.latency(first, out / file, graph.program.example, seconds=SECONDS)
                yield {
                    "model": name,
                    "which": which,
                    "file": file,
                    "bytes": row["bytes"],
                    "ms": timed.slim_ms,
                    "ratio": timed.ratio,
                    "fidelity": row["fidelity"],
                    "left": len(row.get("float_nodes", ())),
                    "nodes": row.get("nodes"),
                    "data": str(made),
                    "date": date.today().isoformat(),
                }


def line(row: Row) -> str:
    """One row of the table."""
    found = row["fidelity"]
    alike = "" if found["agreement"] is None else f"{found['agreement']:.1%}"
    left = f"{row['left']} of {row['nodes']}" if row["nodes"] else str(row["left"])
    exact = row["file"] == "model.onnx"
    return (
        f"| {row['model']} | {row['which']} | {KINDS[row['file']]} | {row['bytes'] / 1e6:.2f} | {row['ms']:.3g} "
        f"| {row['ratio']:.2f} | {'–' if exact else format(found['error'], '.2%')} | {'–' if exact else alike} "
        f"| {'–' if exact else left} |"
    )


TEXT = """# Deployment files, measured

Measured on {date} with {versions} by `tools/bench_export.py`: one thread, one example, by the clock of the thread's
processor (AVX-512 with VNNI). "slim" keeps half of the multiply-accumulates.

- The zoo's models have their **published weights**, and are pruned by `graphprune.shrink` without options.
- torchvision's models ({torchvision}) have **random weights** here, and are pruned by weights alone. Their sizes and
  times are those of any weights; their errors are not.
- The error is that of the outputs relative to their norm, beside the *same* model's float32 file, on held-out examples
  that are made for the model. "alike" is the share of rows whose largest output stays in place.
- "time" is beside the original's float32 file, in alternation.
- onnxruntime computes float16 in float32 on this processor, with conversions around it: it saves space here, and no
  time. Its error counts every rounding that a device in half precision makes.
- "in float" counts the nodes that stay in float32. Of 8 bits the rule is: until outputs are off by less than 10 %, see
  [the guide](guides/deploying.md).

| model | | numbers | MB | ms | time | outputs off | alike | in float |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

{bad}
"""


def table(found: list[Row]) -> str:
    """The page."""
    bad = [
        f"{row['model']} ({row['which']}, {KINDS[row['file']]})" for row in found if row["fidelity"]["poor"]
    ]
    over = [
        f"{row['model']} ({row['which']})"
        for row in found
        if row["file"] == "model_int8.onnx" and row["fidelity"]["error"] > 0.1
    ]
    missing = [name for name in (*TORCHVISION, *WEIGHTED) if name not in {row["model"] for row in found}]
    slower = [
        f"{row['model']} ({row['which']}, {KINDS[row['file']]})"
        for row in found
        if row["file"] != "model.onnx" and row["ratio"] > 1.02 * _float(found, row)["ratio"]
    ]
    return TEXT.format(
        date=max(row["date"] for row in found),
        versions=", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "onnx", "torch")),
        torchvision=", ".join(TORCHVISION),
        rows="\n".join(map(line, found)),
        bad="\n".join(
            (
                f"- Not measured for this page: {', '.join(missing) or 'none'}.",
                f"- Answers are poor: {', '.join(bad) or 'none'}.",
                f"- 8 bits miss the 10 %: {', '.join(over) or 'none'}.",
                f"- Slower than the same model in float32 on this processor: {', '.join(slower) or 'none'}.",
            )
        ),
    )


def _float(found: list[Row], row: Row) -> Row:
    return next(
        other
        for other in found
        if (other["model"], other["which"], other["file"]) == (row["model"], row["which"], "model.onnx")
    )


def main() -> None:
    """Parses the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("models", nargs="*", help=f"of the zoo, or {', '.join(TORCHVISION)}")
    parser.add_argument("--rows", type=Path, default=Path("out/export.jsonl"), help="where rows are kept")
    parser.add_argument("--table", action="store_true", help="print the page of all rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models:
        keep(options.rows, rows(name), ("model", "which", "file"))
    if options.table:
        print(table(read(options.rows)), end="")


if __name__ == "__main__":
    main()
