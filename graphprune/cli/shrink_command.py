"""The options of ``graphprune shrink``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphprune.cli.options import Debug, Json, Model, Outputs, Quiet, Shapes, examples

__all__ = ["EXAMPLES", "shrink"]

EXAMPLES = examples(
    "graphprune shrink zoo:mtcnn_rnet --macs 0.5 -o slim",
    "graphprune shrink resnet50 --params 0.6 --align 8 --protect fc -o slim",
    "graphprune shrink mobilenet_v2 --latency 0.6 --onnx-bytes 10MB -o slim",
    "graphprune shrink vit_b_16 --macs 0.5 --dry-run",
    "graphprune shrink net.py:make --input-shape 1,3,32,32 --ratio 0.5 -o slim",
    "graphprune shrink net.py:make --lossless --weights masked.safetensors -o slim",
    "graphprune shrink zoo:mtcnn_rnet --plan slim/plan.json -o again",
    "graphprune shrink zoo:digits_resnet --macs 0.1 --rounds 3 --tune zoo:digits -o slim",
)


def shrink(
    model: Model,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Where the result is written.", show_default=False
        ),
    ] = None,
    macs: Annotated[
        str | None,
        typer.Option(
            metavar="F",
            help="Share of the multiply-accumulates to keep, 0 to 1, or an amount such as 300M. Of the budgets down "
            "to --latency several may be given, and all are met.",
        ),
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="F", help="Share of the parameters to keep, or 5M.")
    ] = None,
    onnx_bytes: Annotated[
        str | None, typer.Option(metavar="F", help="Share of the ONNX file's bytes to keep, or 12MB.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="F", help="Share of one example's peak activation memory to keep, or 4MB."),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(
            metavar="F", help="Share of the time of one run in onnxruntime to keep, measured here, or 4ms."
        ),
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(metavar="F", help="Share of the units to remove from every group.")
    ] = None,
    lossless: Annotated[
        bool,
        typer.Option(
            "--lossless", metavar="", help="Remove only what is dead: the model computes what it computed."
        ),
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replay a plan.json instead of a budget.")
    ] = None,
    importance: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Which units matter: l1, l2, linf, lamp, bn_scale, fpgm, cosine or random; with --calibration also "
            "activation_mean, activation_variance, apoz, wanda, reconstruction, taylor, taylor_abs, obd or fisher. "
            "NAME:AGGREGATE:NORMALISE adds how members are put together (sum, mean, max, prod, first, producers) "
            "and units made comparable between groups (none, mean, max, sum, standard, lamp).",
        ),
    ] = "l2",
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Data for importance: .npy, .npz, .safetensors, or file.py:function that returns batches.",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="For gradients: file.py:function of the outputs, and the batch."),
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Widths are multiples of N, 1 for any; auto for the multiples that onnxruntime likes here, learned "
            "once.",
        ),
    ] = "auto",
    min_keep: Annotated[int, typer.Option(metavar="N", help="Units that every group keeps at least.")] = 1,
    protect: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN",
            help="Layers that must not change, such as 'head*'; may be repeated.",
            show_default=False,
        ),
    ] = [],  # noqa: B006  (typer copies it)
    ranking: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="In which order units go: global (all scores together), uniform (the same share of every group), "
            "isomorphic (among groups of the same structure) or per_cost (score over cost saved).",
        ),
    ] = "global",
    max_ratio: Annotated[
        float, typer.Option(metavar="F", help="Share of its units that any group may lose.")
    ] = 1.0,
    layer_ratio: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN=F",
            help="Share of the units to remove that these layers make, such as 'layer4*=0.5'; may be repeated.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    keep_output: Outputs = [],  # noqa: B006
    rounds: Annotated[
        int, typer.Option(metavar="N", help="Go there in N rounds, with scores of what is left.")
    ] = 1,
    tune: Annotated[
        str, typer.Option(metavar="DATA", help="Fine-tune in every round: see graphprune tune --data.")
    ] = "",
    tuning: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=V",
            help="A setting of it, such as epochs=5, lr=0.002 or batch=64; may be repeated.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    evaluate: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its evaluation: file.py:function of the model.")
    ] = None,
    min_metric: Annotated[
        float | None,
        typer.Option(metavar="F", help="Stop where the figure falls below F; the round before is kept."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W", help="published (the default, where there are any), none (random), or a file."
        ),
    ] = None,
    input_shape: Shapes = [],  # noqa: B006
    seed: Annotated[int, typer.Option(metavar="N", help="Of random weights, importance and checks.")] = 0,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of onnxruntime where it is timed.")] = 1,
    batch: Annotated[int, typer.Option(metavar="N", help="Examples in a run that is timed.")] = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Show the plan and what is in reach; cut and write nothing."
        ),
    ] = False,
    no_latency: Annotated[
        bool, typer.Option("--no-latency", metavar="", help="Do not time the models in onnxruntime.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Removes what matters least, proves the slim model and writes it to a directory."""
    from graphprune.cli import shrink as command

    request = command.Request(
        model=model,
        output=output,
        macs=macs,
        params=params,
        onnx_bytes=onnx_bytes,
        memory=memory,
        latency=latency,
        ratio=ratio,
        lossless=lossless,
        plan=plan,
        importance=importance,
        calibration=calibration,
        loss=loss,
        align=align,
        min_keep=min_keep,
        protect=tuple(protect),
        ranking=ranking,
        max_ratio=max_ratio,
        layer_ratio=tuple(layer_ratio),
        outputs=tuple(keep_output),
        rounds=rounds,
        tune=tune,
        tuning=tuple(tuning),
        evaluate=evaluate,
        min_metric=min_metric,
        weights=weights,
        shapes=tuple(input_shape),
        seed=seed,
        threads=threads,
        batch=batch,
        timed=not no_latency,
        dry_run=dry_run,
    )
    command.shrink(request, json, quiet)
