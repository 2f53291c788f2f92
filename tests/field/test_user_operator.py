"""Models with an operator of the user's own in the middle: compiled around it, then through it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.rules.users import USERS

DEFINITION = """
import torch
from torch import Tensor


@torch.library.custom_op("userlib::scale", mutates_args=())
def scale(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight.reshape(-1, *[1] * (x.dim() - 2))


@scale.register_fake
def _(x, weight):
    return torch.empty_like(x)
"""
exec(DEFINITION)


@torch.library.custom_op("userlib::shuffle", mutates_args=())
def shuffle(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2).clone()


@torch.library.custom_op("userlib::normalise", mutates_args=())
def normalise(x: Tensor, normalized_shape: list[int], weight: Tensor) -> Tensor:
    return torch.layer_norm(x, normalized_shape, weight)


@torch.library.custom_op("userlib::project", mutates_args=())
def project(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.T


@torch.library.custom_op("userlib::single", mutates_args=())
def single(x: Tensor) -> Tensor:
    if x.dtype is not torch.float32:
        raise RuntimeError("a kernel for float32 only")
    return x * 2


@torch.library.custom_op("userlib::several", mutates_args=())
def several(x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    return [x * weight for weight in weights]


@torch.library.custom_op("userlib::add_into", mutates_args=("total",))
def add_into(x: Tensor, total: Tensor) -> None:
    total.add_(x.flip(-1))


@torch.library.custom_op("userlib::unknown_shape", mutates_args=())
def unknown_shape(x: Tensor) -> Tensor:
    return x * 2


@shuffle.register_fake
@normalise.register_fake
@single.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)


@project.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@several.register_fake
def _(x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(x) for _ in weights]


OPS = torch.ops.userlib


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.weight = nn.Parameter(torch.rand(16) + 0.5)
        self.second = nn.Conv2d(16, 12, 3)
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = OPS.scale(self.first(x).relu(), self.weight)
        return self.last(self.second(x).relu().mean((2, 3)))


class Linear(nn.Module):
    def __init__(self, middle: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 16), nn.Linear(16, 12), nn.Linear(12, 4)
        self.weight, self.other = nn.Parameter(torch.rand(16)), nn.Parameter(torch.rand(16))
        self.square = nn.Parameter(torch.randn(16, 16) / 4)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.middle(self, self.first(x))).relu())


def added(model: nn.Module, x: Tensor) -> Tensor:
    total = x * 1.5
    OPS.add_into(x, total)
    return total


CONV, LINEAR = torch.randn(2, 3, 8, 8), torch.randn(3, 8)
SCALE = "b c s+, c -> b c s+"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    USERS.clear()


def pinned_by(graph: gp.DependencyGraph) -> set[str]:
    return {
        data["pins"][0].partition(" (at")[0]
        for node, data in graph.to_networkx().nodes(data=True)
        if node[0] == "axis" and data["pins"]
    }


MODELS = [
    ("scale", Conv, CONV),
    ("scale", lambda: Linear(lambda model, x: OPS.scale(x, model.weight)), LINEAR),
    ("shuffle", lambda: Linear(lambda model, x: OPS.shuffle(x, 4)), LINEAR),
    ("normalise", lambda: Linear(lambda model, x: OPS.normalise(x, [16], model.weight)), LINEAR),
    ("project", lambda: Linear(lambda model, x: OPS.project(x, model.square)), LINEAR),
    ("single", lambda: Linear(lambda model, x: OPS.single(x)), LINEAR),
    ("several", lambda: Linear(lambda m, x: sum(OPS.several(x, [m.weight, m.other]))), LINEAR),
    ("add_into", lambda: Linear(added), LINEAR),
]
every_model = pytest.mark.parametrize(("name", "build", "inputs"), MODELS)


@every_model
def test_a_model_is_compiled_around_an_operator_without_a_rule(
    name: str, build: Callable[[], nn.Module], inputs: Tensor
) -> None:
    model = build()
    graph = gp.trace(model, inputs)
    assert f"no rule for userlib.{name}.default" in pinned_by(graph)
    assert set(graph.analysis.unruled) == {f"userlib.{name}.default"}
    assert [group.name for group in graph.groups] == ["second.weight:0"]
    result = gp.shrink(graph, ratio=0.5)
    assert result.verdict.passed
    assert result.after.params < result.before.params
    with pytest.raises(gp.RuleError, match=rf"no rule for userlib\.{name}\.default \(at .*graphprune\.rule"):
        gp.trace(model, inputs, strict=True)


FORMS = {
    "scale": {"form": SCALE},
    "shuffle": {"form": "b (g k) s+ -> b (k g) s+", "sizes": {"g": "groups"}},
    "normalise": {"like": "aten.layer_norm"},
    "project": {"form": "... i, o i -> ... o", "loops": "... i o"},
    "single": {"like": "aten.gelu"},
}


@pytest.mark.parametrize(("name", "build", "inputs"), MODELS[:6])
def test_with_a_rule_it_is_pruned_through_the_operator(
    name: str, build: Callable[[], nn.Module], inputs: Tensor
) -> None:
    model = build()
    around = gp.shrink(model, inputs, ratio=0.5)
    gp.rule(f"userlib::{name}", **FORMS[name])
    graph = gp.trace(model, inputs, strict=True)
    result = gp.shrink(graph, ratio=0.5)
    assert result.verdict.passed
    assert any(group.name.startswith("first.weight:0") for group in graph.groups)
    assert result.after.params < 0.8 * around.after.params
    assert result.before.macs >= around.before.macs


def test_loops_are_counted() -> None:
    model = Linear(lambda model, x: OPS.project(x, model.square))
    without = gp.trace(model, LINEAR).cost().macs
    gp.rule("userlib::project", **FORMS["project"])
    assert gp.trace(model, LINEAR).cost().macs == without + 16 * 16


def test_literals_follow() -> None:
    model = Linear(lambda model, x: OPS.shuffle(x, 4))
    gp.rule("userlib::shuffle", **FORMS["shuffle"])
    slim = gp.shrink(model, LINEAR, ratio=0.5, importance="random").model
    (node,) = [node for node in slim.graph.nodes if node.target is OPS.shuffle.default]
    assert node.args[1] == 2


def test_a_wrong_rule_does_not_pass_verification() -> None:
    gp.rule("userlib::shuffle", "b c s+ -> b c s+")
    model = Linear(lambda model, x: OPS.shuffle(x, 4))
    with pytest.raises(gp.VerificationError, match=r"userlib\.shuffle\.default"):
        gp.shrink(model, LINEAR, ratio=0.5, importance="random")


def test_an_operator_without_shapes_says_what_to_do() -> None:
    with pytest.raises(gp.CaptureError, match="register_fake") as caught:
        gp.trace(Linear(lambda model, x: OPS.unknown_shape(x)), LINEAR)
    assert "torch.library.register_fake" in caught.value.remedy


# -- what is written ----------------------------------------------------------------------------------------
@pytest.fixture
def result() -> gp.Result:
    gp.rule("userlib::scale", SCALE)
    return gp.shrink(Conv(), CONV, ratio=0.5)


def test_onnx_says_which_operator_it_has_not_and_the_rest_is_written(
    result: gp.Result, tmp_path: Path
) -> None:
    with pytest.warns(
        UserWarning, match=r"no model\.onnx was written: ONNX has no operator for userlib\.scale\.default"
    ):
        report = result.save(tmp_path / "slim")
    assert "save(..., onnx=False)" in report["missing"][0]["remedy"]
    assert not (tmp_path / "slim" / "model.onnx").exists()
    slim = gp.load(tmp_path / "slim", operators=["userlib::scale"])
    assert torch.equal(slim(CONV), result.model(CONV))


def test_without_onnx_it_is_saved_and_loaded_by_name(result: gp.Result, tmp_path: Path) -> None:
    report = result.save(tmp_path / "slim", onnx=False)
    names = {path.name for path in (tmp_path / "slim").iterdir()}
    assert names == {
        "model.safetensors",
        "model.py",
        "plan.json",
        "report.json",
        "report.html",
        "shrink.toml",
    }
    assert report["verdict"]["passed"]
    loaded = gp.load(tmp_path / "slim", operators=["userlib::scale"])
    assert torch.equal(loaded(CONV), result.model(CONV))
    for operators in ((), ["otherlib::scale"]):
        with pytest.raises(
            gp.InputError, match=r"torch\.ops\.userlib\.scale\.default may not stand"
        ) as caught:
            gp.load(tmp_path / "slim", operators=operators)
        assert 'load(..., operators=["userlib::scale"])' in caught.value.remedy


def run_elsewhere(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)


def test_model_py_names_the_library_that_it_needs(result: gp.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "slim", onnx=False)
    source = (tmp_path / "slim" / "model.py").read_text()
    assert "needs torch, safetensors, and to have imported what registers" in " ".join(source.split())
    assert "# import the library that registers torch.ops.userlib.scale here" in source
    assert "torch.ops.userlib.scale.default(x, self.weight)" in source
    torch.save(CONV, tmp_path / "x.pt")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'slim')!r}); sys.modules['graphprune'] = None\n"
        f"import torch, model\nx = torch.load({str(tmp_path / 'x.pt')!r}, weights_only=True)\n"
        "print(model.load()(x).double().sum().item())"
    )
    done = run_elsewhere(DEFINITION + code)
    assert float(done.stdout) == pytest.approx(result.model(CONV).double().sum().item(), rel=1e-6), (
        done.stderr
    )
    assert "no attribute 'scale'" in run_elsewhere(code).stderr


def test_loading_without_the_library_says_so(result: gp.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "slim", onnx=False)
    code = (
        "import sys, graphprune as gp\ntry:\n"
        f"    gp.load({str(tmp_path / 'slim')!r}, operators=['userlib::scale'])\n"
        "except gp.InputError as error:\n    print(error)"
    )
    said = run_elsewhere(code).stdout
    assert said.strip() == (
        "there is no operator userlib::scale — import the library that registers it first"
    )
