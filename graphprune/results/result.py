"""What a shrink returns, and the directory that a slim model is saved to and loaded from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn

from graphprune import exporting
from graphprune.asking.options import EXPORT_DTYPES
from graphprune.asking.record import as_options
from graphprune.asking.toml import settings_text, spelled
from graphprune.axes.dependency import Cost, DependencyGraph
from graphprune.calibration import Fidelity
from graphprune.capture import Program
from graphprune.cutting.cut import Cut
from graphprune.cutting.fitting import Fit
from graphprune.cutting.grafted import own_model
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.errors import ExportError, InputError, VerificationError
from graphprune.ground.garbage import collected_later
from graphprune.lossless import LosslessReport
from graphprune.planning import Plan
from graphprune.profiling import Profile, profile
from graphprune.repair import RepairReport
from graphprune.report.facts import network_facts
from graphprune.report.page import render
from graphprune.report.sizes import dimension_rows, input_lines
from graphprune.results.cut_file import file_plan, from_file, write_cut_file
from graphprune.results.file_budget import bytes_met
from graphprune.results.missing import note_missing, page_if_possible, written_if_held
from graphprune.results.onnx_checks import write_checked
from graphprune.verifying import Check, Verdict

__all__ = ["Result"]

Writer = Callable[[Path], None]
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
        slim: the program that ``model`` was raised from, before any fine-tuning; the ONNX file is made of it.
        before, after: multiply-accumulates of one example, and parameters.
        seconds: wall seconds of every stage.
        profile: the original's ONNX file, where a budget needed it.
        threads, batch: with which the model is timed.
        repair: what a repair did and did not do, see `RepairReport`; None where none was asked for.
        lossless: of a lossless shrink, what was removed, what is dead and stayed, and why; otherwise None.
        scores: group → score of every unit, None for a group that could not be judged; empty where nothing was scored.
        fit: what the model's own class asks of a plan, where ``graft`` was asked for.
        tuning: of a fine-tuned result, its settings, figures and history; ``verdict`` is of the cut before it.
        export_dtype: the type of the ONNX file's numbers; None for the model's own.
        fidelity: what became of the model's answers, see `Fidelity`; None where there were no data to judge them on.
        notes: what the user should know of how units were chosen.
    """

    model: fx.GraphModule
    plan: Plan
    verdict: Verdict
    graph: DependencyGraph
    slim: Program
    before: Cost
    after: Cost
    seconds: Mapping[str, float] = field(default_factory=dict)
    lossless: LosslessReport | None = None
    scores: Mapping[str, Tensor | None] = field(default_factory=dict, repr=False)
    tuning: Mapping[str, Any] | None = None
    profile: Profile | None = field(default=None, repr=False)
    threads: int = 1
    batch: int = 1
    repair: RepairReport | None = None
    export_dtype: str | None = None
    fit: Fit | None = field(default=None, repr=False)
    fidelity: Fidelity | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, cut: Cut, seconds: Mapping[str, float], **more: Any) -> Result:
        """The result that a cut comes to."""
        return cls(
            cut.module,
            cut.plan,
            cut.verdict,
            cut.graph,
            cut.slim,
            cut.graph.cost(),
            cut.cost,
            dict(seconds),
            repair=cut.repair,
            lossless=cut.lossless,
            fit=cut.fit,
            fidelity=cut.fidelity,
            **more,
        )

    def __repr__(self) -> str:
        checks = self.verdict.checks
        passed = sum(check.passed for check in checks)
        answers = f"answers={self.fidelity}, " if self.fidelity is not None else ""
        return (
            f"Result({answers}params={self.before.params:,} → {self.after.params:,}, "
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
        export_dtype: str | None = None,
        force: bool = False,
        files: Mapping[str, Writer] | None = None,
        proof: Callable[[Path], Sequence[Check]] | None = None,
    ) -> dict[str, Any]:
        """Writes model.onnx, model.safetensors, model.py, plan.json, report.json, report.html and shrink.toml.

        Returns the report.

        The ONNX file is checked, and compared with the model in onnxruntime: on one example with the model's
        tensors, and at other sizes too with random ones in the same nodes. With ``latency`` it is timed against the
        original in alternation. The directory appears when all is done. ``extra`` entries are added to the report.
        ``settings`` are options of the command line, by command: those of "shrink" are in shrink.toml, and are what
        the plan records by default.

        A model may have an operator that ONNX has not, or a type that onnxruntime computes nothing in. Then all other
        files are written, and a warning, the report and its notes say what is missing, why, and what to do. With
        ``onnx=False`` the file and its checks are left out without a word. ``export_dtype``, "float32" or "float16",
        is the type of the file's numbers; by default what the shrink was asked for, else the model's own.

        ``files`` are written in the place of model.safetensors and model.py, by name; ``proof`` then looks at the
        directory, and its checks join the verdict.

        An earlier result in the directory is replaced in one step. One that was trained, or that holds files of yours,
        is lost with that: this asks for ``force=True``.

        Raises:
            InputError: the directory cannot be written, would lose something, or ``export_dtype`` is unknown.
            VerificationError: onnxruntime gives other results than PyTorch.
        """
        if export_dtype not in (None, *EXPORT_DTYPES):
            raise InputError(
                f"export_dtype={export_dtype!r} is not a type of an ONNX file",
                f"use one of {', '.join(EXPORT_DTYPES)}",
            )
        exporting.ensure_writable(Path(directory), force=force)
        chosen = replace(self, export_dtype=export_dtype or self.export_dtype)
        saving = _Saving(chosen, latency, Clock(progress), {**_report(chosen), **(extra or {})}, files, proof)
        with collected_later():
            exporting.write_directory(Path(directory), saving.files(onnx, settings or {}), force)
        return saving.report

    def graft(self) -> nn.Module:
        """The user's own module, copied, with the slim layers in the place of its layers.

        It is of the same class, and shares its tensors with `model`. Attributes that repeat a size, such as
        ``num_heads``, are found by trying, and set. On random parameters it equals `model` in float64.

        Also for models whose ``forward`` does more than a program can, such as a detector that decides on values:
        shrink a module that holds the model and runs its network alone, and graft the result.

        Raises:
            InputError: the model's code itself needs a width that is gone. With ``shrink(..., graft=True)`` that
                width stays.
        """
        return own_model(self.graph, self.plan, self.model, self.fit)


