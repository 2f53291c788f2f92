"""Registering rules for operators of the user's own: `graphprune.rule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket

from graphprune.axes.call import Call, Misfit
from graphprune.axes.rules import RULES, Rule, find_name, find_rule
from graphprune.axes.rules.users import USERS, Likeness
from graphprune.axes.signature import Signature
from graphprune.capture.operators import defaults, find_operator, overloads_of, tensor_arguments
from graphprune.ground.errors import InputError

__all__ = ["Registration", "rule"]


@dataclass(frozen=True)
class Registration:
    """A rule that is registered for ``operator`` until `remove`, or the end of a ``with`` block."""

    operator: str

    def remove(self) -> None:
        """Forgets the rule; graphs that are traced already keep their axes."""
        USERS.pop(self.operator, None)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def rule(
    operator: Any,
    form: str | Rule | None = None,
    *,
    like: Any = None,
    arguments: Sequence[str] | None = None,
    sizes: Mapping[str, str] | None = None,
    loops: str = "",
) -> Registration:
    """Says which dimensions of an operator's tensors are the same axis, so that models prune through it.

    One of three forms, the cheapest that is right:

    >>> import torch
    >>> @torch.library.custom_op("docs::scale", mutates_args=())
    ... def scale(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    ...     return x * weight[:, None, None]
    >>> with rule("docs::scale", "b c s+, c -> b c s+"):  # a signature, see `graphprune.axes.signature`
    ...     pass
    >>> with rule(scale, lambda call: call.unify(call["x"].dims[1], call["weight"].dims[0])):
    ...     pass  # a function of a `graphprune.axes.call.Call`; it must couple or pin every dimension
    >>> @torch.library.custom_op("docs::swish", mutates_args=())
    ... def swish(x: torch.Tensor) -> torch.Tensor:
    ...     return x * x.sigmoid()
    >>> with rule("docs::swish", like="aten.silu"):  # as an operator that has a rule
    ...     pass

    `graphprune.check_rule` tries a rule on the real operator.

    Args:
        operator: "ns::name" or "ns.name", with ".overload" if only that one is meant, or the operator.
        form: a signature, or a function. Tensors that a signature does not name are pinned.
        like: an operator with a rule. Tensors correspond in their order, other arguments by name; literals
            (groups, normalized_shape …) and statistics over an axis (softmax, norms …) are treated as its own.
        arguments: the tensor arguments in the order of the signature's operands; the schema's, if not given.
        sizes: axis of the signature → the integer argument that is its size: ``{"g": "groups"}``.
        loops: the axes whose sizes multiply to the operator's multiply-accumulates: "b i o".

    Raises:
        InputError: the operator is unknown or writes into its arguments, has a rule already, or the form does
            not fit its schema; the message says what to do.
    """
    found = find_operator(operator)
    overloads = _covered(found)
    if (form is None) == (like is None):
        raise InputError(f"{found} is given {'no' if like is None else 'two'} rules", "give a form, or like=")
    if not isinstance(form, str) and (arguments or sizes or loops):
        raise InputError(
            "arguments, sizes and loops belong to a signature", "leave them out, or give a signature"
        )
    if like is not None:
        made: Rule = _as_like(overloads, find_operator(like))
    elif isinstance(form, str):
        chosen = _single(overloads[0]) if arguments is None else arguments
        signature = Signature(form, tuple(chosen), dict(sizes or {}), loops)
        made = _by_signature(signature, overloads, named=arguments is not None)
    elif callable(form):
        made = form
    else:
        raise InputError(f"{form!r} is no rule", "give a signature or a function of a Call")
    USERS[str(found)] = made
    return Registration(str(found))


def _covered(operator: OpOverload | OpOverloadPacket) -> tuple[OpOverload, ...]:
    """The overloads that a rule for ``operator`` speaks for; none of them has one."""
    overloads = [item for item in overloads_of(operator) if not item._schema.is_mutable]
    if not overloads:
        raise InputError(
            f"{operator} writes into its arguments, or takes no tensor",
            "register an operator that returns its result",
        )
    for overload in overloads:
        name = find_name(str(overload))
        if name is not None:
            whose = "graphprune's own" if name in RULES else "registered before: remove() it first"
            raise InputError(
                f"{operator} has a rule already, that of {name}, {whose}", "an operator has one rule"
            )
    return tuple(overloads)


# -- signatures ---------------------------------------------------------------------------------------------
def _by_signature(signature: Signature, overloads: Sequence[OpOverload], named: bool) -> Rule:
    try:
        signature.check()
    except Misfit as misfit:
        message = f"the signature {signature.text!r} cannot be read: {misfit}"
        raise InputError(message, misfit.remedy) from None
    for overload in overloads:
        _check_schema(signature, overload, named)

    def apply(call: Call) -> None:
        signature(call)
        others = [name for name in call.arguments if name not in signature.arguments]
        for operand in call.operands(others):
            call.pin(operand.dims, "its rule does not name this tensor")

    return apply


def _single(overload: OpOverload) -> list[str]:
    """The arguments that take one tensor each."""
    return [name for name, several in tensor_arguments(overload).items() if not several]


def _check_schema(signature: Signature, overload: OpOverload, named: bool) -> None:
    """The signature has an operand for every tensor it names, an output for every result, and sizes that are there."""
    single = _single(overload)
    results = len(signature.parsed) - signature.operands
    if unknown := [name for name in signature.arguments if name not in single]:
        raise InputError(
            f"{overload} has no tensor argument {unknown[0]!r}, but {', '.join(single)}",
            "correct arguments=" if named else "register each overload by its name",
        )
    if signature.operands != len(signature.arguments):
        raise InputError(
            f"the signature {signature.text!r} has {signature.operands} operands for the tensors "
            f"{', '.join(signature.arguments)} of {overload}",
            "write one operand for each, in this order, or name those that are meant with arguments=",
        )
    types = [str(result.type) for result in overload._schema.returns]
    if types != ["Tensor"] * results:
        raise InputError(
            f"the signature {signature.text!r} has {results} outputs, {overload} returns {', '.join(types)}",
            "write one output for each tensor; a list of tensors needs a function of a Call",
        )
    integers = [item.name for item in overload._schema.arguments if str(item.type) in ("int", "SymInt")]
    if wrong := [argument for argument in signature.sizes.values() if argument not in integers]:
        raise InputError(
            f"{overload} has no integer argument {wrong[0]!r}, but {', '.join(integers) or 'none'}",
            "correct sizes=",
        )


# -- likenesses ---------------------------------------------------------------------------------------------
def _as_like(overloads: Sequence[OpOverload], other: OpOverload | OpOverloadPacket) -> Likeness:
    """Every overload must correspond, and in the same way, to the first overload of ``other`` that can be meant."""
    problems: list[str] = []
    for candidate in overloads_of(other):
        found = find_rule(str(candidate))
        if found is None or candidate._schema.is_mutable:
            continue
        try:
            first, *rest = [_likeness(overload, candidate, found) for overload in overloads]
        except ValueError as error:
            problems.append(str(error))
            continue
        if any(one != first for one in rest):
            raise InputError(f"the overloads of {overloads[0]} differ", "register each by its name")
        return first
    raise InputError(
        f"{overloads[0]} is not like {other}: {(problems or ['that one has no rule'])[0]}",
        "register a signature or a function",
    )


def _likeness(operator: OpOverload, other: OpOverload, rule: Rule) -> Likeness:
    ours, theirs = tensor_arguments(operator), tensor_arguments(other)
    names = dict(zip(theirs, ours, strict=False))
    if len(ours) > len(theirs) or any(ours[mine] != theirs[name] for name, mine in names.items()):
        raise ValueError(f"it takes the tensors {', '.join(ours)}, the other {', '.join(theirs)}")
    own = {item.name for item in operator._schema.arguments} - set(ours)
    schema = [item.name for item in other._schema.arguments]
    names |= {name: name for name in schema if name in own and name not in theirs}
    given = defaults(other)
    if missing := [name for name in schema if name not in names and name not in given]:
        raise ValueError(f"it has no argument {missing[0]!r}")
    returns = [str(result.type) for result in operator._schema.returns]
    if returns != (expected := [str(result.type) for result in other._schema.returns]):
        raise ValueError(f"it returns {', '.join(returns)}, the other {', '.join(expected)}")
    return Likeness(str(other), names, {name: given.get(name) for name in schema}, rule)
