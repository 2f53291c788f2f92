"""Generated Python source: it runs alone, computes the same, and reads like written code."""

from __future__ import annotations

import ast
import importlib.util
import operator
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import fx, nn

from graphprune.exporting import module_source, save_model
from graphprune.exporting.forward import forward_source
from graphprune.exporting.graph_json import graph_to_json
from graphprune.exporting.layout import WIDTH, Bracket, statement
from graphprune.ground.errors import InputError

from .zoo import CASES, ConvNet, graph_from_json, tensors, traced

# Runs generated files where graphprune cannot be imported, on inputs and to outputs in files of tensors.
RUNNER = """
import sys
import importlib.util

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "graphprune":
            raise ImportError("graphprune is not here")

sys.meta_path.insert(0, Block())
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
for folder in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = load_file(folder / "inputs.safetensors")
    model = module.load()
    assert not model.training
    result = model(inputs.pop("0"), **inputs)
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    outputs = {str(i): leaf.detach().contiguous() for i, leaf in enumerate(leaves)}
    save_file(outputs, folder / "outputs.safetensors")
"""


def generated(model: fx.GraphModule, folder: Path) -> ModuleType:
    """The imported model.py, with its weights beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(module_source(model, "A model", ["x"]), encoding="utf-8")
    save_model(model, folder / "model.safetensors")
    spec = importlib.util.spec_from_file_location("generated_model", folder / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_compute_the_same_without_graphprune(tmp_path: Path) -> None:
    for name, case in CASES.items():
        generated(case.build(), tmp_path / name)
        inputs = {"0": case.args[0], **case.kwargs}
        save_file(inputs, tmp_path / name / "inputs.safetensors")
    (tmp_path / "run.py").write_text(RUNNER)
    command = [sys.executable, "-I", str(tmp_path / "run.py"), *(str(tmp_path / name) for name in CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name, case in CASES.items():
        expected = tensors(case.build()(*case.args, **case.kwargs))
        found = load_file(tmp_path / name / "outputs.safetensors")
        assert len(found) == len(expected)
        for i, output in enumerate(expected):
            # not to the bit: a matrix product rounds otherwise where memory is aligned otherwise, as in a file
            scale = float(output.detach().double().abs().max())
            torch.testing.assert_close(found[str(i)], output.detach(), rtol=0, atol=2e-7 * scale, msg=name)


@pytest.mark.parametrize("name", CASES)
def test_generated_model_has_the_same_parts(name: str, tmp_path: Path) -> None:
    model = CASES[name].build()
    slim = generated(model, tmp_path).load()
    assert list(slim.state_dict()) == list(model.state_dict())
    for mine, own in [
        (model.named_parameters(remove_duplicate=False), slim.named_parameters(remove_duplicate=False)),
        (model.named_buffers(remove_duplicate=False), slim.named_buffers(remove_duplicate=False)),
    ]:
        expected, found = dict(mine), dict(own)
        assert list(found) == list(expected)
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
        assert all(found[key].dtype == tensor.dtype for key, tensor in expected.items())
        assert all(found[key].requires_grad == tensor.requires_grad for key, tensor in expected.items())
    assert len(list(slim.parameters())) == len(list(model.parameters())), "ties"
    assert len(list(slim.modules())) == len(list(model.modules())), "shared layers"


@pytest.mark.parametrize("name", CASES)
def test_generated_file_is_formatted_and_clean(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(module_source(CASES[name].build(), "A model", ["x"]), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--diff"], ["check", "--select", "E,F,I,UP,B"]):
        options = ["--isolated", "--no-cache", "--line-length", str(WIDTH), "--target-version", "py310"]
        done = subprocess.run(
            [*ruff, *command, *options, str(path)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_generated_file_imports_only_torch_and_safetensors() -> None:
    tree = ast.parse(module_source(CASES["operators"].build(), "A model", ["x"]))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} <= {
        "__future__",
        "operator",
        "pathlib",
        "torch",
        "safetensors",
    }


CONSTRUCTOR = """\
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2).requires_grad_(False)
        put(self, "layer1.0.gamma", nn.Parameter(torch.zeros(8, 1, 1)))
        put(self, "layer1.0.conv1", nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False))
        put(self, "layer1.0.bn1", nn.BatchNorm2d(8, eps=0.001))
        put(self, "layer1.0.act", nn.ReLU(inplace=True))
