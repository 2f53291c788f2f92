"""Operators that compute each element from the elements at the same place, with broadcasting."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table, each, stays

__all__ = ["RULES"]

# with an in-place twin, "relu_"
_UNARY = """
abs acos acosh asin asinh atan atanh bitwise_not ceil celu conj_physical cos cosh deg2rad detach digamma dropout elu
erf erfc erfinv exp exp2 expm1 feature_dropout feature_alpha_dropout alpha_dropout floor frac gelu hardsigmoid
hardswish hardtanh i0 leaky_relu lgamma log log10 log1p log2 logical_not logit mish mvlgamma nan_to_num neg polygamma
rad2deg reciprocal relu relu6 round rrelu rsqrt selu sgn sigmoid sign silu sin sinc sinh sqrt square tan tanh
threshold trunc zero
"""

_UNARY_ONLY = """
alias angle chalf clone conj _conj contiguous empty_like fake_quantize_per_tensor_affine frexp full_like hardshrink
imag isfinite isinf isnan isneginf isposinf isreal lift_fresh lift_fresh_copy log_sigmoid ones_like positive real
resolve_conj resolve_neg signbit softplus softshrink special_expit to _to_copy type_as zeros_like special_airy_ai
special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_entr special_erfcx special_i0e
special_i1 special_i1e special_log_ndtr special_modified_bessel_i0 special_modified_bessel_i1
special_modified_bessel_k0 special_modified_bessel_k1 special_ndtr special_ndtri special_scaled_modified_bessel_k0
special_scaled_modified_bessel_k1 special_spherical_bessel_j0
"""

_BROADCAST = """
add addcdiv addcmul atan2 bernoulli bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor clamp
clamp_max clamp_min copysign div eq float_power floor_divide fmod gcd ge gt heaviside hypot igamma igammac lcm ldexp
le lerp logical_and logical_or logical_xor lt masked_fill mul ne nextafter pow remainder sub true_divide xlogy greater
less greater_equal less_equal not_equal multiply subtract divide fill copy
"""

_BROADCAST_ONLY = """
__and__ __lshift__ __or__ __rshift__ __xor__ __iand__ __ior__ __ixor__ complex expand_as fmax fmin isclose logaddexp
logaddexp2 maximum minimum polar rsub where max.other min.other special_xlog1py special_zeta
special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
special_chebyshev_polynomial_w special_hermite_polynomial_h special_hermite_polynomial_he
special_laguerre_polynomial_l special_legendre_polynomial_p special_shifted_chebyshev_polynomial_t
special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v special_shifted_chebyshev_polynomial_w
"""


def _in_place(names: str) -> str:
    return " ".join(f"{name}_" for name in names.split())


def unary(call: Call) -> None:
    """Each element from the one at the same place of the first tensor; others lend only dtype or device."""
    for output in call.outputs:
        call.unify_all(output.dims, next(call.operands()).dims)


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
    "aten.fake_quantize_per_channel_affine": stays("its kernel takes scales in single precision only"),
}
