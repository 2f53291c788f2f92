"""Prunes a folder of weights that is larger than the memory it is given, and proves the result.

    python tools/bench_folder.py tinyllama
    python tools/bench_folder.py llama2-7b --space 6

Makes a folder of random bfloat16 weights in shards, with the sizes of a public model of the Llama family. A fresh
process then traces the model without values, scores its MLPs on random tokens, plans 75 % of the parameters, writes the
slim folder, and proves it on a short text, each tensor read when it is used. Prints CPU seconds and peak memory after
each stage, and deletes both folders. Takes disk for both: 4 GB, or 24 GB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

# vocabulary, hidden, MLP, layers, heads, heads of keys
SIZES = {
    "tiny": (100, 64, 128, 2, 4, 2),
    "tinyllama": (32000, 2048, 5632, 22, 32, 4),
    "llama2-7b": (32000, 4096, 11008, 32, 32, 32),
}
ROWS, PROVED = 16, 8  # rows of the batch that is scored; tokens of each of two rows that are proved
SHARE = 0.75
TIES = [["model.layers.*.mlp.gate_proj"]]
PROTECTED = ("model.embed_tokens", "*.self_attn.*")


def build(name: str) -> Any:
    """The model without values, but for the tables that it computes."""
    import torch
    from accelerate import init_empty_weights

    from models_zoo import torchvision_ops

    torchvision_ops.ensure()
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary, hidden, mlp, layers, heads, groups = SIZES[name]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        use_cache=False,
        attn_implementation="sdpa",
    )
    with init_empty_weights(include_buffers=False):
        return LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).eval()


def make(name: str, folder: Path) -> None:
    """Random weights of the scale that such models begin with, written shard by shard."""
    import torch

    from graphprune.weights import form_of, write_shards

    empty = build(name).state_dict()
    generator = torch.Generator().manual_seed(0)

    def drawn() -> Iterator[tuple[str, Any]]:
        for each, tensor in empty.items():
            made = torch.empty(tensor.shape, dtype=tensor.dtype).normal_(0, 0.02, generator=generator)
            yield each, made.add_(1) if made.dim() == 1 else made

    write_shards(folder, drawn(), {each: form_of(tensor) for each, tensor in empty.items()})


def memory() -> tuple[float, float]:
    """Peaks of resident memory and of address space, in GiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {line[0]: int(line[1]) / 2**20 for line in lines if line[0] in ("VmHWM:", "VmPeak:")}
    return found["VmHWM:"], found["VmPeak:"]


@contextmanager
def stage(name: str) -> Iterator[None]:
    start = process_time()
    yield
    print(f"| {name} | {process_time() - start:.1f} | {memory()[0]:.2f} | {memory()[1]:.2f} |", flush=True)


def prune(name: str, folder: Path, slim_folder: Path, tokens: int) -> bool:
    """All stages; whether the slim folder was proved."""
    with stage("import"):
        import torch

        import graphprune as gp
        from graphprune.exporting import in_dtype
        from graphprune.planning import (
            Budget,
            Constraints,
            Target,
            choose,
            find_limits,
            known_costs,
            make_plan,
        )
        from graphprune.rewriting import rewrite
        from graphprune.scoring import find_importance
        from graphprune.verifying import verify_streamed
        from graphprune.weights import Shards, form_of, write_shards

        torch.set_num_threads(1)
    length = max(tokens // ROWS, PROVED)
    batch = torch.randint(SIZES[name][0], (ROWS, length), generator=torch.Generator().manual_seed(1))
    with stage("trace"):
        graph = gp.trace(build(name), {"input_ids": batch[:2]}, outputs=["logits"])
        graph = graph.with_weights(Shards(folder))
    with stage(f"score {batch.numel()} tokens"):
        wide = in_dtype(graph.program, torch.float32)
        criterion = find_importance("wanda", [{"input_ids": batch}])
        scores = criterion(replace(graph, program=wide), wide.tensors, 0)
    with stage("plan"):
        limits = find_limits(graph, Constraints(protect=PROTECTED, ties=TIES))
        target = Target(Budget("params", SHARE), known_costs(graph)["params"], 1.0)
        plan = make_plan(graph, choose(graph, scores, [target], limits), {"ties": TIES})
        slim = rewrite(graph, plan)
    with stage("write"):
        slim_folder.mkdir()
        forms = {each: form_of(item.tensor) for each, item in slim.stored.items() if item.persistent}
        write_shards(slim_folder, ((each, slim.tensors[each]) for each in forms), forms)
    with stage("prove"):
        written = slim.with_weights(Shards(slim_folder))
        verdict = verify_streamed(graph, plan, written, {"sequence": PROVED})
    print(f"\n{graph.cost().params:,} parameters, {graph.cost(plan.sizes).params:,} kept\n{verdict}")
    return verdict.passed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=SIZES)
    parser.add_argument("--space", type=float, help="GiB of address space that the process may have")
    parser.add_argument("--tokens", type=int, default=4096, help="that units are scored on")
    parser.add_argument("--folder", type=Path, help="where there is space on a disk")
    parser.add_argument("--prune", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prune:
        if given.space:
            space = int(given.space * 2**30)
            resource.setrlimit(resource.RLIMIT_AS, (space, space))
        return not prune(given.name, *given.prune, given.tokens)
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place) / "model"
        folder.mkdir()
        print(
            "| stage | CPU seconds | peak memory, GiB | peak address space, GiB |\n| --- | --- | --- | --- |"
        )
        with stage("make the folder (apart)"):
            make(given.name, folder)
        command = [sys.executable, __file__, *sys.argv[1:], "--prune", str(folder), f"{place}/slim"]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
