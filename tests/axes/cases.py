"""One row or more for every operator with a rule: a way to call the real operator on small random tensors.

A row draws its tensors from `Draw`: ``draw.normal("b (g i) 6")`` has three dimensions, whose letters are
sizes between 2 and 5, equal letters equal sizes. In-place twins are derived from the functional rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod
from typing import Any

import formulas
import torch
from torch import Tensor

from graphprune.axes.rules import RULES

__all__ = ["ROWS", "Draw", "Row", "rule_name"]


class Draw:
    """Sizes and tensors of one call."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._sizes: dict[str, int] = {}

    def __getitem__(self, letter: str) -> int:
        if letter not in self._sizes:
            self._sizes[letter] = self._random.randint(2, 5)
        return self._sizes[letter]

    def size(self, token: str) -> int:
        """``7``, a letter, a product ``2*a`` or a sum ``a+b``."""
        if "+" in token:
            return sum(map(self.size, token.split("+")))
        if "*" in token:
            return prod(map(self.size, token.split("*")))
        return int(token) if token.isdigit() else self[token]

    def shape(self, text: str) -> list[int]:
        """``b (g i) 6`` with numbers in the place of letters."""
        inside = False
        shape: list[int] = []
        for token in text.replace("(", " ( ").replace(")", " ) ").split():
            if token in "()":
                inside = token == "("
                shape += [1] if inside else []
            elif inside:
                shape[-1] *= self.size(token)
            else:
                shape.append(self.size(token))
        return shape

    def normal(self, text: str) -> Tensor:
        return torch.randn(self.shape(text), generator=self._generator, dtype=torch.float64)

    def unit(self, text: str) -> Tensor:
        """Between 0.05 and 0.95."""
        return 0.05 + 0.9 * torch.rand(self.shape(text), generator=self._generator, dtype=torch.float64)

    def positive(self, text: str) -> Tensor:
        """Between 1.1 and 2.1."""
        return 1.1 + torch.rand(self.shape(text), generator=self._generator, dtype=torch.float64)

    def integers(self, text: str, high: int) -> Tensor:
        return torch.randint(high, self.shape(text), generator=self._generator)

    def coarse(self, text: str) -> Tensor:
        """-1, 0 or 1."""
        return self.integers(text, 3).double() - 1

    def booleans(self, text: str) -> Tensor:
        return torch.rand(self.shape(text), generator=self._generator) > 0.5


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """A way to call ``op``.

    Args:
        op: the operator with its overload, "aten.add.Tensor".
        make: draws the arguments.
        masked: for operators that average, normalise or compare along an axis, their definition on the kept
            positions, written independently: (arguments by name, masks by name) → results.
        random: values are arbitrary; only shapes can be compared.
        least: units that every axis keeps.
        note: what is particular, for the test's name.
    """

    op: str
    make: Callable[[Draw], Arguments]
    masked: Callable[[dict[str, Any], dict[str, Tensor]], Any] | None = None
    random: bool = False
    least: int = 1
    note: str = ""

    @cached_property
    def overload(self) -> Any:
        """The real operator."""
        _, packet, name = self.op.split(".")
        return getattr(getattr(torch.ops.aten, packet), name)

    @property
    def family(self) -> str:
        return self.op.rpartition(".")[0]


def rule_name(op: str) -> str:
    """The name under which the rule of ``op`` is registered."""
    return op if op in RULES else op.rpartition(".")[0]


def call(*args: Any, **kwargs: Any) -> Arguments:
    return args, kwargs


def rows(op: str, *makes: Callable[[Draw], Arguments], **options: Any) -> list[Row]:
    """Several ways to call one operator."""
    return [Row(op, make, note=str(index) if index else "", **options) for index, make in enumerate(makes)]


# -- pointwise ----------------------------------------------------------------------------------------------
def unary(names: str, values: str = "normal", *extra: Any, **named: Any) -> list[Row]:
    """``op(x, *extra)`` on a tensor of rank 3 for each of ``names`` (with an overload, or "default")."""

    def make(draw: Draw) -> Arguments:
        return call(getattr(draw, values)("a b c"), *extra, **named)

    return [Row(f"aten.{name if '.' in name else name + '.default'}", make) for name in names.split()]


def binary(names: str, values: str = "normal", overload: str = "Tensor", **named: Any) -> list[Row]:
    """``op(x, y)`` with equal shapes, with sizes of one and missing leading dimensions."""
    makes = [
        lambda draw, left=left, right=right: call(
            getattr(draw, values)(left), getattr(draw, values)(right), **named
        )
        for left, right in (("a b c", "a b c"), ("a 1 c", "b c"), ("b c", "a b 1"), ("a b", ""))
    ]
    return [row for name in names.split() for row in rows(f"aten.{name}.{overload}", *makes)]


def _whole(draw: Draw, shape: str) -> Tensor:
    return draw.integers(shape, 8)


UNARY = [
    *unary(
        "abs alias asinh atan ceil celu clone contiguous cos deg2rad detach elu erf erfc exp exp2 expm1 floor "
        "frac gelu hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan leaky_relu lift_fresh "
        "lift_fresh_copy log_sigmoid mish nan_to_num neg positive reciprocal relu relu6 round selu sgn sigmoid "
        "sign silu sin sinc sinh softplus softshrink special_expit square tan tanh trunc zero cosh _to_copy "
        "ones_like zeros_like"
    ),
    *unary("acos asin atanh log log10 log1p log2 logit rsqrt sqrt", "unit"),
    *unary("acosh", "positive"),
    *unary("logical_not", "booleans"),
    *unary("dropout feature_dropout alpha_dropout", "normal", 0.5, False),
    *unary("threshold", "normal", 0.1, 20.0),
    *unary("full_like", "normal", 0.5),
    *unary("round.decimals", "normal", decimals=1),
    *unary("clamp", "normal", -0.5, 0.5),
    *unary("clamp_max clamp_min", "normal", 0.1),
    *unary("bernoulli.p", "normal", 1.0),
    *rows("aten.bitwise_not.default", lambda draw: call(_whole(draw, "a b"))),
    *rows("aten.bernoulli.default", lambda draw: call(draw.booleans("a b").double())),
    *rows("aten.empty_like.default", lambda draw: call(draw.normal("a b")), random=True),
    *rows("aten.to.dtype", lambda draw: call(draw.normal("a b"), torch.float32)),
    *rows("aten.to.other", lambda draw: call(draw.normal("a b"), draw.normal("a c").float())),
    *rows("aten.type_as.default", lambda draw: call(draw.normal("a b"), draw.normal("c").float())),
    *rows("aten.bernoulli.Tensor", lambda draw: call(draw.normal("a b"), draw.booleans("a b").double())),
    *rows("aten.bernoulli_.Tensor", lambda draw: call(draw.normal("a b"), draw.booleans("b").double())),
]

