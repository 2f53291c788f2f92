"""Low-rank adapters: a slim folder is trained by PEFT in its own class, and merged into its weights afterwards.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021): every linear layer but the last gets the product
of two narrow matrices beside it, which alone are trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import getitem
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.ground.errors import InputError, first_line
from graphprune.ground.unlogged import unlogged
from graphprune.pretrained.folder import Folder
from graphprune.verifying import Check

__all__ = ["ADAPTERS", "adapted", "as_kept", "keep", "merged", "peft_library"]

ADAPTERS = "adapter_model.safetensors"
ALPHA = 2  # over the rank: how much an adapter counts


def adapted(
    folder: Folder, rank: int, inputs: Iterable[str], outputs: Iterable[str], seed: int
) -> fx.GraphModule:
    """The class of ``folder`` with adapters that do nothing yet, as a graph that calls it.

    Args:
        rank: of every adapter.
        inputs: arguments of ``forward``.
        outputs: what the graph returns of the class's output, by name.
        seed: of the adapters' random numbers.

    Raises:
        InputError: PEFT is not installed, or finds no layer that it could adapt.
    """
    peft = peft_library()
    options = peft.LoraConfig(
        r=rank, lora_alpha=ALPHA * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = folder.loaded(torch.float32)
        model.config.use_cache = False
        try:
            with unlogged():
                model = peft.get_peft_model(model, options)
        except ValueError as error:
            raise InputError(
                f"PEFT cannot adapt a {folder.blueprint.model.__name__}: {first_line(error)}",
                "train it whole",
            ) from error
    return _called(model, inputs, outputs)


def peft_library() -> Any:
    """PEFT.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError(
            f"adapters need PEFT: {first_line(error)}",
            "pip install 'graphprune[lora]', or train the model whole",
        ) from error
    return peft


def _called(model: nn.Module, inputs: Iterable[str], outputs: Iterable[str]) -> fx.GraphModule:
    """A graph of one call of ``model``, its child "slim"."""
    graph = fx.Graph()
    given: dict[str, Any] = {name: graph.placeholder(name) for name in inputs}
    called = graph.call_module("slim", (), given)
    graph.output({name: graph.call_function(getitem, (called, name)) for name in outputs})
    root = nn.Module()
    root.slim = model
    return fx.GraphModule(root, graph)


def merged(trained: fx.GraphModule) -> dict[str, Tensor]:
    """The weights of the class with its adapters added, by the names in its state dict."""
    model: Any = trained.slim
    return dict(model.merge_and_unload().state_dict())


def keep(trained: fx.GraphModule, path: Path) -> None:
    """Writes the adapters as PEFT reads them, in the folder of ``path``."""
    model: Any = trained.slim
    with unlogged():
        model.save_pretrained(path.parent, save_embedding_layers=False)


def as_kept(trained: fx.GraphModule, folder: Path, slim: Folder) -> Check:
    """Whether PEFT reads the same adapters in ``folder`` onto the class of ``slim``."""
    peft, model = peft_library(), trained.slim
    with unlogged():
        read = peft.PeftModel.from_pretrained(slim.loaded(torch.float32), folder)
        states = [peft.get_peft_model_state_dict(each) for each in (model, read)]
    known, found = states
    wrong = [name for name in known if name not in found or not torch.equal(known[name].cpu(), found[name])]
    return Check.without(
        "PEFT reads the adapters that were trained", [*wrong, *sorted(set(found) - set(known))]
    )
