"""Proves a cut file in onnxruntime: every node gives what the original gives where what is removed is held at zero.

The reference is the original file with masks, see `masked`. Each node of the cut file reads what the reference
computed, at the kept places, and must give what the reference gives there. What holds of every node holds of the file.
It is shown on the file's own weights, at two values of each size that varies, and on random weights and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.running import Array, apart, values_of
from graphprune.importing.values import tensor_from
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import COUNTED, Region, Regions, narrowed
from graphprune.slicing.masked import masked
from graphprune.slicing.matching import Match, randomised
from graphprune.slicing.tensors import arrays_of, kept_by_source, sources_of, weights_of, with_tensors
from graphprune.slicing.zero_points import of_constants
from graphprune.verifying.differences import relative_error
from graphprune.verifying.samples import checked_sizes, distinct, random_inputs, shown
from graphprune.verifying.verdict import Check

__all__ = ["LIMIT", "RANDOM_LIMIT", "FileProof", "Run", "checks_of_file"]

NAME = "every node of the cut file equals the masked original's in onnxruntime"
LIMIT, RANDOM_LIMIT = 1e-4, 1e-5  # relative to the largest number of a value
HALF = 2.0**13  # so many times as coarse is float16


def checks_of_file(
    graph: DependencyGraph, plan: Plan, match: Match, model: Any, seed: int = 0
) -> Iterator[Check]:
    """Compares the cut file ``model`` (onnx.ModelProto) with the original that ``graph`` was traced from.

    Raises:
        VerificationError: a file does not run.
    """
    proof = FileProof(graph, plan, match)
    yield proof.constants(model)
    for run in proof.runs(seed):
        yield proof.compared(model, run)


@dataclass(frozen=True)
class Run:
    """A run of the masked original at full width.

    Args:
        given: by name what its nodes read, and the inputs.
        computed: what they gave; the same, where no node was given anything else.
        regions: what is kept of each.
        tensors: constants that stood in the place of its own.
    """

    name: str
    limit: float
    given: Mapping[str, Array]
    computed: Mapping[str, Array]
    regions: Mapping[str, Region]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def masks(self) -> dict[str, Array]:
        """Of the values of which something is removed."""
        cut = {name: region for name, region in self.regions.items() if not region.whole}
        return {name: region.mask(self.computed[name].ndim).numpy() for name, region in cut.items()}

    def kept(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The values at the kept places."""
        return {
            name: self.regions[name].take(torch.from_numpy(array)).numpy() if name in self.regions else array
            for name, array in values.items()
        }