BINARY = [
    *binary(
        "add copysign div fmod ge greater greater_equal gt le less less_equal lt mul multiply remainder rsub "
        "sub subtract divide true_divide"
    ),
    *binary("eq ne not_equal", "coarse"),
    *binary("heaviside", "coarse", "default"),
    *binary("div", overload="Tensor_mode", rounding_mode="floor"),
    *binary("atan2 fmax fmin hypot logaddexp maximum minimum floor_divide", overload="default"),
    *binary("logical_and logical_or logical_xor", "booleans", "default"),
    *binary("bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__", "booleans"),
    *binary("clamp_max clamp_min"),
    *binary("pow", "unit", "Tensor_Tensor"),
    *binary("xlogy", "unit"),
    *binary("max min", overload="other"),
    *rows("aten.pow_.Tensor", lambda draw: call(draw.unit("a b"), draw.normal("b"))),
    *rows("aten.floor_divide_.Tensor", lambda draw: call(draw.normal("a b"), draw.positive("b"))),
    *rows("aten.pow.Tensor_Scalar", lambda draw: call(draw.unit("a b"), 2.5)),
    *rows("aten.pow.Scalar", lambda draw: call(2.5, draw.unit("a b"))),
    *rows("aten.add.Tensor", lambda draw: call(draw.normal("a 1 c"), draw.normal("b 1"), alpha=2)),
    *rows("aten.add.Scalar", lambda draw: call(draw.normal("a b"), 2)),
    *rows("aten.mul.Scalar", lambda draw: call(draw.normal("a b"), 2)),
    *rows(
        "aten.clamp.Tensor",
        lambda draw: call(draw.normal("a b"), draw.normal("a b") - 1, draw.normal("b") + 1),
        lambda draw: call(draw.normal("a b"), None, draw.normal("a b")),
    ),
    *[
        row
        for name in ("addcdiv", "addcmul")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a b"), draw.normal("a b"), draw.positive("a b"), value=0.5),
            lambda draw: call(draw.normal("a b c"), draw.normal("c"), draw.positive("b 1")),
            lambda draw: call(draw.normal("1 c"), draw.normal("a 1 c"), draw.positive("b 1")),
        )
    ],
    *rows(
        "aten.lerp.Tensor",
        lambda draw: call(draw.normal("a b"), draw.normal("a b"), draw.normal("a b")),
        lambda draw: call(draw.normal("a b"), draw.normal("b"), draw.normal("a 1")),
    ),
    *rows("aten.lerp.Scalar", lambda draw: call(draw.normal("a b"), draw.normal("a b"), 0.3)),
    *rows(
        "aten.where.self",
        lambda draw: call(draw.booleans("a b c"), draw.normal("a b c"), draw.normal("a b c")),
        lambda draw: call(draw.booleans("b 1"), draw.normal("a 1 c"), draw.normal("")),
    ),
    *rows("aten.where.ScalarOther", lambda draw: call(draw.booleans("a b"), draw.normal("a b"), 0.0)),
    *rows("aten.where.ScalarSelf", lambda draw: call(draw.booleans("b"), 1.0, draw.normal("a b"))),
    *rows(
        "aten.masked_fill.Scalar",
        lambda draw: call(draw.normal("a b c"), draw.booleans("a b c"), -inf),
        lambda draw: call(draw.normal("a b c"), draw.booleans("b 1"), 0.5),
        lambda draw: call(draw.normal("a 1"), draw.booleans("c 1 b"), 0.5),
    ),
    *rows(
        "aten.masked_fill.Tensor",
        lambda draw: call(draw.normal("a b"), draw.booleans("a b"), draw.normal("")),
    ),
    *rows(
        "aten.expand_as.default",
        lambda draw: call(draw.normal("a 1 c"), draw.normal("a b c")),
        lambda draw: call(draw.normal("c"), draw.normal("a b c")),
    ),
    *rows("aten.fill.Scalar", lambda draw: call(draw.normal("a b"), 1.5)),
    *rows("aten.fill.Tensor", lambda draw: call(draw.normal("a b"), draw.normal(""))),
    *[
        row
        for name in ("copy", "copy_")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a b"), draw.normal("a b")),
            lambda draw: call(draw.normal("a b"), draw.normal("b")),
        )
    ],
    *[
        row
        for name in ("__iand__", "__ior__", "__ixor__")
        for row in rows(f"aten.{name}.Tensor", lambda draw: call(draw.booleans("a b"), draw.booleans("b")))
    ],
    *rows(
        "aten.prelu.default",
        lambda draw: call(draw.normal("a b c"), draw.normal("b")),
        lambda draw: call(draw.normal("a b"), draw.normal("1")),
        lambda draw: call(draw.normal("a"), draw.normal("1")),
    ),
]

# -- reductions ---------------------------------------------------------------------------------------------
_DIMS = (
    lambda draw: call(draw.normal("a b c"), [1]),
    lambda draw: call(draw.normal("a b c"), [-1], True),
    lambda draw: call(draw.normal("a b c d"), [0, -2]),
    lambda draw: call(draw.normal("a b c"), []),
)


