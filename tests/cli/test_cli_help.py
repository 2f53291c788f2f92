"""Help, version and usage errors; nothing heavy is imported for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import graphprune

COMMANDS = ["shrink", "tune", "inspect", "explain", "export", "profile", "verify", "report", "diff", "zoo"]
PACKAGE = Path(graphprune.__file__).parent


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_fits(run: Callable[..., Any], command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"graphprune {command}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_overview_names_every_command(run: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert all(f"│ {command} " in result.stdout for command in COMMANDS)


def test_version(run: Callable[..., Any]) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"graphprune {version('graphprune')} (torch {version('torch')}, onnx ")


def test_version_of_the_package() -> None:
    assert graphprune.__version__ == version("graphprune")


def test_completion_knows_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        environment = {
            **os.environ,
            "_GRAPHPRUNE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        command = [sys.executable, "-c", "import graphprune.cli; graphprune.cli.main()"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return done.stdout.split()

    assert completed("graphprune sh") == ["shrink"]
    assert completed("graphprune inspect zoo:mt") == ["zoo:mtcnn_rnet", "zoo:mtcnn_onet"]
    assert completed("graphprune shrink zoo:mlp --mac") == ["--macs"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shrnik",), "No such command 'shrnik'. Did you mean 'shrink'? — see graphprune --help"),
        (("shrink",), "Missing argument 'MODEL' — see graphprune shrink --help"),
        (("shrink", "zoo:mlp", "--macs", "0.5"), "no directory is given — add --output DIR"),
        (
            ("shrink", "zoo:mlp", "--macs", "half", "-o", "x"),
            "macs='half' is not understood — give a share between 0 and 1, or an amount",
        ),
        (("explain", "zoo:mlp"), "Missing argument 'LAYER' — see graphprune explain --help"),
        (("inspect", "zoo:mlp", "--zzz"), "No such option: --zzz — see graphprune inspect --help"),
    ],
)
def test_usage_errors_are_one_line(
    refused: Callable[..., str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(*arguments)


def test_asking_for_help_imports_nothing_heavy() -> None:
    # The package's own __init__ is left out: this is about the command line.
    code = (
        "import sys, types\n"
        "package = types.ModuleType('graphprune')\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['graphprune'] = package\n"
        "import graphprune.cli\n"
        "sys.argv = ['graphprune', 'shrink', '--help']\n"
        "try:\n"
        "    graphprune.cli.main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'torchvision', 'networkx', 'models_zoo'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
