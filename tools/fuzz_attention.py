"""Random steps that mix tokens: attention by hand, fused and as a layer, and products of matrices."""

from __future__ import annotations

from fuzz_builder import Builder, Op

__all__ = ["MIXERS"]


def _heads(g: Builder, width: int) -> tuple[int, int]:
    heads = g.choice([h for h in (1, 2, 3, 4) if width % h == 0 and width > h])
    return heads, width // heads


def _scores(g: Builder, q: str, k: str, v: str, depth: int) -> str:
    """Softmax of products, by hand or fused."""
    if g.chance(0.5):
        more = g.choice(("", "", ", is_causal=True", ", scale=0.3"))
        return g.add(f"F.scaled_dot_product_attention({q}, {k}, {v}{more})")
    scale = g.choice((f"{depth} ** -0.5", f"{q}.shape[-1] ** -0.5", "0.3"))
    scores = f"{q} @ {k}.transpose(-2, -1) * {scale}"
    if g.chance(0.2):
        scores = f"torch.einsum('bhid,bhjd->bhij', {q}, {k}) * {scale}"
    weights = g.add(f"({scores}).softmax(-1)")
    return g.add(f"{weights} @ {v}")


def joint_attention(g: Builder) -> None:
    """Queries, keys and values of one layer."""
    x = g.pick(3)
    _, _length, width = g.shapes[x]
    heads, depth = _heads(g, inner := g.choice((8, 12, 16)))
    qkv = g.add(f"{g.layer(f'nn.Linear({width}, {3 * inner}, bias={g.chance(0.5)})')}({x})")
    n = f"{x}.shape[0], {g.size(x, 1)}"
    kind = g.choice(("three", "chunk", "inner"))
    if kind == "three":
        y = g.add(f"{qkv}.reshape({n}, 3, {heads}, {depth}).permute(2, 0, 3, 1, 4)", pool=False)
        q, k, v = (g.add(f"{y}[{at}]") for at in range(3))
    elif kind == "chunk":
        y = g.add(f"{qkv}.chunk(3, -1)", pool=False)
        q, k, v = (g.add(f"{y}[{at}].reshape({n}, {heads}, {depth}).transpose(1, 2)") for at in range(3))
    else:
        y = g.add(f"{qkv}.view({n}, {heads}, 3 * {depth}).transpose(1, 2).chunk(3, dim=-1)", pool=False)
        q, k, v = (g.add(f"{y}[{at}]") for at in range(3))
    out = g.add(f"{_scores(g, q, k, v, depth)}.transpose(1, 2).reshape({n}, {inner})")
    out = g.add(f"{g.layer(f'nn.Linear({inner}, {width})')}({out})")
    if g.chance(0.7):
        g.add(f"{x} + {out}")