def _named(dim: Any, keepdim: bool, **named: Any) -> Callable[[Draw], Arguments]:
    return lambda draw: call(draw.normal("a b c"), dim=dim, keepdim=keepdim, **named)


def whole(names: str, masked: Any = None, least: int = 1) -> list[Row]:
    """Reductions of everything."""
    make: Callable[[Draw], Arguments] = lambda draw: call(draw.normal("a b"))  # noqa: E731
    return [Row(f"aten.{name}.default", make, masked, least=least) for name in names.split()]


REDUCTIONS = [
    *whole("sum nansum any count_nonzero"),
    *whole("mean", formulas.mean),
    *whole("max", formulas.largest),
    *whole("min", formulas.smallest),
    *whole("prod", formulas.product),
    *whole("all", formulas.every),
    # a single value has no deviation
    *whole("std", formulas.std, least=2),
    *whole("var", formulas.var, least=2),
    *whole("std_mean", formulas.std_mean, least=2),
    *whole("var_mean", formulas.var_mean, least=2),
    *rows("aten.sum.dim_IntList", *_DIMS),
    *rows("aten.nansum.default", *_DIMS),
    *rows("aten.mean.dim", *_DIMS, masked=formulas.mean),
    *rows("aten.amax.default", *_DIMS, masked=formulas.largest),
    *rows("aten.amin.default", *_DIMS, masked=formulas.smallest),
    *rows("aten.logsumexp.default", *_DIMS[:3], masked=formulas.logsumexp),
    *rows("aten.frobenius_norm.dim", *_DIMS[:3]),
    *rows(
        "aten.prod.dim_int",
        lambda draw: call(draw.normal("a b c"), 1),
        lambda draw: call(draw.normal("a b c"), -1, True),
        masked=formulas.product,
    ),
    *rows(
        "aten.any.dim",
        lambda draw: call(draw.booleans("a b c"), 1),
        lambda draw: call(draw.booleans("a b c"), -1, True),
    ),
    *rows("aten.any.dims", lambda draw: call(draw.booleans("a b c"), [0, 2])),
    *rows(
        "aten.all.dim",
        lambda draw: call(draw.booleans("a b c"), 1),
        lambda draw: call(draw.booleans("a b c"), -1, True),
        masked=formulas.every,
    ),
    *rows("aten.all.dims", lambda draw: call(draw.booleans("a b c"), [0, 2]), masked=formulas.every),
    *rows("aten.count_nonzero.dim_IntList", lambda draw: call(draw.normal("a b c"), [0, -1])),
    *[
        row
        for name, formula in (("std", formulas.std), ("var", formulas.var))
        for row in [
            *rows(f"aten.{name}.dim", *_DIMS[:3], masked=formula, least=2),
            *rows(
                f"aten.{name}.correction",
                _named([1], True, correction=0),
                _named(None, False, correction=0),
                masked=formula,
            ),
        ]
    ],
    *rows("aten.std_mean.correction", _named([-1], True, correction=0), masked=formulas.std_mean),
    *rows("aten.var_mean.correction", _named([0, 2], False, correction=0), masked=formulas.var_mean),
    *rows(
        "aten.norm.ScalarOpt_dim",
        lambda draw: call(draw.normal("a b c"), 2, [1]),
        lambda draw: call(draw.normal("a b c"), None, [-1], True),
        lambda draw: call(draw.normal("a b c"), 3, [0, 1]),
        masked=formulas.norm,
    ),
    *rows("aten.norm.Scalar", lambda draw: call(draw.normal("a b")), masked=formulas.norm),
    *rows(
        "aten.linalg_vector_norm.default",
        lambda draw: call(draw.normal("a b c"), 2, [1]),
        lambda draw: call(draw.normal("a b c"), 1, [-1], True),
        lambda draw: call(draw.normal("a b"), -inf, [0]),
        lambda draw: call(draw.normal("a b")),
        masked=formulas.norm,
    ),
    *[
        row
        for name in ("max", "min", "median")
        for row in rows(
            f"aten.{name}.dim",
            lambda draw: call(draw.normal("a b c"), 1),
            lambda draw: call(draw.normal("a b c"), -1, True),
        )
    ],
    *[
        row
        for name in ("argmax", "argmin")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a b c"), 1),
            lambda draw: call(draw.normal("a b c"), -1, True),
            lambda draw: call(draw.normal("a b")),
        )
    ],
]

ORDERED = [
    *[
        row
        for name in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "argsort")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a b c"), 1),
            lambda draw: call(draw.normal("a b c"), -1),
        )
    ],
    *rows(
        "aten.diff.default",
        lambda draw: call(draw.normal("a b c")),
        lambda draw: call(draw.normal("a 5 c"), 2, 1),
        lambda draw: call(draw.normal("a b c"), 1, 1, draw.normal("a 2 c"), draw.normal("a 1 c")),
    ),
    *rows("aten.sort.stable", lambda draw: call(draw.normal("a b c"), stable=True, dim=0)),
    *rows("aten.argsort.stable", lambda draw: call(draw.normal("a b c"), stable=True, dim=0)),
    *rows("aten.sort.default", lambda draw: call(draw.normal("a b c"))),
    *rows(
        "aten.topk.default",
        lambda draw: call(draw.normal("a b c"), 2),
        lambda draw: call(draw.normal("a b c"), 2, 1),
        lambda draw: call(draw.normal("a b c"), draw["b"], 1),
    ),
    *rows(
        "aten.roll.default",
        lambda draw: call(draw.normal("a b c"), [1], [1]),
        lambda draw: call(draw.normal("a b c"), [1, -1], [-1, 0]),
        lambda draw: call(draw.normal("a b"), [1]),
    ),
    *rows(
        "aten.flip.default",
        lambda draw: call(draw.normal("a b c"), [1]),
        lambda draw: call(draw.normal("a b c"), [0, -1]),
    ),
]

