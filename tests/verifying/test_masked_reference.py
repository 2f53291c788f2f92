"""The parts of the masked reference, each against a definition written out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.axes.terms import Atom, Product
from graphprune.capture.program import Stored
from graphprune.planning.masks import Masks
from graphprune.planning.region import region_of
from graphprune.verifying import Check, Verdict, guilty_groups
from graphprune.verifying.differences import relative_error
from graphprune.verifying.restricted import is_restricted, run_restricted
from graphprune.verifying.tensors import converted, randomised

ATEN = torch.ops.aten
DOUBLE = torch.float64


def _mask(shape: tuple[int, ...], **kept: list[int]) -> Tensor:
    """Kept positions of some dimensions: ``d1=[0, 2]``."""
    mask = torch.ones(shape, dtype=torch.bool)
    for name, indices in kept.items():
        dim = int(name[1:])
        gone = [index for index in range(shape[dim]) if index not in indices]
        mask.index_fill_(dim, torch.tensor(gone, dtype=torch.long), False)
    return mask


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


X, KEPT = _draw(2, 6, 5), _mask((2, 6, 5), d1=[0, 3, 4])
MINUS, PLUS = -torch.inf, torch.inf

# operator, arguments, what it is by arithmetic on masked values
DEFINITIONS = {
    "aten.softmax.int": ({"dim": 1}, lambda x, m: x.masked_fill(~m, MINUS).softmax(1)),
    "aten.log_softmax.int": (
        {"dim": 1},
        lambda x, m: x.masked_fill(~m, MINUS).log_softmax(1).masked_fill(~m, 0),
    ),
    "aten.mean.dim": ({"dim": [1], "keepdim": True}, lambda x, m: (x * m).sum(1, True) / m.sum(1, True)),
    "aten.mean.default": ({}, lambda x, m: (x * m).sum() / m.sum()),
    "aten.amax.default": ({"dim": [1, 2]}, lambda x, m: x.masked_fill(~m, MINUS).amax((1, 2))),
    "aten.amin.default": ({"dim": [1]}, lambda x, m: x.masked_fill(~m, PLUS).amin(1)),
    "aten.logsumexp.default": ({"dim": [1]}, lambda x, m: x.masked_fill(~m, MINUS).logsumexp(1)),
    "aten.prod.dim_int": ({"dim": 1}, lambda x, m: x.masked_fill(~m, 1).prod(1)),
    "aten.var.correction": (
        {"dim": [1], "correction": 0},
        lambda x, m: (x**2 * m).sum(1) / m.sum(1) - ((x * m).sum(1) / m.sum(1)) ** 2,
    ),
    "aten.linalg_vector_norm.default": ({"ord": 2, "dim": [1]}, lambda x, m: (x**2 * m).sum(1).sqrt()),
}


@pytest.mark.parametrize("op", DEFINITIONS)
def test_operators_along_an_axis(op: str) -> None:
    arguments, definition = DEFINITIONS[op]
    operator = getattr(getattr(ATEN, op.split(".")[1]), op.split(".")[2])
    assert is_restricted(op)
    value = X * KEPT
    result = run_restricted(op, operator, {"self": value, **arguments}, {"self": KEPT})
    assert torch.allclose(result, definition(X, KEPT), atol=1e-12)


def test_results_of_untouched_dimensions_keep_their_places() -> None:
    mask = _mask((2, 6, 5), d2=[1, 4])
    result = run_restricted("aten.mean.dim", ATEN.mean.dim, {"self": X, "dim": [1]}, {"self": mask})
    assert torch.equal(result[:, [0, 2, 3]], torch.zeros(2, 3, dtype=DOUBLE))
    assert torch.allclose(result[:, [1, 4]], X.mean(1)[:, [1, 4]])


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_trailing_norms_take_the_weights_of_the_input(kind: str) -> None:
    x, weight, bias = _draw(2, 5, 6), _draw(6, seed=1), _draw(6, seed=2)
    kept = [0, 3, 4]
    mask = _mask((2, 5, 6), d2=kept)
    given = {"input": x, "normalized_shape": [6], "weight": weight, "eps": 1e-5}
    given |= {"bias": bias} if kind == "layer_norm" else {}
    masks = {
        "input": mask,
        "weight": torch.ones(6, dtype=torch.bool),
        "bias": torch.ones(6, dtype=torch.bool),
    }
    result = run_restricted(f"aten.{kind}.default", getattr(ATEN, kind).default, given, masks)
    arguments = (weight[kept], bias[kept]) if kind == "layer_norm" else (weight[kept],)
    assert torch.allclose(result[..., kept], getattr(F, kind)(x[..., kept], [3], *arguments, eps=1e-5))
    assert not result[..., [1, 2, 5]].any()


def test_group_norm_with_other_channels_in_each_group() -> None:
    x, weight, bias = _draw(2, 6, 3), _draw(6, seed=1), _draw(6, seed=2)
    kept = [0, 2, 4, 5]  # two of three in each group
    given = {"input": x, "num_groups": 2, "weight": weight, "bias": bias, "eps": 1e-5}
    masks = {"input": _mask((2, 6, 3), d1=kept)}
    result = run_restricted("aten.group_norm.default", ATEN.group_norm.default, given, masks)
    assert torch.allclose(result[:, kept], F.group_norm(x[:, kept], 2, weight[kept], bias[kept]))


@pytest.mark.parametrize("kept", [[0, 1, 4], [0, 1, 2, 3]])
def test_group_norm_with_unequal_groups_is_refused(kept: list[int]) -> None:
    given = {"input": _draw(2, 6, 3), "num_groups": 2, "weight": None, "bias": None, "eps": 1e-5}
    with pytest.raises(RuntimeError, match="equally many"):
        run_restricted(
            "aten.group_norm.default", ATEN.group_norm.default, given, {"input": _mask((2, 6, 3), d1=kept)}
        )


def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    logits = q @ k.transpose(-1, -2) * scale
    return (logits if mask is None else logits + mask).softmax(-1) @ v


def test_attention_by_hand_with_other_widths_in_each_head() -> None:
    q, k, v = (_draw(2, 3, 5, 4, seed=seed) for seed in range(3))
    width = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)  # head 1 is gone
    out = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    masks = {
        "query": width[None, :, None].expand(2, 3, 5, 4),
        "key": width[None, :, None].expand(2, 3, 5, 4),
        "value": out[None, :, None].expand(2, 3, 5, 4),
    }
    bias = _draw(1, 3, 5, 5, seed=7)
    given = {
        "query": q * masks["query"],
        "key": k * masks["key"],
        "value": v * masks["value"],
        "attn_mask": bias,
    }
    masks["attn_mask"] = torch.ones(1, 3, 5, 5, dtype=torch.bool)
    sdpa = ATEN.scaled_dot_product_attention.default
    result = run_restricted("aten.scaled_dot_product_attention.default", sdpa, given, masks)
    expected = _attention(given["query"], given["key"], given["value"], 4**-0.5, bias) * masks["value"]
    assert torch.allclose(result, expected, atol=1e-12)
    assert result.any()


def test_attention_with_fewer_key_heads() -> None:
    q, k, v = _draw(2, 6, 5, 4), _draw(2, 2, 5, 4, seed=1), _draw(2, 2, 5, 4, seed=2)
    heads = torch.tensor([1, 0, 1, 0, 0, 0], dtype=torch.bool)  # two queries of the first key head
    masks = {
        "query": heads[None, :, None, None].expand(q.shape),
        "key": torch.tensor([1, 0], dtype=torch.bool)[None, :, None, None].expand(k.shape),
        "value": torch.tensor([1, 0], dtype=torch.bool)[None, :, None, None].expand(v.shape),
    }
    given = {"query": q, "key": k, "value": v, "enable_gqa": True}
    sdpa = ATEN.scaled_dot_product_attention.default
    result = run_restricted("aten.scaled_dot_product_attention.default", sdpa, given, masks)
    for head in range(6):
        expected = _attention(q[:, head], k[:, 0], v[:, 0], 0.5) if heads[head] else torch.zeros(2, 5, 4)
        assert torch.allclose(result[:, head], expected.double())


def test_parts_that_do_not_belong_together_are_refused() -> None:
    q, k, v = (_draw(2, 3, 5, 4, seed=seed) for seed in range(3))
    masks = {"query": _mask(q.shape, d1=[0, 1]), "key": _mask(k.shape), "value": _mask(v.shape, d1=[0])}
    given = {"query": q, "key": k * masks["query"], "value": v * masks["value"]}
    sdpa = ATEN.scaled_dot_product_attention.default
    with pytest.raises(RuntimeError, match="80 elements for 40 kept positions"):
        run_restricted("aten.scaled_dot_product_attention.default", sdpa, given, masks)


@pytest.mark.parametrize(
    "op", ["aten.max.other", "aten.relu.default", "aten.sum.dim_IntList", "aten.conv2d.default"]
)
def test_other_operators_run_at_full_width(op: str) -> None:
    assert not is_restricted(op)


# -- regions ----------------------------------------------------------------------------------------------


def test_a_region_of_a_fibred_width() -> None:
    head, width, batch = Atom(0, 3), Atom(1, 4), Atom(2, 2)
    kept = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    masks = Masks({width: kept}, {width: head})
    x = _draw(2, 3, 4)
    apart = region_of((batch, head, width), masks)
    joined = region_of((batch, Product((head, width), 12)), masks)
    assert apart.joint
    assert joined.single
    taken = torch.stack([x[:, h, kept[h]] for h in range(3)], 1)
    assert torch.equal(apart.take(x), taken)
    assert torch.equal(joined.take(x.reshape(2, 12)), taken.reshape(2, 6))
    assert torch.equal(apart.zero(x), x * kept)
    assert torch.equal(joined.zero(x.reshape(2, 12)), (x * kept).reshape(2, 12))


def test_a_region_without_cuts_is_whole() -> None:
    atom = Atom(0, 3)
    region = region_of((atom, atom), Masks({}, {}))
    x = _draw(3, 3)
    assert region.whole
    assert region.take(x) is x
    assert region.zero(x) is x


# -- errors, random values, verdicts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "given", "error"),
    [
        (torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0]), 0.0),
        (torch.tensor([1.0, -2.0]), torch.tensor([1.5, -2.0]), 0.25),
        (torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.5]), 0.5),
        (torch.tensor([1.0]), torch.tensor([1.0, 1.0]), torch.inf),
        (torch.tensor([1.0]), torch.tensor([torch.nan]), torch.inf),
        (torch.tensor([torch.inf, 1.0]), torch.tensor([1.0, 1.0]), torch.inf),
        (torch.tensor([torch.inf, 2.0]), torch.tensor([torch.inf, 1.0]), 0.5),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), torch.inf),
        (torch.tensor([True]), torch.tensor([True]), 0.0),
        (torch.zeros(0), torch.zeros(0), 0.0),
    ],
)
def test_relative_error(expected: Tensor, given: Tensor, error: float) -> None:
    assert relative_error(expected, given) == error


def test_infinities_of_another_sign_differ() -> None:
    assert relative_error(torch.tensor([torch.inf, 1.0]), torch.tensor([-torch.inf, 1.0])) == torch.inf


def test_random_tensors_hide_nothing() -> None:
    stored = {
        "head.weight": Stored("head.weight", "parameter", torch.zeros(4, 3)),
        "gamma": Stored("gamma", "parameter", torch.full((8,), 1e-6)),
        "norm.running_mean": Stored("norm.running_mean", "buffer", torch.zeros(8)),
        "norm.running_var": Stored("norm.running_var", "buffer", torch.ones(8)),
        "index": Stored("index", "buffer", torch.arange(3)),
        "mask": Stored("mask", "buffer", torch.ones(3)),
    }
    drawn = randomised(stored, 0, DOUBLE)
    assert drawn["head.weight"].abs().min() > 0
    assert drawn["gamma"].abs().max() > 0.1
    assert len(drawn["norm.running_mean"].unique()) == 8
    assert (drawn["norm.running_var"] > 0.4).all()
    assert torch.equal(drawn["index"], torch.arange(3))
    assert torch.equal(drawn["mask"], torch.ones(3, dtype=DOUBLE))
    assert all(torch.equal(drawn[name], randomised(stored, 0, DOUBLE)[name]) for name in stored)
    assert not torch.equal(drawn["gamma"], randomised(stored, 1, DOUBLE)["gamma"])
    assert set(drawn) == set(stored)
    assert len(drawn) == len(stored)
    own = converted({name: item.tensor for name, item in stored.items()}, None)
    assert torch.equal(own["head.weight"], torch.zeros(4, 3))


def test_a_verdict_prints_and_turns_into_json() -> None:
    good = Check("one", True, 1e-9, 1e-4)
    bad = Check("two", False, 2.0, 1e-4, "first difference at aten.relu")
    verdict = Verdict((good,)).with_checks(bad)
    assert Verdict((good,)).passed
    assert not verdict.passed
    assert str(verdict).splitlines() == [
        "one: passed, 1e-09 (limit 0.0001)",
        "two: FAILED, 2 (limit 0.0001), first difference at aten.relu",
    ]
    assert verdict.to_dict()["checks"][1]["name"] == "two"
    assert verdict.to_dict()["passed"] is False


@pytest.mark.parametrize(
    ("guilty", "found"),
    [({"c"}, ("c",)), ({"a"}, ("a",)), ({"f"}, ("f",)), ({"c", "d"}, ("c",)), ({"a", "f"}, ("a",))],
)
def test_one_guilty_group_is_found_by_halving(guilty: set[str], found: tuple[str, ...]) -> None:
    assert guilty_groups(list("abcdef"), lambda names: bool(guilty & set(names))) == found


def test_groups_that_only_fail_together_are_named_together() -> None:
    assert guilty_groups(list("abcd"), lambda names: {"b", "c"} <= set(names)) == tuple("abcd")
    assert guilty_groups(["a"], lambda names: True) == ("a",)
