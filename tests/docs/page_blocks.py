"""The code blocks of a Markdown file, and running them one after the other in one folder."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["LANGUAGES", "Block", "blocks", "run"]

# python and shell are run, unless they have a title: then, as all with a title, they are files to be written
LANGUAGES = {"python", "shell", "toml", "text", "mermaid", ""}
HIDDEN = "<!-- python\n"
PLAIN = set("|><&;$*`")


@dataclass(frozen=True)
class Block:
    """One fenced block. ``printed`` is what the fence without a language right after it holds."""

    language: str
    title: str
    code: str
    line: int
    printed: str | None = None


def blocks(path: Path) -> Iterator[Block]:
    """All blocks in order; a comment that begins with ``<!-- python`` is one that readers do not see."""
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block" and token.content.startswith(HIDDEN):
            code = token.content.removeprefix(HIDDEN).partition("-->")[0]
            yield Block("python", "", code, line)
        if token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = rest.removeprefix("title=").strip('"')
            yield Block(language, title, token.content, line, _printed(after))


def _printed(token: Token | None) -> str | None:
    return token.content if token is not None and token.type == "fence" and not token.info else None


def run(path: Path) -> int:
    """Runs the blocks of a file in the current folder, sharing their names; returns how many there were."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for block in blocks(path):
        if block.title:
            Path(block.title).write_text(block.code)
            sys.modules.pop(Path(block.title).stem, None)  # another page's, or a test's
        elif block.language == "python":
            stdout = io.StringIO()
            # as many empty lines as stand above it, so that a traceback names the line of the page
            code = compile("\n" * block.line + block.code, str(path), "exec")
            with contextlib.redirect_stdout(stdout):
                exec(code, names)
            _compare(block, stdout.getvalue(), path)
            count += 1
        elif block.language == "shell":
            said = "".join(_call(command, f"{path}:{block.line}") for command in _commands(block.code))
            _compare(block, said, path)
            count += 1
    return count


def _commands(code: str) -> list[str]:
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _compare(block: Block, said: str, path: Path) -> None:
    assert block.printed in (None, said), f"{path}:{block.line} printed {said}"


def _call(command: str, place: str) -> str:
    """graphprune in this process, which has its libraries already; anything else in a shell."""
    words = shlex.split(command, comments=True)
    if words[0] == "graphprune" and not any(set(word) & PLAIN for word in command.partition("#")[0].split()):
        code, said = _graphprune(words[1:])
    else:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environment = {**os.environ, "PATH": path}
        shell = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)
        code, said = done.returncode, done.stdout + done.stderr
    assert not code, f"{place}: {command} ends with {code}\n{said}"
    return said


def _graphprune(arguments: list[str]) -> tuple[int, str]:
    from typer.testing import CliRunner

    from graphprune.cli.app import app

    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.output
