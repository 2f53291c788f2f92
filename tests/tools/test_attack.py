"""``tools/attack.py``: mutated results end with an answer or a refusal, and what ends otherwise is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import attack  # noqa: E402
from attack_mutations import FILES, mutate  # noqa: E402


def test_mutated_results_end_with_an_answer_or_a_refusal(tmp_path: Path) -> None:
    out = tmp_path / "attack.jsonl"
    command = [sys.executable, str(TOOLS / "attack.py"), "--seed", "7", "--out", str(out), "--count"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOOLS.parent)}
    subprocess.run([*command, "60"], check=True, capture_output=True, env=environment)
    rows = attack.read(out)
    assert [row["number"] for row in rows] == list(range(60))
    assert [row for row in rows if row["outcome"] not in attack.RIGHT] == []
    assert {row["outcome"] for row in rows} == {"answer", "refused"}
    assert len({row["command"] for row in rows}) == len(attack.COMMANDS)


ENDINGS = {
    1: lambda: os.kill(os.getpid(), signal.SIGSEGV),
    2: lambda: time.sleep(60),
    3: lambda: os._exit(3),
    4: lambda: 1 / 0,
}


def test_what_ends_a_process_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(number: int, seed: int, base: Path) -> dict[str, Any]:
        ENDINGS.get(number, lambda: None)()
        return {"number": number, "outcome": "answer"}

    monkeypatch.setattr(attack, "attack", ended)
    monkeypatch.setattr(attack, "SECONDS", 1)
    rows = list(attack.attacked(range(6), 0, tmp_path))
    assert [row["number"] for row in rows] == list(range(6))
    assert [row["outcome"] for row in rows] == ["answer", "signal", "time", "mistake", "mistake", "answer"]
    assert rows[1]["said"] == "SIGSEGV"


def test_exceptions_that_are_not_ours_are_mistakes(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyError("x")

    assert attack._python(fail) == ("mistake", "KeyError: 'x'")
    assert attack._load(tmp_path)[0] == "refused"
    assert attack._cli("verify", tmp_path)[0] == "refused"


@pytest.mark.parametrize("file", ["plan.json", "shrink.toml"])
def test_a_number_makes_the_same_mutation_again(tmp_path: Path, file: str) -> None:
    text = '{"a": [1, 2, {"b": "c"}], "d": 0.5}' if file.endswith("json") else 'a = 1\nb = "x"\n'
    found = []
    for number in (1, 1, 2):
        (tmp_path / file).unlink(missing_ok=True)
        (tmp_path / file).write_text(text)
        random = Random(number)
        while mutate(tmp_path, file, random) != "content":
            (tmp_path / file).unlink(missing_ok=True)
            (tmp_path / file).write_text(text)
        found.append((tmp_path / file).read_bytes())
    assert found[0] == found[1] != found[2]


def test_the_table_counts() -> None:
    rows = [{"command": "verify", "outcome": outcome} for outcome in ("answer", "refused", "refused", "time")]
    assert "| verify | 4 | 1 | 2 | 0 | 0 | 1 |" in attack.table(rows)
    assert "| all | 4 | 1 | 2 | 0 | 0 | 1 |" in attack.table(rows)
    assert set(FILES) == set(attack.READERS)
    assert json.loads(json.dumps(attack.READERS))
