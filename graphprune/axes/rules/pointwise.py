"""Operators that compute each element from the elements at the same place, with broadcasting."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Rule, Table

__all__ = ["RULES"]

_UNARY = """
abs acos acosh alias asin asinh atan atanh bernoulli bitwise_not ceil celu clamp clamp_max clamp_min clone
contiguous cos cosh deg2rad detach dropout elu erf erfc exp exp2 expm1 feature_dropout alpha_dropout
floor frac gelu hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan leaky_relu lift_fresh
lift_fresh_copy log log10 log1p log2 log_sigmoid logical_not logit mish nan_to_num neg ones_like positive
reciprocal relu relu6 round rsqrt selu sgn sigmoid sign silu sin sinc sinh softplus
softshrink softsign special_expit sqrt square
tan tanh tanhshrink threshold trunc zeros_like full_like empty_like zero
to _to_copy float half double bool type_as
""".split()

_BROADCAST = """
add addcdiv addcmul atan2 bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__ copysign div eq expand_as
floor_divide fmax fmin fmod ge gt heaviside hypot le lerp logaddexp logical_and logical_or logical_xor lt
masked_fill maximum minimum mul ne pow remainder rsub sub true_divide where xlogy
greater less greater_equal less_equal not_equal multiply subtract divide fill copy
""".split()


def unary(call: Call) -> None:
    """Each element from the one at the same place of the first tensor; others lend only dtype or device."""
    first = next(call.operands())
    for source, result in zip(first.dims, call.output.dims, strict=True):
        call.unify(result, source)


def broadcast(call: Call) -> None:
    """Each element from those at the same place of every tensor, sizes of one repeated."""
    call.broadcast(call.operands(), call.output.dims)


def prelu(call: Call) -> None:
    """``weight`` has one entry per channel, dimension 1, or a single one for all."""
    unary(call)
    weight, channels = call["weight"], call["self"]
    if weight.dims and weight.shape[0] > 1:
        call.unify(channels.dims[1], weight.dims[0])


def _named(names: list[str], rule: Rule) -> Table:
    """The operator and its in-place twin, which writes through the view it is given."""
    return {f"aten.{name}{suffix}": rule for name in names for suffix in ("", "_")}


RULES: Table = {**_named(_UNARY, unary), **_named(_BROADCAST, broadcast), "aten.prelu": prelu} | {
    "aten.max.other": broadcast,
    "aten.min.other": broadcast,
}
