"""Proves that a slim program is what its plan asks for. Shares no code with rewriting."""

from graphprune.verifying.verdict import Check, Verdict
from graphprune.verifying.verify import verify

__all__ = ["Check", "Verdict", "verify"]
