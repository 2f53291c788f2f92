"""Random steps whose weights are shared, tied, computed, or written out."""

from __future__ import annotations

from fuzz_builder import Builder, Op, Reject

__all__ = ["WEIGHTS"]


def embedding(g: Builder) -> None:
    """Numbers that are looked up; at times the table is used as the last layer too."""
    words, width = g.choice((8, 10)), g.channels
    index = g.input((-1, g.choice((4, 6, 8))), words)
    table = g.layer(f"nn.Embedding({words}, {width})")
    x = g.add(f"{table}({index})")
    del g.shapes[index]
    if g.chance(0.4):
        hidden = g.add(f"{g.layer(f'nn.Linear({width}, {width})')}({x})")
        g.add(f"F.linear({hidden}, {table}.weight)")


def tied(g: Builder) -> None:
    """A second layer with the weight of the first, or the first once more."""
    x = g.pick(2, 3)
    width, middle = g.shapes[x][-1], g.channels
    one = g.layer(f"nn.Linear({width}, {middle})")
    h = g.add(f"torch.relu({one}({x}))")
    kind = g.random.random()
    if kind < 0.4:
        g.add(f"F.linear({h}, {one}.weight.t())")
    elif kind < 0.7:
        two = g.layer(f"nn.Linear({width}, {middle})")
        g.setup(f"{two[5:]}.weight", f"{two}.weight = {one}.weight")
        g.add(f"{h} * {two}({x}.tanh())")
    else:
        g.add(f"{h} + {one}({x}.flip(0))")


def shared(g: Builder) -> None:
    """One layer on two values."""
    x = g.pick(2, 3, 4)
    shape = g.shapes[x]
    dim = 1 if len(shape) == 4 else -1
    y = g.pick(len(shape), fit=lambda found: found[dim] == shape[dim])
    out = g.channels
    code = f"nn.Conv2d({shape[1]}, {out}, 3, padding=1)" if dim == 1 else f"nn.Linear({shape[-1]}, {out})"
    layer = g.layer(code)
    g.add(f"{layer}({x})")
    g.add(f"{layer}({y})")


def computed_weight(g: Builder) -> None:
    """Convolutions and linear layers whose weights the code makes: standardised, masked, scaled, mixed."""
    x = g.pick(4, 4, 2, 3)
    shape, out = g.shapes[x], g.channels
    flat = len(shape) != 4
    width = shape[-1] if flat else shape[1]
    w = g.parameter(out, width) if flat else g.parameter(out, width, 3, 3)
    dims = "1" if flat else "(1, 2, 3)"
    kind = g.choice(("standard", "scaled", "normed", "masked", "joined", "sliced"))
    if kind == "standard":
        w = g.add(
            f"({w} - {w}.mean({dims}, keepdim=True)) / ({w}.std({dims}, keepdim=True) + 1e-3)", pool=False
        )
    elif kind == "scaled":
        scale = g.parameter(*([out, 1] if flat else [out, 1, 1, 1]))
        w = g.add(f"{w} * {scale}", pool=False)
    elif kind == "normed":
        w = g.add(f"F.normalize({w}, dim={g.choice((0, 1))})", pool=False)
    elif kind == "joined":
        w = g.add(f"torch.cat([{w}, 0.5 * {w}.flip(0)], 0)", pool=False)
    elif kind == "sliced":
        w = g.add(f"{w}[: {out // 2}]", pool=False)
    else:
        mask = g.layer(f"(torch.arange({out * width}).reshape({out}, {width}) % 3 > 0)", "b")
        w = g.add(f"{w} * {mask}{'' if flat else '[:, :, None, None]'}", pool=False)
    g.add(f"F.linear({x}, {w})" if flat else f"F.conv2d({x}, {w}, padding=1)")


def product(g: Builder) -> None:
    """A parameter in a product that is written out."""
    x = g.pick(4, 3, 2)
    shape, out = g.shapes[x], g.channels
    letters = "bchw"[: len(shape)]
    w = g.parameter(out, shape[1])
    codes = [f"torch.einsum('{letters},oc->{letters.replace('c', 'o')}', {x}, {w})"]
    if len(shape) == 3:
        codes += [f"{w} @ {x}", f"torch.matmul({w}[None], {x})"]
    elif len(shape) == 2:
        codes += [f"{x} @ {w}.t()", f"torch.mm({x}, {w}.T)", f"({x}[:, None] * {w}).sum(-1)"]
    g.add(g.choice(codes))


def modulated(g: Builder) -> None:
    """The batch folded into the groups of a convolution."""
    x = g.pick(4)
    s = g.pick(2) if g.chance(0.3) else g.add(f"{x}.mean((2, 3))")
    width, out = g.shapes[x][1], g.channels
    w = g.parameter(out, width, 3, 3)
    style = g.add(f"{g.layer(f'nn.Linear({g.shapes[s][1]}, {width})')}({s})")
    k = g.add(f"{w}[None] * {style}[:, None, :, None, None]", pool=False)
    n = f"{x}.shape[0]"
    y = f"F.conv2d({x}.reshape(1, {n} * {width}, {x}.shape[2], {x}.shape[3])"
    y = g.add(f"{y}, {k}.reshape({n} * {out}, {width}, 3, 3), padding=1, groups={n})", pool=False)
    g.add(f"{y}.reshape({n}, {out}, {x}.shape[2], {x}.shape[3])")


def wrapped(g: Builder) -> None:
    """Parametrised weights."""
    x = g.pick(2, 3, 4)
    shape = g.shapes[x]
    inner = (
        f"nn.Conv2d({shape[1]}, {g.channels}, 3, padding=1)"
        if len(shape) == 4
        else f"nn.Linear({shape[-1]}, {g.channels})"
    )
    g.add(f"{g.layer(f'nn.utils.parametrizations.weight_norm({inner})')}({x})")


def bilinear(g: Builder) -> None:
    x = g.pick(2, 3)
    y = g.pick(len(g.shapes[x]), fit=lambda shape: shape[:-1] == g.shapes[x][:-1])
    if not g.shapes[x][-1] <= 16 >= g.shapes[y][-1]:
        raise Reject
    g.add(f"{g.layer(f'nn.Bilinear({g.shapes[x][-1]}, {g.shapes[y][-1]}, {g.channels})')}({x}, {y})")


def prelu(g: Builder) -> None:
    x = g.pick(2, 3, 4)
    g.add(f"{g.layer(f'nn.PReLU({g.choice((1, g.shapes[x][1]))})')}({x})")


WEIGHTS: dict[Op, float] = {
    embedding: 0.7,
    tied: 0.7,
    shared: 0.7,
    computed_weight: 1,
    product: 1,
    modulated: 0.4,
    wrapped: 0.4,
    bilinear: 0.3,
    prelu: 0.5,
}
