"""The wheel installs into a clean environment and works there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

import graphprune

ROOT = Path(__file__).parents[1]
PACKAGES = ("graphprune", "models_zoo")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the tree stays clean; with the build backend that is installed, so offline."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which finds torch and the like where they are already."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    # a path in a .pth file is added without looking at the .pth files there, such as that of an editable install
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "heavy.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_files_of_the_packages_are_inside(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith(PACKAGES) and ".dist-info" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    files = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == files
    assert "graphprune/py.typed" in held
    assert licences
    assert f"\nVersion: {graphprune.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text


def test_it_shrinks_in_a_clean_environment(environment: Path, tmp_path: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def called(name: str, *arguments: str) -> str:
        command = [str(environment / "bin" / name), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = called("python", "-c", "import graphprune; print(graphprune.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    assert called("graphprune", "--version").startswith(f"graphprune {graphprune.__version__} (torch ")
    options = ("--ratio", "0.5", "--no-latency", "--json", "-o", "slim")
    report = json.loads(called("graphprune", "shrink", "zoo:digits_resnet", *options))
    assert report["verdict"]["passed"]
    assert report["source"]["weights"] == "published"  # they are inside the wheel
    assert (tmp_path / "slim" / "model.onnx").is_file()
