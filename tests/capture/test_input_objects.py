"""Arguments that are objects which hold tensors: a cache that is an input and an output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import graphprune as gp


class Layer:
    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self.filled = True
        self._shift = torch.zeros(1)


class Cache:
    """What a decoder keeps of the tokens so far."""

    def __init__(self, layers: list[Layer], limit: int | None = None) -> None:
        self.layers = layers
        self.limit = limit
        self.dtype = torch.float32
        self.owner = self


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.key = nn.Linear(6, 12), nn.Linear(12, 5)
        self.up, self.down = nn.Linear(5, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor, cache: Cache) -> dict[str, object]:
        new = self.key(self.stem(x).relu())
        layer = cache.layers[0]
        layer.keys = torch.cat([layer.keys, new], 1) + layer._shift
        cache.seen = layer.keys
        return {"logits": self.down(self.up(layer.keys.mean(1)).relu()), "cache": cache}


def cache(batch: int = 2, past: int = 4, **options: int) -> Cache:
    return Cache([Layer(torch.randn(batch, past, 5))], **options)


@pytest.fixture(scope="module")
def result() -> gp.Result:
    torch.manual_seed(0)
    return gp.shrink(Decoder(), {"x": torch.randn(2, 3, 6), "cache": cache()}, ratio=0.5)


def test_the_object_is_given_as_to_the_model(result: gp.Result) -> None:
    assert (result.model.stem.out_features, result.model.up.out_features) == (6, 10)
    given = result.model(torch.randn(7, 3, 6), cache(7))
    assert given["logits"].shape == (7, 3)
    assert given["cache"]["layers"][0]["keys"].shape == (7, 7, 5)


def test_the_users_object_is_left_as_it_was() -> None:
    mine = cache()
    gp.shrink(Decoder(), (torch.randn(2, 3, 6), mine), ratio=0.5).graft()
    assert mine.layers[0].keys.shape == (2, 4, 5)
    assert not hasattr(mine, "seen")


def test_its_dimensions_have_names_that_lead_to_them(result: gp.Result) -> None:
    names = {item.input for item in result.graph.program.dimensions}
    assert names == {"x", "cache.layers.0.keys", "cache.layers.0._shift"}


def test_what_is_no_tensor_in_it_must_stay(result: gp.Result) -> None:
    with pytest.raises(gp.InputError, match=r"cache\.limit is 9, but was None at capture"):
        result.model(torch.randn(2, 3, 6), cache(limit=9))
    with pytest.raises(gp.InputError, match=r"the length of cache\.layers is 2, but was 1"):
        result.model(torch.randn(2, 3, 6), Cache(cache().layers * 2))
    with pytest.raises(gp.InputError, match="which has no 'layers'"):
        result.model(torch.randn(2, 3, 6), torch.zeros(2))


def test_it_goes_through_files(result: gp.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "slim")
    x, past = torch.randn(5, 3, 6), cache(5)
    loaded = gp.load(tmp_path / "slim")
    torch.testing.assert_close(loaded(x, past)["logits"], result.model(x, past)["logits"])
    source = (tmp_path / "slim" / "model.py").read_text()
    assert "cache.layers" in source
    assert "len(" in source
    space: dict[str, object] = {}
    exec(compile(source, "model.py", "exec"), space)


def test_a_class_that_torch_knows_is_read_in_the_same_way() -> None:
    class Known(Cache):
        pass

    pytree.register_pytree_node(
        Known,
        lambda item: ([layer.keys for layer in item.layers], None),
        lambda keys, _: Known(list(map(Layer, keys))),
        flatten_with_keys_fn=lambda item: ([(pytree.SequenceKey(0), item.layers[0].keys)], None),
    )
    past = Known([Layer(torch.randn(2, 4, 5))])
    result = gp.shrink(Decoder(), (torch.randn(2, 3, 6), past), ratio=0.5)
    assert result.model(torch.randn(2, 3, 6), past)["logits"].shape == (2, 3)


def test_an_object_that_cannot_be_copied_is_refused() -> None:
    past = cache()
    past.stream = (number for number in range(3))
    past.__class__ = type("Streaming", (Cache,), {})
    with pytest.raises(gp.InputError, match="Streaming, which cannot be copied"):
        gp.trace(Decoder(), (torch.randn(2, 3, 6), past))
