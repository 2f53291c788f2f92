"""Composes the stages: the only place that knows all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune import exporting
from graphprune.axes.dependency import Cost, DependencyGraph, build_graph
from graphprune.capture import Program, capture, tensor_leaves
from graphprune.capture.raising import raise_program
from graphprune.errors import InputError, VerificationError
from graphprune.planning import Budget, Constraints, Plan, choose, find_limits, make_plan
from graphprune.rewriting import rewrite
from graphprune.scoring import Importance, find_importance
from graphprune.verifying import Check, Verdict, check_random, guilty_groups, verify

__all__ = ["Result", "load", "shrink", "trace"]

Progress = Callable[[str], None]

# onnxruntime fuses and reorders float32 arithmetic; relative to the largest value of an output
ONNX_TOLERANCE = 1e-3


def trace(model: nn.Module, example_inputs: Any, strict: bool = False) -> DependencyGraph:
    """Captures ``model`` and solves its axes.

    Args:
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        strict: raise where an operator has no rule, instead of pinning its axes.

    Raises:
        InputError: the model does not run on these inputs.
        CaptureError: the model cannot be captured; the message names the line.
        RuleError: in strict mode, an operator has no rule.
    """
    return build_graph(capture(model, example_inputs), strict)


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
    """

    model: fx.GraphModule
    plan: Plan
    verdict: Verdict
    graph: DependencyGraph
    before: Cost
    after: Cost
    seconds: Mapping[str, float] = field(default_factory=dict)

    def save(
        self,
        directory: str | Path,
        latency: bool = True,
        progress: Progress = lambda stage: None,
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Writes model.onnx, model.safetensors, model.py, plan.json and report.json; returns the report.

        The ONNX file is checked, run in onnxruntime at two batch sizes and compared with the model; with
        ``latency`` it is timed against the original in alternation. The directory appears when all is done.
        ``extra`` entries are added to the report.

        Raises:
            InputError: the directory cannot be written.
            ExportError: the model cannot be exported.
            VerificationError: onnxruntime gives other results than PyTorch.
        """
        return _save(self, Path(directory), latency, progress, extra or {})


def shrink(
    model: nn.Module | DependencyGraph,
    example_inputs: Any = None,
    *,
    macs: float | None = None,
    params: float | None = None,
    ratio: float | None = None,
    importance: str | Importance = "l2",
    align: int = 1,
    min_keep: int = 1,
    protect: Sequence[str] = (),
    seed: int = 0,
    plan: Plan | None = None,
    progress: Progress = lambda stage: None,
) -> Result:
    """Removes the least important coupled units of ``model`` and proves the result.

    Args:
        model: the model, or its graph from `trace`. It is left as it was.
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        macs: share of the multiply-accumulates to keep; all groups are ranked together.
        params: share of the parameters to keep, likewise.
        ratio: share of the units to remove from every group.
        importance: "l1", "l2", "random", or any `graphprune.scoring.Importance`.
        align: widths are multiples of this.
        min_keep: units that every group keeps at least.
        protect: patterns of layer names that must not change.
        seed: of random importance and of the checks' random tensors.
        plan: replay this plan instead of a budget.

    Raises:
        InputError: an argument is wrong, or the model does not run on the inputs.
        CaptureError: the model cannot be captured.
        BudgetError: the budget cannot be reached; the message gives the smallest share.
        PlanError: ``plan`` does not fit the model.
        VerificationError: the slim model is not what was asked for; the message names node and group.
    """
    clock = _Clock(progress)
    budget = _one_budget(macs, params, ratio, plan)
    constraints = Constraints(align, min_keep, tuple(protect))
    criterion = find_importance(importance)
    graph = model if isinstance(model, DependencyGraph) else _traced(model, example_inputs, clock)
    if plan is None:
        assert budget is not None
        with clock("score"):
            scores = criterion(graph, graph.program.tensors, seed)
        with clock("plan"):
            request = {
                "budget": {budget.kind: budget.value},
                "importance": importance if isinstance(importance, str) else type(importance).__name__,
                **{
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in asdict(constraints).items()
                },
                "seed": seed,
            }
            kept = choose(graph, scores, budget, find_limits(graph, constraints))
            plan = make_plan(graph, kept, request)
    else:
        plan.check(graph)
    with clock("rewrite"):
        slim = rewrite(graph, plan)
        module = raise_program(slim)
    with clock("verify"):
        verdict = verify(graph, plan, slim, module, seed)
        if not verdict.passed:
            raise _refusal(graph, plan, verdict, seed)
    sizes = {name: kept.shape[-1] for name, kept in plan.groups.items()}
    return Result(module, plan, verdict, graph, graph.cost(), graph.cost(sizes), clock.seconds)


def _traced(model: nn.Module, example_inputs: Any, clock: _Clock) -> DependencyGraph:
    with clock("capture"):
        program = capture(model, example_inputs)
    with clock("analyse"):
        return build_graph(program)


def _one_budget(
    macs: float | None, params: float | None, ratio: float | None, plan: Plan | None
) -> Budget | None:
    given = {"macs": macs, "params": params, "ratio": ratio}
    chosen = [(kind, value) for kind, value in given.items() if value is not None]
    if len(chosen) + (plan is not None) != 1:
        raise InputError(
            f"{len(chosen)} budgets are given", "give exactly one of macs, params, ratio and plan"
        )
    return Budget(*chosen[0]) if chosen else None


def _refusal(graph: DependencyGraph, plan: Plan, verdict: Verdict, seed: int) -> VerificationError:
    """What failed, where first, and by which group."""
    failed = [check for check in verdict.checks if not check.passed]

    def fails(names: Sequence[str]) -> bool:
        part = make_plan(graph, {name: plan.groups[name] for name in names})
        return not check_random(graph, part, rewrite(graph, part), seed).passed

    names = [name for name, kept in plan.groups.items() if kept.shape[-1] < graph.by_name[name].size]
    guilty = guilty_groups(names, fails) if fails(names) else ()
    blame = f"; groups {', '.join(guilty[:5])}" if guilty else ""
    return VerificationError(
        f"the slim model is not the masked original: {'; '.join(map(str, failed))}{blame}",
        "nothing was written; protect these layers, and report the model: a rule is wrong",
    )


class _Clock:
    """Seconds per stage; tells the progress callback when a stage begins."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._running = ("", 0.0)

    def __call__(self, stage: str) -> _Clock:
        self._running = (stage, perf_counter())
        self.progress(stage)
        return self

    def __enter__(self) -> None:
        return

    def __exit__(self, *details: object) -> None:
        stage, start = self._running
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


def load(directory: str | Path) -> fx.GraphModule:
    """The slim model that `Result.save` wrote. Neither pickle nor code from the directory is run.

    Raises:
        InputError: there is no such model, or the file is damaged or foreign.
    """
    path = Path(directory)
    return exporting.load_model(path / "model.safetensors" if path.is_dir() else path)


def _save(
    result: Result, directory: Path, latency: bool, progress: Progress, extra: Mapping[str, Any]
) -> dict[str, Any]:
    exporting.ensure_writable(directory)
    program = result.graph.program
    args, kwargs = program.example
    clock = _Clock(progress)
    report = {**_report(result), **extra}

    def write_onnx(path: Path) -> None:
        with clock("export"):
            written = exporting.export_onnx(result.model, args, kwargs, path, program.dynamic_batch)
        with clock("run in onnxruntime"):
            checks = _onnx_checks(path, result.model, args, kwargs)
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
        path.write_text(json.dumps(report, indent=2) + "\n")

    summary = ", ".join(f"{leaf.dtype} {tuple(leaf.shape)}" for leaf in tensor_leaves(program.example))
    source = exporting.module_source(result.model, _title(result), summary)
    exporting.write_directory(
        directory,
        {
            "model.onnx": write_onnx,
            "model.safetensors": lambda path: exporting.save_model(result.model, path),
            "model.py": lambda path: _write_text(path, source),
            "plan.json": lambda path: _write_text(path, result.plan.to_json()),
            "report.json": write_report,
        },
    )
    return report


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)


