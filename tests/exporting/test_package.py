"""The package as a whole: what it offers, what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from graphprune import exporting

FOLDER = Path(exporting.__file__).parent


def test_every_public_name_is_there_and_sorted() -> None:
    assert all(hasattr(exporting, name) for name in exporting.__all__)
    constants = [name for name in exporting.__all__ if name.isupper()]
    classes = sorted(name for name in exporting.__all__ if name[0].isupper() and not name.isupper())
    functions = sorted(name for name in exporting.__all__ if name[0].islower())
    assert exporting.__all__ == [*constants, *classes, *functions]


def test_importing_the_package_imports_no_onnx() -> None:
    code = "import graphprune.exporting, sys; print(sorted(m for m in sys.modules if m.startswith('onnx')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parents[1], timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