"""

FORWARD = """\
    def forward(self, input_ids, scale=None):
        x = self.embed(input_ids)
        x = x + self.position
        size, size_1 = x.shape[0], x.shape[1]
        # blocks.0
        x1 = self.blocks[0].norm(x)
        x1 = self.blocks[0].qkv(x1)
        x1 = x1.view(size, size_1, 3, 2, 6)
        x1 = x1.permute(2, 0, 3, 1, 4)
        x2 = x1[0]
        x3 = x1[1]
        x1 = x1[2]
        x2 = F.scaled_dot_product_attention(x2, x3, x1, attn_mask=self.mask, scale=0.3)
        x2 = x2.transpose(1, 2)
        x2 = x2.reshape(size, size_1, 12)
        x2 = self.proj(x2)
        x = x + x2
        x1 = self.head(x)
        x2 = x[:, 0]
        x = x[:, -1:, ::2]
        return {"logits": x1, "hidden": (x2, x)}
"""


def test_source_reads_like_written_code() -> None:
    assert CONSTRUCTOR in module_source(CASES["conv"].build(), "A model", ["x"])
    attention = module_source(CASES["attention"].build(), "A model", ["x"])
    assert FORWARD in attention
    assert "        self.head.weight = self.embed.weight\n" in attention
    assert '        put(self, "mask", torch.zeros(6, 6, dtype=torch.bool), persistent=False)\n' in attention


def test_title_and_input_stand_in_the_docstring_whatever_they_hold() -> None:
    title = 'Half of "net" at C:\\new \\N{x} """; import os; """'
    source = module_source(CASES["double"].build(), title, ["x " + "float64 (batch, 4), " * 20])
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring is not None
    assert docstring.startswith(title)
    assert "Inputs:\nx float64" in docstring
    assert max(map(len, source.splitlines())) <= WIDTH


class Awkward(nn.Module):
    """Names that are no identifiers, or mean something else in a class body."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"a-b": nn.Linear(3, 3), "01": nn.Linear(3, 3), "__private": nn.ReLU()})
        self.__mangled = nn.Linear(3, 3)
        self.bn = nn.BatchNorm1d(3)

    def forward(self, x2, size):
        x = self.parts["__private"](self.parts["01"](self.parts["a-b"](x2)))
        return self.bn(self._Awkward__mangled(x)).reshape(x.size(0), size.size(1)) + x2


def test_awkward_names_and_mixed_layers(tmp_path: Path) -> None:
    model = traced(Awkward())
    model.bn.register_buffer("num_batches_tracked", torch.tensor(7, dtype=torch.int32), persistent=False)
    model.bn.bias.requires_grad_(False)
    slim = generated(model, tmp_path).load()
    x = torch.randn(2, 3)
    assert torch.equal(slim(x, x), model(x, x))
    assert torch.equal(slim.bn.num_batches_tracked, torch.tensor(7, dtype=torch.int32))
    assert "bn.num_batches_tracked" not in slim.state_dict()
    assert (slim.bn.weight.requires_grad, slim.bn.bias.requires_grad) == (True, False)


