"""The user's model is left as it was, and mistakes are answered with the line and the remedy."""

from __future__ import annotations

import copy
import inspect
import re

import pytest
import torch
from black_box import (
    assert_exact,
    parameters,
    pins,
    randomise,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
    sizes,
)
from torch import Tensor, nn

import graphprune as gp

IMAGE = torch.zeros(2, 3, 8, 8)
ROWS = torch.zeros(2, 6)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.drop, self.last = nn.Dropout(0.4), nn.Conv2d(8, 10, 1, bias=False)
        self.head = nn.Linear(10, 4)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("scale", torch.rand(1, 8, 1, 1) + 0.5, persistent=False)
        self.last.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.norm(self.conv(x)) * self.scale))
        return self.head(self.last(x).relu().mean((2, 3)))


def _bits(model: nn.Module) -> dict[str, bytes]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()}


def test_the_model_is_left_as_it_was_bit_for_bit() -> None:
    model = randomise(Net())
    model.train()
    model.norm.eval()  # frozen batch norm in a model that trains
    seen: list[str] = []
    model.conv.register_forward_hook(lambda module, args, out: seen.append("forward"))
    model.conv.register_forward_pre_hook(lambda module, args: seen.append("pre"))
    model.head.register_full_backward_hook(lambda module, grad_in, grad_out: seen.append("backward"))
    model.conv.weight.register_hook(lambda grad: grad)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    before = _bits(model)
    objects = {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    needs = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    hooks = {
        name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for name, m in model.named_modules()
    }
    generator, default = torch.get_rng_state(), torch.get_default_dtype()
    example = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    kept_example = example.clone()

    gp.shrink(model, example, ratio=0.5, importance="random")

    assert _bits(model) == before
    assert {name: id(t) for name, t in [*model.named_parameters(), *model.named_buffers()]} == objects
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (gradients[name] is None)
        assert gradients[name] is None or torch.equal(parameter.grad, gradients[name])
    assert {name: p.requires_grad for name, p in model.named_parameters()} == needs
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert hooks == {
        name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for name, m in model.named_modules()
    }
    assert torch.equal(example, kept_example)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_default_dtype() is default
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()
    seen.clear()
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert seen == ["pre", "forward", "backward"]


def test_nothing_is_shared_with_the_slim_model() -> None:
    model = randomise(Net())
    before = _bits(model)
    slim = gp.shrink(model, IMAGE, ratio=0.5).model
    with torch.no_grad():
        for tensor in [*slim.parameters(), *slim.buffers()]:
            tensor.fill_(7)
    assert _bits(model) == before


def test_a_model_that_is_called_in_training_mode_is_captured_in_eval_mode() -> None:
    model = randomise(Net()).train()
    result = gp.shrink(model, IMAGE, ratio=0.5, importance="random")
    assert not result.model.training
    assert_exact(model, result, IMAGE)
    assert sizes(result) == {"conv.weight:0": 8, "last.weight:0": 10}


def test_shrinking_under_no_grad_and_inference_mode_callers() -> None:
    model = randomise(Net())
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            result = gp.shrink(model, IMAGE.clone(), ratio=0.5)
        assert result.model.conv.weight.requires_grad
        assert not result.model.conv.weight.is_inference()
        assert not result.model.last.weight.requires_grad
        (check,) = (check for check in result.verdict.checks if check.name.startswith("gradients"))
        assert check.passed
        assert "not compared" not in check.detail


def test_a_model_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = randomise(Net())
        inside = gp.shrink(model, IMAGE.clone(), ratio=0.5)
    with pytest.raises(gp.CaptureError, match=r"made in torch\.inference_mode.*copy\.deepcopy"):
        gp.shrink(model, IMAGE, ratio=0.5)
    outside = gp.shrink(copy.deepcopy(model), IMAGE, ratio=0.5)
    assert outside.plan.to_json() == inside.plan.to_json()
    assert not outside.model.conv.weight.is_inference()


def test_shrinking_twice_gives_the_same_twice() -> None:
    model = randomise(Net())
    first = gp.shrink(model, IMAGE, ratio=0.5, importance="random", seed=3)
    second = gp.shrink(model, IMAGE, ratio=0.5, importance="random", seed=3)
    assert first.plan.to_json() == second.plan.to_json()
    assert _bits(first.model) == _bits(second.model)
    assert first.model.code == second.model.code


def test_a_slim_model_can_be_shrunk_again() -> None:
    model = randomise(Net())
    once = gp.shrink(model, IMAGE, ratio=0.25, importance="random")
    twice = gp.shrink(once.model, IMAGE, ratio=0.5, importance="random")
    assert sizes(twice) == {"conv.weight:0": 6, "last.weight:0": 8}
    assert twice.before == once.after
    assert parameters(twice.model) < parameters(once.model) < parameters(model)
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        expected = gp.shrink(model, IMAGE, plan=once.plan).model(x)
    assert torch.allclose(once.model(x), expected)
    assert twice.model(x).shape == (3, 4)
    assert set(twice.model.state_dict()) == set(once.model.state_dict())


# -- operators nobody knows -------------------------------------------------------------------------------


@torch.library.custom_op("field_tests::scramble", mutates_args=())
def scramble(x: Tensor, amount: float) -> Tensor:
    return x.flip(1) * amount


@scramble.register_fake
def _(x: Tensor, amount: float) -> Tensor:
    return torch.empty_like(x)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 10, 1)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.ops.field_tests.scramble(self.second(self.first(x).relu()), 0.5)
        return self.head(self.third(x).relu().mean((2, 3)))


