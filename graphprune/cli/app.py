"""The commands. What a command does is imported when it runs, so that help is fast."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

import graphprune
from graphprune.cli import look_request as looks
from graphprune.cli import request as requests
from graphprune.cli.declared import takes
from graphprune.cli.failures import Commands
from graphprune.cli.pick_request import PickRequest
from graphprune.cli.request_export import ExportRequest, ProfileRequest
from graphprune.ground.garbage import new_collected

__all__ = ["app"]

# by name: what a command takes, and the module of `graphprune.cli` whose function of that name it calls
COMMANDS: dict[str, tuple[Any, str]] = {
    "shrink": (requests.ShrinkRequest, "shrink"),
    "pick": (PickRequest, "sweep"),
    "tune": (requests.TuneRequest, "tune"),
    "sensitivity": (requests.SensitivityRequest, "sensitivity"),
    "inspect": (looks.InspectRequest, "inspect"),
    "explain": (looks.ExplainRequest, "inspect"),
    "export": (ExportRequest, "export"),
    "profile": (ProfileRequest, "profile"),
    "verify": (requests.VerifyRequest, "verify"),
    "report": (requests.ReportRequest, "report"),
    "diff": (requests.DiffRequest, "diff"),
    "zoo": (requests.ZooRequest, "zoo"),
}


def _examples(*lines: str) -> str:
    """An epilog with one example per line."""
    return "\n".join(("Examples:", *(f"  {line}" for line in lines)))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        others = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime"))
        typer.echo(f"graphprune {graphprune.__version__} ({others})")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    help="Makes PyTorch models structurally smaller, proves the result, and measures it.",
    epilog=_examples(
        "graphprune shrink zoo:efficientnet_lite0 --macs 0.7 -o slim",
        "graphprune inspect torchvision:resnet50",
        "graphprune verify slim",
    ),
)


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


def _add(name: str, request: Any, module: str) -> None:
    def run(asked: Any) -> None:
        command = getattr(import_module(f"graphprune.cli.{module}"), name)
        with new_collected():
            command(asked)

    app.command(name, epilog=_examples(*request.EXAMPLES))(takes(request, run))


for _name, (_request, _module) in COMMANDS.items():
    _add(_name, _request, _module)
