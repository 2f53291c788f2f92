"""The widths that onnxruntime runs fast on this machine, kept in the user's cache directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import platformdirs
import torch

from graphprune.ground.files import written_aside

__all__ = ["FOLDER", "cache_file", "read", "store"]

FOLDER = "GRAPHPRUNE_CACHE"  # environment variable: another directory than the user's cache
FORMAT = 1


def cache_file() -> Path:
    """Where the multiples are kept: one file for each machine and version of onnxruntime."""
    folder = os.environ.get(FOLDER) or platformdirs.user_cache_dir("graphprune", appauthor=False)
    machine = (platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability())
    key = json.dumps([FORMAT, *machine, version("onnxruntime")])
    return Path(folder, f"widths-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json")


def read(kinds: tuple[str, ...]) -> dict[str, int] | None:
    """The multiple of every kind; None where the file is missing, damaged or lacks one."""
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
        multiples = {kind: found[kind] for kind in kinds}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    valid = all(type(multiple) is int and multiple > 0 for multiple in multiples.values())
    return multiples if valid else None


def store(multiples: Mapping[str, int]) -> None:
    """Keeps the multiples, if the directory can be written."""
    path = cache_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as draft:
            draft.write_text(json.dumps(dict(multiples), indent=2) + "\n", encoding="utf-8")
