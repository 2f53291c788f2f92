"""Measured latency in onnxruntime: budgets of latency, and half the multiply-accumulates against torch-pruning.

    python tools/bench_latency.py resnet50 --shares 0.75 0.5 0.3    # budgets of latency
    python tools/bench_latency.py resnet50 --half                  # the same cost, other tools and alignments
    python tools/bench_latency.py --table > docs/latency.md

Models are torchvision's, with random weights, one image, one thread. Rows are added to a file, so that models can be
run one by one on a quiet machine; a row replaces an earlier one. Every figure is the median over pairs of runs of
the slim and the original file in alternation, by the clock of the thread's processor. A budget is measured again after
`graphprune.shrink` has met it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Collection, Iterator
from datetime import date
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from bench_rows import Row, keep, read

import graphprune as gp
from graphprune import exporting
from graphprune.capture import capture
from graphprune.exporting.timing import timer
from models_zoo.sources import torchvision_model

MODELS = ["resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t"]
PEERS = ["resnet50", "mobilenet_v2", "vit_b_16"]
HALF = 0.5
ORIGINAL = "original"


def build(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """The model, and one image."""
    torch.manual_seed(0)
    model, example_inputs, _ = torchvision_model(name, pretrained=False)
    (image,), _ = example_inputs(1)
    return model.eval(), image


def measured(profile: gp.Profile, model: torch.nn.Module, image: torch.Tensor) -> Row:
    """The model's file against the original's."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "slim.onnx")
        exporting.export_onnx(capture(model, image), path)
        timed = profile.measure(path, seconds=8)
    return {"ratio": timed.ratio, "slim_ms": timed.slim_ms, "original_ms": timed.original_ms}


def budgets(name: str, shares: list[float]) -> Iterator[Row]:
    """One row for every share of the latency that is asked for."""
    model, image = build(name)
    graph = gp.trace(model, image)
    profile = gp.profile(graph)
    for share in shares:
        start = time.perf_counter()
        row: Row = {"table": "latency", "model": name, "case": f"{share:g}"}
        try:
            result = gp.shrink(graph, latency=share, profile=profile)
        except gp.BudgetError as error:
            yield {**row, "failure": str(error)}
            continue
        seconds = time.perf_counter() - start
        row |= {"seconds": seconds, "trials": result.plan.request["measured"]["trials"]}
        yield {
            **row,
            "macs": result.after.macs / result.before.macs,
            **measured(profile, result.model, image),
        }


def halves(name: str, cases: Collection[str]) -> Iterator[Row]:
    """One row for each of these ways to halve the multiply-accumulates, all timed in one alternation, twice."""
    image = build(name)[1]
    with TemporaryDirectory() as folder:
        paths: dict[str, Path] = {}
        shares: dict[str, float] = {}
        for case, make in CASES.items():
            if case not in (ORIGINAL, *cases):
                continue
            try:
                model, shares[case] = make(name)
            except Exception as error:  # whatever that tool raises
                yield {
                    "table": "half",
                    "model": name,
                    "case": case,
                    "failure": f"{type(error).__name__}: {error}"[:80],
                }
                continue
            paths[case] = Path(folder, f"{len(paths)}.onnx")
            if case.startswith("graphprune"):
                exporting.export_onnx(capture(model, image), paths[case])
            else:
                plainly_exported(model, image, paths[case])
        twice = [together(list(paths.values()), image) for _ in range(2)]
        for place, case in enumerate(paths):
            if case != ORIGINAL:
                ratios = [
                    median(slim / whole for slim, whole in zip(times[place], times[0], strict=True))
                    for times in twice
                ]
                figures = {"ratios": ratios, "original_ms": median(twice[0][0])}
                yield {"table": "half", "model": name, "case": case, "macs": shares[case], **figures}


def plainly_exported(model: torch.nn.Module, image: torch.Tensor, path: Path) -> None:
    """As a user does it who has no tool."""
    shapes = {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},)}
    batch = torch.cat((image, image))
    made = torch.onnx.export(model.eval(), (batch,), dynamo=True, verbose=False, **shapes)
    assert made is not None
    made.save(path)


def together(paths: list[Path], image: torch.Tensor, seconds: float = 20.0) -> list[list[float]]:
    """Milliseconds of every file, run after run, each file once in every round."""
    runs = [exporting.runner(exporting.session(path), (image,), {}) for path in paths]
    times: list[list[float]] = [[] for _ in runs]
    clock = timer(1)
    until = time.perf_counter() + seconds
    for round_ in count():
        for run, spent in zip(runs, times, strict=True):
            start = clock()
            run()
            if round_ > 1:  # the first ones warm up
                spent.append(1000 * (clock() - start))
        if time.perf_counter() > until and round_ > 10:
            return times
    raise AssertionError("counting never ends")


def original(name: str) -> tuple[torch.nn.Module, float]:
    """The model as it is."""
    return build(name)[0], 1.0


def ours(align: int | str, name: str) -> tuple[torch.nn.Module, float]:
    """graphprune's slim model and the share of its cost."""
    result = gp.shrink(*build(name), macs=HALF, align=align, importance="l2")
    return result.model, result.after.macs / result.before.macs


