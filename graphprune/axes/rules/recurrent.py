"""Recurrent layers and cells: every gate has all hidden units, and the states of all layers share one axis.

A weight's rows are ``(gates h)``. A unit whose weights, biases and initial state are zero stays at zero for good:
a GRU's and a plain cell's new state is tanh(0) or relu(0), an LSTM's sigmoid(0) tanh(0) + sigmoid(0) 0. So
removing a unit is a contraction, though the unit stands in the result too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Table, stays

__all__ = ["RULES"]

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def layers(gates: int, call: Call) -> None:
    """Layers, perhaps in both directions: each reads the results of all directions of the layer below.

    One tensor (layers, batch, units) holds the states of all layers and directions, so they share their units.
    With projections (``weight_hr``) a layer has more cells than results. The operator finds out whether there are
    projections by comparing the two sizes, so the cells are pinned: they must stay more.
    """
    source, result, states = call["input"], call.outputs[0], list(call.operands(("hx",)))
    steps, batch = (1, 0) if call["batch_first"] else (0, 1)
    given, cells = states[0].dims[-1], states[-1].dims[-1]
    call.unify_all(result.dims[:-1], source.dims[:-1])
    call.pin((source.dims[steps], result.dims[steps]), "states are carried along this dimension")
    for state, last in zip(states, call.outputs[1:], strict=True):
        _pass_state(call, state, last, source.dims[batch])
    directions = 2 if call["bidirectional"] else 1
    params = list(call.operands(("params",)))
    each = len(params) // (int(call["num_layers"]) * directions)
    if each % 2:
        call.pin(cells, "a projection must stay narrower than the cells")
    else:
        call.unify(given, cells)
    feed = source.dims[-1]
    for start in range(0, len(params), each):
        if start and start % (each * directions) == 0:
            feed = call.equations.sum([given] * directions)
        places = source.dims[:-1]
        _weights(call, gates, params[start : start + each], feed, (given, cells), places)
    call.unify(result.dims[-1], call.equations.sum([given] * directions))


def _pass_state(call: Call, state: Operand, last: Operand, batch: Axis) -> None:
    """A state before and after; its first dimension has a position for each layer and direction."""
    call.pin((state.dims[0], last.dims[0]), "each layer and direction has a state")
    call.unify(state.dims[1], batch)
    call.unify_all(state.dims[1:], last.dims[1:])


def cell(gates: int, call: Call) -> None:
    """One step of one layer."""
    source, states = call["input"], list(call.operands(("hx",)))
    for state, last in zip(states, call.outputs, strict=True):
        call.unify_all(state.dims, last.dims)
        call.unify_all(state.dims, (source.dims[0], states[0].dims[1]))
    params = list(call.operands(("w_ih", "w_hh", "b_ih", "b_hh")))
    units = states[0].dims[1]
    _weights(call, gates, params, source.dims[-1], (units, units), source.dims[:-1])


def _weights(
    call: Call,
    gates: int,
    params: Sequence[Operand],
    feed: Axis,
    units: tuple[Axis, Axis],
    places: tuple[Axis, ...],
) -> None:
    """One layer in one direction: ``(gates c) i`` and ``(gates c) h``, biases, perhaps a projection ``h c``."""
    given, cells = units
    gate = call.equations.atom(gates)
    call.pin(gate, "gates of a recurrent layer")
    rows = call.equations.product((gate, cells))
    reading, feedback, *others = params
    call.unify(reading.dims[1], feed)
    call.unify(feedback.dims[1], given)
    for operand in (reading, feedback, *(other for other in others if len(other.dims) == 1)):
        call.unify(operand.dims[0], rows)
    call.loops += [(*places, gate, cells, feed), (*places, gate, cells, given)]
    for projection in (other for other in others if len(other.dims) == 2):
        call.unify_all(projection.dims, (given, cells))
        call.loops.append((*places, given, cells))
    # what is read is summed for every unit, place and gate; units are summed with one another at every step
    call.across.extend((axis, other) for axis in (feed, *units) for other in (*units, *places, gate))
    call.across.extend((axis, other) for axis in places for other in places if axis is not other)


_PACKED = stays("packed sequences: which rows belong together is data")

RULES: Table = {
    **{f"aten.{name}.input": partial(layers, gates) for name, gates in _GATES.items()},
    **{f"aten.{name}_cell": partial(cell, gates) for name, gates in _GATES.items()},
    **{f"aten.{name}.data": _PACKED for name in _GATES},
}
