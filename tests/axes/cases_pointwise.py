"""Rows for the operators of `graphprune.axes.rules.pointwise`."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from draws import Row, booleans, integers, on, rows, x

__all__ = ["ROWS"]


def unary(names: str, kind: str = "normal", *extra: Any, **named: Any) -> list[Row]:
    """``op(x, *extra)``."""
    return rows(names, on(x("a b c", kind), *extra, **named))


def binary(names: str, kind: str = "normal", **named: Any) -> list[Row]:
    """``op(x, y)`` with equal shapes, with sizes of one, with missing leading dimensions, with a scalar."""
    shapes = (("a b c", "a b c"), ("a 1 c", "b c"), ("b c", "a b 1"), ("a b", ""))
    return rows(names, *(on(x(left, kind), x(right, kind), **named) for left, right in shapes))


def overloads(names: str, overload: str) -> str:
    return " ".join(f"{name}.{overload}" for name in names.split())


_UNARY = [
    *unary(
        "abs alias asinh atan ceil celu clone contiguous cos deg2rad detach elu erf erfc exp exp2 expm1 "
        "floor frac gelu hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan leaky_relu lift_fresh "
        "lift_fresh_copy log_sigmoid mish nan_to_num neg positive reciprocal relu relu6 round selu sgn "
        "sigmoid sign silu sin sinc sinh softplus softshrink special_expit square tan tanh trunc zero cosh _to_copy "
        "ones_like zeros_like digamma lgamma i0 rad2deg signbit special_airy_ai special_bessel_j0 "
        "special_bessel_j1 special_erfcx special_i0e special_i1 special_i1e special_log_ndtr "
        "special_modified_bessel_i0 special_modified_bessel_i1 special_ndtr special_spherical_bessel_j0 rrelu "
        "isneginf isposinf frexp.Tensor"
    ),
    *unary("acos asin atanh erfinv log log10 log1p log2 logit rsqrt special_entr special_ndtri sqrt", "unit"),
    *unary(
        "acosh special_bessel_y0 special_bessel_y1 special_modified_bessel_k0 special_modified_bessel_k1 "
        "special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1",
        "positive",
    ),
    *unary("mvlgamma", "positive", 2),
    *rows("polygamma_", on(x("a b c", "positive"), 2)),
    *rows("polygamma", on(2, x("a b c", "positive"))),
    *unary("fake_quantize_per_tensor_affine", "normal", 0.1, 3, -128, 127),
    *rows("fake_quantize_per_channel_affine", on(x("a b"), x("b", "scales"), x("b", "whole"), 1, -2, 2)),
    *unary("logical_not", "booleans"),
    *unary("bitwise_not", "integers"),
    *unary("dropout feature_dropout alpha_dropout feature_alpha_dropout", "normal", 0.5, False),
    *unary("threshold", "normal", 0.1, 20.0),
    *unary("full_like", "normal", 0.5),
    *unary("round.decimals", decimals=1),
    *unary("clamp", "normal", -0.5, 0.5),
    *unary("clamp_max clamp_min", "normal", 0.1),
    *rows("chalf", on(x("a b"))),
    *unary("bernoulli.p", "normal", 1.0),
    *unary("bernoulli", "certain"),
    *unary("to.dtype", "normal", torch.float32),
    *rows("empty_like", on(x("a b")), random=True),
    *rows("to.other", on(x("a b"), x("a c", "single"))),
    *rows("type_as", on(x("a b"), x("c", "single"))),
    *rows("bernoulli.Tensor", on(x("a b"), x("a b", "certain"))),
    *rows("bernoulli_.Tensor", on(x("a b"), x("b", "certain"))),
]

_BINARY = [
    *binary(
        overloads(
            "add copysign div fmod ge greater greater_equal gt le less less_equal lt mul multiply remainder rsub "
            "sub subtract divide true_divide clamp_max clamp_min",
            "Tensor",
        )
    ),
    *binary("div.Tensor_mode", rounding_mode="floor"),
    *binary("atan2 fmax fmin hypot logaddexp maximum minimum floor_divide max.other min.other"),
    *binary(overloads("eq ne not_equal", "Tensor"), "coarse"),
    *binary("heaviside", "coarse"),
    *binary("logaddexp2 special_xlog1py igamma igammac ldexp.Tensor", "unit"),
    *binary("nextafter", "single"),
    *binary("isclose", "coarse"),
    *rows("ldexp_", on(x("a b"), x("b"))),
    *binary("special_zeta float_power.Tensor_Tensor", "positive"),
    *rows("float_power.Tensor_Scalar", on(x("a b", "unit"), 2.5)),
    *rows("float_power.Scalar", on(2.5, x("a b"))),
    *rows("float_power_.Tensor", on(x("a b", "unit"), x("b"))),
    *rows("gcd lcm", on(integers("a b", 9), integers("b", 9))),
    *rows("bitwise_left_shift.Tensor bitwise_right_shift.Tensor", on(integers("a b", 9), integers("b", 3))),
    *rows("__lshift__.Tensor __rshift__.Tensor", on(integers("a b", 9), integers("b", 3))),
    *binary(
        " ".join(
            f"special_{name}"
            for name in (
                *(f"chebyshev_polynomial_{kind}" for kind in "tuvw"),
                *(f"shifted_chebyshev_polynomial_{kind}" for kind in "tuvw"),
                *("hermite_polynomial_h", "hermite_polynomial_he"),
                *("laguerre_polynomial_l", "legendre_polynomial_p"),
            )
        ),
        "coarse",
    ),
    *binary("logical_and logical_or logical_xor", "booleans"),
    *binary(overloads("bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__", "Tensor"), "booleans"),
    *binary("pow.Tensor_Tensor xlogy.Tensor", "unit"),
    *rows(overloads("__iand__ __ior__ __ixor__", "Tensor"), on(booleans("a b"), booleans("b"))),
    *rows("pow_.Tensor", on(x("a b", "unit"), x("b"))),
    *rows("floor_divide_.Tensor", on(x("a b"), x("b", "positive"))),
    *rows("pow.Tensor_Scalar", on(x("a b", "unit"), 2.5)),
    *rows("pow.Scalar", on(2.5, x("a b", "unit"))),
    *rows("add.Tensor", on(x("a 1 c"), x("b 1"), alpha=2), note="alpha"),
    *rows("add.Scalar mul.Scalar", on(x("a b"), 2)),
    *rows("expand_as", on(x("a 1 c"), x("a b c")), on(x("c"), x("a b c"))),
    *rows("copy copy_", on(x("a b"), x("a b")), on(x("a b"), x("b"))),
    *rows("fill.Scalar", on(x("a b"), 1.5)),
    *rows("fill.Tensor", on(x("a b"), x(""))),
]

_TERNARY = [
    *rows("clamp.Tensor", on(x("a b"), x("a b"), x("b", "positive")), on(x("a b"), None, x("a b"))),
    *rows(
        "addcdiv addcmul",
        on(x("a b"), x("a b"), x("a b", "positive"), value=0.5),
        on(x("a b c"), x("c"), x("b 1", "positive")),
        on(x("1 c"), x("a 1 c"), x("b 1", "positive")),
    ),
    *rows("lerp.Tensor", on(x("a b"), x("a b"), x("a b")), on(x("a b"), x("b"), x("a 1"))),
    *rows("lerp.Scalar", on(x("a b"), x("a b"), 0.3)),
    *rows(
        "where.self",
        on(booleans("a b c"), x("a b c"), x("a b c")),
        on(booleans("b 1"), x("a 1 c"), x("")),
    ),
    *rows("where.ScalarOther", on(booleans("a b"), x("a b"), 0.0)),
    *rows("where.ScalarSelf", on(booleans("b"), 1.0, x("a b"))),
    *rows(
        "masked_fill.Scalar",
        on(x("a b c"), booleans("a b c"), -inf),
        on(x("a b c"), booleans("b 1"), 0.5),
        on(x("a 1"), booleans("c 1 b"), 0.5),
    ),
    *rows("masked_fill.Tensor", on(x("a b"), booleans("a b"), x(""))),
    *rows("prelu", on(x("a b c"), x("b")), on(x("a b"), x("1")), on(x("a"), x("1"))),
]

ROWS = [*_UNARY, *_BINARY, *_TERNARY, *rows("bitwise_and.Scalar", on(integers("a b", 8), 3))]