# -- norms and softmax --------------------------------------------------------------------------------------
_SOFTMAX = (
    lambda draw: call(draw.normal("a b c"), 1),
    lambda draw: call(draw.normal("a b c"), -1),
    lambda draw: call(draw.normal("a"), 0),
)
_SOFTMAX_OLD = (
    lambda draw: call(draw.normal("a b c"), 1, False),
    lambda draw: call(draw.normal("a b c"), -1, False),
)


def _norm_arguments(shape: str, width: str, affine: bool = True, **named: Any) -> Callable[[Draw], Arguments]:
    def make(draw: Draw) -> Arguments:
        weights = (draw.normal(width), draw.normal(width)) if affine else (None, None)
        return call(draw.normal(shape), draw.shape(width), *weights[: 2 - ("rms" in named)])

    return make


def _batch_norm(shape: str, affine: bool, tracked: bool, training: bool) -> Callable[[Draw], Arguments]:
    def make(draw: Draw) -> Arguments:
        weights = (draw.normal("c"), draw.normal("c")) if affine else (None, None)
        running = (draw.normal("c"), draw.positive("c")) if tracked else (None, None)
        return call(draw.normal(shape), *weights, *running, training, 0.1, 1e-5, False)

    return make


def _group_norm(shape: str, channels: str, affine: bool = True) -> Callable[[Draw], Arguments]:
    def make(draw: Draw) -> Arguments:
        weights = (draw.normal(channels), draw.normal(channels)) if affine else (None, None)
        return call(draw.normal(shape), draw["g"], *weights)

    return make


NORMS = [
    *rows("aten.softmax.int", *_SOFTMAX, masked=formulas.softmax),
    *rows("aten.log_softmax.int", *_SOFTMAX, masked=formulas.log_softmax),
    *rows("aten._softmax.default", *_SOFTMAX_OLD, masked=formulas.softmax),
    *rows("aten._log_softmax.default", *_SOFTMAX_OLD, masked=formulas.log_softmax),
    *rows(
        "aten.layer_norm.default",
        _norm_arguments("a b c", "c"),
        _norm_arguments("a b c", "b c"),
        _norm_arguments("a b c", "b c", affine=False),
        masked=formulas.layer_norm,
    ),
    *rows(
        "aten.rms_norm.default",
        _norm_arguments("a b c", "c", rms=True),
        _norm_arguments("a b c", "b c", affine=False, rms=True),
        masked=formulas.rms_norm,
    ),
    *rows(
        "aten.batch_norm.default",
        _batch_norm("b c", affine=True, tracked=True, training=False),
        _batch_norm("b c h w", affine=False, tracked=True, training=False),
    ),
    *[
        replace(row, note=f"training {row.note}")
        for row in rows(
            "aten.batch_norm.default",
            _batch_norm("b c h", affine=True, tracked=False, training=True),
            _batch_norm("b c h", affine=False, tracked=False, training=True),
            masked=formulas.batch_norm,
        )
    ],
    *rows(
        "aten.instance_norm.default",
        _batch_norm("b c h w", affine=True, tracked=False, training=True),
        _batch_norm("b c h", affine=False, tracked=False, training=True),
        masked=formulas.instance_norm,
    ),
    *[
        replace(row, note="running")
        for row in rows(
            "aten.instance_norm.default", _batch_norm("b c h", affine=True, tracked=True, training=False)
        )
    ],
    *rows(
        "aten.group_norm.default",
        _group_norm("b (g c) h w", "(g c)"),
        _group_norm("b (g c) h", "(g c)", affine=False),
        _group_norm("b g h", "g"),
        masked=formulas.group_norm,
    ),
]


# -- contractions -------------------------------------------------------------------------------------------
def _conv(
    shape: str, weight: str, bias: str | None, *options: Any, groups: str = "1"
) -> Callable[[Draw], Arguments]:
    """``options`` are those between bias and groups; the dilation stands behind the groups if transposed."""

    def make(draw: Draw) -> Arguments:
        offset = draw.normal(bias) if bias else None
        return call(draw.normal(shape), draw.normal(weight), offset, *options, draw.size(groups))

    return make


def _attention(
    query: str, key: str, value: str, mask: str = "", kind: str = "normal", **options: Any
) -> Callable[[Draw], Arguments]:
    def make(draw: Draw) -> Arguments:
        tensors = [draw.normal(query), draw.normal(key), draw.normal(value)]
        given = getattr(draw, kind)(mask) if mask else None
        if given is not None and kind == "booleans":
            given[..., 0] = True
        return call(*tensors, given, 0.0, **options)

    return make


def _einsum(equation: str, *shapes: str) -> Callable[[Draw], Arguments]:
    return lambda draw: call(equation, [draw.normal(shape) for shape in shapes])


