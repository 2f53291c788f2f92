"""The commands and their options. What a command does is imported when it runs, so that help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import graphprune
from graphprune.cli import sensitivity_request, tune_request
from graphprune.cli.declared import takes
from graphprune.cli.failures import Commands
from graphprune.cli.options import (
    Debug,
    Json,
    Layer,
    Model,
    Outputs,
    Quiet,
    Result,
    ResultA,
    ResultB,
    Shapes,
    examples,
)
from graphprune.cli.request import ShrinkRequest
from graphprune.cli.sensitivity_request import SensitivityRequest
from graphprune.cli.tune_request import TuneRequest

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
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
        typer.echo(f"graphprune {graphprune.__version__} ({others})")
        raise typer.Exit


def _file(text: str) -> Any:
    return typer.Option(metavar="FILE", help=text)


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
        "graphprune shrink net.py:make --macs 0.5 --calibration images.npy --repair -o slim",
        "graphprune shrink zoo:mtcnn_rnet --plan slim/plan.json -o again",
        "graphprune shrink zoo:digits_resnet --macs 0.1 --rounds 3 --tune zoo:digits -o slim",
        "graphprune shrink --config slim/shrink.toml -o again",
    )
)
@takes(ShrinkRequest)
def shrink(request: ShrinkRequest) -> None:
    """Removes what matters least, proves the slim model and writes it to a directory."""
    from graphprune.cli import shrink as command

    command.shrink(request)


@app.command(epilog=tune_request.EXAMPLES)
@takes(TuneRequest)
def tune(request: TuneRequest) -> None:
    """Fine-tunes a result of shrink, with the original as teacher; goes on where it was stopped."""
    from graphprune.cli import tune as command

    command.tune(request)


@app.command(epilog=sensitivity_request.EXAMPLES)
@takes(SensitivityRequest)
def sensitivity(request: SensitivityRequest) -> None:
    """Measures how much the output suffers when single groups are pruned."""
    from graphprune.cli import sensitivity as command

    command.sensitivity(request)


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
    html: Annotated[Path | None, _file("Write a page with the picture of it.")] = None,
    dot: Annotated[Path | None, _file("Write its layers for Graphviz.")] = None,
    graphml: Annotated[Path | None, _file("Write its layers as GraphML.")] = None,
    mermaid: Annotated[Path | None, _file("Write its layers for Mermaid.")] = None,
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


@app.command(
    epilog=examples("graphprune report slim", "graphprune report slim --sensitivity sensitivity.jsonl")
)
def report(
    directory: Result,
    sensitivity: Annotated[
        Path | None, _file("What `graphprune sensitivity` wrote, or printed as JSON.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Writes report.html of a result directory anew."""
    from graphprune.cli import report as command

    command.report(directory, sensitivity, json, quiet)


@app.command(epilog=examples("graphprune diff slim slimmer", "graphprune diff slim slimmer --json"))
def diff(directory_a: ResultA, directory_b: ResultB, json: Json = False, debug: Debug = False) -> None:
    """Compares two results: sizes, cost, latency, options, kept units and checks."""
    from graphprune.cli import diff as command

    command.diff(directory_a, directory_b, json)


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
