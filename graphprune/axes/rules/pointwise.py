"""Operators that compute each element from the elements at the same place, with broadcasting."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table, each

__all__ = ["RULES"]

# with an in-place twin, "relu_"
_UNARY = """
abs acos acosh asin asinh atan atanh bitwise_not ceil celu conj_physical cos cosh deg2rad detach dropout elu erf
erfc exp exp2 expm1 feature_dropout alpha_dropout floor frac gelu hardsigmoid hardswish hardtanh leaky_relu log log10
log1p log2 logical_not logit mish nan_to_num neg reciprocal relu relu6 round rsqrt selu sgn sigmoid sign
silu sin sinc sinh sqrt square tan tanh threshold trunc zero
"""

_UNARY_ONLY = """
alias angle clone conj _conj contiguous empty_like full_like hardshrink imag isfinite isinf isnan isreal
lift_fresh lift_fresh_copy log_sigmoid ones_like positive real resolve_conj resolve_neg softplus softshrink
special_expit to _to_copy type_as zeros_like
"""

_BROADCAST = """
add addcdiv addcmul atan2 bernoulli bitwise_and bitwise_or bitwise_xor clamp clamp_max clamp_min copysign
div eq floor_divide fmod ge gt heaviside hypot le lerp logical_and logical_or logical_xor lt masked_fill mul
ne pow remainder sub true_divide xlogy greater less greater_equal less_equal not_equal multiply subtract
divide fill copy
"""

_BROADCAST_ONLY = """
__and__ __or__ __xor__ __iand__ __ior__ __ixor__ complex expand_as fmax fmin logaddexp maximum minimum polar rsub where
max.other min.other
"""


def _in_place(names: str) -> str:
    return " ".join(f"{name}_" for name in names.split())


def unary(call: Call) -> None:
    """Each element from the one at the same place of the first tensor; others lend only dtype or device."""
    call.unify_all(call.output.dims, next(call.operands()).dims)


def broadcast(call: Call) -> None:
    """Each element from those at the same place of every tensor, sizes of one repeated."""
    call.broadcast(call.operands(), call.output.dims)


def prelu(call: Call) -> None:
    """``weight`` has one entry per channel, dimension 1, or a single one for all."""
    unary(call)
    weight, channels = call["weight"], call["self"]
    if weight.dims and weight.shape[0] > 1:
        call.unify(channels.dims[1], weight.dims[0])


# an in-place operator, "relu_", writes through the view it is given
RULES: Table = {
    **each(_UNARY + _in_place(_UNARY) + _UNARY_ONLY, unary),
    **each(_BROADCAST + _in_place(_BROADCAST) + _BROADCAST_ONLY, broadcast),
    "aten.prelu": prelu,
}
