"""Proves that a slim program is what its plan asks for. Shares no code with rewriting."""

from graphprune.verifying.bisect import guilty_groups
from graphprune.verifying.calm import calm
from graphprune.verifying.nodes import Claim
from graphprune.verifying.repaired import verify_repaired
from graphprune.verifying.tensors import Lively
from graphprune.verifying.unchanged import verify_unchanged
from graphprune.verifying.verdict import Check, Verdict
from graphprune.verifying.verify import check_random, verify

__all__ = [
    "Check",
    "Claim",
    "Lively",
    "Verdict",
    "calm",
    "check_random",
    "guilty_groups",
    "verify",
    "verify_repaired",
    "verify_unchanged",
]