def _title(result: Result) -> str:
    share = result.after.macs / max(result.before.macs, 1)
    return f"A slim model: {result.after.params:,} parameters, {share:.1%} of the multiply-accumulates."


def _report(result: Result) -> dict[str, Any]:
    from importlib.metadata import version

    program = result.graph.program
    return {
        "format": 1,
        "versions": {name: version(name) for name in ("graphprune", "torch", "onnx", "onnxruntime")},
        "request": result.plan.request,
        "dynamic_batch": program.dynamic_batch,
        "notes": list(program.notes),
        "before": asdict(result.before),
        "after": asdict(result.after),
        "groups": {
            name: {"size": result.graph.by_name[name].size, "kept": kept.shape[-1]}
            for name, kept in result.plan.groups.items()
        },
        "verdict": result.verdict.to_dict(),
    }


def _onnx_checks(
    path: Path, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterable[Check]:
    return [
        Check(
            f"onnxruntime equals PyTorch, batch {row.batch}",
            row.max_rel <= ONNX_TOLERANCE,
            row.max_rel,
            ONNX_TOLERANCE,
        )
        for row in exporting.parity(path, model, args, kwargs)
    ]


def _measure(result: Result, slim: Path, report: dict[str, Any], clock: _Clock) -> None:
    """Exports the original beside the slim file, times both in alternation, and removes it again."""
    program = result.graph.program
    args, kwargs = program.example
    original = slim.with_name("original.onnx")
    with clock("export the original"):
        written = exporting.export_onnx(_original(program), args, kwargs, original, program.dynamic_batch)
    with clock("time"):
        one = pytree.tree_map(lambda leaf: leaf, program.example)
        if program.dynamic_batch:
            from graphprune.capture import with_batch

            one = with_batch(program.example, 1)
        timed = exporting.latency(original, slim, *one)
    report["before"]["onnx_bytes"] = written.bytes
    report["latency"] = {"batch": 1, "threads": 1, **asdict(timed)}
    for file in original.parent.glob("original.onnx*"):
        file.unlink()


def _original(program: Program) -> fx.GraphModule:
    return raise_program(replace(program), "Original")
