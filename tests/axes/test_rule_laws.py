"""Every rule against the real operator: restriction, contraction, statistics; needless pins and couplings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from cases import FUNCTIONAL, ROWS, rule_name
from draws import Row, on, x
from laws import Bench, broken, choose, choose_groups, place, restrictable, separable, statistics_differ

from graphprune.axes.call import Call
from graphprune.axes.rules import RULES, Rule
from graphprune.axes.terms import Atom
from graphprune.capture.operations import Value
from graphprune.verifying.restricted import is_restricted, run_restricted

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.op} {row.note}".strip())


def test_every_operator_with_a_rule_has_a_row() -> None:
    assert {rule_name(row.op) for row in ROWS} == set(RULES)


@every_row
def test_rule_fits(row: Row) -> None:
    bench = Bench.of(row, 0)
    assert not bench.analysis.unruled


@every_row
def test_operator_keeps_the_laws(row: Row) -> None:
    for seed in range(3):
        bench = Bench.of(row, seed)
        kept = choose((atom for atom in bench.around if not atom.pins), seed, row.least)
        assert not broken(bench, bench.operation, kept)


@every_row
def test_operator_keeps_the_laws_on_fibres(row: Row) -> None:
    """Operands are views of flat parameters, so that units may be chosen row by row."""
    for seed in range(3):
        bench = Bench.of(row, seed, flat=True)
        kept, fibres = choose_groups(bench, seed)
        for operation in bench.operations:
            assert not broken(bench, operation, kept, fibres)


def test_fibres_are_found() -> None:
    """The test above is not empty: unless something forbids it, inner axes are chosen by outer ones."""
    fibred = [row for row in ROWS if choose_groups(Bench.of(row, 0, flat=True), 0)[1]]
    assert len(fibred) > 600


# units chosen separately for every example, or positions for every head: such plans are refused, not wrong
NOT_BY_FIBRE = ("aten.group_norm", "aten.scaled_dot_product_attention")


@pytest.mark.parametrize("flat", [False, True], ids=["", "fibres"])
@pytest.mark.parametrize(
    "row", [row for row in FUNCTIONAL if row.masked], ids=lambda row: f"{row.op} {row.note}"
)
def test_masked_original_knows_the_statistics(row: Row, flat: bool) -> None:
    """Where zeros are not the same as removal, the verifier must run the operator on what is kept."""
    assert is_restricted(row.op)
    for seed in range(3):
        bench = Bench.of(row, seed, flat and row.family not in NOT_BY_FIBRE)
        kept, fibres = choose_groups(bench, seed)
        assert not statistics_differ(
            bench,
            kept,
            fibres,
            lambda given, masks: run_restricted(row.op, row.overload, given, masks),
        )


# -- what could be removed but is pinned --------------------------------------------------------------------
# operators whose pinned axes could lose units, as execution shows
PINNED_ON_PURPOSE = {
    "aten.cumsum": "what is kept could be summed alone; it would be a statistic that the reference must know",
    "aten.flip": "the result's axis runs backwards, which is no term of the algebra",
    "aten._grouped_mm": "it has no double precision to be verified in, and takes few widths",
    "aten.diff": "true of differences of order two at certain sizes only",
    "aten.conv3d": "true of certain positions only",
    "aten.conv_transpose1d": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.conv_transpose2d": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.conv_transpose3d": "if stride and kernel are alike, positions become (h r); images keep them",
    "aten.upsample_nearest2d": "by a whole factor positions become (h r); images keep their positions",
    "aten.pixel_shuffle": "positions become (h r); images keep their positions",
    "aten.pad": "cropping at one end and filling at the other could be a sum; nobody writes that",
}


def test_no_pin_is_needless() -> None:
    """Every pinned axis breaks something when it alone is restricted."""
    tried = (row for row in FUNCTIONAL if not row.crashes)
    assert {row.family for row in tried if _pins_needlessly(row)} == set(PINNED_ON_PURPOSE)


def _pins_needlessly(row: Row) -> bool:
    """Whether, at two sets of sizes, an operand has a pinned axis of which any part could be taken."""
    for bench in (Bench.of(row, 11), Bench.of(row, 12)):
        pinned = [atom for atom in bench.atoms(bench.operation.inputs) if atom.pins and atom.size > 1]
        if not any(restrictable(bench, atom, range(6)) for atom in pinned):
            return False
    return True


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.crashes], ids=lambda row: f"{row.op} {row.note}".strip()
)
def test_no_pinned_axis_keeps_the_laws(row: Row) -> None:
    """The same with the literals rewritten, and every result restricted as its terms say."""
    bench = Bench.of(row, 11)
    pinned = [atom for atom in bench.around if atom.pins and atom.size > 1]
    for atom in pinned:
        outcomes = (_outcome(bench, choose([atom], seed)) for seed in range(4))
        assert any(map(bool, outcomes)), place(bench, atom)


def _outcome(
    bench: Bench, kept: dict[Atom, torch.Tensor], other: dict[str, dict[Atom, torch.Tensor]] | None = None
) -> str:
    """What is wrong; an operator that cannot run is wrong too."""
    try:
        return broken(bench, bench.operation, kept, other=other)
    except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
        return str(error) or type(error).__name__


# -- what is coupled but need not be ------------------------------------------------------------------------
# an operand of which only the size counts keeps as many units, though it does not matter which
ONLY_SIZES = ("bernoulli", "bernoulli_", "copy", "copy_", "expand_as", "view_as", "reshape_as")


@every_row
def test_no_coupling_is_needless(row: Row) -> None:
    """When one operand keeps other units than the rest, the result is no part of the ordinary one."""
    for value, where in _couplings(Bench.of(row, 0)):
        if row.random or row.op.split(".")[1] in ONLY_SIZES:
            continue
        assert any(_needs_coupling(row, value, where, seed) for seed in range(12)), f"{where} of {value.name}"


def _couplings(bench: Bench) -> Iterator[tuple[Value, str]]:
    """Operands with something to lose that share an atom with another operand."""
    inputs = [value for value in bench.operation.inputs if 0 not in value.shape]
    for atom in bench.atoms(inputs):
        holders = [value for value in inputs if atom in bench.atoms([value])]
        if len(holders) > 1 and not atom.pins and atom.size > 1:
            yield from ((value, place(bench, atom)) for value in holders)


def _needs_coupling(row: Row, value: Value, where: str, seed: int) -> bool:
    """Whether the laws break when ``value`` keeps others, and the result is no other part either."""
    bench = Bench.of(row, seed)
    atom = next((atom for atom in bench.around if place(bench, atom) == where), None)
    if atom is None or atom.size < 3:
        return False
    kept = choose([atom], seed)
    other = {value.name: {atom: kept[atom].roll(1)}}
    return bool(_outcome(bench, kept, other)) and not separable(bench, kept, other)


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


@pytest.mark.parametrize(
    ("row", "rule", "caught_by"),
    [
        (Row("aten.relu.default", on(x("4 3"))), _uncoupled, test_operator_keeps_the_laws),
        (Row("aten.add.Tensor", on(x("4 3"), x("4 3"))), _first_only, test_operator_keeps_the_laws),
        (Row("aten.linear.default", on(x("4 3"), x("5 3"))), _uncoupled, test_operator_keeps_the_laws),
        (Row("aten.cumsum.default", on(x("4 5"), 1)), _not_lined_up, test_operator_keeps_the_laws),
        (Row("aten.permute.default", on(x("4 4"), [1, 0])), _not_lined_up, test_operator_keeps_the_laws),
        (Row("aten.softmax.int", on(x("2 5 3"), 1)), _not_lined_up, test_operator_keeps_the_laws_on_fibres),
        (Row("aten.relu.default", on(x("4 3"))), RULES["aten.linear"], test_rule_fits),
        (Row("aten.outer.default", on(x("4"), x("4"))), _squared, test_no_coupling_is_needless),
    ],
    ids=lambda item: item.op if isinstance(item, Row) else getattr(item, "__name__", "signature"),
)
def test_wrong_rules_are_caught(
    row: Row, rule: Rule, caught_by: Callable[[Row], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = next(known.masked for known in ROWS if known.op == row.op)
    row = replace(row, masked=masked)
    caught_by(row)
    monkeypatch.setitem(RULES, row.family, rule)
    with pytest.raises((AssertionError, RuntimeError)):
        caught_by(row)


def test_needless_pins_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("aten.relu.default", on(x("4 3")))
    assert not _pins_needlessly(row)
    monkeypatch.setitem(RULES, "aten.relu", _all_pinned)
    assert _pins_needlessly(row)
