"""Proves that a slim program is what its plan asks for. Shares no code with rewriting."""

from graphprune.verifying.calm import calm
from graphprune.verifying.claim import Claim
from graphprune.verifying.edited import verify_repaired, verify_unchanged
from graphprune.verifying.streamed import verify_streamed
from graphprune.verifying.tensors import Lively
from graphprune.verifying.verdict import Check, Verdict
from graphprune.verifying.verify import captured_checks, check_random, guilty_groups, verify

__all__ = [
    "Check",
    "Claim",
    "Lively",
    "Verdict",
    "calm",
    "captured_checks",
    "check_random",
    "guilty_groups",
    "verify",
    "verify_repaired",
    "verify_streamed",
    "verify_unchanged",
]
