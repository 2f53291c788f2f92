"""Criteria that look at gradients, by autograd on the user's own module."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scoring_models import MODELS, member_slices, traced
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration.losses import signs_loss
from graphprune.scoring.gradients import _shares

every_model = pytest.mark.parametrize("name", MODELS)


def squared(outputs: Tensor) -> Tensor:
    return outputs.square().sum()


def scores(
    name: str, spelling: str, batches: object, loss: Callable[..., Tensor] | None = squared
) -> dict[str, Tensor]:
    graph = traced(name)[1]
    criterion = gp.scoring.find_importance(spelling, batches, loss)
    return criterion(graph, graph.program.tensors, 0)


def grads(name: str, x: Tensor) -> dict[str, Tensor]:
    """Of the user's module, whose ``grad`` stays empty."""
    model = traced(name)[0]
    parameters = dict(model.named_parameters())
    with torch.enable_grad():
        found = torch.autograd.grad(squared(model(x)), list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, found, strict=True))


def pieces(name: str, values: dict[str, Tensor], group: object) -> list[list[Tensor]]:
    return [
        [values[member.tensor].detach().double().index_select(member.dim, at) for at in places]
        for member, places in member_slices(traced(name)[1], group)
    ]


def products(name: str, batches: list[Tensor]) -> list[dict[str, Tensor]]:
    weights = dict(traced(name)[0].named_parameters())
    return [{key: weights[key] * grad for key, grad in grads(name, x).items()} for x in batches]


OF_A_MEMBER = {  # of gradient times weight, of everything of one member that goes with a unit, for one batch
    "taylor": lambda piece: piece.sum().square(),
    "taylor_abs": lambda piece: piece.abs().sum(),
    "obd": lambda piece: piece.square().sum() / 2,
}


@every_model
@pytest.mark.parametrize("criterion", OF_A_MEMBER)
def test_gradients_times_weights(name: str, criterion: str) -> None:
    _, graph, x = traced(name)
    batches = [x[:2], x[2:]]
    found = scores(name, f"{criterion}:sum:none", batches)
    per_batch = products(name, batches)
    for group in graph.groups:
        total = torch.zeros(found[group.name].numel(), dtype=torch.float64)
        for values in per_batch:
            for member in pieces(name, values, group):
                total += torch.stack([OF_A_MEMBER[criterion](piece) for piece in member]) / len(batches)
        expected = total.sqrt() if criterion == "taylor" else total
        torch.testing.assert_close(
            found[group.name].flatten(), expected, rtol=1e-4, atol=1e-4 * float(expected.max())
        )


def test_fisher_is_the_squared_gradient_of_a_mask() -> None:
    """The two readers of the residual stream share one mask; examples are squared one by one."""
    model, graph, x = traced("residual")
    total = torch.zeros(8, dtype=torch.float64)
    for example in x.split(1):
        mask = torch.ones(8, requires_grad=True)
        with torch.enable_grad():
            stem = F.relu(model.norm(model.stem(example)))
            inner = F.relu(model.inner(model.one(stem * mask.reshape(1, 8, 1, 1))))
            out = F.relu(stem + model.outer(model.two(inner))).mean((2, 3))
            loss = squared(model.head(out * mask))
        total += torch.autograd.grad(loss, mask)[0].double().square()
    found = scores("residual", "fisher::none", [x[:2], x[2:]])["stem.weight:0"]
    torch.testing.assert_close(found, total / 5, rtol=1e-4, atol=0)
    assert len(graph.by_name["stem.weight:0"].members) > 4


