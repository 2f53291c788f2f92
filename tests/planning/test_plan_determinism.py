"""A plan does not depend on the order in which Python's sets happen to be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import torch
torch.set_num_threads(1)
import graphprune as gp
from planning_models import network, transformer
for graph in (network(), transformer()):
    print([(group.name, group.size, group.members, group.fibre) for group in graph.groups])
    print({name: [str(term) for term in terms] for name, terms in graph.analysis.terms.items()})
    print(sorted(map(str, graph.to_networkx().nodes(data=True))))
    for request in ({"macs": 0.5}, {"params": 0.5, "align": 4}, {"macs": 0.5, "importance": "random"}):
        print(gp.shrink(graph, **request).plan.to_json())
    for layer in dict.fromkeys(name.rpartition(".")[0] for name in graph.tensor_terms):
        print(graph.explain(layer))
"""


def printed(seed: str) -> str:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_groups_plans_and_explanations_are_the_same_for_every_hash_seed() -> None:
    first = printed("0")
    assert "stem.weight:0" in first
    assert printed("4711") == first