def test_an_operator_without_a_rule_is_pinned_and_the_rest_shrinks() -> None:
    result = shrunk(Custom(), IMAGE)
    assert sizes(result) == {"first.weight:0": 8, "third.weight:0": 10}
    assert pins(result, "second.weight", 0) == {"no rule for field_tests.scramble.default"}
    assert list(result.graph.analysis.unruled) == ["field_tests.scramble.default"]
    assert "no rule for field_tests.scramble.default" in result.graph.explain("second", width=500)


def test_strict_mode_names_the_operator_without_a_rule() -> None:
    with pytest.raises(gp.RuleError, match=r"no rule for field_tests\.scramble.*register a rule"):
        gp.trace(Custom(), IMAGE, strict=True)


# -- mistakes ---------------------------------------------------------------------------------------------


class Decides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        if x.sum() > 0:
            x = x.relu()
        return self.down(x)


def _line_of(function, text: str) -> int:
    lines, start = inspect.getsourcelines(function)
    return start + next(index for index, line in enumerate(lines) if text in line)


def test_control_flow_on_data_names_the_line_and_the_remedy() -> None:
    with pytest.raises(gp.CaptureError) as caught:
        gp.shrink(Decides(), ROWS, ratio=0.5)
    text = str(caught.value)
    assert f"{__file__}:{_line_of(Decides.forward, 'x.sum() > 0')}" in text
    assert "choose with torch.where" in text


def test_the_model_is_left_as_it_was_when_capture_fails() -> None:
    model = Decides().train()
    with pytest.raises(gp.CaptureError):
        gp.shrink(model, ROWS, ratio=0.5)
    assert model.training
    assert model.up.training
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.zeros(2, 7), r"\(2, 7\).*mat1 and mat2.*input shape"),
        ((ROWS, ROWS), r"takes 2 positional arguments"),
        ({"y": ROWS}, r"unexpected keyword argument 'y'"),
    ],
)
def test_wrong_inputs(inputs, said: str) -> None:
    with pytest.raises(gp.InputError, match=re.compile(said, re.DOTALL)):
        gp.shrink(_Plain(), inputs, ratio=0.5)


def test_an_input_of_the_wrong_type_that_capture_lets_pass() -> None:
    """torch.export's fake tensors do not mind; the check says that it is not the slim model's fault."""
    with pytest.raises(gp.VerificationError, match=r"the original itself cannot run.*Long"):
        gp.shrink(_Plain(), torch.zeros(2, 6, dtype=torch.int64), ratio=0.5)


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("text", "example_inputs is a str"),
        (3, "example_inputs is a int"),
        (None, "example_inputs is a NoneType"),
        ((), "holds no tensor"),
        ({}, "holds no tensor"),
        ((3, None), "holds no tensor"),
    ],
)
def test_inputs_that_are_none(inputs, said: str) -> None:
    with pytest.raises(gp.InputError, match=said):
        gp.shrink(_Plain(), inputs, ratio=0.5)


