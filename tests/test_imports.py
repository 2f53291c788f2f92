"""Data walks one way through the packages; heavy libraries are imported where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import graphprune

PACKAGE = Path(graphprune.__file__).parent
# each room may import from those before it; verifying stands beside rewriting, and neither sees the other
ORDER = {
    "ground": set(),
    "capture": {"ground"},
    "exporting": {"ground"},
    "axes": {"ground", "capture"},
    "calibration": {"ground", "capture"},
    "scoring": {"ground", "capture", "axes", "calibration"},
    "planning": {"ground", "capture", "axes"},
    "rewriting": {"capture", "axes", "planning"},
    "lossless": {"capture", "axes", "planning"},
    "verifying": {"ground", "capture", "axes", "planning"},
    "laws": {"ground", "capture", "axes", "planning", "rewriting", "verifying"},
    "repair": {"ground", "capture", "axes", "calibration", "scoring", "planning"},
    "profiling": {"ground", "capture", "axes", "exporting"},
    "probing": {"ground", "capture", "axes", "scoring", "planning", "rewriting"},
    "tuning": {"ground", "capture", "axes", "calibration", "scoring", "planning", "exporting"},
    "report": {"axes", "capture"},
}
EDGE = {"asking", "cutting", "searching", "results", "face", "cli", "__init__.py"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module] if node.module != "graphprune" else [f"graphprune.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("graphprune.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    if room(path) in EDGE:
        return
    allowed = ORDER[room(path)] | {room(path)}
    assert imported_rooms(path) <= allowed


def test_the_algebra_knows_no_torch() -> None:
    for name in ("algebra", "forest", "terms", "signature", "call", "analysis", "groups", "cost"):
        tree = ast.parse((PACKAGE / "axes" / f"{name}.py").read_text())
        modules = {
            alias.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not any(str(module).split(".")[0] == "torch" for module in modules), name


def test_files_stay_small() -> None:
    long = {str(path): count for path in FILES if (count := len(path.read_text().splitlines())) > 320}
    assert not long


HEAVY = (
    "onnx",
    "onnxruntime",
    "onnxscript",
    "torchvision",
    "timm",
    "transformers",
    "accelerate",
    "torch_pruning",
)
EDGE_ONLY = (
    "jinja2",
    "vl_convert",
    "fast_sugiyama",
    "rich",
    "typer",
    "tomlkit",
    "pydantic",
    "plotly",
    "matplotlib",
)


def printed(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_is_light() -> None:
    heavy = (*HEAVY, *EDGE_ONLY, "networkx", "sympy", "safetensors", "torch")
    assert printed(f"import sys, graphprune; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_importing_takes_no_time_beside_torch() -> None:
    """In seconds of the processor, since other processes may run; half a second is promised."""
    code = "import time, torch; t = time.process_time(); import graphprune; print(time.process_time() - t)"
    assert float(printed(code)) < 0.1


def test_every_public_name_together_needs_nothing_heavy() -> None:
    code = f"from graphprune import *; import sys; print([m for m in {(*HEAVY, *EDGE_ONLY)} if m in sys.modules])"
    assert printed(code) == "[]"


def test_public_names() -> None:
    assert {"trace", "shrink", "load", "Plan", "Result", "DependencyGraph"} <= set(graphprune.__all__)
    assert all(hasattr(graphprune, name) for name in graphprune.__all__)
