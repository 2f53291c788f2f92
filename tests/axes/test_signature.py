"""The signature notation: parsing, and every kind of token matched."""

from __future__ import annotations

from typing import Any

import pytest

from graphprune.axes.algebra import Axis, Equations
from graphprune.axes.call import Call, Operand, Reason
from graphprune.axes.signature import Signature
from graphprune.axes.terms import Atom, atoms
from graphprune.capture.operations import Operation, Value


def called(signature: Signature, output: tuple[int, ...], **arguments: Any) -> Call:
    """``signature`` applied to operands of these shapes (tuples) and other arguments."""
    equations = Equations()

    def operand(name: str, shape: tuple[int, ...]) -> Operand:
        return Operand(Value(name, shape, "float32"), tuple(map(equations.atom, shape)))

    bound = {
        name: operand(name, given) if isinstance(given, tuple) else given for name, given in arguments.items()
    }
    operation = Operation("node", "aten.test.default", {}, (), layer="layer")
    call = Call(operation, bound, (operand("out", output),), equations)
    signature(call)
    return call


def shown(call: Call) -> str:
    """Every operand's axes with stable numbers: ``x(a0:2 a1:3) out(a0:2)``."""
    solve = call.equations.solve
    operands = [*call.operands(), call.output]
    terms = [[str(solve(axis)) for axis in operand.dims] for operand in operands]
    return " ".join(
        f"{operand.value.name}[{', '.join(dims)}]" for operand, dims in zip(operands, terms, strict=True)
    )


def pins(call: Call, axis: Axis) -> list[str]:
    return [str(reason) for atom in atoms(call.equations.solve(axis)) for reason in atom.pins]


# -- parsing ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("i j -> j i", (("i", "j"), ("j", "i"))),
        (
            "b (g i) x*, (g o) i k* -> b (g o) y*",
            (("b", "g i", "x*"), ("g o", "i", "k*"), ("b", "g o", "y*")),
        ),
        ("... i,o i->... o", (("...", "i"), ("o", "i"), ("...", "o"))),
        ("b s+ k -> b s+", (("b", "s+", "k"), ("b", "s+"))),
        ("k, k ->", (("k",), ("k",), ())),
        ("long_name other2 -> other2", (("long_name", "other2"), ("other2",))),
    ],
)
def test_parsing(text: str, parsed: tuple[tuple[str, ...], ...]) -> None:
    assert Signature(text, ()).parsed == parsed


# -- names --------------------------------------------------------------------------------------------------
def test_a_name_is_an_axis() -> None:
    call = called(Signature("i k, k j -> i j", ("x", "y")), (2, 4), x=(2, 3), y=(3, 4))
    assert shown(call) == "x[a0:2, a1:3] y[a1:3, a2:4] out[a0:2, a2:4]"


def test_a_name_may_stand_twice_in_an_operand() -> None:
    call = called(Signature("i i -> i", ("x",)), (3,), x=(3, 3))
    assert shown(call) == "x[a0:3, a0:3] out[a0:3]"


@pytest.mark.parametrize(("x", "y", "z"), [((1,), (3,), (3,)), ((3,), (1,), (3,)), ((3,), (3,), (1,))])
def test_a_dimension_of_size_one_is_repeated(x: Any, y: Any, z: Any) -> None:
    """Wherever it stands, the others are the same axis."""
    call = called(Signature("i, i, i -> i", ("x", "y", "z")), (3,), x=x, y=y, z=z)
    numbers = {shown.partition(":")[0] for shown in _of_size(call, 3)}
    assert len(numbers) == 1
    assert len(_of_size(call, 3)) == 3


def _of_size(call: Call, size: int) -> list[str]:
    operands = [*call.operands(), call.output]
    dims = (axis for operand in operands for axis in operand.dims)
    return [str(call.equations.solve(axis)) for axis in dims if axis.size == size]


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'k' is 3 at x\[1\], and 4 at y\[0\]"):
        called(Signature("i k, k j -> i j", ("x", "y")), (2, 5), x=(2, 3), y=(4, 5))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4)])
def test_ranks_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"x has {len(shape)} dimensions?, 'i k' 2"):
        called(Signature("i k -> i k", ("x",)), (2, 3), x=shape)


def test_an_operand_may_be_absent() -> None:
    call = called(Signature("i, o i, o -> o", ("x", "w", "b")), (4,), x=(3,), w=(4, 3), b=None)
    assert shown(call) == "x[a0:3] w[a1:4, a0:3] out[a1:4]"


# -- products -----------------------------------------------------------------------------------------------
def test_a_product_with_a_size_from_an_argument() -> None:
    signature = Signature("b (g i), (g o) i -> b (g o)", ("x", "w"), {"g": "groups"})
    call = called(signature, (2, 8), x=(2, 6), w=(8, 3), groups=2)
    assert shown(call) == "x[a0:2, (a1:2 a2:3)] w[(a1:2 a3:4), a2:3] out[a0:2, (a1:2 a3:4)]"


def test_a_factor_of_size_one_carries_nothing() -> None:
    """A depthwise layer: one channel in and out of each group."""
    signature = Signature("b (g i), (g o) i -> b (g o)", ("x", "w"), {"g": "groups"})
    call = called(signature, (2, 6), x=(2, 6), w=(6, 1), groups=6)
    assert shown(call) == "x[a0:2, a1:6] w[a1:6, a2:1] out[a0:2, a1:6]"


