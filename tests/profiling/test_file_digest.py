"""A tensor of the ONNX file is known again whatever dimensions of one the exporter gave it."""

from __future__ import annotations

import numpy

from graphprune.profiling.original import SAMPLE, _digest


def test_known_by_numbers_type_and_size() -> None:
    numbers = numpy.random.default_rng(0).normal(size=3 * SAMPLE).astype("float32")
    known = _digest(numbers)
    assert _digest(numbers.reshape(1, -1, 1)) == known
    assert _digest(numbers.reshape(3, SAMPLE)) == known
    turned = numbers.reshape(3, SAMPLE).T
    assert _digest(turned) == _digest(numpy.ascontiguousarray(turned)) != known
    assert _digest(numbers.astype("float64")) != known
    assert _digest(numbers[:-1]) != known
    assert _digest(numbers + 1) != known
    assert _digest(numpy.float32(1.0)) == _digest(numpy.ones(1, "float32"))
