"""A rule that does not fit a call says so in its author's words: signature, shapes, what disagrees, what helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.analysis import Analysis, analyse
from graphprune.axes.call import Call
from graphprune.axes.rules.users import USERS
from graphprune.axes.signature import Signature
from graphprune.capture.operations import Operation, Value

BATCH = 1009  # what stands for the batch size in a program


@torch.library.custom_op("misfits::scale", mutates_args=())
def scale(x: Tensor, weight: Tensor, times: int = 2, more: Tensor | None = None) -> Tensor:
    return x * weight[:, None] * times


@scale.register_fake
def _(x: Tensor, weight: Tensor, times: int = 2, more: Tensor | None = None) -> Tensor:
    return torch.empty_like(x)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    USERS.clear()


def analysed(x: Any, weight: Any, times: Any = 2, result: Any = None, strict: bool = True) -> Analysis:
    """The call of `scale` on these shapes."""
    values = [Value("v0", x, "float32"), Value("v1", weight, "float32"), Value("v2", result or x, "float32")]
    arguments = {"x": values[0], "weight": values[1], "times": times, "more": None}
    operation = Operation("node", "misfits.scale.default", arguments, (values[2],), layer="block.scale")
    return analyse([operation], {value.name: value for value in values}, (), (), {BATCH: "batch"}, strict)


NAMES = "write one name for each dimension; '...', 's+' and 'x*' stand for any number"
DIFFER = "give axes that differ different names; a dimension in parts is a product: '(g c)'"
MANY = "write 'x*' for dimensions that become fewer or more, and '...' for those that broadcast"
FACTOR = "sizes= says which argument is the size of a factor; correct it, or the factors and their order"
SIZES = "correct sizes=, or name the factor of a product that has this size: '(g i)'"
ABSENT = "leave it out of loops= and sizes="

# signature, options, what analysed is given, the cause, the remedy
SIGNATURES = [
    # too few or too many dimensions
    ("b c s, c -> b c s", {}, ((BATCH, 5), (5,)), "x has 2 dimensions, 'b c s' 3", NAMES),
    ("b c, c -> b c", {}, ((BATCH, 5, 4), (5,)), "x has 3 dimensions, 'b c' 2", NAMES),
    ("b c s+, c d -> b c s+", {}, ((BATCH, 5, 4), (5,)), "weight has 1 dimension, 'c d' 2", NAMES),
    ("b (c d) e ..., c -> b c", {}, ((BATCH, 5), (5,)), "x has 2 dimensions, 'b (c d) e ...' at least 3", NAMES),
    ("b c s+, c -> b s+ c c", {}, ((BATCH, 5), (5,)), "return has 2 dimensions, 'b s+ c c' at least 3", NAMES),
    # sizes that disagree
    ("b c s+, c -> b c s+", {}, ((BATCH, 5, 4), (7,)), "'c' is 5 at x[1], and 7 at weight[0]", DIFFER),
    ("b c s+, b -> b c s+", {}, ((BATCH, 5, 4), (7,)), "'b' is batch at x[0], and 7 at weight[0]", DIFFER),
    ("b c s, c -> c b s", {}, ((2 * BATCH, 5, 4), (5,)), "'c' is 5 at x[1], and 2·batch at return[0]", DIFFER),
    ("b b s, c -> b c s", {}, ((BATCH, 5, 4), (5,)), "'b' is batch at x[0], and 5 at x[1]", DIFFER),
    ("... c, ... -> ... c", {}, ((BATCH, 5, 4), (7,)), "'...' is 5 at x[1], and 7 at weight[0]", DIFFER),
    ("b s+, s+ -> b s+", {}, ((BATCH, 5, 4), (5, 3)), "'s+' is 4 at x[2], and 3 at weight[1]", DIFFER),
    (
        "b s+, s+ -> b s+",
        {},
        ((BATCH, 5, 4), (5,)),
        "'s+' stands for 2 (x[1], x[2]) and for 1 (weight[0]) dimensions",
        MANY,
    ),
    ("b c s, c -> c b s", {}, ((BATCH + 1, 5, 4), (5,)), "'c' is 5 at x[1], and batch+1 at return[0]", DIFFER),
    # products
    (
        "b (g k) s, c -> b (k g) s",
        {},
        ((BATCH, 6, 4), (5,)),
        "nothing says how x[1] of size 6 is divided among 'g' and 'k'",
        "name the arguments that give the sizes in sizes=, for all factors but one",
    ),
    (
        "b (g c) s, c -> b (c g) s",
        {"sizes": {"g": "times"}},
        ((BATCH, 5, 4), (5,)),
        "x[1] of size 5 is no '(g c)': 'g' is 2 by the argument times",
        FACTOR,
    ),
    (
        "b c s, (c s) -> b c s",
        {},
        ((BATCH, 5, 4), (5,)),
        "weight[0] of size 5 is no '(c s)': 'c' is 5 at x[1], 's' is 4 at x[2]",
        FACTOR,
    ),
    (
        "(b g) c s, c -> b c s",
        {"sizes": {"g": "times"}},
        ((BATCH, 5, 4), (5,)),
        "x[0] of size batch is no '(b g)': 'g' is 2 by the argument times",
        FACTOR,
    ),
    # literals, and names that only absent tensors have
    (
        "b c s+, c -> b c s+",
        {"sizes": {"c": "times"}},
        ((BATCH, 5, 4), (5,)),
        "'c' is 5 at x[1], and 2 by the argument times",
        SIZES,
    ),
    (
        "b c s+, c -> b c s+",
        {"sizes": {"c": "times"}},
        ((BATCH, 5, 4), (5,), None),
        "the argument times is None, no size",
        "leave it out of sizes=",
    ),
    (
        "b c s+, c, k -> b c s+",
        {"loops": "b c k", "arguments": ["x", "weight", "more"]},
        ((BATCH, 5, 4), (5,)),
        "no tensor of this call has 'k'",
        ABSENT,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "given", "cause", "remedy"), SIGNATURES)
def test_a_signature_that_does_not_fit(text: str, options: Any, given: Any, cause: str, remedy: str) -> None:
    gp.rule("misfits::scale", text, **{"arguments": ["x", "weight"], **options})
    with pytest.raises(gp.RuleError) as caught:
        analysed(*given)
    x, weight = (", ".join(str(size).replace(str(BATCH), "batch") for size in shape) for shape in given[:2])
    x = x.replace(str(2 * BATCH), "2·batch").replace(str(BATCH + 1), "batch+1")
    where = f"(at block.scale: x ({x}), weight ({weight}), return ({x}))"
    assert caught.value.message == (
        f"the rule for misfits.scale.default does not fit: in {text!r}, {cause} {where}"
    )
    assert caught.value.remedy == remedy
    assert str(BATCH) not in str(caught.value)


def test_operands_and_outputs_as_many_as_tensors() -> None:
    """Most are refused when a rule is registered, see test_user_rules; a table's row is not."""
    for text in ("b c s+ -> b c s+", "b c s+, c -> b c s+, b", "b c s+, c -> b d s+"):
        with pytest.raises(gp.InputError, match=r"the signature|no operand has the axis 'd'"):
            gp.rule("misfits::scale", text, arguments=["x", "weight"])
    gp.rule("misfits::scale", lambda call: Signature("b c s+ -> b c s+", ("x", "weight"))(call))
    with pytest.raises(
        gp.RuleError, match=r"'b c s\+ -> b c s\+', there are 2 operands and outputs for 3 tensors"
    ):
        analysed((BATCH, 5, 4), (5,))


