"""Every block of Python and shell in the README and in docs/ runs as it is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from page_blocks import LANGUAGES, blocks, run

from graphprune.axes.rules.users import USERS
from models_zoo import torchvision_ops

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(autouse=True)
def _left_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of its own; rules that a page registers are forgotten, and random numbers do not depend on others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torchvision_ops.ensure()
    torch.manual_seed(0)
    before, modules, threads = dict(USERS), set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]
    USERS.clear()
    USERS.update(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path) -> None:
    found = list(blocks(page))
    assert {block.language for block in found} <= LANGUAGES, "a language that is not run"
    wanted = [block for block in found if block.language in ("python", "shell") and not block.title]
    assert run(page) == len(wanted)


def test_a_block_that_fails_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as error:
        run(page)
    assert error.traceback[-1].lineno == 7
    page.write_text("```shell\nfalse\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:1: false ends with 1"):
        run(page)
    page.write_text("```shell\ngraphprune nothing\n```\n")
    with pytest.raises(AssertionError, match="No such command"):
        run(page)
    page.write_text("```python\nprint(1)\n```\n\n```\n2\n```\n")
    with pytest.raises(AssertionError, match="printed 1"):
        run(page)