def theirs(multiple: int | None, name: str) -> tuple[torch.nn.Module, float]:
    """torch-pruning's model whose counted cost is nearest to half, and its share."""
    low, high, best = 0.0, 0.9, (build(name)[0], 1.0)
    for _ in range(8):
        ratio = (low + high) / 2
        model, share = _peer(name, multiple, ratio)
        if abs(share - HALF) < abs(best[1] - HALF):
            best = (model, share)
        low, high = (low, ratio) if share < HALF else (ratio, high)
    return best


def _peer(name: str, multiple: int | None, ratio: float) -> tuple[torch.nn.Module, float]:
    import torch_pruning

    model, image = build(name)
    heads = {m: m.num_heads for m in model.modules() if isinstance(m, torch.nn.MultiheadAttention)}
    before = torch_pruning.utils.count_ops_and_params(model, image)[0]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        image,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        round_to=multiple,
        num_heads=heads,
        ignored_layers=[
            m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1000
        ],
    )
    pruner.step()
    return model, torch_pruning.utils.count_ops_and_params(model, image)[0] / before


CASES: dict[str, Callable[[str], tuple[torch.nn.Module, float]]] = {
    ORIGINAL: original,
    "graphprune, default": partial(ours, "auto"),
    "graphprune, any width": partial(ours, 1),
    "torch-pruning, any width": partial(theirs, None),
    "torch-pruning, multiples of 8": partial(theirs, 8),
    "torch-pruning, multiples of 16": partial(theirs, 16),
}


def table(rows: list[Row]) -> str:
    """Both tables as Markdown."""
    names = "onnxruntime torch torchvision torch-pruning".split()
    of_table = {kind: [row for row in rows if row["table"] == kind] for kind in ("latency", "half")}
    return TEXT.format(
        date=date.today().isoformat(),
        versions=", ".join(f"{name} {version(name)}" for name in names),
        latency="\n".join(
            _latency_line(row) for name in MODELS for row in of_table["latency"] if row["model"] == name
        ),
        half="\n".join(_half_line(row) for name in PEERS for row in of_table["half"] if row["model"] == name),
    )


def _latency_line(row: Row) -> str:
    if "failure" in row:
        return f"| {row['model']} | {row['case']} | {row['failure']} | – | – | – | – | – |"
    off = row["ratio"] / float(row["case"]) - 1
    return (
        f"| {row['model']} | {row['case']} | {row['ratio']:.3f} | {off:+.1%} | {row['macs']:.3f} "
        f"| {row['original_ms']:.2f} → {row['slim_ms']:.2f} | {row['trials']} | {row['seconds']:.0f} |"
    )


def _half_line(row: Row) -> str:
    if "failure" in row:
        return f"| {row['model']} | {row['case']} | – | {row['failure']} | – |"
    speedups = ", ".join(f"{1 / ratio:.2f}" for ratio in row["ratios"])
    parts = ", ".join(f"{row['macs'] / ratio:.2f}" for ratio in row["ratios"])
    return f"| {row['model']} | {row['case']} | {row['macs']:.3f} | {speedups} | {parts} |"


TEXT = """# Latency, measured

Measured on {date} with {versions}, float32, one thread, one image, torchvision's models with random weights, by
`tools/bench_latency.py`. Every figure is the median over pairs of runs of the slim and the original file in
alternation, by the clock of the thread's processor.

## Budgets of latency

`gp.shrink(graph, latency=share)` plans with the predicted latency, exports, measures and corrects. For this table the
ratio is measured once more after that. A trial is one export and measurement. The seconds are those of all of `shrink`,
verification included, for a graph whose original has been profiled.

| model | asked | measured | off | MACs kept | ms | trials | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |
{latency}

## Half the multiply-accumulates

All files of a model are timed in one alternation, and once more in another. The original, and torch-pruning's models,
are exported by plain `torch.onnx.export`. The speed-up is over the original. The last column divides it by what the
cost alone would give (1 / MACs kept). graphprune's default takes the widths that onnxruntime was found to like, by L2
importance. torch-pruning's ratio is the one whose counted cost comes nearest to half.

| model | how | MACs kept | speed-up | ÷ ideal |
| --- | --- | --- | --- | --- |
{half}
"""


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=f"of torchvision, such as {', '.join(MODELS)}")
    parser.add_argument("--shares", nargs="+", type=float, default=[], help="of the latency, to be met")
    parser.add_argument("--half", action="store_true", help="compare at half the multiply-accumulates")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), help="of --half")
    parser.add_argument("--rows", type=Path, default=Path("out/latency.jsonl"), help="where rows are kept")
    parser.add_argument("--table", action="store_true", help="print the tables of all rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models:
        for found in (
            budgets(name, options.shares) if options.shares else (),
            halves(name, options.cases) if options.half else (),
        ):
            keep(options.rows, found, ("table", "model", "case"))
    if options.table:
        print(table(read(options.rows)), end="")


if __name__ == "__main__":
    main()
