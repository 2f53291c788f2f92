"""Operators that make tensors from nothing but sizes."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table, each, stays

__all__ = ["RULES"]


def uniform(call: Call) -> None:
    """The same value everywhere: any size will do."""


def placed(call: Call) -> None:
    """Sizes and strides are numbers; the given tensor lends dtype and device."""
    call.pin(call.output.dims, "elements are where memory says")


RULES: Table = {
    "aten.new_empty_strided": placed,
    **each("zeros ones full empty new_zeros new_ones new_full new_empty scalar_tensor", uniform),
    **each(
        "arange linspace logspace range eye bartlett_window blackman_window hamming_window hann_window "
        "kaiser_window tril_indices triu_indices fft_fftfreq fft_rfftfreq",
        stays("values depend on their position"),
    ),
    **each(
        "as_strided as_strided_ as_strided_scatter empty_strided empty_permuted",
        stays("elements are where memory says"),
    ),
}
