"""However a model is called and whatever it returns, the slim model is called alike and returns alike."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from black_box import (
    difference,
    fresh,
    leaves,
    randomise,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
    sizes,
    zeroed,
)
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import graphprune as gp
from graphprune.ground.arguments import is_constant

ROWS = torch.zeros(2, 6)


class Layers(nn.Module):
    """6 → 10 → 4, and what a subclass makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 4)

    def apply_all(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).relu())


class OneTensor(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.apply_all(x)


class TwoTensors(Layers):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.apply_all(first * second.tanh())


class WithKeyword(Layers):
    def forward(self, x: Tensor, *, bias: Tensor, gain: float = 1.0) -> Tensor:
        return self.apply_all(x * gain + bias)


class DictInput(Layers):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.apply_all(batch["x"] - batch["y"])


class Nested(Layers):
    def forward(self, pair: tuple[Tensor, list[Tensor]], more: dict[str, Any]) -> Tensor:
        x, (y, z) = pair
        return self.apply_all(x + y * z - more["inner"]["w"])


class Optional(Layers):
    def forward(self, x: Tensor, mask: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        x = x if mask is None else x * mask
        return self.apply_all(x if scale is None else x * scale)


class Variadic(Layers):
    def forward(self, *tensors: Tensor) -> Tensor:
        return self.apply_all(sum(tensors))


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (OneTensor, ROWS),
        (OneTensor, (ROWS,)),
        (OneTensor, [ROWS]),
        (OneTensor, {"x": ROWS}),
        (TwoTensors, (ROWS, ROWS)),
        (TwoTensors, {"second": ROWS, "first": ROWS}),
        (TwoTensors, ((ROWS,), {"second": ROWS})),
        (WithKeyword, ((ROWS,), {"bias": ROWS})),
        (WithKeyword, ((ROWS,), {"bias": ROWS, "gain": 2.0})),
        (DictInput, ({"x": ROWS, "y": ROWS},)),
        (Nested, ((ROWS, [ROWS, ROWS]), {"inner": {"w": ROWS}, "note": 3})),
        (Optional, ROWS),
        (Optional, (ROWS, None)),
        (Optional, (ROWS, ROWS)),
        (Optional, (ROWS, None, ROWS)),
        (Optional, ((ROWS,), {"scale": ROWS})),
        (Optional, {"x": ROWS, "mask": ROWS}),
        (Variadic, (ROWS, ROWS, ROWS)),
    ],
)
def test_every_way_to_give_inputs(model: type[nn.Module], inputs: Any) -> None:
    # a tuple of a tuple and a dict is (args, kwargs): nested arguments are wrapped once more
    given = (inputs, {}) if model is Nested else inputs
    result = shrunk(model(), given)
    assert sizes(result) == {"up.weight:0": 10}
    assert result.graph.program.dynamic_batch


def test_a_forward_of_any_keywords_is_captured_for_one_batch_size() -> None:
    class Keywords(Layers):
        def forward(self, x: Tensor, **named: Tensor) -> Tensor:
            return self.apply_all(x + named["extra"])

    result = shrunk(Keywords(), ((ROWS,), {"extra": ROWS}))  # torch.export 2.13 has no dynamic **kwargs
    assert sizes(result) == {"up.weight:0": 10}


def test_the_slim_forward_has_the_original_parameter_names() -> None:
    slim = shrunk(Optional(), ((ROWS,), {"scale": ROWS})).model
    x, scale = torch.randn(2, 6), torch.randn(2, 6)
    assert torch.equal(slim(x, scale=scale), slim(x=x, scale=scale))


