"""What a shrink returns, and the directory it is saved to and loaded from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn

from graphprune import exporting
from graphprune.asking.toml import settings_of, settings_text
from graphprune.axes.dependency import Cost, DependencyGraph
from graphprune.capture import graft, tensor_leaves
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.errors import InputError, VerificationError
from graphprune.lossless import LosslessReport
from graphprune.planning import Plan
from graphprune.profiling import Profile, profile
from graphprune.repair import RepairReport
from graphprune.report.facts import network_facts
from graphprune.report.page import render
from graphprune.results.onnx_checks import write_checked
from graphprune.verifying import Verdict

__all__ = ["Result", "load"]

LAYERS_NOTE = (
    "By onnxruntime's profile, the median of some runs. What it fused into a layer's kernel counts with that layer; "
    "'other' is all that belongs to no layer, such as additions, reshapes and the products inside attention."
)


@dataclass(frozen=True)
class Result:
    """A verified slim model.

    Attributes:
        model: the slim model, an ordinary trainable `torch.fx.GraphModule` of `torch.nn` layers, in eval mode.
        plan: which units were kept, and which indices of every tensor.
        verdict: every check with its figure.
        graph: the dependency graph of the original.
        before, after: multiply-accumulates of one example, and parameters.
        seconds: wall seconds of every stage.
        profile: the original's ONNX file, where a budget needed it.
        threads, batch: with which the model is timed.
        coarser: the same request once more, with widths of twice the multiples that the runtime likes; None unless
            they were left to the runtime. Of use where a slim model is slower than its original.
        repair: what a repair did and did not do, see `RepairReport`; None where none was asked for.
        lossless: of a lossless shrink, what was removed, what is dead and stayed, and why; otherwise None.
        scores: group → score of every unit, None for a group that could not be judged; empty where nothing was scored.
        tuning: of a fine-tuned result, its settings, figures and history; ``verdict`` is of the cut before it.
    """

    model: fx.GraphModule
    plan: Plan
    verdict: Verdict
    graph: DependencyGraph
    before: Cost
    after: Cost
    seconds: Mapping[str, float] = field(default_factory=dict)
    lossless: LosslessReport | None = None
    scores: Mapping[str, Tensor | None] = field(default_factory=dict, repr=False)
    tuning: Mapping[str, Any] | None = None
    profile: Profile | None = field(default=None, repr=False)
    threads: int = 1
    batch: int = 1
    coarser: Callable[[], Result] | None = field(default=None, repr=False)
    repair: RepairReport | None = None

    def __repr__(self) -> str:
        checks = self.verdict.checks
        passed = sum(check.passed for check in checks)
        return (
            f"Result(params={self.before.params:,} → {self.after.params:,}, "
            f"macs={self.before.macs:,} → {self.after.macs:,}, checks={passed} of {len(checks)} passed)"
        )

    def save(
        self,
        directory: str | Path,
        latency: bool = True,
        progress: Progress = lambda stage: None,
        extra: Mapping[str, Any] | None = None,
        onnx: bool = True,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Writes model.onnx, model.safetensors, model.py, plan.json, report.json, report.html and shrink.toml.

        Returns the report.

        The ONNX file is checked, and compared with the model in onnxruntime at two batch sizes, on the model's
        tensors and on random ones; with ``latency`` it is timed against the original in alternation. The
        directory appears when all is done. ``extra`` entries are added to the report. ``onnx=False`` leaves the
        file and its checks out, for models with an operator that ONNX has not. ``settings`` are options of the
        command line, by command: those of "shrink" are in shrink.toml, and are what the plan records by default.

        Raises:
            InputError: the directory cannot be written.
            ExportError: the model cannot be exported.
            VerificationError: onnxruntime gives other results than PyTorch.
        """
        return _save(self, Path(directory), latency, progress, extra or {}, onnx, settings or {})

    def graft(self) -> nn.Module:
        """The user's own module, copied, with the slim layers in the place of its layers.

        For models whose ``forward`` does more than a program can, such as a detector that decides on values: shrink
        a module that holds the model and runs its network alone, and graft the result.

        Raises:
            InputError: the model's code itself mentions a width, so that it does not run with slim layers.
        """
        program = self.graph.program
        if program.model is None:
            raise InputError(
                "there is no module that this result was captured from", "shrink a torch.nn.Module"
            )
        return graft(program.model, self.model, program)