CONTRACTIONS = [
    *rows(
        "aten.linear.default",
        lambda draw: call(draw.normal("b i"), draw.normal("o i"), draw.normal("o")),
        lambda draw: call(draw.normal("a b c i"), draw.normal("o i")),
        lambda draw: call(draw.normal("i"), draw.normal("o i")),
    ),
    *rows(
        "aten.conv1d.default",
        _conv("b i 7", "o i 3", "o", [1], [0], [1]),
        _conv("b (g i) 7", "(g o) i 3", "(g o)", [2], [1], [1], groups="g"),
        _conv("b g 7", "g 1 3", None, [1], [1], [2], groups="g"),
        _conv("b (g i) h", "(g o) i 1", "(g o)", [1], [0], [1], groups="g"),
        _conv("i 7", "o i 3", "o", [1], [0], [1]),
        _conv("i h", "o i 1", "o", [1], [0], [1]),
        _conv("b i 3", "o i 1", None, [2], [1], [1]),
    ),
    *rows(
        "aten.conv2d.default",
        _conv("b i 5 6", "o i 3 2", "o", [1, 2], [0, 1], [1, 1]),
        _conv("b (g i) 4 4", "(g o) i 3 3", "(g o)", [1, 1], [1, 1], [1, 1], groups="g"),
        _conv("b g 4 4", "g 1 3 3", "g", [1, 1], [1, 1], [1, 1], groups="g"),
        _conv("b g 4 4", "(g m) 1 3 3", "(g m)", [1, 1], [1, 1], [1, 1], groups="g"),
        _conv("b i h w", "o i 1 1", "o", [1, 1], [0, 0], [1, 1]),
        _conv("i 4 5", "o i 3 3", "o", [1, 1], [0, 0], [1, 1]),
        _conv("b i 3 3", "o i 1 1", None, [2, 2], [1, 1], [1, 1]),
    ),
    *rows("aten.conv2d.padding", _conv("b (g i) 4 4", "(g o) i 3 3", None, [1, 1], "same", [1, 1], groups="g")),
    *rows(
        "aten.conv3d.default",
        _conv("b i 3 4 5", "o i 2 2 2", "o", [1, 1, 1], [0, 0, 0], [1, 1, 1]),
        _conv("b (g i) 3 3 3", "(g o) i 2 2 2", None, [1, 1, 1], [1, 1, 1], [1, 1, 1], groups="g"),
        _conv("b i a c d", "o i 1 1 1", None, [1, 1, 1], [0, 0, 0], [1, 1, 1]),
    ),
    *rows(
        "aten.conv_transpose1d.default",
        _conv("b i 5", "i o 3", "o", [2], [1], [0]),
        _conv("b (g i) 5", "(g i) o 3", "(g o)", [2], [0], [1], groups="g"),
        _conv("i 5", "i o 3", "o", [1], [0], [0]),
    ),
    *rows(
        "aten.conv_transpose2d.input",
        _conv("b i 3 4", "i o 2 2", None, [2, 2], [0, 0], [0, 0]),
        _conv("b (g i) 3 3", "(g i) o 3 3", "(g o)", [1, 1], [0, 0], [0, 0], groups="g"),
        _conv("b g 3 3", "g 1 3 3", "g", [1, 1], [1, 1], [0, 0], groups="g"),
    ),
    *rows(
        "aten.conv_transpose3d.input",
        _conv("b (g i) 2 3 2", "(g i) o 2 2 2", "(g o)", [1, 1, 1], [0, 0, 0], [0, 0, 0], groups="g"),
    ),
    *rows(
        "aten.bilinear.default",
        lambda draw: call(draw.normal("b i"), draw.normal("b j"), draw.normal("o i j"), draw.normal("o")),
        lambda draw: call(draw.normal("a b i"), draw.normal("a b j"), draw.normal("o i j")),
    ),
    *rows("aten.mm.default", lambda draw: call(draw.normal("i k"), draw.normal("k j"))),
    *rows("aten.bmm.default", lambda draw: call(draw.normal("b i k"), draw.normal("b k j"))),
    *rows(
        "aten.addmm.default",
        lambda draw: call(draw.normal("i j"), draw.normal("i k"), draw.normal("k j"), beta=2, alpha=0.5),
        lambda draw: call(draw.normal("j"), draw.normal("i k"), draw.normal("k j")),
        lambda draw: call(draw.normal("1 j"), draw.normal("i k"), draw.normal("k j")),
        lambda draw: call(draw.normal("i 1"), draw.normal("i k"), draw.normal("k j")),
    ),
    *rows(
        "aten.baddbmm.default",
        lambda draw: call(draw.normal("b i j"), draw.normal("b i k"), draw.normal("b k j")),
        lambda draw: call(draw.normal("1 i j"), draw.normal("b i k"), draw.normal("b k j")),
        lambda draw: call(draw.normal("j"), draw.normal("b i k"), draw.normal("b k j")),
    ),
    *rows("aten.mv.default", lambda draw: call(draw.normal("i k"), draw.normal("k"))),
    *rows("aten.dot.default", lambda draw: call(draw.normal("k"), draw.normal("k"))),
    *rows("aten.outer.default", lambda draw: call(draw.normal("i"), draw.normal("j"))),
    *rows(
        "aten.cdist.default",
        lambda draw: call(draw.normal("b i k"), draw.normal("b j k")),
        lambda draw: call(draw.normal("i k"), draw.normal("b j k"), 1.0),
    ),
    *rows(
        "aten.matmul.default",
        lambda draw: call(draw.normal("k"), draw.normal("k")),
        lambda draw: call(draw.normal("i k"), draw.normal("k j")),
        lambda draw: call(draw.normal("k"), draw.normal("a k j")),
        lambda draw: call(draw.normal("a i k"), draw.normal("k")),
        lambda draw: call(draw.normal("a b i k"), draw.normal("k j")),
        lambda draw: call(draw.normal("a 1 i k"), draw.normal("b k j")),
        lambda draw: call(draw.normal("b i k"), draw.normal("a 1 k j")),
    ),
    *rows(
        "aten.einsum.default",
        _einsum("bik,bkj->bij", "b i k", "b k j"),
        _einsum("b n h d, b m h d -> b h n m", "b n h d", "b m h d"),
        _einsum("ij,jk", "i j", "j k"),
        _einsum("...i,oi->...o", "a b i", "o i"),
        _einsum("...ij,...jk->...ik", "a 1 i j", "b j k"),
        _einsum("ii->i", "i i"),
        _einsum("iij,j->ji", "i i j", "j"),
        _einsum("bii->b", "b i i"),
        _einsum("ij->ji", "i j"),
        _einsum("ij->j", "i j"),
        _einsum("...i,...i", "a i", "a i"),
        _einsum("bi,bi,bi->bi", "1 i", "b i", "b i"),
        _einsum("bi,bj,k->", "b i", "b j", "k"),
    ),
    *rows(
        "aten.scaled_dot_product_attention.default",
        _attention("b h n d", "b h m d", "b h m v"),
        _attention("b h n d", "b h m d", "b h m v", "n m", "booleans"),
        _attention("b h n d", "b h m d", "b h m v", "b 1 n m"),
        _attention("b n d", "b m d", "b m d", scale=0.5),
        _attention("b h n d", "b h n d", "b h n d", is_causal=True),
        _attention("b h 3 d", "b h 5 d", "b h 5 d", is_causal=True),
        _attention("b (g r) n d", "b g n d", "b g n d", enable_gqa=True),
        _attention("b (g r) n d", "b g m d", "b g m v", "b (g r) n m", enable_gqa=True),
        masked=formulas.attention,
    ),
    *rows(
        "aten.embedding.default",
        lambda draw: call(draw.normal("7 d"), draw.integers("b n", 7)),
        lambda draw: call(draw.normal("7 d"), draw.integers("n", 7), 0),
    ),
]


