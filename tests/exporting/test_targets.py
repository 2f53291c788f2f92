"""The allow-list of functions, in both directions."""

from __future__ import annotations

import os
import subprocess

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.exporting.checked import FORMS
from graphprune.exporting.targets import (
    ZEROED,
    _functions,
    function_name,
    function_named,
    layer_class,
    layer_class_name,
    method_named,
)
from graphprune.ground.errors import InputError

NAMED = [
    (torch.cat, "torch.cat"),
    (torch.conv2d, "torch.conv2d"),
    (torch.special.expit, "torch.special.expit"),
    (F.relu, "torch.nn.functional.relu"),
    (F.gelu, "torch.nn.functional.gelu"),
    (F.max_pool2d, "torch.nn.functional.max_pool2d"),
    (F.hardswish, "torch.nn.functional.hardswish"),
    (F.scaled_dot_product_attention, "torch.nn.functional.scaled_dot_product_attention"),
    (torch.arange, "torch.arange"),
    (torch.ops.aten.view.default, "torch.ops.aten.view.default"),
    (torch.ops.aten.gelu.default, "torch.ops.aten.gelu.default"),
    (torch.ops.aten.sym_size.int, "torch.ops.aten.sym_size.int"),
    (torch.ops.aten.conv2d.padding, "torch.ops.aten.conv2d.padding"),
    (torch.ops.aten._unique2.default, "torch.ops.aten._unique2.default"),
    (torch.ops.aten.unique_dim.default, "torch.ops.aten.unique_dim.default"),
    (torch.ops.aten._softmax.default, "torch.ops.aten._softmax.default"),
    (torch.ops.aten.div.Tensor_mode, "torch.ops.aten.div.Tensor_mode"),
]


@pytest.mark.parametrize(("function", "name"), NAMED)
def test_functions_have_the_names_that_users_write(function, name: str) -> None:
    assert function_name(function) == name
    assert function_named(name) is function


def test_every_listed_name_leads_back_to_its_function() -> None:
    table = _functions()
    assert len(table) > 500
    for name, function in table.items():
        if name not in ZEROED and name not in FORMS:
            assert function_named(function_name(function)) is function, name


def test_the_list_holds_no_module_class_or_private_name() -> None:
    for name, function in _functions().items():
        assert not isinstance(function, type), name
        assert not name.rpartition(".")[2].startswith("_"), name
        assert getattr(function, "__module__", None) not in ("torch.serialization", "torch.hub", "os"), name


REFUSED = [
    print,
    eval,
    getattr,
    os.system,
    subprocess.run,
    torch.load,
    torch.save,
    torch.jit.load,
    torch.compile,
]


@pytest.mark.parametrize(
    "function", [*REFUSED, torch.from_file, torch.set_grad_enabled, torch.manual_seed, len]
)
def test_functions_that_do_more_than_compute_are_refused(function) -> None:
    with pytest.raises(InputError, match="may not stand in a stored graph"):
        function_name(function)


def test_aten_operators_with_side_effects_are_refused() -> None:
    aten = torch.ops.aten
    for overload in (aten.from_file.default, aten.set_.source_Tensor, aten.resize_.default):
        with pytest.raises(InputError, match=str(overload)):
            function_name(overload)


@pytest.mark.parametrize(
    "name", ["view", "permute", "size", "expand", "contiguous", "to", "float", "masked_fill"]
)
def test_methods_that_compute_are_allowed(name: str) -> None:
    assert method_named(name) == name


@pytest.mark.parametrize(
    "name", ["Conv2d", "BatchNorm2d", "Linear", "LayerNorm", "Embedding", "GELU", "Dropout"]
)
def test_layers_are_found_by_name(name: str) -> None:
    assert layer_class(name) is getattr(nn, name)


@pytest.mark.parametrize(
    "name", ["Module", "Parameter", "functional", "LazyConv2d", "DataParallel", "init", "os"]
)
def test_what_is_no_layer_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"not a torch\.nn layer"):
        layer_class(name)


def test_a_subclass_does_not_pass_for_its_base() -> None:
    linear = nn.MultiheadAttention(4, 2).out_proj
    with pytest.raises(InputError, match=r"layer 'proj' is a .*NonDynamicallyQuantizableLinear"):
        layer_class_name(linear, "proj")