def load(directory: str | Path, operators: Collection[str] = ()) -> fx.GraphModule:
    """The slim model that `Result.save` wrote. Neither pickle nor code from the directory is run.

    Args:
        operators: operators of other libraries than torch that the model may call, as "mylib::scale"; their
            libraries must be imported. All others are refused.

    Raises:
        InputError: there is no such model, or the file is damaged or foreign.
    """
    path = Path(directory)
    return exporting.load_model(path / "model.safetensors" if path.is_dir() else path, operators)


def _save(
    result: Result,
    directory: Path,
    latency: bool,
    progress: Progress,
    extra: Mapping[str, Any],
    onnx: bool,
    settings: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    exporting.ensure_writable(directory)
    program = result.graph.program
    clock = Clock(progress)
    report = {**_report(result), **extra}

    def write_onnx(path: Path) -> None:
        written, checks = write_checked(program, result.model, path, clock)
        report["verdict"] = result.verdict.with_checks(*checks).to_dict()
        failed = [check for check in checks if not check.passed]
        if failed:
            raise VerificationError(
                f"onnxruntime disagrees with PyTorch: {'; '.join(map(str, failed))}", "nothing was written"
            )
        report["after"]["onnx_bytes"] = written.bytes
        report["opset"] = written.opset
        if latency:
            _measure(result, path, report, clock)

    def write_report(path: Path) -> None:
        report["seconds"] = {**result.seconds, **clock.seconds}
        _write_text(path, exporting.rows_to_json(report))

    def write_page(path: Path) -> None:
        title = str(report.get("source", {}).get("model", report["name"]))
        units = {name: kept.tolist() for name, kept in result.plan.groups.items()}
        _write_text(path, render(report, title, units))

    summary = ", ".join(f"{leaf.dtype} {tuple(leaf.shape)}" for leaf in tensor_leaves(program.example))
    said = {"shrink": settings_of(result.plan.request), **settings}
    source = exporting.module_source(result.model, _title(result), summary)
    exporting.write_directory(
        directory,
        {
            **({"model.onnx": write_onnx} if onnx else {}),
            "model.safetensors": lambda path: exporting.save_model(result.model, path),
            "model.py": lambda path: _write_text(path, source),
            "plan.json": lambda path: _write_text(path, result.plan.to_json()),
            **{f"{name}.toml": partial(_write_text, text=settings_text(said[name], name)) for name in said},
            "report.json": write_report,
            "report.html": write_page,
        },
    )
    return report


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _title(result: Result) -> str:
    share = result.after.macs / max(result.before.macs, 1)
    return f"A slim model: {result.after.params:,} parameters, {share:.1%} of the multiply-accumulates."


def _report(result: Result) -> dict[str, Any]:
    program = result.graph.program
    return {
        "format": 1,
        "name": type(program.model).__name__ if program.model is not None else "model",
        "versions": {name: version(name) for name in ("graphprune", "torch", "onnx", "onnxruntime")},
        "request": result.plan.request,
        "dynamic_batch": program.dynamic_batch,
        "notes": list(program.notes),
        "before": asdict(result.before),
        "after": asdict(result.after),
        "verdict": result.verdict.to_dict(),
        **({"lossless": result.lossless.to_dict()} if result.lossless is not None else {}),
        **network_facts(result.graph, result.plan.groups, result.scores),
        **({"tuning": dict(result.tuning)} if result.tuning is not None else {}),
        **({"repair": result.repair.to_dict()} if result.repair is not None else {}),
    }


def _measure(result: Result, slim: Path, report: dict[str, Any], clock: Clock) -> None:
    """Times the slim file and the original's in alternation."""
    with clock("export the original"):
        batch = result.batch if result.graph.program.dynamic_batch else 1
        original = result.profile or profile(result.graph, result.threads, batch)
    with clock("time"):
        timed = original.measure(slim)
        layers = original.layers(slim)
    report["before"]["onnx_bytes"] = original.bytes
    report["latency"] = {
        "batch": original.batch,
        "threads": original.threads,
        **asdict(timed),
        "layers": {name: list(pair) for name, pair in layers.items()},
        "layers_note": LAYERS_NOTE,
    }
