"""``graft=True``: what the user's own code asks of a plan is found, and the same class comes back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from own_code import MODELS, Divided, Literal, yolo
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture.grafting import Place, shown_place, whole_numbers
from graphprune.cutting.fitting import Fit, kind_of
from graphprune.cutting.grafted import own_model
from graphprune.ground.arguments import tensor_leaves
from graphprune.planning import make_plan

PROOF = "the user's own forward with slim layers equals the slim model"

# model → kinds of groups that are tied, of attributes that follow, and of groups that are held
WANTED: dict[str, tuple[set[tuple[str, ...]], set[str], set[str]]] = {
    "yolo": (
        {("#.first.conv.weight:0/0", "#.first.conv.weight:0/1")},
        {"#.width"},
        set(),
    ),
    "attention": ({("#.q.weight:0/1", "#.v.weight:0/1")}, {"#.heads", "#.width"}, set()),
    "configured": ({("up.#.weight:0",)}, {"config.inner"}, set()),
    "bert": (
        {
            (
                "encoder.layer.#.attention.self.query.weight:0/1",
                "encoder.layer.#.attention.self.value.weight:0/1",
            )
        },
        {"encoder.layer.#.attention.self.attention_head_size"},
        set(),
    ),
    "gpt2": (
        {("transformer.h.#.attn.c_attn.weight:1/1", "transformer.h.#.attn.c_attn.weight:1/2")},
        {
            "transformer.h.#.attn.c_proj.nf",
            "transformer.h.#.mlp.c_proj.nf",
            "transformer.h.#.attn.c_attn.nf",
            "transformer.h.#.mlp.c_fc.nf",
            "transformer.h.#.attn.split_size",
            "transformer.h.#.attn.head_dim",
        },
        set(),
    ),
    "t5": (
        {
            (
                "encoder.block.#.layer.#.SelfAttention.q.weight:0/1",
                "encoder.block.#.layer.#.SelfAttention.v.weight:0/1",
            )
        },
        {"encoder.block.#.layer.#.SelfAttention.key_value_proj_dim"},
        set(),
    ),
    # rotary tables have half of a head's width each, and the values' width is in the same view
    "llama": (
        set(),
        set(),
        {"model.layers.#.self_attn.q_proj.weight:0/2", "model.layers.#.self_attn.v_proj.weight:0/1"},
    ),
    "whisper": (
        {("layers.#.self_attn.k_proj.weight:0/1", "layers.#.self_attn.v_proj.weight:0/1")},
        {"layers.#.self_attn.num_heads", "layers.#.self_attn.head_dim"},
        set(),
    ),
    # torch's own attention wants the width of the stream to be heads times their width
    "torchvision": (
        set(),
        set(),
        {
            "class_token:2",
            "encoder.layers.encoder_layer_#.self_attention.in_proj_weight:0/3",
            "encoder.layers.encoder_layer_#.self_attention.in_proj_weight:0/4",
        },
    ),
    # the scale of a fused attention follows the width of a head
    "timm": (set(), {"blocks.#.attn.num_heads", "blocks.#.attn.attn_dim"}, {"blocks.#.attn.qkv.weight:0/2"}),
    "swin": (
        set(),
        set(),
        {
            "features.#.#.weight:0",
            "features.#.#.attn.relative_position_bias_table:1",
            "features.#.#.attn.qkv.weight:0/4",
            "features.#.reduction.weight:0",
        },
    ),
}


def kinds(names: Any) -> set[str]:
    return {kind_of(name) for name in names}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_class_comes_back(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    before = copy.deepcopy(model.eval().state_dict())
    outputs = ["logits"] if name in ("gpt2", "llama") else ()
    result = gp.shrink(
        model, inputs, ratio=0.4, importance="random", align=1, graft=True, outputs=outputs, seed=1
    )
    fit = result.fit
    assert fit is not None
    found = {tuple(sorted(kinds(tie))) for tie in fit.ties}
    assert (found, kinds(map(shown_place, fit.numbers)), kinds(fit.held)) == WANTED[name]
    # what it asks for is met, and no more than that is held
    sizes = {name: (group.size, result.plan.sizes[name]) for name, group in result.graph.by_name.items()}
    assert all(len({sizes[other] for other in tie}) == 1 for tie in fit.ties)
    assert all((kept == size) == (other in fit.held) for other, (size, kept) in sizes.items())
    proofs = [check for check in result.verdict.checks if check.name.startswith(PROOF)]
    assert proofs
    assert all(check.passed and check.figure < check.limit == 1e-6 for check in proofs)

    own: Any = result.graft()
    assert type(own) is type(model)
    assert sum(p.numel() for p in own.parameters()) < sum(p.numel() for p in model.parameters())
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})
    with torch.no_grad():
        given, wanted = own(*args, **kwargs), result.model(*args, **kwargs)
    wanted = tensor_leaves(dict(wanted) if hasattr(wanted, "items") else wanted)
    given = [given.logits] if outputs else tensor_leaves(dict(given) if hasattr(given, "items") else given)
    for one, two in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, two)
    for place, term in fit.numbers.items():
        value = whole_numbers(model)[place]
        assert whole_numbers(own)[place] < value == term.size
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_slim_class_trains_and_keeps_its_names() -> None:
    torch.manual_seed(0)
    model, x = yolo()
    result = gp.shrink(model.eval(), x, params=0.5, graft=True)
    own = result.graft()
    assert set(own.state_dict()) == set(model.state_dict())
    own.train()
    own(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in own.parameters())


def test_a_saved_result_is_loaded_into_the_class(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = MODELS["attention"]()
    result = gp.shrink(model.eval(), x, ratio=0.5, align=1, graft=True)
    assert ["1", "heads", 2] in result.plan.request["attributes"]
    result.save(tmp_path / "slim", latency=False, onnx=False)
    other, _ = MODELS["attention"]()
    own: Any = gp.load(tmp_path / "slim", into=other.eval())
    assert (type(own[1]), own[1].heads, own[1].width) == (type(model[1]), 2, 3)  # type: ignore[index]
    torch.testing.assert_close(own(x), result.model(x))
    with pytest.raises(gp.InputError, match=r"Sequential has no 0\.weight"):
        gp.load(tmp_path / "slim", into=yolo()[0])
    other[0] = nn.Linear(4, 20)  # type: ignore[index]
    with pytest.raises(gp.InputError, match=r"0.weight is \(20, 4\) in Sequential, \("):
        gp.load(tmp_path / "slim", into=other)
    path = tmp_path / "slim/plan.json"
    for wrong in (7, [7], [["1", "heads", "2"]], [["1", ["heads"], 2]], [["heads", 2]]):
        plan = json.loads(path.read_text())
        plan["request"]["attributes"] = wrong
        path.write_text(json.dumps(plan))
        with pytest.raises(gp.InputError, match="which is no place with a whole number"):
            gp.load(tmp_path / "slim", into=model)
    gp.shrink(model, x, ratio=0.5).save(tmp_path / "plain", latency=False, onnx=False)
    with pytest.raises(gp.InputError, match="was not made to fit into a class"):
        gp.load(tmp_path / "plain", into=model)


@pytest.mark.parametrize("kind", [Literal, Divided])
def test_what_cannot_be_mended_keeps_its_width_and_is_named(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    result = gp.shrink(kind().eval(), torch.randn(3, 6), ratio=0.5, align=1, graft=True)
    assert result.plan.sizes == {"free.weight:0": 5, "up.weight:0": 8}
    (note,) = result.graph.program.notes
    assert note.startswith("group up.weight:0: the width stays, since the model's own code needs it: ")
    said = ".view(-1, 8)" if kind is Literal else "it computes otherwise with slim layers"
    assert said in note
    assert result.graft()(torch.randn(3, 6)).shape == (3, 4)
    with pytest.raises(gp.BudgetError, match="cannot be reached"):
        gp.shrink(kind().eval(), torch.randn(3, 6), params=0.3, graft=True)


def test_attributes_are_found_for_a_result_that_did_not_ask() -> None:
    torch.manual_seed(0)
    model, x = MODELS["attention"]()
    result = gp.shrink(model.eval(), x, ratio=0.5, align=1)
    own: Any = result.graft()
    assert (own[1].heads, own[1].width) == (2, 3)
    torch.testing.assert_close(own(x), result.model(x))


def test_a_plan_that_does_not_fit_is_refused() -> None:
    torch.manual_seed(0)
    model, x = yolo()
    graph = gp.trace(model.eval(), x)
    one, other = "1.first.conv.weight:0/0", "1.first.conv.weight:0/1"
    uneven = make_plan(graph, {one: torch.arange(3), other: torch.arange(6)})
    with pytest.raises(gp.VerificationError, match=r"own class: .* FAILED, inf .*own_code\.py:\d+"):
        gp.shrink(graph, None, plan=uneven, graft=True)
    result = gp.shrink(graph, None, plan=uneven)
    with pytest.raises(gp.InputError, match="does not run with slim layers"):
        result.graft()
    # a wrong attribute is caught too
    fit = gp.shrink(graph, None, ratio=0.5, align=1, graft=True).fit
    assert fit is not None
    even = make_plan(graph, {name: torch.arange(4) for name in fit.ties[0]})
    result = gp.shrink(graph, None, plan=even)
    assert own_model(graph, even, result.model, fit)(x).shape == model(x).shape
    wrong = dict.fromkeys(fit.numbers, graph.tensor_terms["0.conv.weight"][2])  # a kernel
    with pytest.raises(gp.InputError, match="slim layers"):
        own_model(graph, even, result.model, Fit(numbers=wrong))


def test_numbers_of_a_model_are_found_and_set_where_they_stand() -> None:
    from graphprune.capture.grafting import graft

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.heads, self.flag, self.one = nn.Linear(4, 6), 4, True, 1
            self.shape: Any = [2, (3, 5)]
            self.options = {"groups": 7}
            self.also = self.options

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    model = Holder().eval()
    places: dict[Place, int] = whole_numbers(model)
    assert {shown_place(place): value for place, value in places.items()} == {
        "heads": 4, "shape.0": 2, "shape.1.0": 3, "shape.1.1": 5, "options.groups": 7,
    }  # fmt: skip
    layers = gp.shrink(model, torch.zeros(2, 4), ratio=0.5).model
    own: Any = graft(model, layers, {place: 10 * value for place, value in places.items()})
    assert (own.heads, own.shape, own.options) == (40, [20, (30, 50)], {"groups": 70})
    assert own.also is own.options
    assert (model.heads, model.shape, model.options) == (4, [2, (3, 5)], {"groups": 7})


def test_a_graph_without_a_module_cannot_come_back() -> None:
    graph = gp.trace(Literal().eval(), torch.zeros(2, 6))
    alone = type(graph)(
        type(graph.program)(**{**vars_of(graph.program), "model": None}), graph.analysis, graph.groups
    )
    with pytest.raises(gp.InputError, match="there is no module"):
        gp.shrink(alone, None, ratio=0.5, graft=True)


def vars_of(program: Any) -> dict[str, Any]:
    return {name: getattr(program, name) for name in program.__dataclass_fields__}