# -- functions ----------------------------------------------------------------------------------------------
def of_other_sizes(call: Call) -> None:
    call.unify(call["x"].dims[0], call["weight"].dims[0])


def of_a_product(call: Call) -> None:
    call.unify(call["x"].dims[1], call.equations.product((call["weight"].dims[0], call.equations.atom(2))))


def of_other_ranks(call: Call) -> None:
    call.unify_all(call["x"].dims, call["weight"].dims)


def of_no_argument(call: Call) -> None:
    call.pin(call["scale"].dims, "never")


def of_no_dimension(call: Call) -> None:
    call.pin(call["weight"].dims[5], "never")


def of_a_number(call: Call) -> None:
    call.pin(call["times"].dims, "never")


def of_nothing(call: Call) -> None:
    call.pin(len(call["times"]), "never")


def of_a_mistake(call: Call) -> None:
    raise ValueError("the weight is too short")


def of_no_key(call: Call) -> None:
    {}["c"]


EQUAL = "unify dimensions of equal sizes only; an axis in parts is equations.product or equations.sum"
FIT = "correct the function; it must fit all shapes that the operator takes"
FUNCTIONS = [
    (of_other_sizes, "x[0] of size batch and weight[0] of size 7 are said to be one axis", EQUAL),
    (of_a_product, "x[1] of size 5 and an axis of size 14 are said to be one axis", EQUAL),
    (
        of_other_ranks,
        "3 dimensions cannot be paired with 1: x[0], x[1], x[2] | weight[0]",
        "pair dimensions that are equally many; leave out those that only one tensor has",
    ),
    (
        of_no_argument,
        "the operator has no argument 'scale', but x, weight, times, more",
        "correct the argument's name",
    ),
    (of_no_dimension, "it raises IndexError in test_misfits.py:{line}: tuple index out of range", FIT),
    (of_a_number, "it raises AttributeError in test_misfits.py:{line}: 'int' object has no attribute 'dims'", FIT),
    (of_nothing, "it raises TypeError in test_misfits.py:{line}: object of type 'int' has no len()", FIT),
    (of_a_mistake, "it raises ValueError in test_misfits.py:{line}: the weight is too short", FIT),
    (of_no_key, "it raises KeyError in test_misfits.py:{line}: no 'c'", FIT),
]  # fmt: skip