class Ids(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(9, 12), nn.Embedding(5, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        x = x.masked_fill(~mask[..., None], 0.0)
        return self.out(x.sum(1) / mask.sum(1, keepdim=True))


def test_integer_and_boolean_inputs() -> None:
    ids, mask = torch.arange(10).reshape(2, 5) % 9, torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    assert sizes(shrunk(Ids(), {"ids": ids, "mask": mask})) == {"embed.weight:1": 12}


# -- arguments that were constants at capture ----------------------------------------------------------------


class Constants(Layers):
    def forward(
        self, x: Tensor, mask: Tensor | None = None, gain: Any = 2.0, mode: str = "up", sizes: Any = (1, 2)
    ) -> Tensor:
        x = x * gain if mode == "up" else x
        return self.apply_all((x if mask is None else x * mask) + sizes[0])


CONSTANT = ((ROWS, None, 2.0), {"mode": "up", "sizes": (1, 2)})
OTHERS = [
    ({"mask": ROWS}, "mask is a Tensor, but was None at capture — .* capture the model again with a tensor"),
    ({"mask": 0}, "mask is 0, but was None at capture"),
    ({"gain": 3.0}, "gain is 3.0, but was 2.0 at capture — leave it so, or .* with the value you want"),
    ({"gain": None}, "gain is None, but was 2.0 at capture"),
    ({"gain": torch.tensor(2.0)}, "gain is a Tensor, but was 2.0 at capture"),
    ({"gain": ROWS}, "gain is a Tensor, but was 2.0 at capture"),
    ({"mode": "down"}, "mode is 'down', but was 'up' at capture"),
    ({"sizes": (1, 3)}, r"sizes is a tuple, but was \(1, 2\) at capture"),
    ({"sizes": (ROWS, 2)}, r"sizes is a tuple, but was \(1, 2\) at capture"),
]
SAME = [{}, {"mask": None}, {"gain": 2}, {"mask": None, "gain": 2.0, "mode": "up", "sizes": (1, 2)}]


def source_model(folder: Path) -> nn.Module:
    """`model.py` as it is run where there is no graphprune."""
    text = (folder / "model.py").read_text()
    assert "import graphprune" not in text
    assert "if mask is not None:\n            raise ValueError(" in text
    space: dict[str, Any] = {"__file__": str(folder / "model.py")}
    exec(compile(text, "model.py", "exec"), space)
    return space["load"]()


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> dict[str, nn.Module]:
    """A slim model in every form that it takes."""
    folder = tmp_path_factory.mktemp("constant") / "slim"
    result = shrunk(Constants(), CONSTANT, seeds=(0,))
    assert result.save(folder, latency=False)["verdict"]["passed"]
    cleaned = copy.deepcopy(result.model)
    cleaned.graph.eliminate_dead_code()
    cleaned.recompile()
    return {
        "slim": result.model,
        "copied": copy.deepcopy(result.model),
        "cleaned": cleaned,
        "traced": torch.fx.symbolic_trace(result.model),
        "pickled": pickle.loads(pickle.dumps(result.model)),  # noqa: S301 – our own
        "loaded": gp.load(folder),
        "again": gp.shrink(gp.load(folder), CONSTANT, ratio=0.5).model,
        "source": source_model(folder),
    }


FORMS = ["slim", "copied", "cleaned", "traced", "pickled", "loaded", "again", "source"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("given", "message"), OTHERS, ids=lambda value: str(value)[:20])
def test_another_value_than_the_captured_one_is_refused(
    form: str, given: dict[str, Any], message: str, constant: dict[str, nn.Module]
) -> None:
    if form == "source":
        if given.get("sizes", (0,))[0] is ROWS:
            pytest.skip("plain Python compares a tensor inside a tuple, and refuses with PyTorch's message")
        with pytest.raises(
            ValueError, match=f"{next(iter(given))} was .* at capture; leave it so, or capture"
        ):
            constant[form](ROWS, **given)
        return
    with pytest.raises(gp.InputError, match=message):
        constant[form](ROWS, **given)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("given", SAME, ids=str)
def test_the_captured_value_and_none_given_are_taken(
    form: str, given: dict[str, Any], constant: dict[str, nn.Module]
) -> None:
    x = torch.randn(3, 6)
    assert torch.equal(constant[form](x, **given), constant[form](x, None, 2.0, "up", (1, 2)))


def test_a_constant_before_a_tensor_is_held_too() -> None:
    model = shrunk(Optional(), (ROWS, None, ROWS), seeds=(0,)).model
    assert model(ROWS, None, ROWS).shape == (2, 4)
    with pytest.raises(gp.InputError, match="mask is a Tensor, but was None at capture"):
        model(ROWS, ROWS, ROWS)


def test_nothing_is_asked_where_every_argument_is_a_tensor() -> None:
    model = shrunk(Optional(), (ROWS, ROWS, ROWS), seeds=(0,)).model
    assert "require_same" not in model.code


def test_only_plain_values_that_equal_themselves_are_compared() -> None:
    assert all(is_constant(value) for value in (None, True, 2, "a", (1, [None, {"b": 2.5}]), ()))
    assert not any(is_constant(value) for value in (float("nan"), (1, float("nan")), object(), ROWS))


# -- outputs ----------------------------------------------------------------------------------------------


@dataclass
class Boxes:
    logits: Tensor
    boxes: Tensor
    loss: Tensor | None = None


pytree.register_dataclass(Boxes)


class Scores(NamedTuple):
    logits: Tensor
    count: int


class Returns(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.up, self.down, self.side = nn.Linear(6, 10), nn.Linear(10, 4), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.up(x).relu()
        a, b = self.down(x), self.side(x)
        return {
            "tuple": (a, b),
            "list": [a, [b, a]],
            "dict": {"a": a, "rest": {"b": b}},
            "none": (a, None, b),
            "constant": (a, 3, "text", b),
            "dataclass": Boxes(a, b),
            "namedtuple": Scores(a, 3),
            "twice": (a, a),
            "hidden": (a, x),
        }[self.kind]


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "none", "constant", "dataclass", "twice"])
def test_every_way_to_return_results(kind: str) -> None:
    model = Returns(kind)
    result = shrunk(model, ROWS)
    assert sizes(result) == {"up.weight:0": 10}
    x = torch.randn(3, 6)
    with torch.no_grad():
        given, wanted = result.model(x), zeroed(model, result.plan.kept)(x)
    if kind == "dataclass":  # comes as a dict of its fields
        assert set(given) == {"logits", "boxes", "loss"}
        assert given["loss"] is None
        assert difference(wanted.boxes, given["boxes"]) < 1e-5
        return
    assert type(given) is type(wanted)
    if kind == "none":
        assert given[1] is None
    if kind == "constant":
        assert given[1:3] == (3, "text")
    if kind == "dict":
        assert list(given) == ["a", "rest"]
        assert list(given["rest"]) == ["b"]
    if kind == "list":
        assert torch.equal(given[0], given[1][1])


def test_named_tuples_come_as_tuples_with_all_their_items() -> None:
    model = Returns("namedtuple")
    result = shrunk(model, ROWS)
    logits, count = result.model(ROWS)
    assert logits.shape == (2, 4)
    assert count == 3


def test_a_returned_hidden_state_is_an_output_and_stays() -> None:
    result = gp.shrink(randomise(Returns("hidden")), ROWS, ratio=0.5)
    assert sizes(result) == {}
    assert result.model(ROWS)[1].shape == (2, 10)


# -- batches ----------------------------------------------------------------------------------------------


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 10, 3)
        self.head = nn.Linear(10 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.conv(x).relu()).relu()
        return self.head(x.view(x.size(0), -1))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("other", [1, 5])
