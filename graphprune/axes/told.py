"""What `explain` says of a layer or a block, as a tree that fits a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import accumulate
from typing import Any

from graphprune.axes.call import Reason
from graphprune.axes.explain import Network, tensor_facts
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Term
from graphprune.ground.errors import InputError
from graphprune.ground.trees import Tree, drawn

__all__ = ["explanation"]

_Terms = Mapping[str, tuple[Term, ...]]
Facts = dict[str, list[dict[str, Any]]]

# what a member of a group does with its units, as a report has it and as it is said
ROLES = {
    "produces": ("makes", "made by"),
    "carries": ("passes on", "passed on by"),
    "consumes": ("reads", "read by"),
}
UNIT = "A unit is a neuron, channel or head; those of a group go together"
PINNED = "pinned (nothing can be removed)"
_ATOM = re.compile(r"\ba\d+:")  # what an axis is called within the program
LETTERS = 150  # of the names of layers that are listed; the first two are named in any case


def explanation(
    name: str,
    terms: _Terms,
    groups: Mapping[Atom, Group],
    network: Network,
    paths: bool = False,
    width: int = 80,
) -> dict[str, Any]:
    """See `DependencyGraph.explanation`. ``terms`` are those of the stored tensors, by name."""
    tensors = _named(name, terms, groups)
    below = [tensor for tensor in terms if tensor.startswith(f"{name}.") and tensor not in tensors]
    if tensors:
        facts: Facts = {tensor: tensor_facts(tensor, terms[tensor], groups, network) for tensor in tensors}
        tree = _Layer(name, facts, terms, paths).tree()
        if below:
            tree.add(f"holds {_counted(name, _layers(below))}")
        return {"layer": name, "text": drawn(tree, width), "tensors": facts}
    if not below:
        raise _unknown(name, terms)
    facts = {tensor: tensor_facts(tensor, terms[tensor], groups, network) for tensor in below}
    return {
        "layer": name,
        "text": drawn(_block(name, facts), width),
        "layers": _layers(below),
        "tensors": facts,
    }


def _named(name: str, terms: _Terms, groups: Mapping[Atom, Group]) -> list[str]:
    """The tensors of a layer, the one of that name, or the one that a group is named after."""
    found = [tensor for tensor in terms if tensor == name or _layer(tensor) == name]
    if not found and any(group.name == name for group in groups.values()):
        found = [tensor for tensor in terms if tensor == name.rpartition(":")[0]]
    return found


def _layer(tensor: str) -> str:
    return tensor.rpartition(".")[0] or tensor


def _layers(tensors: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(_layer, tensors)))


def _unknown(layer: str, terms: _Terms) -> InputError:
    layers = sorted({_layer(name) for name in terms} | set(terms))
    near = get_close_matches(layer, layers, 3, 0.4)
    return InputError(
        f"there is no layer {layer!r} with tensors of its own",
        f"did you mean {', '.join(near)}?" if near else "see `graphprune inspect`",
    )


class _Layer:
    """The tree of one layer. What is true of several of its dimensions is said once."""

    def __init__(self, name: str, facts: Facts, terms: _Terms, paths: bool) -> None:
        self.name, self.facts, self.terms, self.paths = name, facts, terms, paths
        self.said: set[str] = set()

    def tree(self) -> Tree:
        """One branch for each group, with the dimensions that it is in, then what is pinned."""
        top = Tree(self.name)
        for composed, places in self._composed().items():
            top.add(f"{self._places(places)} composed as {composed}")
        axes = _merged(self.facts)
        for places, axis in axes:
            if axis["group"] is not None:
                self._add_group(top, places, axis)
        for places, axis in axes:
            if axis["group"] is None:
                self._add_pins(top, places, axis)
        return top

    def _composed(self) -> dict[str, list[tuple[str, int]]]:
        """How dimensions are composed of others, as sizes: "(3 12 64)"."""
        found: dict[str, list[tuple[str, int]]] = {}
        for tensor, terms in self.terms.items():
            for dim, term in enumerate(terms) if tensor in self.facts else ():
                if (text := str(term)).startswith("("):
                    found.setdefault(f"{term.size} = {_ATOM.sub('', text)}", []).append((tensor, dim))
        return found

    def _places(self, places: Iterable[tuple[str, int]]) -> str:
        """Dimensions without the layer's own name, such as "weight[0], bias[0]"."""
        texts = []
        for tensor, dim in places:
            short = tensor.rpartition(".")[2] if tensor == self.name else tensor.removeprefix(f"{self.name}.")
            texts.append(f"{short}[{dim}]")
        return ", ".join(dict.fromkeys(texts))

    def _add_group(self, top: Tree, places: Sequence[tuple[str, int]], axis: Mapping[str, Any]) -> None:
        own = {(row["tensor"], row["dim"]): row["role"] for row in self._members(axis)}
        does = _does(own[place] for place in places if place in own)
        fibre = f", chosen separately for each of {axis['each_of']}" if axis["each_of"] else ""
        where = self._places(places)
        branch = top.add(f"{where}: {does} {axis['size']} units of group {axis['group']}{fibre}")
        if UNIT not in self.said:
            self.said.add(UNIT)
            branch.add(UNIT)
        coupled = [row for row in axis["coupled"] if (row["tensor"], row["dim"]) not in places]
        if not coupled:
            branch.add("coupled with nothing else")
        elif self.paths:
            below = branch.add("coupled with")
            for row in coupled:
                path = f", through {' → '.join(row['path'])}" if row["path"] else ""
                below.add(f"{ROLES[row['role']][1]} {row['tensor']}[{row['dim']}]{path}")
        else:
            _add_layers(branch, coupled)

    def _members(self, axis: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield from axis["coupled"]
        yield from axis["own"]

    def _add_pins(self, top: Tree, places: Sequence[tuple[str, int]], axis: Mapping[str, Any]) -> None:
        where = self._places(places)
        if not axis["pins"]:
            if axis["size"] == 1 and any(str(self.terms[tensor][dim])[0] == "(" for tensor, dim in places):
                return  # the number of parts of something composed
            top.add(
                f"{where} of size {axis['size']}: {'a single unit' if axis['size'] == 1 else 'not a group'}"
            )
            return
        reasons = dict.fromkeys(
            str(Reason(pin["reason"], pin["operation"], pin["layer"])) for pin in axis["pins"]
        )
        pinned = "pinned" if PINNED in self.said else PINNED
        self.said.add(PINNED)
        branch = top.add(f"{where} of size {axis['size']} {pinned}: {'; '.join(reasons)}")
        for pin in axis["pins"] if self.paths else ():
            if pin["path"]:
                branch.add(f"through {' → '.join(pin['path'])}")


def _add_layers(branch: Tree, coupled: Sequence[Mapping[str, Any]]) -> None:
    """The layers that make, pass on and read; one whose bias is passed on beside its weight is named for that."""
    by_role = {role: _layers(row["tensor"] for row in coupled if row["role"] == role) for role in ROLES}
    others = {*by_role["produces"], *by_role["consumes"]}
    by_role["carries"] = [layer for layer in by_role["carries"] if layer not in others]
    for role, layers in by_role.items():
        if layers:
            branch.add(f"{ROLES[role][1]} {_listed(layers)}")


def _does(roles: Iterable[str]) -> str:
    """What a layer does with units; what its bias does is not worth a word."""
    found = set(roles)
    plain = [role for role in ROLES if role in found and (role != "carries" or len(found) == 1)]
    return " and ".join(ROLES[role][0] for role in plain)


def _merged(facts: Facts) -> list[tuple[list[tuple[str, int]], dict[str, Any]]]:
    """Axes with all dimensions that they are in: of one group, or pinned for the same reasons."""
    found: dict[Any, tuple[list[tuple[str, int]], dict[str, Any]]] = {}
    for tensor, dims in facts.items():
        for dim, fact in enumerate(dims):
            for axis in fact["axes"]:
                reasons = tuple((pin["reason"], pin["layer"]) for pin in axis["pins"])
                places, _ = found.setdefault((axis["group"], axis["size"], reasons), ([], axis))
                places.append((tensor, dim))
    return list(found.values())


def _listed(names: Sequence[str], letters: int = LETTERS) -> str:
    ends = list(accumulate(len(name) + 2 for name in names))
    shown = max(sum(end <= letters for end in ends), 2)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _block(name: str, facts: Facts) -> Tree:
    """The parts of a block, one line each: what a layer makes and reads, or how many layers a part has."""
    layers = _layers(facts)
    top = Tree(f"{name} holds {len(layers)} layers with tensors; name one for what it is coupled with")
    parts = dict.fromkeys(layer.removeprefix(f"{name}.").split(".")[0] for layer in layers)
    for part in parts:
        full = f"{name}.{part}"
        inner = {tensor: dims for tensor, dims in facts.items() if f"{tensor}.".startswith(f"{full}.")}
        inside = _layers(inner)
        top.add(f"{part}: {_summary(inner) if inside == [full] else _counted(full, inside)}")
    return top


def _counted(full: str, layers: Sequence[str]) -> str:
    named = _listed([layer.removeprefix(f"{full}.") for layer in layers], 60)
    return f"{len(layers)} {'layer' if len(layers) == 1 else 'layers'}, {named}"


def _summary(facts: Facts) -> str:
    """What a layer does with each group that it is in."""
    found: dict[str, list[str]] = {}
    for axis in (axis for dims in facts.values() for fact in dims for axis in fact["axes"]):
        if axis["group"]:
            roles = (row["role"] for row in axis["own"])
            found.setdefault(f"{axis['size']} of {axis['group']}", []).extend(roles)
    said = [f"{_does(roles)} {group}" for group, roles in found.items()]
    return "; ".join(said) or "nothing can be removed from it"