class FileProof:
    """What the cut file must give.

    Args:
        graph: of the original file.
        match: see `match_values`.
    """

    def __init__(self, graph: DependencyGraph, plan: Plan, match: Match) -> None:
        module = graph.program.model
        assert isinstance(module, OnnxModule)
        self._graph, self._match, self._module = graph, match, module
        self._dims = kept_by_source(plan.kept, sources_of(module))
        self._units = make_masks(graph, plan.groups).kept
        self._names = [name for node in module.source.graph.node for name in node.output if name in match]
        # what the file gives is compared whatever it is
        outputs = [item.name for item in module.source.graph.output]
        self._outputs = [name for name in outputs if name not in match]

    def constants(self, model: Any) -> Check:
        """Every constant of floats or bytes in the cut file is the original's at the kept places, bit for bit."""
        old, new = arrays_of(self._module.source), arrays_of(model)
        wrong = [
            name for name, array in old.items() if not _is_cut(array, new[name], self._dims.get(name, {}))
        ]
        return Check.without("tensors are the original's at the kept places, bit for bit", wrong)

    def runs(self, seed: int) -> Iterator[Run]:
        """Of the masked original: at two values of each size that varies, and on random weights."""
        for number, sizes in enumerate(distinct(checked_sizes(self._graph.program))):
            own = self._reference(f"{NAME}{shown(sizes)}", random_inputs(self._graph.program, seed, sizes))
            yield own
            if number == 0:
                name = f"{NAME}, random weights{shown(sizes)}"
                yield self._shaken(replace(own, name=name, limit=RANDOM_LIMIT), seed)

    def _random_weights(self, seed: int) -> dict[str, Tensor]:
        """Constants of the original, drawn anew where training would change them."""
        program, weights = self._graph.program, weights_of(self._module)
        drawn = randomised(program, seed)
        return {
            weights[name]: drawn[name]
            for name, item in program.stored.items()
            if item.kind == "parameter" and name in weights
        }

    def _reference(self, name: str, inputs: Sequence[Any]) -> Run:
        """The masked original on these inputs."""
        feed = {key: item.numpy() for key, item in zip(self._module.inputs, inputs, strict=True)}
        plain = values_of(self._module.source, feed, self._names, "the original file")
        regions = Regions(self._graph, self._units, list(inputs))
        for key, array in plain.items():
            regions.saw(self._match[key].name, torch.from_numpy(array))
        run = Run(name, LIMIT, feed, plain, {key: regions.of(self._match[key].name) for key in plain})
        names = [*self._names, *self._outputs]
        found = values_of(self._masked(run), feed, names, "the masked original")
        return replace(run, given={**feed, **{key: found[key] for key in self._names}}, computed=found)

    def _shaken(self, near: Run, seed: int) -> Run:
        """Other weights, and each node on values that are like those of another run, but of their own."""
        generator, masks = np.random.default_rng(seed), near.masks
        values = {
            name: _shaken(array, masks.get(name), generator) if name in near.computed else array
            for name, array in near.given.items()
        }
        run = replace(near, given=values, tensors=self._random_weights(seed))
        return replace(run, computed=self._each(self._masked(run), values, "the masked original"))

    def _masked(self, run: Run) -> Any:
        own = arrays_of(self._module.source)
        constants = {name: tensor_from(own[name]) for name in self._dims} | dict(run.tensors)
        zeros = {name: tensor_from(array) for name, array in of_constants(self._module.source, own).items()}
        zeroed = {
            name: _zeroed(tensor, self._dims.get(name, {}), zeros.get(name, tensor.new_zeros(())))
            for name, tensor in constants.items()
        }
        dtypes = {name: array.dtype for name, array in run.computed.items()}
        return masked(with_tensors(self._module.source, zeroed), run.masks, dtypes)

    def _each(self, model: Any, given: Mapping[str, Array], what: str) -> dict[str, Array]:
        """What every node gives on the given values."""
        file, renamed = apart(model, {name: given[name] for name in self._names})
        found = values_of(file, given, [*renamed.values(), *self._outputs], what)
        return {name: found[renamed.get(name, name)] for name in (*renamed, *self._outputs)}

    def compared(self, model: Any, run: Run) -> Check:
        """Every node of the cut file against what the masked original gave, on the kept part of what that read."""
        cut = {name: narrowed(item, self._dims.get(name, {})) for name, item in run.tensors.items()}
        file = with_tensors(model, cut) if cut else model
        expected = run.kept(run.computed)
        found = self._each(file, run.kept(run.given), "the cut file")
        errors = {
            name: relative_error(torch.from_numpy(expected[name]), torch.from_numpy(array))
            / (HALF if array.dtype == np.float16 else 1)
            for name, array in found.items()
        }
        first = next((name for name, error in errors.items() if not error <= run.limit), "")
        detail = f"{len(errors)} values" + (f", first {first}" if first else "")
        return Check(run.name, not first, max(errors.values(), default=0.0), run.limit, detail)


def _is_cut(old: Array, new: Array, dims: Mapping[int, Tensor]) -> bool:
    """Whether the numbers are the same at the kept places; those that say sizes may be others."""
    if old.dtype.kind in "iu" and old.dtype.itemsize > 1:
        return True
    for dim, kept in dims.items():
        old = old.take(kept.numpy(), dim)
    return old.shape == new.shape and old.tobytes() == new.tobytes()


def _zeroed(tensor: Tensor, dims: Mapping[int, Tensor], zero: Tensor) -> Tensor:
    """What stands for zero at all places that are not kept."""
    for dim, kept in dims.items():
        if dim != COUNTED:
            shape = [-1 if other == dim else 1 for other in range(tensor.dim())]
            stays = torch.zeros(tensor.shape[dim], dtype=torch.bool).index_fill(0, kept, True)
            tensor = torch.where(stays.reshape(shape), tensor, zero)
    return tensor


def _shaken(array: Array, mask: Array | None, generator: np.random.Generator) -> Array:
    """Other numbers of the same signs and magnitudes; those that were zero, and are not removed, of any sign."""
    if array.dtype.kind != "f" or not array.size:
        return array
    size = np.sqrt(np.mean(np.square(array, dtype=np.float64))) or 1.0
    others = np.asarray(array * (generator.random(array.shape, dtype=np.float32) + np.float32(0.5)))
    zero = array == 0
    others[zero] = size * generator.standard_normal(int(zero.sum()), dtype=np.float32)
    return np.asarray(others if mask is None else np.where(mask, others, 0), dtype=array.dtype)