def cross_attention(g: Builder) -> None:
    """Queries of one value, keys and values of another; at times fewer heads for these, norms, rotations."""
    x, y = g.pick(3), g.pick(3)
    width, other = g.shapes[x][2], g.shapes[y][2]
    heads, depth = g.choice((2, 4)), g.choice((4, 6))
    few = g.choice((heads, heads, heads // 2))
    q, k, v = (
        g.add(
            f"{g.layer(f'nn.Linear({size}, {h * depth})')}({source}).unflatten(-1, ({h}, {depth})).transpose(1, 2)"
        )
        for source, size, h in ((x, width, heads), (y, other, few), (y, other, few))
    )
    if g.chance(0.3):
        norm = g.choice((f"nn.LayerNorm({depth})", f"nn.RMSNorm({depth})"))
        q, k = g.add(f"{g.layer(norm)}({q})"), g.add(f"{g.layer(norm)}({k})")
    if g.chance(0.3):
        table = g.layer(f"torch.linspace(0, 1, {depth})", "b")
        q, k = (
            g.add(f"{part} * torch.cos({table}) - {part}.roll({depth // 2}, -1) * torch.sin({table})")
            for part in (q, k)
        )
    if few < heads:
        k, v = (g.add(f"{part}.repeat_interleave({heads // few}, 1)") for part in (k, v))
    mixed = _scores(g, q, k, v, depth)
    out = g.add(f"{mixed}.transpose(1, 2).flatten(2)")
    g.add(f"{g.layer(f'nn.Linear({heads * depth}, {width})')}({out})")


def layer_attention(g: Builder) -> None:
    """nn.MultiheadAttention, to itself or to another value, and a transformer's layer."""
    x = g.pick(3, fit=lambda shape: shape[2] % 2 == 0)
    width = g.shapes[x][2]
    heads = g.choice([h for h in (1, 2, 4) if width % h == 0])
    if g.chance(0.25):
        more = f"batch_first=True, norm_first={g.chance(0.5)}"
        layer = f"nn.TransformerEncoderLayer({width}, {heads}, {g.channels * 2}, {more})"
        g.add(f"{g.layer(layer)}({x})")
        return
    y = g.pick(3) if g.chance(0.4) else x
    other = g.shapes[y][2]
    more = f", kdim={other}, vdim={other}" if y != x else ""
    layer = g.layer(f"nn.MultiheadAttention({width}, {heads}, batch_first=True{more})")
    weights = g.chance(0.3)
    both = g.add(f"{layer}({x}, {y}, {y}, need_weights={weights})", pool=False)
    g.add(f"{both}[0]")
    if weights:
        g.add(f"{both}[1]")


def matrices(g: Builder) -> None:
    """Products of two values: Gram matrices, mixers, outer products."""
    x = g.pick(3, 4)
    shape = g.shapes[x]
    if len(shape) == 4:
        flat = g.add(f"{x}.flatten(2)")
        g.add(f"{flat} @ {flat}.transpose(1, 2)" if g.chance(0.5) else f"torch.bmm({flat}, {flat}.mT)")
        return
    y = g.pick(3, fit=lambda found: found[1] == shape[1] or found[2] == shape[2] or found[1] == shape[2])
    found = g.shapes[y]
    if found[1] == shape[2]:
        g.add(f"torch.matmul({x}, {y})")
    elif found[2] == shape[2]:
        g.add(g.choice((f"torch.einsum('bic,bjc->bij', {x}, {y})", f"{x} @ {y}.transpose(1, 2)")))
    else:
        g.add(f"torch.einsum('bti,btj->bij', {x}, {y})")


def token_mixer(g: Builder) -> None:
    """A linear layer over the tokens instead of the channels."""
    x = g.pick(3)
    length = g.shapes[x][1]
    y = g.add(f"{g.layer(f'nn.Linear({length}, {g.channels})')}({x}.transpose(1, 2))")
    if g.chance(0.5):
        y = g.add(f"{g.layer(f'nn.Linear({g.shapes[y][2]}, {length})')}(F.gelu({y}))")
        g.add(f"{x} + {y}.transpose(1, 2)")


def class_token(g: Builder) -> None:
    x = g.pick(3)
    token = g.parameter(1, 1, g.shapes[x][2])
    g.add(f"torch.cat([{token}.expand({x}.shape[0], -1, -1), {x}], dim=1)")


def rotated(g: Builder) -> None:
    """Rotary positions: the halves of the last dimension change places."""
    x = g.pick(3, 4, fit=lambda shape: shape[-1] % 2 == 0)
    half = g.shapes[x][-1] // 2
    table = g.layer(f"torch.linspace(0, 1, {2 * half})", "b")
    turned = g.add(f"torch.cat([-{x}[..., {half}:], {x}[..., :{half}]], dim=-1)")
    g.add(f"{x} * torch.cos({table}) + {turned} * torch.sin({table})")


def experts(g: Builder) -> None:
    """Several weights in one parameter, mixed by a gate."""
    x = g.pick(2)
    width, out = g.shapes[x][-1], g.channels
    count = g.choice((2, 4))
    w = g.parameter(count, width, out)
    gate = g.add(f"{g.layer(f'nn.Linear({width}, {count})')}({x}).softmax(-1)")
    parts = g.add(f"torch.einsum('bi,eio->beo', {x}, {w})")
    g.add(f"({parts} * {gate}[..., None]).sum(1)")


MIXERS: dict[Op, float] = {
    joint_attention: 1.5,
    cross_attention: 1.2,
    layer_attention: 1.2,
    matrices: 1,
    token_mixer: 1,
    class_token: 0.6,
    experts: 0.6,
    rotated: 0.6,
}