# -- views --------------------------------------------------------------------------------------------------
def _reshaped(source: str, target: str) -> Callable[[Draw], Arguments]:
    return lambda draw: call(draw.normal(source), draw.shape(target))


def _like(source: str, target: str) -> Callable[[Draw], Arguments]:
    return lambda draw: call(draw.normal(source), draw.normal(target))


_RESHAPES = (
    _reshaped("(a b) c", "a b c"),
    _reshaped("a b c", "a (b c)"),
    _reshaped("a (b c) d", "(a b) (c d)"),
    _reshaped("a b c", "(a b c)"),
    _reshaped("b (3 h d) n", "b 3 h d n"),
    _reshaped("a 1 b", "a b 1 1"),
    _reshaped("4 6", "6 4"),
    _reshaped("5 6 2", "10 6"),
    lambda draw: call(draw.normal("(a b) c"), [draw["a"], -1, draw["c"]]),
)

VIEWS = [
    *rows("aten.view.default", *_RESHAPES),
    *rows("aten.view.dtype", lambda draw: call(draw.normal("a b"), torch.int64)),
    *rows("aten.reshape.default", *_RESHAPES),
    *rows("aten._unsafe_view.default", *_RESHAPES[:3]),
    *rows("aten.view_as.default", _like("(a b) c", "a b c"), _like("a b", "(a b)")),
    *rows("aten.reshape_as.default", _like("(a b) c", "a b c"), _like("a b", "(a b)")),
    *rows(
        "aten.flatten.using_ints",
        lambda draw: call(draw.normal("a b c"), 1),
        lambda draw: call(draw.normal("a b c"), -2, -1),
        lambda draw: call(draw.normal("a b c")),
    ),
    *rows(
        "aten.unflatten.int",
        lambda draw: call(draw.normal("a (b c)"), 1, [draw["b"], -1]),
        lambda draw: call(draw.normal("a (b c) d"), -2, draw.shape("b c")),
    ),
    *rows(
        "aten.unsqueeze.default",
        lambda draw: call(draw.normal("a b"), 0),
        lambda draw: call(draw.normal("a b"), -1),
    ),
    # an axis of which a single unit is left would be squeezed too; the package refuses such a plan
    *rows("aten.squeeze.default", lambda draw: call(draw.normal("1 4 1 3")), least=2),
    *rows(
        "aten.squeeze.dim",
        lambda draw: call(draw.normal("a 1 b"), 1),
        lambda draw: call(draw.normal("a 4"), -1),
        least=2,
    ),
    *rows("aten.squeeze.dims", lambda draw: call(draw.normal("a 1 b 1"), [1, -1])),
    *rows(
        "aten.permute.default",
        lambda draw: call(draw.normal("a b c"), [2, 0, 1]),
        lambda draw: call(draw.normal("a b c d"), [0, -1, 1, 2]),
    ),
    *[
        row
        for name in ("transpose.int", "swapaxes.default", "swapdims.default")
        for row in rows(
            f"aten.{name}",
            lambda draw: call(draw.normal("a b c"), 1, 2),
            lambda draw: call(draw.normal("a b c"), -1, 0),
        )
    ],
    *rows(
        "aten.t.default", lambda draw: call(draw.normal("a b")), lambda draw: call(draw.normal("a"))
    ),
    *rows("aten.numpy_T.default", lambda draw: call(draw.normal("a b c"))),
    *rows("aten.mT.default", lambda draw: call(draw.normal("a b c"))),
    *rows("aten.adjoint.default", lambda draw: call(draw.normal("a b c"))),
    *rows(
        "aten.movedim.int",
        lambda draw: call(draw.normal("a b c"), 0, 2),
        lambda draw: call(draw.normal("a b c"), -1, 0),
    ),
    *rows("aten.movedim.intlist", lambda draw: call(draw.normal("a b c d"), [0, -1], [2, 0])),
    *[
        row
        for name in ("expand", "broadcast_to")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a 1 c"), draw.shape("a b c")),
            lambda draw: call(draw.normal("a 1"), [draw["c"], -1, draw["b"]]),
            lambda draw: call(draw.normal(""), draw.shape("a")),
        )
    ],
    *rows(
        "aten.repeat.default",
        lambda draw: call(draw.normal("a b"), [2, 3]),
        lambda draw: call(draw.normal("a b"), [draw["c"], 1, 2]),
        lambda draw: call(draw.normal("a 1"), [1, 3]),
    ),
    *rows(
        "aten.tile.default",
        lambda draw: call(draw.normal("a b"), [2, 3]),
        lambda draw: call(draw.normal("a b"), [2]),
        lambda draw: call(draw.normal("a b"), [3, 1, 2]),
    ),
    *rows(
        "aten.repeat_interleave.self_int",
        lambda draw: call(draw.normal("a b c"), 2, 1),
        lambda draw: call(draw.normal("a b c"), 3, -1),
        lambda draw: call(draw.normal("a b"), 2),
        lambda draw: call(draw.normal("a b"), 2, 1, output_size=2 * draw["b"]),
        lambda draw: call(draw.normal("a"), 1, 0),
    ),
    *rows(
        "aten.repeat_interleave.self_Tensor",
        lambda draw: call(draw.normal("a 3 c"), torch.tensor([1, 2, 1]), 1),
    ),
    *rows(
        "aten.diagonal.default",
        lambda draw: call(draw.normal("a b c")),
        lambda draw: call(draw.normal("a b c"), 1, 2, -2),
        lambda draw: call(draw.normal("a b a"), 0, 0, 2),
    ),
    *[
        row
        for name in ("tril", "triu")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a b c")),
            lambda draw: call(draw.normal("b c"), 1),
        )
    ],
]