@dataclass
class _Saving:
    """The files of one directory; the report grows as they are written."""

    result: Result
    latency: bool
    clock: Clock
    report: dict[str, Any]
    given: Mapping[str, Writer] | None = None
    proof: Callable[[Path], Sequence[Check]] | None = None

    def files(self, onnx: bool, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Writer]:
        """Name → what writes it, in the order in which they are to be written."""
        result = self.result
        layers: dict[str, Writer] = {
            "model.safetensors": partial(exporting.save_model, result.model),
            "model.py": lambda path: _write_text(path, _source(result)),
        }
        if self.given is not None:
            layers = dict(self.given)
        if from_file(result.graph):
            layers = {name: partial(written_if_held, self.report, write) for name, write in layers.items()}
        said = {"shrink": spelled(as_options(result.plan.request)), **settings}
        texts = {
            "plan.json": file_plan(result.graph, result.plan).to_json(),
            **{f"{name}.toml": settings_text(options, name) for name, options in said.items()},
        }
        return {
            **({"model.onnx": self.write_onnx} if onnx else {}),
            **layers,
            **{name: partial(_write_text, text=text) for name, text in texts.items()},
            "report.json": self.write_report,
            **page_if_possible(self.report, self.write_page),
        }

    def write_onnx(self, path: Path) -> None:
        """Writes and checks the file, and times it; or says what there is not, and why."""
        try:
            self.write_checked(path)
        except ExportError as error:
            for file in path.parent.glob(f"{path.name}*"):  # what had been written before it failed
                file.unlink()
            note_missing(self.report, "no model.onnx was written", error)
            return
        if self.latency:
            try:
                self.measure(path)
            except ExportError as error:
                note_missing(self.report, "the ONNX file was not timed", error)

    def write_checked(self, path: Path) -> None:
        result, dtype = self.result, exporting.named_dtype(self.result.export_dtype)
        if from_file(result.graph):
            written, checks = write_cut_file(result.graph, result.plan, result.model, path, self.clock)
        else:
            written, checks = write_checked(result.slim, result.model, path, self.clock, dtype)
        checks = (*checks, *bytes_met(result.plan, result.profile, written.bytes))
        self._judge(checks, "the ONNX file is not what was asked for")
        self.report["after"]["onnx_bytes"] = written.bytes
        self.report["opset"] = written.opset
        if written.fixed:  # sizes that vary in PyTorch
            self.report["onnx_fixed"] = dict(written.fixed)
        if result.export_dtype:
            self.report["export_dtype"] = result.export_dtype

    def _judge(self, checks: Sequence[Check], what: str) -> None:
        self.report["verdict"] = self.result.verdict.with_checks(*checks).to_dict()
        if failed := "; ".join(str(check) for check in checks if not check.passed):
            raise VerificationError(f"{what}: {failed}", "nothing was written")

    def measure(self, slim: Path) -> None:
        """Times the slim file and the original's in alternation."""
        result, dtype = self.result, self.result.export_dtype
        with self.clock("export the original"):
            batch = result.batch if result.graph.program.dynamic_batch else 1
            known = result.profile if result.profile and result.profile.export_dtype == dtype else None
            original = known or profile(result.graph, result.threads, batch, export_dtype=dtype)
        with self.clock("time"):
            timed, layers = original.measure_layers(slim)
            given = original.tidying()
        if given is not None:  # apart from what pruning brings
            said = f"what was changed when the file was read, alone: {given.original_ms:.3g} → {given.slim_ms:.3g} ms"
            self.report["tidied"], self.report["notes"] = asdict(given), [*self.report["notes"], said]
        self.report["before"]["onnx_bytes"] = original.bytes
        self.report["latency"] = {
            "batch": original.batch,
            "threads": original.threads,
            **asdict(timed),
            "confidence": exporting.CONFIDENCE,
            "layers": {name: list(pair) for name, pair in layers.items()},
            "layers_note": LAYERS_NOTE,
        }

    def write_report(self, path: Path) -> None:
        if self.proof is not None:
            self._judge(self.proof(path.parent), "the files are not what was planned")
        self.report["seconds"] = {**self.result.seconds, **self.clock.seconds}
        _write_text(path, exporting.rows_to_json(self.report))

    def write_page(self, path: Path) -> None:
        title = str(self.report.get("source", {}).get("model", self.report["name"]))
        units = {name: kept.tolist() for name, kept in self.result.plan.groups.items()}
        _write_text(path, render(self.report, title, units))


def _source(result: Result) -> str:
    share = result.after.macs / max(result.before.macs, 1)
    title = f"A slim model: {result.after.params:,} parameters, {share:.1%} of the multiply-accumulates."
    return exporting.module_source(result.model, title, input_lines(result.graph.program))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _report(result: Result) -> dict[str, Any]:
    program = result.graph.program
    return {
        "format": 1,
        "name": type(program.model).__name__ if program.model is not None else "model",
        "versions": {name: version(name) for name in ("graphprune", "torch", "onnx", "onnxruntime")},
        "request": result.plan.request,
        "dynamic_batch": program.dynamic_batch,
        "dimensions": dimension_rows(program.dimensions),
        "notes": [*program.notes, *result.notes],
        **({"fidelity": result.fidelity.to_dict()} if result.fidelity is not None else {}),
        "before": asdict(result.before),
        "after": asdict(result.after),
        "verdict": result.verdict.to_dict(),
        **({"lossless": result.lossless.to_dict()} if result.lossless is not None else {}),
        **network_facts(result.graph, result.plan.groups, result.scores),
        **({"tuning": dict(result.tuning)} if result.tuning is not None else {}),
        **({"repair": result.repair.to_dict()} if result.repair is not None else {}),
    }