def test_a_product_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\[0\] of size 7 is no '\(g i\)'"):
        called(Signature("(g i) -> (g i)", ("x",), {"g": "groups"}), (7,), x=(7,), groups=2)


# -- many dimensions ----------------------------------------------------------------------------------------
def test_leading_dimensions_broadcast_from_the_right() -> None:
    signature = Signature("... i, ... j -> ... i j", ("x", "y"))
    call = called(signature, (5, 2, 3, 4, 6), x=(5, 1, 3, 4), y=(2, 3, 6))
    assert shown(call) == ("x[a0:5, a1:1, a2:3, a3:4] y[a4:2, a2:3, a5:6] out[a0:5, a4:2, a2:3, a3:4, a5:6]")


def test_leading_dimensions_may_be_none() -> None:
    call = called(Signature("... i, o i -> ... o", ("x", "w")), (4,), x=(3,), w=(4, 3))
    assert shown(call) == "x[a0:3] w[a1:4, a0:3] out[a1:4]"


def test_leading_dimensions_that_are_summed_away() -> None:
    """No result has them, and still the operands share them."""
    call = called(Signature("... i, ... i, ... i -> i", ("x", "y", "z")), (4,), x=(3, 4), y=(1, 4), z=(3, 4))
    assert shown(call) == "x[a0:3, a1:4] y[a2:1, a1:4] z[a0:3, a1:4] out[a1:4]"


def test_windows_are_pinned_and_may_change_their_size() -> None:
    signature = Signature("b c x* -> b c y*", ("x",), window="it slides")
    call = called(signature, (2, 3, 4, 4), x=(2, 3, 6, 5))
    assert shown(call) == "x[a0:2, a1:3, a2:6, a3:5] out[a0:2, a1:3, a4:4, a5:4]"
    source, result = (operand.dims for operand in (call["x"], call.output))
    assert [bool(pins(call, axis)) for axis in (*source, *result)] == [False, False, True, True] * 2
    assert pins(call, source[2]) == ["it slides (at layer)"]
    assert all(isinstance(reason, Reason) for reason in call.equations.solve(source[2]).pins)


def test_one_window_name_in_two_operands_pins_both() -> None:
    call = called(Signature("c x*, c x* -> c", ("x", "y")), (3,), x=(3, 4), y=(3, 5))
    assert pins(call, call["x"].dims[1])
    assert pins(call, call["y"].dims[1])


def test_dimensions_that_pass_through() -> None:
    call = called(Signature("b i s+, o i -> b o s+", ("x", "w")), (2, 4, 5, 6), x=(2, 3, 5, 6), w=(4, 3))
    assert shown(call) == "x[a0:2, a1:3, a2:5, a3:6] w[a4:4, a1:3] out[a0:2, a4:4, a2:5, a3:6]"
    assert not any(pins(call, axis) for axis in call.output.dims)


def test_dimensions_that_pass_through_must_be_as_many() -> None:
    with pytest.raises(ValueError, match=r"'s\+' stands for 2 \(x\[1\], x\[2\]\) and for 1 "):
        called(Signature("b s+ -> b s+", ("x",)), (2, 5), x=(2, 5, 6))


# -- loops and sums -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "loops", "output", "operands", "macs"),
    [
        ("i k, k j -> i j", "i j k", (2, 4), {"x": (2, 3), "y": (3, 4)}, 24),
        ("... i, o i -> ... o", "... i o", (5, 2, 4), {"x": (5, 2, 3), "y": (4, 3)}, 120),
        ("... i k, ... k j -> ... i j", "... i j k", (5, 6, 2, 4), {"x": (5, 1, 2, 3), "y": (6, 3, 4)}, 720),
        ("i x*, o i k* -> o y*", "i o k* y*", (4, 5), {"x": (2, 7), "y": (4, 2, 3)}, 120),
    ],
)
def test_loops(text: str, loops: str, output: Any, operands: Any, macs: int) -> None:
    call = called(Signature(text, ("x", "y"), loops=loops), output, **operands)
    total = 1
    for axis in call.loops[0]:
        total *= axis.size
    assert total == macs


def test_no_loops_no_cost() -> None:
    assert called(Signature("i -> i", ("x",)), (2,), x=(2,)).loops == []


def test_a_sum_lines_up_what_only_some_operands_have() -> None:
    """The width of queries and keys is one choice for all pairs of positions; heads may differ."""
    call = called(Signature("h n d, h m d -> h n m", ("q", "k")), (2, 5, 6), q=(2, 5, 3), k=(2, 6, 3))
    solve = call.equations.solve
    pairs = {(_only(solve(axis)).size, _only(solve(other)).size) for axis, other in call.across}
    assert pairs == {(3, 5), (3, 6)}


def test_a_name_in_the_result_lines_up_nothing() -> None:
    assert called(Signature("b c, c -> b c", ("x", "y")), (2, 3), x=(2, 3), y=(3,)).across == []


def _only(term: object) -> Atom:
    assert isinstance(term, Atom)
    return term
