"""Completion of MODEL: all names, found without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import models_zoo
from graphprune.cli import models
from graphprune.cli.model_names import ZOO, complete_model


def test_the_zoo_is_the_zoo() -> None:
    assert models_zoo.names() == ZOO


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_names_read_from_the_source_are_those_that_the_library_lists(library: str) -> None:
    listed = models.known_names(library)
    if not listed:
        pytest.skip(f"{library} is not installed")
    assert complete_model(f"{library}:") == [f"{library}:{name}" for name in sorted(listed)]


def test_bare_and_full_names() -> None:
    assert complete_model("zoo:crepe") == ["zoo:crepe_tiny", "zoo:crepe_full"]
    assert "torchvision:resnet50" in complete_model("torchvision:resnet")
    assert complete_model("resnet50").count("resnet50") == 1  # both libraries have it
    assert complete_model("torchv") == ["torchvision:"]
    assert complete_model("net.py:") == []


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.cli.model_names.find_spec", lambda name: None)
    assert complete_model("res") == []
    assert complete_model("zoo:ml") == ["zoo:mlp"]


def test_torch_is_not_imported() -> None:
    code = "import sys; from graphprune.cli.model_names import complete_model as c; assert c('timm:vit'); "
    subprocess.run(
        [sys.executable, "-c", code + "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"],
        check=True,
    )
