"""The README's example of a rule runs and prints what the README says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from graphprune.axes.rules.users import USERS

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(USERS):  # what is registered here is forgotten afterwards
        monkeypatch.setitem(USERS, name, USERS[name])
    section = README.read_text().split("## Your own operator")[1].split("\n## ")[0]
    code, printed = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(code, {})
    finally:
        USERS.pop("mylib.scale", None)
    assert said.getvalue() == printed