# -- joining and taking apart -------------------------------------------------------------------------------
JOINING = [
    *[
        row
        for name in ("cat", "concat", "concatenate")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call([draw.normal("a b"), draw.normal("a c")], 1),
            lambda draw: call([draw.normal("a b c"), draw.normal("d b c"), draw.normal("1 b c")]),
            lambda draw: call([draw.normal("a b"), draw.normal("a 0"), draw.normal("a c")], -1),
            lambda draw: call([torch.zeros(0, dtype=torch.float64), draw.normal("a c")], 1),
        )
    ],
    *rows(
        "aten.stack.default",
        lambda draw: call([draw.normal("a b"), draw.normal("a b")]),
        lambda draw: call([draw.normal("a b"), draw.normal("a b"), draw.normal("a b")], -1),
    ),
    *[
        row
        for name in ("chunk", "unsafe_chunk")
        for row in rows(
            f"aten.{name}.default",
            lambda draw: call(draw.normal("a 6"), 2, 1),
            lambda draw: call(draw.normal("a 7 b"), 3, -2),
            lambda draw: call(draw.normal("(3 a) b"), 3),
            lambda draw: call(draw.normal("5 b"), 5),
        )
    ],
    *rows(
        "aten.split.Tensor",
        lambda draw: call(draw.normal("a 6"), 3, 1),
        lambda draw: call(draw.normal("a 7 b"), 3, -2),
        lambda draw: call(draw.normal("5 b"), 2),
    ),
    *rows("aten.split.sizes", lambda draw: call(draw.normal("a 7"), [2, 5], 1)),
    *rows(
        "aten.split_with_sizes.default",
        lambda draw: call(draw.normal("a+b+c d"), draw.shape("a b c")),
        lambda draw: call(draw.normal("d 7"), [0, 3, 4], -1),
    ),
    *rows("aten.tensor_split.sections", lambda draw: call(draw.normal("a 7"), 3, 1)),
    *rows("aten.tensor_split.indices", lambda draw: call(draw.normal("a 7"), [2, 5], -1)),
    *rows(
        "aten.tensor_split.tensor_indices_or_sections",
        lambda draw: call(draw.normal("a 7"), torch.tensor([2, 5]), 1),
    ),
    *rows(
        "aten.unbind.int",
        lambda draw: call(draw.normal("3 a b")),
        lambda draw: call(draw.normal("a 3 b"), -2),
    ),
    *rows(
        "aten.select.int",
        lambda draw: call(draw.normal("a 5 b"), 1, 2),
        lambda draw: call(draw.normal("a 5 b"), -2, -1),
        lambda draw: call(draw.normal("5"), 0, 0),
    ),
    *rows(
        "aten.slice.Tensor",
        lambda draw: call(draw.normal("a 7 b"), 1, 2, 5),
        lambda draw: call(draw.normal("a 7"), -1, -4),
        lambda draw: call(draw.normal("a 7"), 1, 0, -2),
        lambda draw: call(draw.normal("a b"), 1, 0, 2**63 - 1),
        lambda draw: call(draw.normal("a 8"), 1, 0, 2**63 - 1, 2),
        lambda draw: call(draw.normal("a 8"), 1, 1, None, 2),
        lambda draw: call(draw.normal("a 9"), 1, 2, 9, 3),
        lambda draw: call(draw.normal("a 7"), 1, 0, 7, 2),
        lambda draw: call(draw.normal("a 5"), 1, 7, 9),
        lambda draw: call(draw.normal("7 a"), 0, None, 3),
        lambda draw: call(draw.normal("a 7"), 1, -9, 3),
        lambda draw: call(draw.normal("a 8"), 1, 4, None, 2),
        lambda draw: call(draw.normal("8 a"), 0, -7, None, 2),
    ),
    *rows(
        "aten.narrow.default",
        lambda draw: call(draw.normal("a 7"), 1, 2, 4),
        lambda draw: call(draw.normal("a 7 b"), -2, -5, 3),
        lambda draw: call(draw.normal("a 7"), 1, 0, 7),
    ),
    *rows("aten.narrow.Tensor", lambda draw: call(draw.normal("a 7"), 1, torch.tensor(2), 4)),
    *rows(
        "aten.index.Tensor",
        lambda draw: call(draw.normal("7 a b"), [draw.integers("n", 7)]),
        lambda draw: call(draw.normal("a 7 b"), [None, draw.integers("n m", 7)]),
        lambda draw: call(draw.normal("a 7 6 b"), [None, draw.integers("n 1", 7), draw.integers("m", 6)]),
        lambda draw: call(draw.normal("7 a 6"), [draw.integers("n", 7), None, draw.integers("n", 6)]),
        lambda draw: call(draw.normal("a b"), [None, torch.arange(draw["b"]) > 0]),
    ),
    *rows(
        "aten.index_select.default",
        lambda draw: call(draw.normal("a 7 b"), 1, draw.integers("n", 7)),
        lambda draw: call(draw.normal("a 7"), -1, torch.tensor(3)),
    ),
    *rows(
        "aten.gather.default",
        lambda draw: call(draw.normal("a 7"), 1, draw.integers("a n", 7)),
        lambda draw: call(draw.normal("6 7 b"), -2, draw.integers("4 n b", 7)),
    ),
    *rows(
        "aten.glu.default",
        lambda draw: call(draw.normal("a (2 b)")),
        lambda draw: call(draw.normal("a (2 b) c"), 1),
    ),
]

