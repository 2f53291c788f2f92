"""The figure of every comparison, beside numbers that have lost their digits."""

import pytest
import torch

from graphprune.verifying.differences import relative_error

ONE = torch.tensor([1.0, -4.0])


def test_error_is_relative_to_the_largest_value() -> None:
    assert relative_error(ONE, ONE + torch.tensor([0.0, 0.4])) == pytest.approx(0.1)


def test_numbers_without_normal_digits_are_measured_against_the_smallest_that_has_them() -> None:
    tiny = torch.tensor([2e-6], dtype=torch.float16)
    wrong = torch.tensor([6e-5], dtype=torch.float16)
    assert relative_error(tiny, torch.tensor([1e-6], dtype=torch.float16)) < 0.02
    assert relative_error(tiny, wrong) > 0.9
    assert relative_error(tiny.float(), wrong.float()) > 20