def test_any_batch_size_in_and_any_other_at_run_time(batch: int, other: int) -> None:
    result = shrunk(Image(), torch.zeros(batch, 3, 6, 6), seeds=(0,), batch=other)
    assert result.graph.program.dynamic_batch
    assert result.before.macs == 3 * 8 * 9 * 16 + 8 * 10 * 9 * 4 + 40 * 5  # of one example
    assert sizes(result) == {"conv.weight:0": 8, "last.weight:0": 10}


class StaticBatch(Image):
    """A Python loop over the batch specialises the program."""

    def forward(self, x: Tensor) -> Tensor:
        rows = [self.last(self.conv(x[i : i + 1]).relu()).flatten(1) for i in range(len(x))]
        return self.head(torch.cat(rows)) / float(int(x.shape[0]))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_models_that_only_run_at_one_batch_size(batch: int) -> None:
    model = StaticBatch()
    result = shrunk(model, torch.zeros(batch, 3, 6, 6))
    assert not result.graph.program.dynamic_batch
    assert result.graph.program.notes[0].startswith("captured for this batch size only")
    assert result.model(torch.zeros(batch, 3, 6, 6)).shape == (batch, 5)
    assert sizes(result) == {"conv.weight:0": 8, "last.weight:0": 10}


class FixedState(nn.Module):
    """A buffer with the batch size in its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 4)
        self.register_buffer("state", torch.rand(2, 10) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x) * self.state)


def test_a_buffer_that_fixes_the_batch_size() -> None:
    result = shrunk(FixedState(), ROWS)
    assert not result.graph.program.dynamic_batch
    assert result.model.state.shape == (2, 5)


class BatchAsFactor(nn.Module):
    """The batch folded into windows and back; a width equal to the batch must not be taken for it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        y = self.up(x.reshape(b * t, c)).view(b, t, 2, 3).transpose(1, 2).reshape(b * 2, t, 3)
        y = y.softmax(1).view(b, 2, t, 3).transpose(1, 2).reshape(b, t, 6)
        return self.down(y)


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
def test_the_batch_size_is_no_factor_of_a_width(batch: int) -> None:
    result = shrunk(BatchAsFactor(), torch.zeros(batch, 4, 3))
    assert sorted(sizes(result).values()) == [2, 3]


