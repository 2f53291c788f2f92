"""What a page of the command line holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["data_of"]


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])
