"""Prunes a folder of weights that is larger than the memory it is given, and proves the result.

    python tools/bench_folder.py tinyllama
    python tools/bench_folder.py llama2-7b --space 6

Makes a folder of random bfloat16 weights in shards, with the sizes of a public model of the Llama family. In a fresh
process `graphprune.shrink_pretrained` brings it to 75 % of its parameters: MLPs alone, scored on random tokens. Prints
CPU seconds and peak memory after each stage, and deletes both folders. Takes disk for both: 4 GB, or 24 GB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

# vocabulary, hidden, MLP, layers, heads, heads of keys
SIZES = {
    "tiny": (100, 64, 128, 2, 4, 2),
    "tinyllama": (32000, 2048, 5632, 22, 32, 4),
    "llama2-7b": (32000, 4096, 11008, 32, 32, 32),
}
ROWS, SHORTEST = 16, 8  # rows of the batch that is scored, and the fewest tokens of each
SHARE = 0.75
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

    model = build(name)
    empty = model.state_dict()
    generator = torch.Generator().manual_seed(0)

    def drawn() -> Iterator[tuple[str, Any]]:
        for each, tensor in empty.items():
            made = torch.empty(tensor.shape, dtype=tensor.dtype).normal_(0, 0.02, generator=generator)
            yield each, made.add_(1) if made.dim() == 1 else made

    write_shards(folder, drawn(), {each: form_of(tensor) for each, tensor in empty.items()})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)


def memory() -> tuple[float, float]:
    """Peaks of resident memory and of address space, in GiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {line[0]: int(line[1]) / 2**20 for line in lines if line[0] in ("VmHWM:", "VmPeak:")}
    return found["VmHWM:"], found["VmPeak:"]


class Stages:
    """A row for every stage: its CPU seconds, and the peaks of memory up to its end."""

    def __init__(self) -> None:
        self.name, self.start = "import", 0.0
        self.times: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        now = process_time()
        self.times[self.name] = self.times.get(self.name, 0.0) + now - self.start
        print(f"| {self.name} | {now - self.start:.1f} | {memory()[0]:.2f} | {memory()[1]:.2f} |", flush=True)
        self.name, self.start = name, now


def prune(name: str, folder: Path, slim_folder: Path, tokens: int) -> bool:
    """All stages; whether the slim folder was proved."""
    stages = Stages()
    import torch

    from models_zoo import torchvision_ops

    torchvision_ops.ensure()
    import graphprune as gp

    torch.set_num_threads(1)
    length = max(tokens // ROWS, SHORTEST)
    batch = torch.randint(SIZES[name][0], (ROWS, length), generator=torch.Generator().manual_seed(1))
    made = gp.shrink_pretrained(
        folder,
        slim_folder,
        params=SHARE,
        importance="wanda",
        calibration=[{"input_ids": batch}],
        protect=PROTECTED,
        progress=stages,
    )
    stages("end")
    before, after = (made.report[when]["params"] for when in ("before", "after"))
    print(f"\n{sum(stages.times.values()):.0f} CPU seconds in all, {memory()[0]:.2f} GiB at the peak")
    print(f"{before:,} parameters, {after:,} kept; {dict(made.fields)}\n{made.verdict}")
    return made.verdict.passed


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
        make(given.name, folder)
        command = [sys.executable, __file__, *sys.argv[1:], "--prune", str(folder), f"{place}/slim"]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