class Modulated(nn.Module):
    """A weight that is scaled for each example: readers of a unit have the batch, or, as ``weight[None]``, have not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.styles, self.head = nn.Linear(3, 8), nn.Linear(4, 8), nn.Linear(6, 2)
        self.weight = nn.Parameter(torch.randn(6, 8))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        kernels = self.weight[None] * self.styles(w)[:, None]
        return self.head((kernels @ self.first(x).relu()[:, :, None])[:, :, 0])


@pytest.mark.parametrize("importance", ["fisher", "auto"])
def test_what_is_of_no_single_example_is_divided_among_all(importance: str) -> None:
    torch.manual_seed(0)
    model, batch = Modulated(), (torch.randn(5, 3), torch.randn(5, 4))
    result = gp.shrink(model, batch, ratio=0.5, importance=importance, calibration=[batch])
    assert result.after.params < result.before.params
    assert result.verdict.passed


def test_shares_add_up() -> None:
    alone, whole = torch.rand(5, 8), torch.rand(1, 8)
    assert _shares(alone, 5) is alone
    torch.testing.assert_close(_shares(whole, 5), whole.expand(5, 8) / 5)
    torch.testing.assert_close(_shares(torch.stack([whole[0]] * 3), 5).sum(0), 3 * whole[0])


@every_model
@pytest.mark.parametrize("criterion", ["taylor", "taylor_abs", "obd", "fisher"])
def test_the_users_model_stays_as_it_was(name: str, criterion: str) -> None:
    model, _, x = traced(name)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = scores(name, criterion, x, None)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert all(float(values.max()) > 0 for values in found.values())  # frozen, and judged all the same


def test_frozen_inference_mode_and_no_grad_do_not_matter() -> None:
    x = traced("residual")[2]
    one = scores("residual", "taylor", x)
    with torch.no_grad():
        two = scores("residual", "taylor", x)
    assert all(torch.equal(one[key], two[key]) for key in one)


# -- losses -------------------------------------------------------------------------------------------------
def test_the_loss_gets_the_batch_if_it_wants_it() -> None:
    x = traced("residual")[2]
    labels = torch.tensor([0, 1, 2, 3, 0])
    batches = [(x[:2], labels[:2]), (x[2:], labels[2:])]
    found = scores("residual", "taylor", batches, lambda out, batch: F.cross_entropy(out, batch[1]))
    without = scores("residual", "taylor", batches, lambda out: out.logsumexp(1).mean())
    assert not torch.allclose(found["one.weight:0"], without["one.weight:0"])


def test_outputs_have_the_models_own_structure() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> dict[str, object]:
            x = torch.relu(self.a(x))
            return {"b": self.b(x), "rest": (self.c(x), "text")}

    graph = gp.trace(Two(), torch.zeros(2, 4))
    seen = []

    def loss(outputs: dict[str, object]) -> Tensor:
        seen.append((outputs["b"].shape, outputs["rest"][0].shape, outputs["rest"][1]))
        return outputs["b"].sum()

    gp.Criterion("taylor", calibration=torch.randn(3, 4), loss=loss)(graph, graph.program.tensors, 0)
    assert seen == [((3, 2), (3, 3), "text")]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda out: out, "does not return one number"),
        (lambda out: 3.0, "does not return one number"),
        (lambda out: out.detach().sum(), "depends on the model"),
        (lambda out: out["logits"], "the loss fails: "),
        (nn.CrossEntropyLoss(), "the loss takes labels, as its second argument 'target'"),
    ],
)
def test_a_wrong_loss_is_refused(loss: Callable[..., Tensor], message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        scores("residual", "taylor", [traced("residual")[2]], loss)


def test_the_default_loss_measures_the_change_of_the_output() -> None:
    """Over many draws, its squared derivative along a change averages to the squared change of the output."""
    torch.manual_seed(0)
    matrix = torch.randn(5, 4)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([signs_loss(matrix @ torch.tensor([1.0, 0, 0, 0]), generator) for _ in range(4000)])
    assert float(draws.square().mean()) == pytest.approx(float(matrix[:, 0].square().sum()), rel=0.1)


def test_the_default_loss_judges_where_the_distance_to_itself_is_flat() -> None:
    x = traced("residual")[2]
    model = traced("residual")[0]
    reference = model(x).detach()
    flat = scores("residual", "taylor::none", x, lambda out: (out - reference).square().sum())
    ours = scores("residual", "taylor::none", x, None)
    assert float(flat["one.weight:0"].max()) < 1e-3 * float(ours["one.weight:0"].median())


def test_outputs_without_gradients_are_refused() -> None:
    class Index(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x))).argmax(-1)

    graph = gp.trace(Index(), torch.zeros(2, 4))
    with pytest.raises(gp.InputError, match="no output of the model has gradients"):
        gp.Criterion("taylor", calibration=torch.randn(3, 4))(graph, graph.program.tensors, 0)
