"""What a shrink does to one random model, judged by oracles that share no code with the package."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import process_time
from typing import Any

import torch
from fuzz_files import check_files
from fuzz_model import Model, widened
from fuzz_oracle import Finding, compare, copied, masked_original, oracle, said, tolerance_of
from fuzz_simple import simple_layers
from fuzz_sizes import other_batch, other_size
from fuzz_tape import Masked, masks_of
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import graphprune as gp

__all__ = ["Record", "check"]

RATIOS = (0.3, 0.5, 0.5, 0.6)


@dataclass
class Record:
    """What became of a model.

    Attributes:
        outcome: exact, nothing (no unit may go), refused, false refusal, wrong, crash or unknown (to the oracle).
        reason: what was said or seen.
        flags: kinds of faults beside it → what was seen.
    """

    outcome: str = "exact"
    reason: str = ""
    flags: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = process_time()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0) + process_time() - start, 4)


def check(model: Model, files: bool = False) -> Record:
    """Shrinks ``model`` by a random plan and judges the result; ``files`` saves and loads it too."""
    record, module, inputs = Record(), model.build(), model.example()
    if not files and model.seed % 2:  # the others are cast afterwards
        module, inputs = widened(module), tuple(map(widened, inputs))
    ratio = random.Random(model.seed).choice(RATIOS)
    try:
        with record.stage("trace"):
            graph = gp.trace(module, copy.deepcopy(inputs))
        record.facts |= {"operators": len(graph.program.operations), "groups": len(graph.groups)}
        with record.stage("shrink"):
            result = gp.shrink(graph, None, ratio=ratio, importance="random", seed=model.seed)
    except gp.GraphpruneError as error:
        certain = simple_layers(model, module)
        record.outcome = "false refusal" if certain else "refused"
        record.reason = f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever it is, it is a crash
        record.outcome, record.reason = "crash", f"{type(error).__name__}: {error}"
    else:
        record.outcome = "exact" if result.plan.kept else "nothing"
        try:
            with record.stage("judge"):
                judge(model, module, result, record)
            if files:
                with record.stage("files"):
                    check_files(model, result, record.flags)
        except Finding as finding:
            record.outcome, record.reason = finding.kind, finding.text
        except Exception as error:  # in the oracle; what a slim model raises is caught where it is called
            record.outcome, record.reason = "unknown", f"{type(error).__name__}: {error}"
    return record


def judge(model: Model, module: nn.Module, result: gp.Result, record: Record) -> None:
    """Everything that is asked of a slim model.

    Raises:
        Finding: it is wrong.
        Unknown: the oracle has no definition.
    """
    flags, kept = record.flags, result.plan.kept
    sliced(module, result)
    simple = simple_layers(model, module)
    if needless := [name for name in simple if 0 not in kept.get(f"{name}.weight", {})]:
        flags["needless pin"] = ", ".join(needless)
    wide = widened(copy.deepcopy(module))
    inputs = [widened(item) for item in model.example(seed=1)]
    try:
        slim = widened(copy.deepcopy(result.model))
        returned = slim(*copied(inputs))
    except Exception as error:
        flags["uncastable"] = said(error)
        equal = _equal_in_float32(module, result, model)
        raise Finding("exact" if equal else "wrong", "in float32 alone") from error
    masked = oracle(wide, inputs, returned, result)
    gradients(masked, slim, returned, kept, flags, max(1e-6, 10 * tolerance_of(wide)))
    dependence(wide, inputs, masked, kept, model)
    other_batch(model, wide, slim, result, flags)
    other_size(model, wide, slim, result, flags)
    trains(module, result.model, model.example(), flags)


def sliced(module: nn.Module, result: gp.Result) -> None:
    """Each tensor of the slim model is the original's at the kept places, and trainable as it was."""
    slim = dict([*result.model.named_parameters(), *result.model.named_buffers()])
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name not in slim:
            continue  # nothing reads it
        part = tensor.detach()
        for dim, kept in result.plan.kept.get(name, {}).items():
            part = torch.stack([part.select(dim, int(index)) for index in kept], dim)
        if not torch.equal(part, slim[name].detach()) or tensor.requires_grad != slim[name].requires_grad:
            raise Finding("wrong", f"{name} is not the original's at the kept places")


