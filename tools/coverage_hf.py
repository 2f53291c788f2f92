"""Shrinks many architectures of transformers, and has the slim folders read where there is no graphprune.

    python tools/coverage_hf.py                    # the table of docs/coverage-hf.md
    python tools/coverage_hf.py llama odd_biases   # some of them, on the terminal

A small model of each is written as a folder with lively random weights, on which every output depends, shrunk to 75 %
of its parameters, and run by masking at three lengths. Another process, in which graphprune cannot be imported, loads
what was written by stock ``from_pretrained``, in the class that it had, and compares in float64; where the class writes
text, it writes the same with its cache as without. ONNX files are checked in onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import torch
from coverage_hf_models import MODELS, build
from safetensors.torch import save_file
from torch import Tensor

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.face.pretrained import Pretrained, shrink_pretrained
from graphprune.ground.clock import Clock
from graphprune.ground.errors import GraphpruneError, VerificationError
from graphprune.planning.plan import Plan, make_masks
from graphprune.pretrained.blueprint import shown
from graphprune.pretrained.examples import text_sizes
from graphprune.pretrained.folder import open_folder
from graphprune.pretrained.opened import Model, look_at
from graphprune.results.missing import lacking
from graphprune.verifying.nodes import outputs_of
from graphprune.verifying.reference import Reference
from graphprune.verifying.samples import random_inputs
from graphprune.verifying.tensors import converted, in_dtype

DOCUMENT = Path(__file__).parents[1] / "docs/coverage-hf.md"
SHARE, LENGTHS, LIMIT = 0.75, (1, 7, 33), 1e-5
POSITIONS = "max_target_positions"  # of Whisper's decoder, which has few


def masked_outputs(graph: DependencyGraph, plan: Plan, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Inputs and outputs of the masked original at these sizes, in float64."""
    inputs = random_inputs(graph.program, 0, sizes)
    wide = [in_dtype(leaf, torch.float64) for leaf in inputs]
    reference = Reference(graph, make_masks(graph, plan.groups).kept, wide)
    zeroed = reference.zeroed(converted(graph.program.tensors, torch.float64))
    with torch.no_grad():
        found = outputs_of(graph.program, reference.run(zeroed, torch.float64))
    _, kwargs = graph.program.call_of(wide)
    flat = {f"in.{name}": tensor.contiguous() for name, tensor in kwargs.items()}
    returned = [found[name] for name in graph.program.output_names if name in found]
    return flat | {f"out.{place}": tensor.contiguous() for place, tensor in enumerate(returned)}


def traced(model: Model, folder: Path) -> DependencyGraph:
    """The graph of the model as the library loads it."""
    loaded = model.folder.blueprint.model.from_pretrained(folder, dtype=torch.float32).eval()
    if hasattr(loaded.config, "use_cache"):
        loaded.config.use_cache = False
    _, inputs = model.graph.program.example
    return gp.trace(loaded, inputs, outputs=model.graph.program.wanted)


def shrunk(folder: Path) -> tuple[Pretrained, str]:
    """The slim folder, and which ONNX files are right in onnxruntime: of the class, and of a step with its past."""
    options = {"params": SHARE, "importance": "l2"}
    try:
        result = shrink_pretrained(folder / "model", folder / "slim", onnx=True, **options)
    except VerificationError as error:
        return shrink_pretrained(folder / "model", folder / "slim", **options), f"no: {error.message:.60}"
    files = {"right": "model.onnx", "with past": "model_with_past.onnx"}
    found = [said for said, file in files.items() if (folder / "slim" / file).exists()]
    why = lacking(result.report, "model.onnx").partition(", at ")[0]
    return result, ", ".join(found) or f"no: {why}"


def measured(name: str, folder: Path) -> dict[str, Any]:
    """What becomes of one model; the slim folder and its cases stay in ``folder`` for the other process."""
    row: dict[str, Any] = {"name": name}
    before = process_time()
    try:
        build(name, folder / "model")
        result, row["onnx"] = shrunk(folder)
        row |= {"fields": {k: list(v) for k, v in result.fields.items()}}
        row["share"] = result.report["after"]["params"] / result.report["before"]["params"]
        model = look_at(open_folder(folder / "model"), Clock())
        row["moves"] = [[shown(place) for place in move.fields] for move in model.moves]
        row["class"] = model.folder.blueprint.model.__name__
        row["outputs"] = list(model.graph.program.wanted)
        original = traced(model, folder / "model")
        texts = text_sizes(original.program)
        for place, length in enumerate(LENGTHS if texts else LENGTHS[:1]):
            sizes = dict.fromkeys(texts, min(length, model.folder.blueprint.values.get(POSITIONS, length)))
            save_file(masked_outputs(original, result.plan, sizes), folder / f"case{place}.safetensors")
    except GraphpruneError as error:
        row["refused"] = str(error)
    row["seconds"] = process_time() - before
    return row


def compared(rows: Iterable[dict[str, Any]], place: Path) -> dict[str, dict[str, Any]]:
    """What the process without graphprune finds in each folder."""
    jobs = [{**row, "folder": str(place / row["name"])} for row in rows if "refused" not in row]
    (place / "jobs.json").write_text(json.dumps(jobs))
    reader = Path(__file__).with_name("coverage_hf_reader.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(reader), str(place / "jobs.json")],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| model | class | widths that its fields say | 75 % asked, kept | changed | logits | cache | ONNX | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if "refused" in row:
            lines.append(f"| {row['name']} | | refused: {row['refused']} | | | | | | {row['seconds']:.1f} |")
            continue
        moves = ", ".join(" + ".join(f"`{field}`" for field in fields) for fields in row["moves"])
        changed = ", ".join(f"`{f}` {'–' if a is None else a} → {b}" for f, (a, b) in row["fields"].items())
        error = f"{row['error']:.0e}" if row["error"] is not None else "–"
        lines.append(
            f"| {row['name']} | {row['class']} | {moves} | {row['share']:.1%} | {changed} | {error} "
            f"| {row['cache']} | {row['onnx']} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rows = []
        for name in names or MODELS:
            rows.append(measured(name, Path(place) / name))
            print(
                rows[-1]["name"], rows[-1].get("refused", rows[-1].get("fields")), file=sys.stderr, flush=True
            )
        found = compared(rows, Path(place))
    rows = [{**row, **found.get(row["name"], {})} for row in rows]
    right = [
        row for row in rows if "refused" not in row and row["error"] <= LIMIT and row["cache"] != "differs"
    ]
    near = [row for row in right if row["share"] <= SHARE * 1.01]
    said = (
        f"{len(near)} of {len(rows)} shrink to {SHARE:.0%} or less of their parameters and are right in stock "
        f"transformers, to {LIMIT:g} in float64 at {len(LENGTHS)} lengths.\n\n"
    )
    print(said + table(rows))
    if not names:
        text = DOCUMENT.read_text() if DOCUMENT.exists() else "# Coverage of transformers\n\n<!-- table -->\n"
        head = text.partition("<!-- table -->")[0]
        DOCUMENT.write_text(f"{head}<!-- table -->\n\n{said}{table(rows)}")


if __name__ == "__main__":
    main()
