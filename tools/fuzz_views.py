"""Random steps that move values: views, joins, reductions, indexing, and writes in place."""

from __future__ import annotations

from fuzz_builder import Builder, Op, Reject

__all__ = ["MOVES"]


def permute(g: Builder) -> None:
    x = g.pick(3, 4, 5, plain=False)
    order = list(range(len(g.shapes[x])))
    if g.chance(0.5):
        a, b = g.random.sample(order, 2)
        g.add(f"{x}.transpose({a}, {b})")
        return
    inner = order[1:]
    g.random.shuffle(inner)
    order = [0, *inner] if g.chance(0.8) else g.random.sample(order, len(order))
    g.add(f"{x}.permute({', '.join(map(str, order))})")


def flatten(g: Builder) -> None:
    x = g.pick(3, 4, 5)
    rank = len(g.shapes[x])
    start = g.choice(range(rank - 1))
    end = g.choice((-1, g.choice(range(start + 1, rank))))
    g.add(f"{x}.flatten({start}, {end})")


def reshape(g: Builder) -> None:
    """A size split in two, or two neighbours joined."""
    x = g.pick(2, 3, 4, plain=False)
    shape = g.shapes[x]
    sizes = [g.size(x, dim) for dim in range(len(shape))]
    dim = g.choice([dim for dim, size in enumerate(shape) if size > 3] or [None])
    if dim is not None and g.chance(0.6):
        outer = g.divisor(shape[dim], proper=True)
        sizes[dim : dim + 1] = [str(outer), str(shape[dim] // outer)]
    elif len(shape) > 2:
        at = g.choice(range(len(shape) - 1))
        sizes[at : at + 2] = [f"{sizes[at]} * {sizes[at + 1]}"]
    if g.chance(0.4):
        sizes[g.choice(range(len(sizes)))] = "-1"
    call = g.choice((f"{x}.reshape", f"{x}.contiguous().view", f"torch.reshape({x}, "))
    joined = ", ".join(sizes)
    g.add(f"{call}({joined}))" if call.endswith(" ") else f"{call}({joined})")


def unflatten(g: Builder) -> None:
    x = g.pick(2, 3, 4)
    dim = g.choice(range(1, len(g.shapes[x])))
    outer = g.divisor(g.shapes[x][dim], proper=True)
    g.add(f"{x}.unflatten({dim}, ({outer}, {g.choice((-1, g.shapes[x][dim] // outer))}))")


def shuffle(g: Builder) -> None:
    """Channel and pixel shuffles, space to depth."""
    x = g.pick(4)
    width = g.shapes[x][1]
    kind = g.choice(("pixel", "unpixel", "channel", "module"))
    if kind == "pixel":
        g.add(f"F.pixel_shuffle({x}, 2)")
    elif kind == "unpixel":
        g.add(f"F.pixel_unshuffle({x}, 2)")
    elif kind == "module":
        g.add(f"{g.layer(f'nn.ChannelShuffle({g.divisor(width)})')}({x})")
    else:
        groups = g.divisor(width, proper=True)
        _, _, h, w = (g.size(x, dim) for dim in range(4))
        y = g.add(f"{x}.reshape(-1, {groups}, {width // groups}, {h}, {w}).transpose(1, 2)", pool=False)
        g.add(f"{y}.reshape(-1, {width}, {h}, {w})")


def windows(g: Builder) -> None:
    """Patches of an image as tokens."""
    x = g.pick(4, fit=lambda shape: shape[2] % 2 == 0 == shape[3] % 2)
    _, c, h, w = g.shapes[x]
    y = g.add(f"{x}.reshape(-1, {c}, {h // 2}, 2, {w // 2}, 2)", pool=False)
    if g.chance(0.5):
        g.add(f"{y}.permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, {c})")
    else:
        g.add(f"{y}.permute(0, 2, 4, 3, 5, 1).reshape({x}.shape[0], {h * w // 4}, {4 * c})")


def tokens(g: Builder) -> None:
    """Images to sequences and back."""
    x = g.pick(4)
    _, c, h, w = (g.size(x, dim) for dim in range(4))
    y = g.add(f"{x}.flatten(2).transpose(1, 2)")
    if g.chance(0.3):
        y = g.add(f"{y} + {g.parameter(1, *g.shapes[y][1:])}")
        g.add(f"{y}.transpose(1, 2).reshape({x}.shape[0], {c}, {h}, {w})")


def chunk(g: Builder) -> None:
    """Parts along a dimension; some are joined again at once, some live on."""
    x = g.pick(2, 3, 4)
    dim = g.choice(range(1, len(g.shapes[x])))
    size = g.shapes[x][dim]
    if size < 3:
        raise Reject
    count = g.choice((2, 2, 3, 4))
    first = g.choice(range(1, size))
    codes = [f"{x}.chunk({count}, {dim})", f"torch.split({x}, [{first}, {size - first}], {dim})"]
    codes += [f"{x}.split({g.choice(range(1, size))}, dim={dim})"]
    parts = g.add(g.choice(codes), pool=False)
    names = [g.add(f"{parts}[{at}]") for at in range(len(g.env[0][parts]))]
    if len(names) > 1 and g.chance(0.6):
        a, b = names[0], names[-1]
        g.add(g.choice((f"{a} * torch.sigmoid({b})", f"torch.cat([{b}, {a}], {dim})", f"{a} - {b}.tanh()")))


def unbind(g: Builder) -> None:
    x = g.pick(3, 4)
    dim = g.choice(range(1, len(g.shapes[x])))
    parts = g.add(f"{x}.unbind({dim})", pool=False)
    a, b = g.add(f"{parts}[0]"), g.add(f"{parts}[-1]")
    g.add(g.choice((f"{a} + {b}", f"torch.stack([{a}, {b}], {dim})", f"{a} * {b}")))


def join(g: Builder) -> None:
    """Two values of one shape."""
    x = g.pick(plain=False)
    y = g.like(g.shapes[x])
    dim = g.choice(range(len(g.shapes[x])))
    codes = [f"{x} + {y}"] * 4 + [
        f"{x} * {y}",
        f"{x} - {y}",
        f"torch.maximum({x}, {y})",
        f"{x} * {y}.sigmoid()",
    ]
    codes += [
        f"torch.stack([{x}, {y}], {dim})",
        f"torch.cat([{x}, {y}], {dim})",
        f"torch.where({x} > 0, {x}, {y})",
    ]
    codes += [f"{x} / ({y}.abs() + 1)", f"torch.lerp({x}, {y}, 0.3)", f"torch.minimum({x}, {y}.relu())"]
    g.add(g.choice(codes))


def concatenate(g: Builder) -> None:
    """Values that agree in all sizes but one."""
    x = g.pick(2, 3, 4)
    shape = g.shapes[x]
    dim = g.choice(range(1, len(shape)))
    rest = shape[:dim] + shape[dim + 1 :]
    y = g.pick(len(shape), fit=lambda found: found[:dim] + found[dim + 1 :] == rest)
    parts = [x, y] + [x] * g.chance(0.2)
    g.add(f"torch.{g.choice(('cat', 'cat', 'concat'))}([{', '.join(parts)}], dim={dim})")


def residual(g: Builder) -> None:
    """A block that leads back to its input: by convolutions, or by linear layers."""
    x = g.pick(4, 3, 2)
    shape = g.shapes[x]
    if len(shape) == 4:
        width, middle = shape[1], g.channels
        one = g.layer(f"nn.Conv2d({width}, {middle}, 3, padding=1)")
        norm = g.layer(f"nn.BatchNorm2d({middle})")
        two = g.layer(f"nn.Conv2d({middle}, {width}, 1)")
        h = g.add(f"F.relu({norm}({one}({x})))")
    else:
        width, middle = shape[-1], g.channels
        one, two = g.layer(f"nn.Linear({width}, {middle})"), g.layer(f"nn.Linear({middle}, {width})")
        h = g.add(f"F.gelu({one}({x}))")
    g.add(f"{x} + {two}({h})")


def broadcast(g: Builder) -> None:
    """Squeeze and excitation, scales and shifts, gates of another rank."""
    x = g.pick(4, 4, 3)
    shape = g.shapes[x]
    kind = g.choice(("squeeze", "scale", "shift", "film"))
    if kind == "squeeze" and len(shape) == 4:
        s = g.add(f"{x}.mean((2, 3), keepdim=True)")
        one, two = g.layer(f"nn.Conv2d({shape[1]}, 4, 1)"), g.layer(f"nn.Conv2d(4, {shape[1]}, 1)")
        g.add(f"{x} * torch.sigmoid({two}(F.relu({one}({s}))))")
    elif kind == "film":
        s = g.pick(2)
        dim = 1 if len(shape) == 4 else 2
        both = g.add(f"{g.layer(f'nn.Linear({g.shapes[s][1]}, {2 * shape[dim]})')}({s})")
        parts = g.add(
            f"{both}{'[:, :, None, None]' if dim == 1 else '[:, None]'}.chunk(2, {dim})", pool=False
        )
        g.add(f"{x} * (1 + {parts}[0]) + {parts}[1]")
    else:
        dim = g.choice((1, -1))
        sizes = (shape[1], *[1] * (len(shape) - 2)) if dim == 1 else (shape[-1],)
        g.add(f"{x} {'*' if kind == 'scale' else '+'} {g.parameter(*sizes)}")


def reduce(g: Builder) -> None:
    x = g.pick(3, 4, 5)
    rank = len(g.shapes[x])
    dims = g.choice([dim for dim in range(1, rank)] + [(-2, -1)] * 2)
    kind = g.choice("mean mean mean sum amax max logsumexp norm var std prod softmax cumsum amin".split())
    if kind == "max":
        g.add(f"{x}.max({dims if isinstance(dims, int) else -1})[0]")
    elif kind in ("prod", "softmax", "cumsum"):
        g.add(f"{x}.{kind}({dims if isinstance(dims, int) else -1})")
    elif kind == "norm":
        g.add(f"torch.linalg.vector_norm({x}, dim={dims})")
    elif kind in ("var", "std"):
        g.add(
            f"({x} + 0.1 * {x}.sin()).{kind}({dims}, correction={g.choice((0, 1))}, keepdim={g.chance(0.4)})"
        )
    else:
        g.add(f"{x}.{kind}({dims}, keepdim={g.chance(0.4)})")


def normalise(g: Builder) -> None:
    x = g.pick(2, 3, 4)
    dim = g.choice(range(1, len(g.shapes[x])))
    codes = [f"F.normalize({x}, dim={dim})", f"F.softmax({x}, dim={dim})", f"F.log_softmax({x}, dim={dim})"]
    codes += [f"F.glu({x}, dim={dim})", f"{x} / {x}.abs().sum({dim}, keepdim=True).clamp(min=1)"]
    codes += [f"{x} - {x}.mean({dim}, keepdim=True)", f"{x} - {x}.amax({dim}, keepdim=True)"]
    g.add(g.choice(codes))


MOVES: dict[Op, float] = {
    permute: 3,
    flatten: 2,
    reshape: 3,
    unflatten: 1,
    shuffle: 1.5,
    windows: 0.7,
    tokens: 1.5,
    chunk: 2.5,
    unbind: 0.7,
    join: 5,
    concatenate: 3,
    residual: 2,
    broadcast: 2,
    reduce: 2,
    normalise: 1,
}