def test_inputs_that_share_no_first_dimension() -> None:
    class TwoSizes(Layers):
        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            return self.apply_all(x @ table)

    result = shrunk(TwoSizes(), (torch.zeros(2, 5), torch.zeros(5, 6)))
    assert sizes(result) == {"up.weight:0": 10}
    names = {str(at): at.name for at in result.graph.program.dimensions}
    assert names["x[0]"] == "batch"
    assert names["x[1]"] == names["table[0]"] != "batch"


# -- dtypes -----------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer_norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.conv(x))).flatten(2).transpose(1, 2)
        x = self.layer_norm(x + self.attention(x, x, x, need_weights=False)[0])
        return self.head(x.mean(1))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)],
)
def test_other_precisions(dtype: torch.dtype, tolerance: float) -> None:
    model = Mixed().to(dtype)
    result = shrunk(model, torch.zeros(2, 3, 5, 5, dtype=dtype), tolerance=tolerance)
    floating = [t for t in result.model.state_dict().values() if t.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {dtype}
    assert {leaf.dtype for leaf in leaves(result.model(*fresh(torch.zeros(1, 3, 5, 5, dtype=dtype))[0]))} == {
        dtype
    }


def test_a_model_of_two_precisions() -> None:
    class Casting(Layers):
        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(x).relu().double()).float()

    model = Casting()
    model.down.double()
    result = shrunk(model, ROWS)
    assert result.model.up.weight.dtype is torch.float32
    assert result.model.down.weight.dtype is torch.float64


def test_first_dimensions_that_agree_by_chance() -> None:
    """The table's rows are the columns of ``x``: no batch, though as many."""

    class Chance(Layers):
        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            return self.apply_all(x @ table)

    result = shrunk(Chance(), (torch.zeros(5, 5), torch.zeros(5, 6)))
    assert sizes(result) == {"up.weight:0": 10}
    names = {str(at): at.name for at in result.graph.program.dimensions}
    assert names["x[0]"] == "batch"
    assert names["x[1]"] == names["table[0]"] != "batch"


class Echo(Layers):
    """Returns an input, a parameter, a number computed from the batch, and a view of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.rand(4, 10))

    def forward(self, x: Tensor) -> tuple[Any, ...]:
        y = self.up(x)
        return self.down(y), x, self.down.bias, x.shape[0], (y @ self.table.t()).sum(0)


def test_returned_inputs_parameters_and_sizes() -> None:
    model = Echo()
    result = shrunk(model, ROWS)
    assert sizes(result) == {"up.weight:0": 10}
    x = torch.randn(5, 6)
    slim = result.model(x)
    assert torch.equal(slim[1], x)
    assert torch.equal(slim[2], model.down.bias)
    assert slim[3] == 5


def test_a_dataclass_that_torch_was_not_told_of_comes_as_a_dict() -> None:
    @dataclass
    class Unknown:
        logits: Tensor

    class Model(Layers):
        def forward(self, x: Tensor) -> Unknown:
            return Unknown(self.apply_all(x))

    result = shrunk(Model(), ROWS)
    assert list(result.model(ROWS)) == ["logits"]


def test_outputs_that_name_themselves_to_torch_outside_of_an_export() -> None:
    """As those of transformers do where their module is first imported while torch exports."""

    class Outputs(OrderedDict):
        def __init__(self, **fields: Tensor) -> None:
            super().__init__(**fields)
            if type(self) not in pytree.SUPPORTED_NODES and not torch.compiler.is_compiling():
                pytree.register_pytree_node(
                    type(self),
                    lambda items: (list(items.values()), list(items)),
                    lambda values, names: type(self)(**dict(zip(names, values, strict=True))),
                )

    class Model(Layers):
        def forward(self, x: Tensor) -> Outputs:
            return Outputs(logits=self.apply_all(x), same=x)

    model = Model().eval()
    result = gp.shrink(model, ROWS, ratio=0.5)
    assert result.graph.program.dynamic_batch
    assert sizes(result) == {"up.weight:0": 10}
    assert set(result.model(ROWS)) == {"logits", "same"}
    assert torch.equal(result.model(ROWS)["same"], ROWS)
