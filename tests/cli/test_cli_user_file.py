"""Models from the user's own file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graphprune.cli.user_file import RETURNS


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    """Each test's file has the same name and a folder of its own."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("net", "_user_net", "helper"):
            del sys.modules[name]


def test_module_alone_needs_a_shape(refused: Callable[..., str], run: Callable[..., Any], net: Path) -> None:
    line = refused("inspect", f"{net}:make")
    assert (
        line
        == f"{net}:make gives no example inputs — say their shape with --input-shape, such as 1,3,224,224"
    )
    result = run("inspect", f"{net}:make", "--input-shape", "1,6", "--json")
    assert json.loads(result.stdout)["params"] == 6 * 8 + 8 + 8 * 3 + 3


def test_shrink_and_verify(run: Callable[..., Any], refused: Callable[..., str], net: Path) -> None:
    out = net.parent / "out"
    options = ("--ratio", 0.5, "--no-latency", "--seed", 5, "-o", out)
    assert run("shrink", f"{net}:with_inputs", *options).exit_code == 0
    assert not list(net.parent.glob("__pycache__"))
    source = json.loads((out / "report.json").read_text())["source"]
    assert (source["model"], source["weights"]) == (f"{net}:with_inputs", "factory")
    # a report is data: the file it names is not run unless the user names it too
    checks = json.loads(run("verify", out, "--json").stdout)["checks"]
    assert f"--model {net}:with_inputs" in next(row for row in checks if "replayed" in row["name"])["detail"]
    named = run("verify", out, "--model", f"{net}:with_inputs", "--json")
    assert next(row for row in json.loads(named.stdout)["checks"] if "replayed" in row["name"])["passed"]
    net.write_text(net.read_text().replace("make():", "make():\n    torch.manual_seed(1)"))
    line = refused("verify", out, "--model", f"{net}:with_inputs")
    assert "has other weights here than those that were shrunk — name the original with --model" in line


def test_what_the_file_prints_is_not_in_the_document(run: Callable[..., Any], net: Path) -> None:
    net.write_text(
        "print('while it is read')\n"
        + net.read_text().replace("return make()", "print('in it'); return make()")
    )
    result = run("inspect", f"{net}:with_inputs", "--json")
    assert json.loads(result.stdout)["groups"]
    assert result.stderr == "while it is read\nin it\n"


def test_neighbours_can_be_imported(run: Callable[..., Any], net: Path) -> None:
    (net.parent / "helper.py").write_text(net.read_text())
    net.write_text("from helper import with_inputs\n")
    assert run("inspect", f"{net}:with_inputs").exit_code == 0


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("", "has no '' — name a function of the file: "),
        ("maek", "has no 'maek' — name a function of the file: "),
        ("torch", "has 'torch', but it is no function — name a function of the file: "),
    ],
)
def test_no_such_factory(refused: Callable[..., str], net: Path, factory: str, said: str) -> None:
    line = refused("inspect", f"{net}:{factory}")
    assert f"{net} {said}" in line
    assert f"{net}:make" in line


def test_path_without_factory_is_not_run(refused: Callable[..., str], net: Path) -> None:
    net.write_text("raise SystemExit('run!')\ndef make(): ...\n")
    line = refused("inspect", net)
    assert (
        line
        == f"MODEL {str(net)!r} does not say which function makes the model — name a function of the file: {net}:make"
    )


@pytest.mark.parametrize(
    ("made", "kind"),
    [("None", "a NoneType"), ("[1]", "a list"), ("(1, 2)", "a tuple of int, int"), ("nn.Linear", "a type")],
)
def test_factory_that_returns_something_else(
    refused: Callable[..., str], net: Path, made: str, kind: str
) -> None:
    net.write_text(f"from torch import nn\ndef make():\n    return {made}\n")
    assert refused("inspect", f"{net}:make") == f"make() of {net} returns {kind}, not a model — {RETURNS}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_at_all", "the file fails at {net}:1: ModuleNotFoundError: No module named"),
        ("\n\ndef f(:", "the file fails at {net}:3: SyntaxError: "),
        ("raise SystemExit(0)", "the file fails at {net}:1: SystemExit: 0 — "),
        ("def make():\n    return {}['a']", "make() fails at {net}:2: KeyError: 'a' — correct that line"),
        ("def make():\n    raise ValueError('a\\nb')", "make() fails at {net}:2: ValueError: a b — "),
        ("def make(x): ...", "make() fails at {net}: TypeError: make() missing 1 required"),
        ("from torch import nn\ndef make():\n    return nn.Linear(2, -1)", "make() fails at {net}:3: "),
    ],
)
def test_errors_in_the_file_name_the_line(
    refused: Callable[..., str], net: Path, code: str, said: str
) -> None:
    net.write_text(code)
    assert said.format(net=net) in refused("inspect", f"{net}:make", "--input-shape", "1,2")


def test_model_that_cannot_be_captured(refused: Callable[..., str], net: Path) -> None:
    net.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x if x.sum() > 0 else -x\n"
        "def make(): return Net(), torch.zeros(2, 3)\n"
    )
    # torch prints the whole graph at this error
    line = refused("inspect", f"{net}:make")
    assert line.startswith("the model cannot be captured: ")
    assert "net.py:4" in line


def test_published_weights_of_a_file(refused: Callable[..., str], net: Path, tmp_path: Path) -> None:
    options = ("--ratio", 0.5, "--weights", "published", "-o", tmp_path / "out")
    assert f"{net} has no published weights — leave --weights out" in refused(
        "shrink", f"{net}:make", *options
    )
    assert not (tmp_path / "out").exists()


def test_a_torchvision_that_is_not_made_for_its_torch_is_named(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "net.py"
    file.write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    line = refused("inspect", f"{file}:make")
    assert "imports torchvision, whose operators do not load: torchvision " in line
    assert "are not made for each other" in line
    assert "torchvision_ops.ensure()" in line