@pytest.mark.parametrize("model", [lambda x: x, nn.Linear, None, "resnet18"])
def test_what_is_not_a_module(model) -> None:
    with pytest.raises(
        gp.InputError, match=r"is not a torch\.nn\.Module|is no model — give a torch\.nn\.Module"
    ):
        gp.shrink(model, ROWS, ratio=0.5)


def test_wrong_inputs_name_the_users_line() -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.shrink(_Plain(), torch.zeros(2, 7), ratio=0.5)
    assert f"{__file__}:{_line_of(_Plain.forward, 'self.down(self.up')}" in str(caught.value)


def test_a_model_that_fails_of_itself_says_so() -> None:
    class Broken(_Plain):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("the tokenizer is missing")

    with pytest.raises(gp.InputError, match="the tokenizer is missing"):
        gp.shrink(Broken(), ROWS, ratio=0.5)


class Named(nn.Module):
    """Names that Python, torch.fx or ATen use for something else."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"conv-1": nn.Linear(6, 8), "0": nn.Linear(8, 8), word: nn.Linear(8, 8)})
        self.activations = nn.ModuleDict({"in": nn.ReLU(), "x": nn.GELU(), "lambda": nn.Dropout(0.5)})
        self.relu, self.input, self.add, self.output = (nn.Linear(8, 8) for _ in range(4))
        self.linear, self.training_, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.tables = nn.ParameterDict({"a-b": torch.rand(8), "0a": torch.rand(8)})
        self.register_buffer("None_", torch.rand(8))

    def forward(self, input: Tensor, add: Tensor | None = None, relu: bool = False) -> Tensor:
        x = input
        for layer in self.layers.values():
            x = layer(x)
        for activation in self.activations.values():
            x = activation(x)
        for layer in (self.relu, self.input, self.add, self.output, self.linear, self.training_):
            x = layer(x).relu()
        return self.head(x * self.tables["a-b"] + self.tables["0a"] + self.None_)


@pytest.mark.parametrize("inputs", [ROWS, (ROWS, None), (ROWS, None, True), ((ROWS,), {"relu": True})])
def test_names_that_mean_something_else(inputs) -> None:
    model = Named("weight.1".replace(".", "_"))
    result = shrunk(model, inputs)
    assert sum(sizes(result).values()) == 9 * 8
    assert set(result.model.state_dict()) == set(model.state_dict())


def test_a_name_that_no_program_can_be_written_with() -> None:
    with pytest.raises(gp.CaptureError, match=r"layers\.class\.weight: 'class' is a keyword.*such as class_"):
        gp.shrink(Named("class"), ROWS, ratio=0.5)


class Masked(nn.Module):
    """Rows chosen by a mask: as many as the data says."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.down(self.up(self.before(x)[mask]).relu())


def test_sizes_that_depend_on_data() -> None:
    mask = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]], dtype=torch.bool)
    result = shrunk(Masked(), (torch.zeros(2, 4, 6), mask), batch=None)
    assert sizes(result) == {"before.weight:0": 8, "up.weight:0": 10}
    assert result.model(torch.zeros(2, 4, 6), ~mask).shape == (4, 3)


class Spectral(nn.Module):
    """GFNet's filter: complex numbers in the middle of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.middle, self.down = nn.Linear(6, 12), nn.Linear(12, 10), nn.Linear(10, 4)
        self.filter = nn.Parameter(torch.randn(5, 12, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fft.rfft(self.up(x).relu(), dim=1) * torch.view_as_complex(self.filter)
        return self.down(self.middle(torch.fft.irfft(x, n=8, dim=1)))


def test_complex_numbers_are_compared_too() -> None:
    result = shrunk(Spectral(), torch.zeros(2, 8, 6))
    assert sizes(result) == {"filter:1": 12, "middle.weight:0": 10}
    assert pins(result, "filter", 0) == {"a Fourier transform mixes this dimension"}


def test_copies_of_the_model_are_shrunk_alike() -> None:
    model = randomise(Net())
    first, second = (gp.shrink(m, IMAGE, ratio=0.5) for m in (model, copy.deepcopy(model)))
    assert first.plan.to_json() == second.plan.to_json()