# -- windows ------------------------------------------------------------------------------------------------
_SPACE = {1: "b c 6", 2: "b c 6 5", 3: "b c 4 6 5"}


def windowed(names: str, rank: int, *options: Any) -> list[Row]:
    """Operators that slide over the last ``rank`` dimensions."""
    make: Callable[[Draw], Arguments] = lambda draw: call(draw.normal(_SPACE[rank]), *options)  # noqa: E731
    return [
        Row(f"aten.{name if '.' in name else name + '.default'}", make, note=str(options))
        for name in names.split()
    ]


WINDOWS = [
    *[row for rank in (1, 2, 3) for row in windowed(f"max_pool{rank}d avg_pool{rank}d", rank, [2] * rank)],
    *[row for rank in (1, 2, 3) for row in windowed(f"max_pool{rank}d", rank, [3] * rank, [1], [1])],
    *[
        row
        for rank in (1, 2, 3)
        for row in windowed(f"adaptive_avg_pool{rank}d adaptive_max_pool{rank}d", rank, [2] * rank)
    ],
    *windowed("adaptive_avg_pool2d", 2, [1, 1]),
    *windowed("max_pool2d_with_indices", 2, [2, 2]),
    *windowed("upsample_linear1d", 1, [9], False),
    *windowed("upsample_nearest1d", 1, [12]),
    *windowed(
        "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa", 2, [9, 9], False
    ),
    *windowed("upsample_nearest2d _upsample_nearest_exact2d", 2, [12, 10]),
    *windowed("upsample_nearest2d.vec", 2, None, [2.0, 2.0]),
    *windowed("upsample_bilinear2d.vec", 2, [9, 9], False, None),
    *windowed("upsample_trilinear3d", 3, [5, 7, 7], True),
    *windowed("upsample_nearest3d", 3, [8, 6, 5]),
    *rows("aten.max_pool2d.default", lambda draw: call(draw.normal("c 6 6"), [2, 2])),
    *rows(
        "aten.grid_sampler.default",
        lambda draw: call(draw.normal("b c 5 6"), draw.normal("b 3 4 2"), 0, 0, False),
        lambda draw: call(draw.normal("b c 3 4 5"), draw.normal("b 3 2 2 3"), 0, 0, False),
    ),
    *rows(
        "aten.pad.default",
        lambda draw: call(draw.normal("a b"), [1, 2]),
        lambda draw: call(draw.normal("a b c"), [0, 0, 2, 3], "constant", 0.5),
        lambda draw: call(draw.normal("a b 5"), [2, 1], "reflect"),
        lambda draw: call(draw.normal("a 6"), [-1, 2]),
        lambda draw: call(draw.normal("a b"), [0, 3]),
    ),
    *rows("aten.constant_pad_nd.default", lambda draw: call(draw.normal("a b c"), [1, 0, 0, 2], 1.5)),
    *rows(
        "aten.pixel_shuffle.default",
        lambda draw: call(draw.normal("b (c 4) 3 2"), 2),
        lambda draw: call(draw.normal("(c 9) 2 2"), 3),
    ),
    *rows("aten.pixel_unshuffle.default", lambda draw: call(draw.normal("b c 4 6"), 2)),
    *rows(
        "aten.channel_shuffle.default",
        lambda draw: call(draw.normal("b (g k) h w"), draw["g"]),
        lambda draw: call(draw.normal("b g h"), draw["g"]),
    ),
    *rows(
        "aten.im2col.default",
        lambda draw: call(draw.normal("b c 4 5"), [2, 3], [1, 1], [0, 0], [1, 1]),
        lambda draw: call(draw.normal("c 4 5"), [2, 2], [1, 1], [1, 0], [2, 1]),
    ),
]

# -- creation -----------------------------------------------------------------------------------------------
CREATION = [
    *[
        row
        for name in ("zeros", "ones")
        for row in rows(f"aten.{name}.default", lambda draw: call(draw.shape("a b")))
    ],
    *rows("aten.full.default", lambda draw: call(draw.shape("a b"), 1.5)),
    *rows("aten.empty.memory_format", lambda draw: call(draw.shape("a b")), random=True),
    *[
        row
        for name in ("new_zeros", "new_ones")
        for row in rows(f"aten.{name}.default", lambda draw: call(draw.normal("a b"), draw.shape("a c")))
    ],
    *rows("aten.new_full.default", lambda draw: call(draw.normal("a b"), draw.shape("a c"), 1.5)),
    *rows("aten.new_empty.default", lambda draw: call(draw.normal("a b"), draw.shape("a c")), random=True),
    *rows("aten.scalar_tensor.default", lambda draw: call(1.5)),
    *rows("aten.arange.default", lambda draw: call(draw["a"])),
    *rows("aten.arange.start_step", lambda draw: call(1, 9, 2)),
    *rows("aten.linspace.default", lambda draw: call(0.0, 1.0, 5)),
    *rows("aten.eye.default", lambda draw: call(draw["a"])),
    *rows("aten.eye.m", lambda draw: call(draw["a"], draw["b"])),
]

FUNCTIONAL = [
    *UNARY,
    *BINARY,
    *REDUCTIONS,
    *ORDERED,
    *NORMS,
    *CONTRACTIONS,
    *VIEWS,
    *JOINING,
    *WINDOWS,
    *CREATION,
]


def _twin(row: Row) -> Row | None:
    """The in-place operator on the same arguments, where there is one and the result fits in ``self``."""
    packet = getattr(torch.ops.aten, row.op.split(".")[1] + "_", None)
    name = row.op.split(".")[2]
    if f"{row.family}_" not in RULES or packet is None or name not in packet.overloads():
        return None
    twin = replace(row, op=f"{row.family}_.{name}")
    args, kwargs = twin.make(Draw(0))
    try:
        twin.overload(*args, **kwargs)
    except RuntimeError:
        return None
    return twin


ROWS: list[Row] = [*FUNCTIONAL, *(twin for row in FUNCTIONAL if (twin := _twin(row)))]
