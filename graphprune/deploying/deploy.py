"""The files of a deployment, one after the other: each is written, checked, compared with the source, and timed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from graphprune import exporting
from graphprune.asking.deployment import Deployment
from graphprune.calibration import Fidelity
from graphprune.deploying.eight_bits import quantise
from graphprune.deploying.examples import Examples
from graphprune.deploying.halves import beyond_half, halved
from graphprune.deploying.ranges import ranges
from graphprune.deploying.rounding import rounded
from graphprune.deploying.shaping import check_loads, opened, shaped, sizes_of, write_file
from graphprune.exporting import Array
from graphprune.exporting.parity import largest_error
from graphprune.ground.clock import Clock
from graphprune.ground.errors import ExportError, VerificationError
from graphprune.ground.files import scratch

__all__ = ["FLOAT", "HALF", "INT8", "deploy_files"]

FLOAT, HALF, INT8 = "model.onnx", "model_fp16.onnx", "model_int8.onnx"
REPORT = "export.json"
SAME = 1e-3  # of an output's largest value: operators of another version may round otherwise
SECONDS = 2.0  # of timing, for each file

Writer = Callable[[Path], None]


def deploy_files(
    source: Path,
    examples: Examples,
    options: Deployment,
    origin: Mapping[str, Any],
    clock: Clock,
    latency: bool = True,
) -> tuple[dict[str, Writer], dict[str, Any]]:
    """File → what writes it, in their order, and the report that grows as they are written.

    Args:
        source: the file in float32 that all others are made of and compared with.
        origin: ``usual`` (size that varies → what it is in the examples), ``notes`` for the files' metadata, and what
            the report says of the model besides.
        latency: time the files.
    """
    report = {
        "format": 1,
        **{name: value for name, value in origin.items() if name not in ("usual", "notes")},
        "files": {},
        "notes": [],
    }
    made = _Files(source, examples, options, origin, clock, latency, report)
    writers: dict[str, Writer] = {FLOAT: made.write_float}
    if options.fp16:
        writers[HALF] = made.write_half
    if options.int8:
        writers[INT8] = made.write_int8
    return {**writers, REPORT: made.write_report}, report


@dataclass
class _Files:
    """The files of one deployment."""

    source: Path
    examples: Examples
    options: Deployment
    origin: Mapping[str, Any]
    clock: Clock
    latency: bool
    report: dict[str, Any]
    expected: list[list[Array]] = field(default_factory=list)

    def write_float(self, path: Path) -> None:
        """The source with its new names, sizes and operators' version; it must compute the same."""
        with self.clock("write model.onnx"):
            model = shaped(opened(self.source), self.options, self.origin.get("usual", {}))
            self._save(model, path, {"precision": "float32"})
        names = dict(zip(_inputs(self.source), _inputs(path), strict=True))
        first = {sizes[0] for sizes in sizes_of(model).values() if sizes}
        fixed = next((size for size in first if isinstance(size, int)), None)
        fitted = self.examples if fixed is None else self.examples.in_batches(fixed)
        with self.clock("compare model.onnx"):
            self.expected = fitted.run(self.source)
            self.examples = fitted.renamed(names)
            found = self.examples.run(path)
            off = _largest(self.expected, found)
        if not off <= SAME:
            raise VerificationError(
                f"model.onnx is off by {off:.1e} of its outputs' largest value after the conversion",
                "leave opset or dynamic out; nothing was written",
            )
        self._add(path, self.examples.fidelity(self.expected, found), {"largest_error": off})

    def write_half(self, path: Path) -> None:
        """In float16, judged as it runs here, and with every value rounded; the worse of the two counts."""
        file = path.with_name(FLOAT)
        with self.clock("convert to float16"):
            model = opened(file)
            kept = beyond_half(model.graph, ranges(file, self.examples.seen))
            made = halved(model, kept)
            self._save(made, path, {"precision": "float16", "float_nodes": kept})
            check_loads(path, "leave fp16 out")
        with self.clock("compare model_fp16.onnx"), scratch() as folder:
            write_file(rounded(made), folder / "rounded.onnx", {}, external=True)
            both = [
                self.examples.fidelity(self.expected, self.examples.run(one))
                for one in (path, folder / "rounded.onnx")
            ]
        worse = max(both, key=lambda one: one.error if isfinite(one.error) else float("inf"))
        if not isfinite(worse.error):
            raise ExportError(
                "in float16 the file gives numbers that are not finite on the examples", "leave fp16 out"
            )
        self._add(path, worse, {"float_nodes": kept})

    def write_int8(self, path: Path) -> None:
        """In 8 bits, with the nodes left in float that need it."""
        options, file = self.options, path.with_name(FLOAT)
        with self.clock("quantise to 8 bits"):
            made = quantise(file, self.examples, self.expected, options.symmetric, options.max_error)
            self._save(made.model, path, {"precision": "int8", "float_nodes": list(made.left)})
        found = self.examples.fidelity(self.expected, self.examples.run(path))
        if found.error > options.max_error:
            self.report["notes"].append(
                f"{INT8}: outputs are off by {found.error:.1%}, more than the {options.max_error:.1%} asked for, even "
                f"with {len(made.left)} of {made.nodes} nodes in float"
            )
        self._add(path, found, {"float_nodes": list(made.left), "nodes": made.nodes})

    def _save(self, model: Any, path: Path, said: Mapping[str, Any]) -> None:
        notes = {**self.origin.get("notes", {}), **{name: _text(value) for name, value in said.items()}}
        named = {f"graphprune.{name}": text for name, text in notes.items()}
        write_file(model, path, named, self.options.external_data)

    def _add(self, path: Path, fidelity: Fidelity, more: Mapping[str, Any]) -> None:
        """The row of a file that was written, which is checked and read again here."""
        file = exporting.check_file(path)
        row = {
            "bytes": file.bytes,
            "opset": file.opset,
            "inputs": {name: list(sizes) for name, sizes in sizes_of(opened(path)).items()},
            "outputs": list(file.output_names),
            "fidelity": fidelity.to_dict(),
            **more,
        }
        if self.latency:
            with self.clock("time"):
                source = path.with_name(FLOAT)
                threads, batch = self.options.threads, self._batch(path)
                timed = self.examples.measured(source, path, threads, batch, SECONDS)
            row["latency"] = {"threads": threads, "batch": batch, **asdict(timed)}
        self.report["files"][path.name] = row

    def _batch(self, path: Path) -> int:
        """Examples in a timed run: what was asked for, unless the file fixes it."""
        first = next(iter(sizes_of(opened(path)).values()), ())
        return first[0] if first and isinstance(first[0], int) else self.options.batch

    def write_report(self, path: Path) -> None:
        self.report["seconds"] = dict(self.clock.seconds)
        path.write_text(exporting.rows_to_json(self.report), encoding="utf-8")


def _inputs(path: Path) -> list[str]:
    return [value.name for value in exporting.session(path).get_inputs()]


def _largest(expected: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> float:
    return max(
        largest_error(one, other, "")[1]
        for row, others in zip(expected, found, strict=True)
        for one, other in zip(row, others, strict=True)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