@pytest.mark.parametrize(("function", "cause", "remedy"), FUNCTIONS)
def test_a_function_that_does_not_fit(function: Callable[[Call], None], cause: str, remedy: str) -> None:
    gp.rule("misfits::scale", function)
    with pytest.raises(gp.RuleError) as caught:
        analysed((BATCH, 5, 4), (7,))
    cause = cause.format(line=function.__code__.co_firstlineno + 1)
    where = "(at block.scale: x (batch, 5, 4), weight (7), return (batch, 5, 4))"
    assert caught.value.message == f"the rule for misfits.scale.default does not fit: {cause} {where}"
    assert caught.value.remedy == remedy


def test_a_likeness_that_does_not_fit() -> None:
    gp.rule("misfits::scale", like="aten.linear")
    with pytest.raises(
        gp.RuleError, match=r"in '\.\.\. i, o i, o -> \.\.\. o', weight has 1 dimension"
    ) as caught:
        analysed((BATCH, 5, 4), (7,))
    assert caught.value.remedy == (
        "on these shapes it is not like aten.linear.default: register a signature or a function"
    )


def test_a_rule_of_ours_that_does_not_fit() -> None:
    values = [Value(name, shape, "float32") for name, shape in (("x", (2, 3)), ("w", (5, 4)), ("y", (2, 5)))]
    operation = Operation(
        "node", "aten.linear.default", {"input": values[0], "weight": values[1]}, (values[2],)
    )
    with pytest.raises(gp.RuleError, match=r"'i' is 3 at input\[1\], and 4 at weight\[1\]") as caught:
        analyse([operation], {value.name: value for value in values}, (), (), strict=True)
    assert caught.value.remedy.startswith("this is a fault of graphprune's own rule")


def test_an_operator_without_a_rule_and_without_a_result() -> None:
    values = [Value(name, (BATCH, 3), "float32") for name in ("v0", "v1")]
    operation = Operation("node", "misfits.none.default", {"x": values[0], "parts": [values[1]]}, ())
    with pytest.raises(gp.RuleError) as caught:
        analyse([operation], {value.name: value for value in values}, (), (), {BATCH: "batch"}, strict=True)
    assert caught.value.message == (
        "no rule for misfits.none.default (at node: x (batch, 3), parts.0 (batch, 3))"
    )


# -- where a user meets it ----------------------------------------------------------------------------------
class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 5, 1)
        self.weight = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return scale(self.conv(x), self.weight)


def test_a_model_shows_its_batch_by_name() -> None:
    gp.rule(scale, "b c s, b -> b c s", arguments=["x", "weight"])
    with pytest.raises(gp.RuleError, match=r"'b' is batch at x\[0\], and 5 at weight\[0\]") as caught:
        gp.trace(Scaled(), torch.zeros(2, 3, 4), strict=True)
    assert "x (batch, 5, 4), weight (5), return (batch, 5, 4)" in str(caught.value)


def test_without_strict_the_same_words_are_the_reason_of_the_pins() -> None:
    gp.rule(scale, "b c s, b -> b c s", arguments=["x", "weight"])
    graph = gp.trace(Scaled(), torch.zeros(2, 3, 4))
    assert "does not fit: in 'b c s, b -> b c s', 'b' is batch at x[0], and 5 at weight[0]" in graph.explain(
        "conv", width=500
    )
    assert graph.analysis.unruled.keys() == {"misfits.scale.default"}


def test_what_fits_has_no_complaint() -> None:
    gp.rule(scale, "b c s, c -> b c s", arguments=["x", "weight"])
    assert not analysed((BATCH, 5, 4), (5,)).unruled
