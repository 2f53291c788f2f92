"""Data walks one way through the packages; heavy libraries are imported where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

import graphprune

PACKAGE = Path(graphprune.__file__).parent
# the rooms from the ground up, and what each imports: only rooms above it in this table, and each of those it names
ROOMS = {
    "ground": (),
    "weights": ("ground",),
    "capture": ("ground",),
    "exporting": ("ground", "capture"),
    "importing": ("ground", "capture", "exporting"),
    "axes": ("ground", "capture"),
    "calibration": ("ground", "capture"),
    "synthetic": ("ground", "capture", "axes"),
    "scoring": ("ground", "capture", "axes", "calibration"),
    "planning": ("ground", "capture", "axes"),
    "rewriting": ("capture", "axes", "planning"),
    "lossless": ("capture", "axes", "planning"),
    "verifying": ("ground", "capture", "axes", "planning"),
    "slicing": "ground capture importing axes planning verifying".split(),
    "laws": ("ground", "capture", "axes", "planning", "rewriting", "verifying"),
    "repair": ("ground", "capture", "axes", "calibration", "scoring", "planning"),
    "profiling": ("ground", "capture", "axes", "exporting", "importing", "planning"),
    "asking": ("ground", "axes", "calibration", "scoring", "planning", "repair", "profiling"),
    "tuning": ("ground", "capture", "axes", "calibration", "scoring", "planning", "exporting", "asking"),
    "deploying": ("ground", "exporting", "calibration", "asking"),
    "cutting": (
        "ground capture exporting axes calibration planning rewriting lossless verifying repair asking".split()
    ),
    "probing": ("ground", "capture", "axes", "scoring", "planning", "cutting"),
    "report": ("ground", "capture", "axes", "asking"),
    "results": (
        "ground capture exporting importing axes calibration planning lossless verifying slicing repair profiling "
        "asking cutting report".split()
    ),
    "searching": (
        "ground capture exporting axes calibration synthetic scoring planning rewriting verifying profiling asking "
        "cutting results".split()
    ),
    "pretrained": (
        "ground weights capture exporting axes calibration synthetic scoring planning rewriting verifying repair "
        "asking cutting results searching".split()
    ),
    "face": (
        "ground capture exporting importing axes calibration synthetic scoring planning verifying slicing tuning "
        "asking deploying cutting probing report results searching pretrained".split()
    ),
    "__init__.py": (
        "ground axes calibration scoring planning verifying laws repair profiling asking tuning probing results "
        "pretrained face".split()
    ),
    "cli": (
        "ground capture exporting importing axes calibration scoring planning repair verifying tuning asking probing "
        "report results face".split()
    ),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("graphprune.")}


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_are_rooms_and_nothing_else() -> None:
    loose = {item.name for item in PACKAGE.iterdir() if not item.is_dir()}
    assert loose == {"__init__.py", "py.typed"}
    assert {room(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_imports_go_one_way(name: str) -> None:
    """What a room imports is what the table says, no more and no less, and stands above it there."""
    rooms = set().union(
        *({item.split(".")[1] for item in imported(path)} for path in FILES if room(path) == name)
    )
    known = {other for other in rooms if other in ROOMS}
    assert known - {name} == set(ROOMS[name])
    assert set(ROOMS[name]) <= set(list(ROOMS)[: list(ROOMS).index(name)])


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {module(path): path for path in FILES}
    files = nx.DiGraph(
        (name, other) for name, path in modules.items() for other in imported(path) & set(modules)
    )
    # `from package import file` names the package too
    files.remove_edges_from([(name, name.rpartition(".")[0]) for name in files])
    circles = [sorted(names) for names in nx.strongly_connected_components(files) if len(names) > 1]
    assert not circles


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


# what users call, and the commands, whose parameters are the options that they show
PUBLIC = {
    "sensitivity",
    "shrink_and_tune",
    "shrink_pretrained",
    "trace",
    "tune",
    "tune_pretrained",
    "inspect",
    "save",
}


def test_argument_lists_stay_short() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [item.arg for item in given if item.arg not in ("self", "cls")]
                if len(names) > 6:
                    long[node.name] = names
    assert set(long) <= PUBLIC


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


def test_every_module_imports_without_optional_packages() -> None:
    """Doctests are read from all of them."""
    optional = ("accelerate", "torchvision", "timm", "transformers", "sklearn", "skimage", "PIL")
    modules = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in FILES]
    names = [".".join(parts).removesuffix(".__init__") for parts in modules if parts[-1] != "__main__"]
    code = (
        f"import importlib, sys, warnings; sys.modules.update(dict.fromkeys({optional})); "
        f"warnings.simplefilter('ignore'); print(sum(bool(importlib.import_module(name)) for name in {names}))"
    )
    assert printed(code) == str(len(names))


def test_public_names() -> None:
    assert {"trace", "shrink", "load", "Plan", "Result", "DependencyGraph"} <= set(graphprune.__all__)
    assert all(hasattr(graphprune, name) for name in graphprune.__all__)
