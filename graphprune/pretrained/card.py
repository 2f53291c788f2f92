"""The model card of a slim folder: what it was made of, what was removed, and the figures."""

from __future__ import annotations

from collections.abc import Mapping

from graphprune.pretrained.opened import Model
from graphprune.results.result import Result

__all__ = ["card"]


def card(
    model: Model,
    result: Result,
    fields: Mapping[str, tuple[int | None, int]],
    perplexity: tuple[float, float] | None,
    judged_on: str,
) -> str:
    """README.md as Hugging Face's hub shows it."""
    before, after = result.before, result.after
    name = model.folder.blueprint.model.__name__
    rows = [f"| `{field}` | {'–' if old is None else old} | {new} |" for field, (old, new) in fields.items()]
    base = model.folder.path.resolve().name
    judged = "Perplexity on {}: {:.4g} before, {:.4g} after."
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            f"base_model: {base}",
            "tags: [pruned, graphprune]",
            "---",
            "",
            f"# {base}, pruned",
            "",
            f"A `{name}` with {after.params:,} of {before.params:,} parameters "
            f"({after.params / before.params:.1%}). Nothing was trained after the cut.",
            *([judged.format(judged_on, *perplexity)] if perplexity else []),
            "Only these fields of its configuration differ:",
            "",
            "| field | before | after |",
            "| --- | --- | --- |",
            *rows,
            "",
            "Made by graphprune. plan.json says which units were kept, report.json has every check with its figure.",
            "",
        ]
    )
