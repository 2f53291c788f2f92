"""The commands and their options. What a command does is imported when it runs, so that help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphprune.cli import tune_command
from graphprune.cli.failures import Commands
from graphprune.cli.options import Debug, Json, Layer, Model, Outputs, Quiet, Result, Shapes, examples

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Makes PyTorch models structurally smaller, proves the result, and measures it.",
    epilog=examples(
        "graphprune shrink zoo:efficientnet_lite0 --macs 0.7 -o slim",
        "graphprune inspect torchvision:resnet50",
        "graphprune verify slim",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        others = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime"))
        typer.echo(f"graphprune {version('graphprune')} ({others})")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Shows the help where no command is given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog=examples(
        "graphprune shrink zoo:mtcnn_rnet --macs 0.5 -o slim",
        "graphprune shrink resnet50 --params 0.6 --align 8 --protect fc -o slim",
        "graphprune shrink mobilenet_v2 --latency 0.6 --onnx-bytes 10MB -o slim",
        "graphprune shrink vit_b_16 --macs 0.5 --dry-run",
        "graphprune shrink net.py:make --input-shape 1,3,32,32 --ratio 0.5 -o slim",
        "graphprune shrink net.py:make --lossless --weights masked.safetensors -o slim",
        "graphprune shrink zoo:mtcnn_rnet --plan slim/plan.json -o again",
    )
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
        weights=weights,
        shapes=tuple(input_shape),
        seed=seed,
        threads=threads,
        batch=batch,
        timed=not no_latency,
        dry_run=dry_run,
    )
    command.shrink(request, json, quiet)


app.command(epilog=tune_command.EXAMPLES)(tune_command.tune)


@app.command(
    epilog=examples(
        "graphprune inspect zoo:mtcnn_rnet",
        "graphprune inspect vit_b_16 --html vit.html",
        "graphprune inspect resnet18 --dot resnet18.dot --mermaid resnet18.mmd",
    )
)
def inspect(
    model: Model,
    keep_output: Outputs = [],  # noqa: B006
    input_shape: Shapes = [],  # noqa: B006
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the picture of it.")
    ] = None,
    dot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write its layers for Graphviz.")] = None,
    graphml: Annotated[Path | None, typer.Option(metavar="FILE", help="Write its layers as GraphML.")] = None,
    mermaid: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write its layers for Mermaid.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Shows what can be removed from a model, and what cannot and why."""
    from graphprune.cli import inspect as command

    files = {"html": html, "dot": dot, "graphml": graphml, "mermaid": mermaid}
    command.inspect(model, input_shape, json, keep_output, files)


@app.command(epilog=examples("graphprune explain resnet18 layer1.0.conv1"))
def explain(
    model: Model,
    layer: Layer,
    input_shape: Shapes = [],  # noqa: B006
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Shows which layers one layer is coupled with, and through which operators."""
    from graphprune.cli import inspect as command

    command.explain(model, layer, input_shape, json)


@app.command(
    epilog=examples("graphprune verify slim", "graphprune verify slim --model net.py:make --weights net.pt")
)
def verify(
    directory: Result,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The original; by default the one that the report records."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W", help="The original's weights, likewise.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Checks a result directory again; exits with 4 when a check fails."""
    from graphprune.cli import verify as command

    command.verify(directory, model, weights, json, quiet)


@app.command(epilog=examples("graphprune report slim", "graphprune report slim --sensitivity curves.json"))
def report(
    directory: Result,
    sensitivity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Curves of `graphprune sensitivity --json`.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Writes report.html of a result directory anew."""
    from graphprune.cli import report as command

    command.report(directory, sensitivity, json, quiet)


@app.command(epilog=examples("graphprune zoo", "graphprune zoo --evaluate mtcnn_rnet"))
def zoo(
    evaluate: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run this model's evaluation instead.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Lists the models that come with graphprune."""
    from graphprune.cli import zoo as command

    if evaluate is None:
        command.zoo(json)
    else:
        command.evaluate(evaluate, json)
