"""The table of what an operator's arguments are, against the operators' own schemas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.capture.operators import find_operator, overloads_of, tensor_arguments
from graphprune.capture.roles import ROLES


@pytest.mark.parametrize("op", ROLES)
def test_roles_are_arguments_of_the_operator(op: str) -> None:
    roles = ROLES[op]
    taken = [set(tensor_arguments(overload)) for overload in overloads_of(find_operator(op))]
    assert any({roles.source, *roles.stored} <= names for names in taken)
    assert roles.source not in roles.stored


def test_a_layer_is_called_with_what_the_table_says() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(12, 3)).eval()
    program = gp.trace(model, torch.zeros(2, 2, 3)).program
    read = {
        operation.family: [program.attributes.get(operation.arguments[name].name) for name in roles.stored]
        for operation in program.operations
        if (roles := ROLES.get(operation.family))
    }
    assert read == {
        "aten.conv1d": ["0.weight", "0.bias"],
        "aten.batch_norm": ["1.weight", "1.bias", "1.running_mean", "1.running_var"],
        "aten.linear": ["3.weight", "3.bias"],
    }
