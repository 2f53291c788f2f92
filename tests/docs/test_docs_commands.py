"""The commands and options that the documentation names are those of the program, and all of them are in it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import docs_commands
from page_blocks import blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
KNOWN = {
    name: {word for item in found for word in (*item.opts, *item.secondary_opts)} | {"--help"}
    for name, found in docs_commands.parameters().items()
}
ALONE = {"--help", "--version", "--install-completion", "--show-completion"}  # without a command
STARTS = ("graphprune ", "torchrun ", "accelerate ")
INLINE = re.compile(r"`(graphprune [^`]*)`")


def named(page: Path) -> Iterator[list[str]]:
    """The words of every call of graphprune on a page: in blocks, and in the text."""
    lines = [line for block in blocks(page) for line in block.code.replace("\\\n", " ").splitlines()]
    lines += INLINE.findall(page.read_text(encoding="utf-8"))
    for line in map(str.strip, lines):
        line = line.removeprefix("$ ").replace("python -m graphprune.cli ", "graphprune ")
        if line.startswith(STARTS) and "graphprune" in line:
            _, _, rest = line.replace("-m graphprune.cli", "graphprune").partition("graphprune ")
            yield shlex.split(re.split(r"[|>;]|&&", rest)[0], comments=True)


def wrong(words: list[str]) -> list[str]:
    """What of a call the program does not take."""
    command, options = words[0], [word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
    if command.startswith("-"):
        return [] if command in ALONE else [command]
    if command not in KNOWN:
        return [] if command in ("COMMAND", "…") else [command]
    return [f"{command} {option}" for option in options if option not in KNOWN[command]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_calls_is_there(page: Path) -> None:
    assert [item for words in named(page) if words for item in wrong(words)] == []


def test_the_pages_are_read() -> None:
    """What the test above finds nothing wrong with is not nothing."""
    found = [words[0] for page in PAGES for words in named(page) if words]
    assert set(found) >= set(KNOWN)
    assert len(found) > 60
    assert wrong(["shrink", "resnet50", "--marcs", "0.5"]) == ["shrink --marcs"]
    assert wrong(["shrnik"]) == ["shrnik"]


def test_every_command_stands_in_the_guide() -> None:
    text = (ROOT / "docs" / "guides" / "command-line.md").read_text(encoding="utf-8")
    assert [name for name in KNOWN if f"| `{name} " not in text and f"| `{name}` " not in text] == []


def test_the_page_of_all_options_is_what_the_program_takes() -> None:
    assert docs_commands.PAGE.read_text(encoding="utf-8") == docs_commands.page(), (
        "run python tools/docs_commands.py"
    )


def test_every_option_has_a_meaning() -> None:
    silent = [
        f"{name} {item.name}"
        for name, found in docs_commands.parameters().items()
        for item in found
        if not (item.help or "").strip()
    ]
    assert silent == []