def test_tensors_beside_those_of_a_layer(tmp_path: Path) -> None:
    model = traced(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    model.get_submodule("0").register_buffer("scale", torch.tensor(7.0), persistent=False)
    model.get_submodule("0").shift = nn.Parameter(torch.ones(2), requires_grad=False)
    layer = generated(model, tmp_path).load().get_submodule("0")
    assert "scale" not in layer.state_dict()
    assert torch.equal(layer.shift, torch.ones(2))
    assert not layer.shift.requires_grad
    read = graph_from_json(graph_to_json(model))
    assert read.get_submodule("0").scale.shape == ()


def test_numbered_layers_of_the_model_itself(tmp_path: Path) -> None:
    model = traced(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    module = generated(model, tmp_path)
    x = torch.randn(2, 3)
    assert torch.equal(module.load()(x), model(x))
    assert "self[2](" in (tmp_path / "model.py").read_text()


def test_load_refuses_the_weights_of_another_model(tmp_path: Path) -> None:
    module = generated(traced(ConvNet()), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    for change, message in [
        ({"stem.weight": torch.zeros(1, 3, 3, 3)}, r"stem\.weight is torch\.float32 \[1, 3, 3, 3\]"),
        ({"stem.bias": torch.zeros(8).double()}, r"stem\.bias is torch\.float64"),
        ({"other": torch.zeros(1)}, "other is"),
    ]:
        save_file({**weights, **change}, path)
        with pytest.raises(ValueError, match=message):
            module.load()
    del weights["stem.bias"]
    save_file(weights, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"lacks stem\.bias"):
        module.load("short.safetensors")


class Shadowing(nn.Module):
    def forward(self, torch):
        return torch + 1


def test_an_input_called_like_a_module_is_refused() -> None:
    with pytest.raises(InputError, match="an input of the model is called 'torch'"):
        module_source(traced(Shadowing()), "A model", ["x"])


def test_long_statements_break_inside_their_Bracket() -> None:
    names = [f"value_{number}" for number in range(12)]
    assert statement("x = ", Bracket("f(", names[:3], ")"), 0) == ["x = f(value_0, value_1, value_2)"]
    assert statement("x = ", Bracket("f(", names[:11], ")"), 8) == [
        "        x = f(",
        "            " + ", ".join(names[:11]),
        "        )",
    ]
    lines = statement("x = ", Bracket("torch.cat(", [Bracket("[", names, "]"), "1"], ")"), 4)
    assert lines[:3] == ["    x = torch.cat(", "        [", "            value_0,"]
    assert lines[-3:] == ["        ],", "        1,", "    )"]


def test_a_negative_base_stays_in_parentheses() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(operator.pow, (-2.0, x)))
    assert forward_source(graph) == [
        "    def forward(self, x):",
        "        x = (-2.0) ** x",
        "        return x",
    ]


def test_calls_read_like_written_code_where_that_is_the_same() -> None:
    aten = torch.ops.aten
    graph = fx.Graph()
    x = graph.placeholder("image")
    tensor = torch.arange(120.0).reshape(2, 3, 4, 5)
    calls = [
        (aten.index.Tensor, (x, [x, x]), "image[image, image]"),
        (aten.index.Tensor, (x, [None, x]), "aten.index.Tensor(image, [None, image])"),
        (aten.mean.dim, (x, [2, 3], True), "image.mean([2, 3], True)"),
        (aten.cumsum.default, (x, 1), "aten.cumsum.default(image, 1)"),
        (operator.sub, (x, 0.5), "image - 0.5"),
        (operator.getitem, (x, (Ellipsis, None, slice(1, None))), "image[..., None, 1:]"),
        (operator.getitem, (x, (slice(1, 2),)), "image[1:2,]"),
        (operator.neg, (x,), "-image"),
        (F.pad, (x, (1, 1)), "F.pad(image, (1, 1))"),
        (torch.where, (x, x, -1.5), "torch.where(image, image, -1.5)"),
    ]
    graph.output([graph.call_function(function, arguments) for function, arguments, _ in calls])
    lines = forward_source(graph)[1:-1]
    assert [line.partition(" = ")[2] for line in lines] == [text for _, _, text in calls]
    for function, arguments, text in calls:
        if function in (aten.mean.dim, aten.cumsum.default, operator.getitem):
            values = fx.node.map_arg(arguments, lambda _: tensor)
            assert torch.equal(eval(text, {"image": tensor, "aten": aten}), function(*values)), text  # noqa: S307
