"""Writes docs/operators.md: every public operator of PyTorch, with its rule or the reason why it has none.

    python tools/operators.py            # writes the page
    python tools/operators.py --check    # exits with 1 if a name is neither known nor explained

A public name of `torch`, `torch.nn.functional`, `torch.Tensor`, `torch.fft`, `torch.linalg` and `torch.special` is

- an operator with a rule, under its own name or as another name of one (`graphprune/capture/synonyms.py`);
- an in-place operator, which the capture makes functional, of such a one;
- a function of Python, made of such operators, as an export of a call shows (`tools/operators_made.py`);
- or in the table of those that have no rule, with the reason (`tools/operators_absent.py`).
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from operators_absent import ABSENT
from operators_made import MADE, operators_of

from graphprune.axes.rules import RULES, Rule, find_name
from graphprune.axes.rules.table import Along, Stays
from graphprune.axes.signature import Signature
from graphprune.capture.synonyms import SAID, SAME

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
# namespace → how its operators of ATen begin
SPACES = {
    "torch": "",
    "torch.nn.functional": "",
    "torch.Tensor": "",
    "torch.fft": "fft_",
    "torch.linalg": "linalg_",
    "torch.special": "special_",
}


def public_names() -> dict[str, list[str]]:
    """The functions and methods of each namespace that do not begin with an underscore."""
    found = {}
    for space in SPACES:
        owner = torch
        for part in space.split(".")[1:]:
            owner = getattr(owner, part)
        found[space] = [name for name in sorted(dir(owner)) if _is_function(owner, name)]
    return found


def _is_function(owner: object, name: str) -> bool:
    value = getattr(owner, name)
    typing = (getattr(value, "__module__", None) or "").startswith("typing")
    return not name.startswith("_") and callable(value) and not isinstance(value, type) and not typing


@cache
def absent() -> dict[str, str]:
    """Name → the reason why it has no rule.

    Raises:
        ValueError: a name has two reasons.
    """
    found: dict[str, str] = {}
    for reason, names in ABSENT.items():
        for name in names.split():
            if name in found:
                raise ValueError(f"{name} has two reasons")
            found[name] = reason
    return found


def operator_of(space: str, name: str) -> str | None:
    """The operator with a rule that a public name is, as "aten.acos"; None if there is none."""
    own = SPACES[space] + name
    plain = own.removesuffix("_")
    for known in (plain, own, SAME.get(plain, "").partition(".")[0]):
        if known and _ruled(known):
            return f"aten.{known}"
    return {"diag": "aten.diagonal", "fliplr": "aten.flip", "flipud": "aten.flip"}.get(
        plain, "aten.tensor_split" if plain in SAID else None
    )


@cache
def _ruled(name: str) -> bool:
    return any(known == f"aten.{name}" or known.startswith(f"aten.{name}.") for known in RULES)


def unknown() -> Iterator[str]:
    """Public names that neither have a rule nor a reason; and reasons and calls that nothing needs."""
    names = public_names()
    for space, several in names.items():
        for name in several:
            if operator_of(space, name) is None and name not in absent() and name not in MADE:
                yield f"{space}.{name} has neither a rule nor a reason"
    public = {name for several in names.values() for name in several}
    for name in (*absent(), *MADE):
        if name not in public:
            yield f"{name} is no public name of PyTorch"
        elif all(operator_of(space, name) for space in SPACES if name in names[space]):
            yield f"{name} has a rule, and needs no reason"


def without_rule(name: str) -> list[str]:
    """The operators without a rule in an export of a call of ``name``; assertions are dropped by the capture."""
    dropped = ("aten._assert", "aten.sym_size")
    return [op for op in operators_of(name) if not op.startswith(dropped) and find_name(op) is None]


def told(rule: Rule) -> str:
    """A rule in a few words."""
    if isinstance(rule, Stays):
        return f"stays: {rule.reason}"
    if isinstance(rule, Signature):
        return f"`{rule.text}`"
    if isinstance(rule, Along):
        return f"along its dimensions: {rule.reason.format('it') or 'they may lose units too'}"
    function = rule.func if isinstance(rule, partial) else rule
    return (inspect.getdoc(function) or "").partition("\n")[0].replace("|", "\\|")


def page() -> str:
    """The text of docs/operators.md."""
    names = public_names()
    rules: dict[str, list[str]] = {}
    for space, several in names.items():
        for name in several:
            operator = operator_of(space, name)
            if operator is not None:
                rules.setdefault(operator, []).append(f"{space}.{name}")
    total = sum(map(len, names.values()))
    known = sum(map(len, rules.values()))
    lines = [
        _HEAD.format(version=torch.__version__.partition("+")[0], total=total, known=known, rules=len(RULES))
    ]
    lines += ["## Operators with a rule", "", "| operator | public names | rule |", "| --- | --- | --- |"]
    for operator in sorted(rules):
        key = find_name(f"{operator}.default") or next(key for key in RULES if key.startswith(f"{operator}."))
        lines.append(f"| `{operator}` | {', '.join(rules[operator])} | {told(RULES[key])} |")
    lines += ["", "## Functions that are made of operators", "", "| function | operators |", "| --- | --- |"]
    for name in sorted(MADE):
        parts = [op for op in operators_of(name) if not op.startswith("aten._assert")]
        lines.append(f"| {name} | {', '.join(f'`{part}`' for part in parts)} |")
    lines += ["", "## Names without a rule, and why", ""]
    for reason, several in ABSENT.items():
        lines += [f"**{reason[0].upper()}{reason[1:]}.** {', '.join(several.split())}", ""]
    return "\n".join(lines).rstrip() + "\n"


_HEAD = """# Operators

What the compiler knows of PyTorch {version}: of the {total} public names of `torch`, `torch.nn.functional`,
`torch.Tensor`, `torch.fft`, `torch.linalg` and `torch.special`, {known} are operators with a rule ({rules} rules,
in-place forms and overloads counted by themselves). A rule says which dimensions are the same axis, and so what can be
pruned through the operator. Functions of Python appear in a captured graph as the operators that they are made of. All
other names cannot stand in a graph, or are refused, and why is said below. An operator of your own gets a rule by
[`gp.rule`](guides/own-operator.md).

This page is written by `tools/operators.py`. The tests fail if a public name is missing from it.
"""


def main() -> int:
    """Writes the page, or checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="say which names are unknown; write nothing")
    if parser.parse_args().check:
        found = [*unknown(), *(f"{name} is made of {op}" for name in MADE for op in without_rule(name))]
        print("\n".join(found) or "every public name has a rule or a reason")
        return bool(found)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
