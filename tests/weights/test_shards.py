"""Folders of weights: what is written is what others read, and a bad folder is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from folders import llama, read_head, write
from safetensors.torch import load_file, save_file
from torch import Tensor

import graphprune as gp
from graphprune.weights import Form, Shards, form_of, write_shards
from graphprune.weights.forms import DTYPES

INDEX = "model.safetensors.index.json"
FIRST, SECOND, THIRD = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))


def five() -> dict[str, Tensor]:
    """40 bytes each, so that two fit into 80."""
    return {name: torch.arange(10, dtype=torch.float32) + place for place, name in enumerate("abcde")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert write(tmp_path / "model", five(), most=80) == [FIRST, SECOND, THIRD, INDEX]
    return tmp_path / "model"


def test_what_is_written_is_read(folder: Path) -> None:
    found = Shards(folder)
    assert list(found) == list("abcde")
    assert all(torch.equal(found[name], tensor) for name, tensor in five().items())
    assert found.forms["c"] == Form(torch.float32, (10,))
    assert "f" not in found
    with pytest.raises(KeyError):
        found["f"]


def test_the_layout_is_that_of_hugging_face(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    assert index["metadata"] == {"total_size": 200}
    assert index["weight_map"] == {"a": FIRST, "b": FIRST, "c": SECOND, "d": SECOND, "e": THIRD}
    assert read_head(folder / FIRST)["__metadata__"] == {"format": "pt"}
    assert torch.equal(load_file(folder / SECOND)["d"], five()["d"])


def test_one_file_needs_no_index(tmp_path: Path) -> None:
    assert write(tmp_path, five()) == ["model.safetensors"]
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors"}
    assert torch.equal(Shards(tmp_path)["e"], five()["e"])


def test_every_dtype_and_shape_survives(tmp_path: Path) -> None:
    made = {str(dtype): torch.randint(0, 2, (3, 2)).to(torch.float32).to(dtype) for dtype in DTYPES.values()}
    made |= {"number": torch.tensor(7.5), "nothing": torch.zeros(0, 4), "turned": torch.rand(3, 5).T}
    write(tmp_path, made)
    found = Shards(tmp_path)
    for name, tensor in made.items():
        assert form_of(found[name]) == form_of(tensor)
        assert found[name].tolist() == tensor.tolist()


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    save_file(five(), tmp_path / "model.safetensors", {"format": "pt"})
    assert torch.equal(Shards(tmp_path)["b"], five()["b"])


def test_transformers_reads_what_is_written(tmp_path: Path) -> None:
    model = llama(torch.bfloat16)
    model.config.save_pretrained(tmp_path)
    assert len(write(tmp_path, model.state_dict(), most=50_000)) > 3
    again = type(model).from_pretrained(tmp_path)
    assert again.dtype == torch.bfloat16
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


# -- bad folders --------------------------------------------------------------------------------------------
def cut_off(folder: Path) -> None:
    path = folder / SECOND
    path.write_bytes(path.read_bytes()[:-8])


def cut_in_the_head(folder: Path) -> None:
    path = folder / SECOND
    path.write_bytes(path.read_bytes()[:40])


def misnamed(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["z"] = THIRD
    (folder / INDEX).write_text(json.dumps(index))


def outside(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["a"] = "../other.safetensors"
    (folder / INDEX).write_text(json.dumps(index))


def pickled(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    torch.save(five(), folder / "pytorch_model.bin")


def pickled_in_the_place_of_a_shard(folder: Path) -> None:
    torch.save(five(), folder / SECOND)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def gone(folder: Path) -> None:
    emptied(folder)
    folder.rmdir()


def overlapping(folder: Path) -> None:
    path = folder / FIRST
    path.write_bytes(path.read_bytes().replace(b"[40,80]", b"[00,40]").replace(b"[00,40]", b"[0,40] "))


def of_an_unknown_dtype(folder: Path) -> None:
    path = folder / FIRST
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F33"'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / SECOND).unlink(), f"lacks the shard {SECOND}"),
        (cut_off, f"{SECOND} cannot be read: it is cut off: it has"),
        (cut_in_the_head, f"{SECOND} cannot be read: it is cut off: it has 40 bytes of"),
        (misnamed, f"{THIRD} lacks the tensor 'z'"),
        (outside, "names '../other.safetensors', which is no file beside it"),
        (pickled, "pytorch_model.bin, a pickle"),
        (pickled_in_the_place_of_a_shard, f"{SECOND} cannot be read: it does not begin as"),
        (emptied, "has neither model.safetensors nor model.safetensors.index.json"),
        (gone, "is no folder with weights"),
        (overlapping, "the places of its tensors do not follow each other"),
        (of_an_unknown_dtype, "torch has no dtype F33, which a has"),
        (lambda folder: (folder / INDEX).write_text("{}"), "it has no weight_map"),
    ],
)
def test_a_bad_folder_is_refused(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(gp.InputError) as caught:
        Shards(folder)
    assert message in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_pickles_are_to_be_converted(folder: Path) -> None:
    pickled(folder)
    with pytest.raises(gp.InputError, match="convert to safetensors"):
        Shards(folder)


def test_names_and_forms_are_known_without_reading(folder: Path) -> None:
    found = Shards(folder)
    for path in folder.iterdir():
        path.unlink()
    assert "a" in found
    assert len(found) == 5
    assert found.forms["e"] == Form(torch.float32, (10,))
    with pytest.raises(gp.InputError, match="No such file"):
        found["a"]


def test_a_file_that_shrinks_meanwhile_is_noticed(folder: Path) -> None:
    found = Shards(folder)
    cut_off(folder)
    assert torch.equal(found["c"], five()["c"])
    with pytest.raises(gp.InputError, match="has become shorter"):
        found["d"]


# -- writing ------------------------------------------------------------------------------------------------
def test_weights_that_are_there_are_not_mixed_with_new_ones(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(gp.InputError, match="has weights already"):
        write(folder, five())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a", torch.zeros(3))], "a float32 \\[3\\] is given to be written where a float32 \\[10\\]"),
        ([("b", torch.zeros(10))], "b float32 \\[10\\] is given to be written where a"),
        ([], "nothing is given to be written where a"),
    ],
)
def test_what_was_not_announced_is_not_written(
    tmp_path: Path, given: list[tuple[str, Tensor]], message: str
) -> None:
    with pytest.raises(gp.InputError, match=message):
        write_shards(tmp_path, given, {"a": form_of(five()["a"])})
    assert not list(tmp_path.glob("*.safetensors*"))


def test_a_dtype_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gp.InputError, match=r"a has the dtype torch\.complex128"):
        write(tmp_path, {"a": torch.zeros(2, dtype=torch.complex128)})


def test_tensors_are_asked_for_one_at_a_time(tmp_path: Path) -> None:
    """The file of the first is complete before the second is made."""
    seen: list[set[str]] = []

    def made() -> object:
        for name, tensor in five().items():
            seen.append({path.name for path in tmp_path.glob("*.safetensors")})
            yield name, tensor

    write_shards(tmp_path, made(), {name: form_of(tensor) for name, tensor in five().items()}, most=40)
    assert [len(names) for names in seen] == [0, 1, 2, 3, 4]


SCARCE = """
import resource, sys
from graphprune.weights import Shards
import torch
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
shards = Shards(sys.argv[1])
print([float(shards[name][-1, -1]) for name in shards])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is of Linux")
def test_a_file_may_be_larger_than_address_space(tmp_path: Path) -> None:
    """256 MiB of tensors where 64 MiB more may be taken."""
    write(tmp_path, {f"t{place}": torch.full((2048, 4096), float(place)) for place in range(8)})
    command = [sys.executable, "-c", SCARCE, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
