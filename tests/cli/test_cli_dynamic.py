"""``--dynamic``, in every command that captures a model, and what the terminal says of sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

ASKED = ("--dynamic", "none")


@pytest.mark.parametrize(
    "arguments",
    [
        ("shrink", "{net}", "--macs", "0.5", "--dry-run"),
        ("inspect", "{net}"),
        ("explain", "{net}", "0"),
        ("sensitivity", "{net}"),
    ],
)
def test_every_command_that_captures_takes_it(
    refused: Callable[..., str], net: Path, arguments: tuple[str, ...]
) -> None:
    words = [word.format(net=f"{net}:with_inputs") for word in arguments]
    line = refused(*words, "--dynamic", "image:2=height")
    assert line == "dynamic names 'image', which is no input tensor — there are input"
    assert refused(*words, "--dynamic", "input:0=n,input:1=m", "--dynamic", "input:0=batch") == (
        "dynamic calls input[0] both n and batch — give each dimension one name"
    )
    assert refused(*words, "--dynamic", "height").startswith(
        "dynamic 'height' is not INPUT:DIM=NAME — write it"
    )


def test_inspect_says_what_varies(run: Callable[..., Any], net: Path) -> None:
    varying, fixed = (run("inspect", f"{net}:with_inputs", *more).stdout for more in ((), ASKED))
    assert "input (batch, 6), captured with (2, 6)\n" in varying
    assert "input (2, 6)\n" in fixed
    document = json.loads(run("inspect", f"{net}:with_inputs", *ASKED, "--json").stdout)
    assert document["dynamic_batch"] is False
    assert [row["name"] for row in document["dimensions"]] == ["", ""]


def test_a_dry_run_says_what_would_vary(run: Callable[..., Any], net: Path) -> None:
    words = ("shrink", f"{net}:with_inputs", "--ratio", "0.5", "--dry-run")
    assert "input (batch, 6), captured with (2, 6)\n" in run(*words).stdout
    document = json.loads(run(*words, *ASKED, "--json").stdout)
    assert [row["name"] for row in document["dimensions"]] == ["", ""]


def test_the_page_of_inspect_repeats_it(run: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    page = tmp_path / "net.html"
    done = run("inspect", f"{net}:with_inputs", *ASKED, "--html", page, "--dot", tmp_path / "net.dot")
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert f"graphprune inspect {net}:with_inputs --dynamic none --html FILE<" in text


def test_a_result_of_fixed_sizes_repeats_and_proves_itself(
    run: Callable[..., Any], net: Path, tmp_path: Path
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    words = ("shrink", f"{net}:with_inputs", "--ratio", "0.5", "--no-latency", *ASKED, "-o", first)
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "input (2, 6)\n" in done.stdout
    assert tomlkit.parse((first / "shrink.toml").read_text())["dynamic"] == ["none"]
    assert json.loads((first / "plan.json").read_text())["request"]["dynamic"] == "none"
    done = run("shrink", "--config", first / "shrink.toml", "--trust", "-o", again)
    assert done.exit_code == 0, done.output
    assert (again / "plan.json").read_text() == (first / "plan.json").read_text()
    done = run("verify", first, "--model", f"{net}:with_inputs")
    assert done.exit_code == 0, done.output


def test_names_in_a_file(refused: Callable[..., str], net: Path, tmp_path: Path) -> None:
    config = tmp_path / "wish.toml"
    config.write_text(f'model = "{net}:with_inputs"\nmacs = 0.5\ndynamic = ["input:2=width"]\n')
    assert refused("shrink", "--config", config, "--trust", "--dry-run") == (
        "dynamic names dimension 2 of input, which has 2 — give 0 to 1"
    )
