"""What is proved of a slim class before it is written: everything, on a small twin with widths in proportion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, fx

from graphprune.cutting.cut import cut, equals_masked
from graphprune.cutting.trial import drawn_plan
from graphprune.ground.clock import Clock
from graphprune.ground.errors import VerificationError
from graphprune.ground.unlogged import unlogged
from graphprune.pretrained.blueprint import Refused, numbers
from graphprune.pretrained.examples import text_sizes
from graphprune.pretrained.move import Move, fields_at
from graphprune.pretrained.opened import Model, Twin
from graphprune.pretrained.twin_trial import filled, own_tensors
from graphprune.verifying import Check
from graphprune.verifying.grafted import grafted_checks
from graphprune.verifying.samples import Sizes

__all__ = ["twin_checks"]

NOTHING = "nothing was written; report the model"
LENGTHS = (1, 7, 33)  # of texts
TOKENS = 6  # that are written with a cache and without one


def twin_checks(model: Model, sizes: Mapping[str, int], clock: Clock, seed: int) -> tuple[Check, ...]:
    """A twin with widths in proportion: every check of a shrink, and its class with the configuration that says so.

    Raises:
        VerificationError: the slim twin is not the masked twin; nothing else would be either.
    """
    twin = model.twin
    moves = list(model.moves.values())
    wanted = _in_proportion(model.moves, sizes)
    plan = drawn_plan(twin.graph, wanted, seed)
    made = cut(twin.graph, plan, clock, equals_masked(seed), seed)
    blueprint = twin.blueprint.with_numbers(fields_at(numbers(twin.blueprint.values), moves, wanted))

    def of_class(layers: fx.GraphModule) -> torch.nn.Module:
        own = layers.state_dict(keep_vars=True)
        shared = {
            name: next((own[other] for other in item.names if other in own), item.tensor)
            for item in made.slim.stored.values()
            for name in item.names
        }
        return filled(blueprint, {**own_tensors(twin.graph), **shared})

    try:
        with clock("compare the class"):
            checks = list(grafted_checks(twin.graph.program, made.module, of_class, seed, _lengths(twin)))
            checks += _generated(twin, of_class(made.module))
    except Refused as error:
        raise VerificationError(f"the class does not take the new configuration: {error}", NOTHING) from error
    named = [
        Check(f"small twin: {c.name}", c.passed, c.figure, c.limit, c.detail, c.ran)
        for c in made.verdict.checks
    ]
    return (*named, *(_renamed(check) for check in checks))


def _renamed(check: Check) -> Check:
    name = check.name.replace(
        "the user's own forward with slim layers", "small twin: the class with the new configuration"
    )
    return Check(name, check.passed, check.figure, check.limit, check.detail, check.ran)


def _in_proportion(moves: Mapping[Move, Move], sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of a twin's groups that keep the share that the whole model's keep, and fewer if those do."""
    wanted: dict[str, int] = {}
    for whole, twin in moves.items():
        kept = sizes.get(whole.names[0], whole.size)
        units = round(kept / whole.size * twin.size / twin.step) * twin.step
        most = twin.size - twin.step if kept < whole.size else twin.size
        wanted |= twin.sizes(min(max(units, twin.step), max(most, twin.step)))
    return wanted


def _lengths(twin: Twin) -> list[Sizes]:
    """Texts of several lengths, all that vary at once, where the twin itself takes them."""
    names = text_sizes(twin.graph.program)
    every: list[Sizes] = [dict.fromkeys(names, length) for length in LENGTHS] if names else []
    return [sizes for sizes in every if _runs(twin, sizes)]


def _runs(twin: Twin, sizes: Sizes) -> bool:
    assert twin.graph.program.model is not None
    args, kwargs = twin.graph.program.example_at(sizes)
    try:
        with torch.no_grad(), unlogged():
            twin.graph.program.model(*args, **kwargs)
    except Exception:  # whatever the model raises at sizes that are not its own
        return False
    return True


def _generated(twin: Twin, slim: torch.nn.Module) -> Iterator[Check]:
    """Whether the slim class writes the same with a cache as without, where the class itself does."""
    original = twin.graph.program.model
    args, inputs = twin.graph.program.example
    given = inputs.get("input_ids")
    if original is None or args or given is None or not getattr(original, "can_generate", lambda: False)():
        return
    if _differing(original, given) == 0:
        wrong = _differing(slim, given)
        name = "small twin: the class writes the same tokens with a cache as without"
        yield Check(name, wrong == 0, wrong, 0, "it cannot write" if wrong < 0 else "")


def _differing(model: torch.nn.Module, ids: Tensor) -> float:
    """How many tokens differ; -1 where the class cannot write."""
    try:
        with torch.no_grad(), unlogged():
            texts = [
                model.generate(  # type: ignore[operator]
                    ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, use_cache=cached
                )
                for cached in (True, False)
            ]
    except Exception:  # whatever a model raises that cannot write
        return -1.0
    return float((texts[0] != texts[1]).sum())
