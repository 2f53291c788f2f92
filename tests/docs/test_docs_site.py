"""The documentation builds in strict mode: no link, anchor or name of the reference leads nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphprune

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the documentation's packages are not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    for page in pages - {Path("index")}:
        assert (site / page / "index.html").is_file(), page


def test_the_reference_names_everything_public(site: Path) -> None:
    text = (site / "reference" / "index.html").read_text()
    missing = [name for name in graphprune.__all__ if f".{name}" not in text and name != "__version__"]
    assert missing == []


def test_pictures_are_drawn(site: Path) -> None:
    assert (site / "design" / "index.html").read_text().count('class="mermaid"') >= 4
