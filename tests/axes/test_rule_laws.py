"""Every rule against the real operator, a family at a time; and mistakes that are planted are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import searches
from cases import ROWS, TABLES, rule_name
from draws import Row, on, x
from laws import Bench, choose_groups, place
from searches import Finding, lawful_pins, needless_couplings, needless_pins, unknown_statistics, unsound

from graphprune.axes.call import Call
from graphprune.axes.rules import RULES, Rule

Search = Callable[[Row], Iterator[Finding]]


def test_every_operator_with_a_rule_has_a_row() -> None:
    assert {rule_name(row.op) for row in ROWS} == set(RULES)


@pytest.mark.parametrize("search", [unsound, unknown_statistics, lawful_pins, needless_couplings])
@pytest.mark.parametrize("family", TABLES)
def test_rules_of_a_family_are_right(family: str, search: Search) -> None:
    """Each finding names the row, the seed, the axis and the law that is broken."""
    assert not [str(finding) for row in TABLES[family] for finding in search(row)]


# operators whose pinned axes could lose units, as execution shows
PINNED_ON_PURPOSE = {
    "aten.cumsum": "what is kept could be summed alone; it would be a statistic that the reference must know",
    "aten._grouped_mm": "it has no double precision to be verified in, and takes few widths",
    **dict.fromkeys(
        (
            f"aten.linalg_{name}"
            for name in "solve solve_ex solve_triangular lu_solve ldl_solve lstsq".split()
        ),
        "columns of a right-hand side could go",
    ),
    **dict.fromkeys(
        (f"aten.{name}" for name in "cholesky_solve triangular_solve lu_solve ormqr".split()),
        "columns of a right-hand side could go",
    ),
    **dict.fromkeys(
        (f"aten.{name}" for name in "linalg_pinv pinverse linalg_svdvals linalg_matrix_rank".split()),
        "rows of zeros change no singular value; a matrix is taken as a whole",
    ),
    "aten.fake_quantize_per_channel_affine": "it has no double precision to be verified in",
    "aten.pdist": "a choice of rows is a choice of pairs, which is no term of the algebra",
    "aten.combinations": "a choice of elements is a choice of pairs, which is no term of the algebra",
    "aten.cartesian_prod": "it could be a product with a part for each tensor; nobody prunes through it",
    **dict.fromkeys(
        (f"aten.{name}" for name in "unique_consecutive _unique2 unique_dim".split()),
        "true of certain values only",
    ),
    "aten.convolution": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.diff": "true of differences of order two at certain sizes only",
    "aten.conv3d": "true of certain positions only",
    "aten.conv_transpose1d": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.conv_transpose2d": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.conv_transpose3d": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.upsample_nearest2d": "by a whole factor positions become (h r); images keep their positions",
    "aten.pixel_shuffle": "positions become (h r); images keep their positions",
    "aten.pad": "cropping at one end and filling at the other could be a sum; nobody writes that",
}


@pytest.mark.parametrize("family", TABLES)
def test_no_pin_is_needless(family: str) -> None:
    """Every pinned axis breaks something when it alone is restricted."""
    rows = [row for row in TABLES[family] if not row.family.endswith("_")]
    found = [finding for row in rows for finding in needless_pins(row)]
    expected = PINNED_ON_PURPOSE.keys() & {row.family for row in rows}
    assert {finding.row.family for finding in found} == expected, "\n".join(map(str, found))


def test_fibres_are_found() -> None:
    """The search row by row is not empty: unless something forbids it, inner axes are chosen by outer ones."""
    fibred = [row for row in ROWS if choose_groups(Bench.of(row, 0, flat=True), 0)[1]]
    assert len(fibred) > 600


# -- couplings that must be there ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("op", "note", "places"),
    [
        ("aten.add.Tensor", "", {"self[0] other[0] out0[0]", "self[1] other[1] out0[1]"}),
        ("aten.add.Tensor", "1", {"self[2] other[1] out0[2]"}),
        ("aten.clamp.Tensor", "", {"self[0] min[0] out0[0]", "self[1] min[1] max[0] out0[1]"}),
        ("aten.linear.default", "", {"input[1] weight[1]", "weight[0] bias[0] out0[1]", "input[0] out0[0]"}),
        ("aten.matmul.default", "5", {"self[0] out0[0]", "other[0] out0[1]", "self[3] other[1]"}),
        ("aten.conv2d.default", "2", {"input[1] weight[0] bias[0] out0[1]"}),
        ("aten.conv2d.default", "5", {"input[0] weight[1]", "weight[0] bias[0] out0[0]"}),
        ("aten.cat.default", "", {"tensors[0] tensors[0] out0[0]", "tensors[1] out0[1]"}),
        (
            "aten.batch_norm.default",
            "",
            {"input[1] weight[0] bias[0] running_mean[0] running_var[0] out0[1]"},
        ),
        ("aten.embedding.default", "", {"weight[1] out0[2]", "indices[1] out0[1]"}),
        ("aten.view_as.default", "", {"self[0] other[0] out0[0]", "self[0] other[1] out0[1]"}),
        (
            "aten.index_put.default",
            "10",
            {"self[0] indices[0] out0[0]", "self[1] indices[1] out0[1]", "self[2] values[0] out0[2]"},
        ),
        ("aten.baddbmm.default", "1", {"self[1] batch1[1] out0[1]", "batch1[0] batch2[0] out0[0]"}),
    ],
)
def test_dimensions_that_share_an_axis(op: str, note: str, places: set[str]) -> None:
    row = next(row for row in ROWS if (row.op, row.note) == (op, note))
    bench = Bench.of(row, 4)
    assert places <= {place(bench, atom) for atom in bench.around}


# -- the tests themselves -----------------------------------------------------------------------------------
def _uncoupled(call: Call) -> None:
    """A wrong rule: it couples nothing."""


def _first_only(call: Call) -> None:
    """A wrong rule: the second operand is forgotten."""
    call.broadcast([next(call.operands())], call.output.dims)


def _not_lined_up(call: Call) -> None:
    """A wrong rule: units may be chosen separately for positions that are compared."""
    for axis, other in zip(call.output.dims, call["self"].dims, strict=True):
        call.unify(axis, other)


def _squared(call: Call) -> None:
    """A wrong rule: two axes that have nothing to do with each other."""
    if call["self"].shape == call["vec2"].shape:
        for axis in (call["vec2"].dims[0], *call.output.dims):
            call.unify(call["self"].dims[0], axis)


def _all_pinned(call: Call) -> None:
    """A wrong rule: nothing can be removed."""
    for operand in (*call.operands(), *call.outputs):
        call.pin(operand.dims, "just so")


def _right_and_pinned(call: Call) -> None:
    """A wrong rule: what is coupled as it must be is pinned."""
    RIGHT_LINEAR(call)
    call.pin(call["weight"].dims, "just so")


RIGHT_LINEAR = RULES["aten.linear"]
LINEAR = Row("aten.linear.default", on(x("4 3"), x("5 3")))
SUM = Row("aten.add.Tensor", on(x("4 3"), x("4 3")))
RELU = Row("aten.relu.default", on(x("4 3")))


@pytest.mark.parametrize(
    ("row", "rule", "search", "found"),
    [
        (RELU, _uncoupled, unsound, "seed 0, self[0]: contraction: "),
        (SUM, _first_only, unsound, "seed 0, other[0]: "),
        (LINEAR, _uncoupled, unsound, "seed 0, input[1]: "),
        (Row("aten.sum.default", on(x("4 3"))), RULES["aten.relu"], unsound, "the rule does not fit"),
        (Row("aten.cumsum.default", on(x("4 5"), 1)), _not_lined_up, unsound, "self[1] out0[1]: "),
        (
            Row("aten.permute.default", on(x("4 4"), [1, 0])),
            _not_lined_up,
            unsound,
            "self[0] out0[0]: restriction: ",
        ),
        (Row("aten.softmax.int", on(x("2 5 3"), 1)), _not_lined_up, unsound, "self[2] out0[2] row by row: "),
        (RELU, RULES["aten.linear"], unsound, "the rule does not fit"),
        (
            RELU,
            _all_pinned,
            needless_pins,
            "seed 11, self[0]: it is pinned, and any part of it could be taken",
        ),
        (
            LINEAR,
            _right_and_pinned,
            lawful_pins,
            "seed 11, input[1] weight[1]: it is pinned, and the laws hold without",
        ),
        (
            Row("aten.outer.default", on(x("4"), x("4"))),
            _squared,
            needless_couplings,
            "t0 could keep other units",
        ),
    ],
    ids=lambda item: item.op if isinstance(item, Row) else getattr(item, "__name__", "signature"),
)
def test_wrong_rules_are_found(
    row: Row, rule: Rule, search: Search, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(row, masked=next(known.masked for known in ROWS if known.op == row.op))
    assert not list(search(row))
    monkeypatch.setitem(RULES, row.family, rule)
    assert found in "\n".join(map(str, search(row)))


@pytest.mark.parametrize(
    ("op", "changed", "found"),
    [
        (
            "aten.mean.dim",
            {"run_restricted": lambda op, operator, given, masks: operator(**given)},
            "instead of",
        ),
        ("aten.softmax.int", {"is_restricted": lambda op: False}, "the verifier runs it on zeros"),
    ],
)
def test_statistics_that_the_verifier_does_not_know_are_found(
    op: str, changed: dict[str, object], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in ROWS if row.op == op)
    assert not list(unknown_statistics(row))
    for name, function in changed.items():
        monkeypatch.setattr(searches, name, function)
    assert found in "\n".join(map(str, unknown_statistics(row)))