def gradients(
    masked: Masked, slim: nn.Module, returned: Any, kept: Any, flags: dict[str, str], tolerance: float
) -> None:
    """Those of the slim model are the masked original's at the kept places."""
    found = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
    pairs = [(a, b) for a, b in zip(masked.outputs, found, strict=True) if a.requires_grad]
    if not pairs:
        return
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(a.shape, dtype=a.dtype, generator=generator) for a, _ in pairs]
    try:
        sum((a * w).sum() for (a, _), w in zip(pairs, weights, strict=True)).backward()
    except RuntimeError:
        return  # values that the backward pass needs were overwritten, by the user's own code
    try:
        sum((b * w).sum() for (_, b), w in zip(pairs, weights, strict=True)).backward()
    except Exception as error:
        flags["untrainable"] = said(error)
        return
    for name, parameter in slim.named_parameters():
        if name not in masked.tensors:
            continue
        whole = masked.tensors[name].grad
        part = torch.zeros_like(masked.tensors[name]) if whole is None else whole
        for dim, indices in kept.get(name, {}).items():
            part = part.index_select(dim, indices)
        own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        try:
            compare(f"gradient of {name}", [part], [own], tolerance)
        except Finding as finding:
            flags["untrainable"] = finding.text
            return


def dependence(wide: nn.Module, inputs: Any, masked: Masked, kept: Any, model: Model) -> None:
    """Brute force: whatever a removed unit's part of one tensor is, the module does not see it.

    Where zeros are all that it takes to remove a unit, the module itself with zeroed weights gives what the masked
    original gives; and still does if the removed part of any one tensor is random.
    """
    if not masked.plain or not kept:
        return
    masks = masks_of(wide, kept)
    tensors = dict(wide.named_parameters())
    text = "\n".join(model.steps.values())
    with torch.no_grad():
        for name, tensor in (*tensors.items(), *wide.named_buffers()):  # means of batch norms too
            tensor.copy_(tensor * masks[name])
        compare("zeroed weights", masked.outputs, tree_leaves(wide(*copied(inputs))))
        for name in [name for name in tensors if name in kept][:8]:
            layer = name.split(".")[0]
            if "_l" in name or text.count(f"self.{layer}") != 1:
                continue  # what it makes comes back to it
            before = tensors[name].clone()
            tensors[name].add_(torch.randn(before.shape, dtype=before.dtype) * (1 - masks[name]))
            compare(f"removed part of {name}", masked.outputs, tree_leaves(wide(*copied(inputs))))
            tensors[name].copy_(before)


def trains(module: nn.Module, slim: nn.Module, inputs: Sequence[Tensor], flags: dict[str, str]) -> None:
    """Where the original takes a step in training mode, the slim model does."""
    own = next((item.dtype for item in module.parameters()), torch.float32)
    inputs = [item.to(own) if item.is_floating_point() else item for item in inputs]
    for net in (copy.deepcopy(module), copy.deepcopy(slim)):
        net.train()
        try:
            leaves = [leaf for leaf in tree_leaves(net(*copied(inputs))) if leaf.requires_grad]
            sum(leaf.float().square().mean() for leaf in leaves).backward()
        except Exception as error:
            if net.__class__ is not module.__class__:
                flags["untrainable"] = f"training mode: {said(error)}"
            return


def _equal_in_float32(module: nn.Module, result: gp.Result, model: Model) -> bool:
    inputs = model.example(seed=1)
    masked = masked_original(widened(copy.deepcopy(module)), [widened(item) for item in inputs], result)
    try:
        returned = tree_leaves(result.model(*copied(inputs)))
    except Exception as error:
        raise Finding("crash", f"the slim model does not run: {said(error)}") from error
    try:
        compare("outputs", masked.outputs, returned, 1e-3)
    except Finding:
        return False
    return True
