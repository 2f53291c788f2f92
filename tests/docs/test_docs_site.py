"""The documentation builds in strict mode: no link, anchor or name of the reference leads nowhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

import graphprune

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the documentation's packages are not installed")
    folder = tmp_path_factory.mktemp("site")
    # not --quiet, which hides warnings from --strict as well
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    for page in pages - {Path("index")}:
        place = page.parent if page.name == "index" else page
        assert (site / place / "index.html").is_file(), page


def reference(site: Path) -> str:
    return "".join(page.read_text() for page in sorted((site / "reference").rglob("*.html")))


def test_the_reference_names_everything_public(site: Path) -> None:
    text = reference(site)
    missing = [name for name in graphprune.__all__ if f".{name}" not in text and name != "__version__"]
    assert missing == []


def test_the_reference_shows_every_option(site: Path) -> None:
    """They are declared in one place, and Python writes them into signatures and docstrings."""
    text = reference(site)
    for public in (graphprune.shrink, graphprune.plan, graphprune.Tuning, graphprune.trace):
        place = f"{public.__module__}.{public.__name__}"
        rows = text.partition(f'<h3 id="{place}"')[2].partition("<h3 id=")[0]
        assert [name for name in signature(public).parameters if f"<code>{name}</code>" not in rows] == []


def test_pictures_are_drawn_and_tables_searched_without_a_network(site: Path) -> None:
    """The theme puts each picture into a closed shadow root, so its box is what can be seen of it."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    pictures = (ROOT / "docs" / "design.md").read_text().count("```mermaid")
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no browser can be started: {str(error).splitlines()[0]}")
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "design" / "index.html").as_uri())
        page.wait_for_function(f"document.querySelectorAll('div.mermaid').length == {pictures}")
        heights = page.eval_on_selector_all("div.mermaid", "all => all.map(e => e.clientHeight)")
        page.goto((site / "operators" / "index.html").as_uri())
        searched = {}
        for words in ("", "conv2d"):
            page.locator("article input[type=search]").first.fill(words)
            shown = "all => all.filter(e => !e.hidden).length"
            searched[words] = page.locator("article table").first.locator("tbody tr").evaluate_all(shown)
        texts = page.locator("article table").first.locator("tbody tr").all_text_contents()
        rows, found_rows = len(texts), sum("conv2d" in text for text in texts)
        browser.close()
    assert min(heights) > 40
    assert searched == {"": rows, "conv2d": found_rows}
    assert 0 < found_rows < rows / 10
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=.?(?:https?:)?//|<link[^>]*(?:stylesheet|icon)[^>]*//"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    assert [page.name for page in pages if fetched.search(page.read_text())] == []
