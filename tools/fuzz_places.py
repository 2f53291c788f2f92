"""Random steps at chosen places: indexing, gathering, and writes in place."""

from __future__ import annotations

from fuzz_builder import Builder, Op, Reject

__all__ = ["PLACED"]


def select(g: Builder) -> None:
    x = g.pick(2, 3, 4)
    rank = len(g.shapes[x])
    dim = g.choice(range(1, rank))
    size, before = g.shapes[x][dim], ":, " * dim
    if size < 2:
        raise Reject
    start = g.choice(range(size - 1))
    index = g.random.sample(range(size), max(size // 2, 1))
    codes = [f"{x}[{before}{start}:]", f"{x}.narrow({dim}, {start}, {size - start})", f"{x}[{before}::2]"]
    codes += [f"{x}[{before}{index}]", f"{x}.index_select({dim}, torch.tensor({index}))", f"{x}[{before}:-1]"]
    codes += [f"{x}.flip({dim})", f"torch.roll({x}, 1, {dim})", f"{x}.repeat_interleave(2, dim={dim})"]
    codes += [f"{x}.unsqueeze({dim})", f"{x}[{before}None]"]
    if rank > 2:
        codes += [f"{x}[{before}{start}]", f"{x}.select({dim}, -1)"] * 2
    repeats = ", ".join("2" if at == dim else "1" for at in range(rank))
    codes += [f"{x}.repeat({repeats})", f"{x}.squeeze({dim})"]
    g.add(g.choice(codes))


def gather(g: Builder) -> None:
    """Places that are data: gather, scatter, top k, one hot."""
    x = g.pick(2, 3)
    dim = len(g.shapes[x]) - 1
    size = g.shapes[x][dim]
    if size < 3:
        raise Reject
    kind = g.choice(("topk", "sort", "argmax", "scatter", "gather", "scatter_add"))
    if kind in ("topk", "sort"):
        g.add(f"{x}.{kind}({f'{size // 2}, ' if kind == 'topk' else ''}dim={dim})[0]")
    elif kind == "argmax":
        g.add(f"F.one_hot({x}.argmax({dim}), {size}) * {x}")
    elif kind == "gather":
        order = g.add(f"{x}.argsort({dim})", pool=False)
        y = g.like(g.shapes[x])
        g.add(f"{y}.gather({dim}, {order})")
    else:
        order = g.add(f"{x}.argsort({dim})", pool=False)
        g.add(f"torch.zeros_like({x}).{kind}({dim}, {order}, {x})")


def write(g: Builder) -> None:
    """Writes in place into a copy, or into zeros."""
    x = g.pick(2, 3, 4)
    shape = g.shapes[x]
    dim = g.choice(range(1, len(shape)))
    size, before = shape[dim], ":, " * dim
    if size < 2:
        raise Reject
    start = g.choice(range(1, size))
    y = g.like(shape)
    fresh = g.choice(
        (f"{x}.clone()", f"torch.zeros_like({x})", f"{x} * 1.0", f"torch.empty_like({x}).fill_(0.5)")
    )
    index = g.random.sample(range(size), max(size // 2, 1))
    lines = [f"$.copy_({y})", f"$[{before}{start}:] = {y}[{before}{start}:]", f"$[{before}{start}:] = 0"]
    lines += [
        f"$[{before}:{start}] += {y}[{before}:{start}]",
        f"$.masked_fill_({y} > 0, 0.5)",
        f"$[{y} > 0.5] = 0.0",
    ]
    lines += [
        f"$[{before}{start}:].copy_({y}[{before}{start}:])",
        f"$[{before}0] = {y}[{before}-1]",
        f"$.add_({y})",
    ]
    lines += [
        f"$.mul_({y}.sigmoid())",
        f"$[{before}{index}] = {y}[{before}{index}]",
        f"$[{before}:{start}].mul_(0.5)",
    ]
    lines += [
        f"$.index_copy_({dim}, torch.tensor({index}), {y}[{before}{index}])",
        f"$[{before}{index}] *= 2",
    ]
    lines += [
        f"$.index_add_({dim}, torch.tensor({index}), {y}[{before}{index}])",
        f"$[{before}{start}:].zero_()",
    ]
    g.add(fresh, *g.random.sample(lines, g.choice((1, 1, 2))))


def in_place(g: Builder) -> None:
    """An operator that overwrites a value that others may read."""
    x = g.pick(fit=lambda shape: True, plain=False)
    if x.startswith("x"):
        raise Reject
    g.add(
        g.choice(
            (
                f"{x}.relu_()",
                f"F.relu({x}, inplace=True)",
                f"{x}.mul_(0.5)",
                f"{x}.add_(1)",
                f"{x}.clamp_(-1, 1)",
            )
        )
    )


def masked(g: Builder) -> None:
    """Masks made of values, and where."""
    x = g.pick(2, 3, 4)
    y = g.like(g.shapes[x])
    codes = [
        f"{x}.masked_fill({y} > 0, 0)",
        f"torch.where({y} > 0, {x}, torch.zeros_like({x}))",
        f"{x} * ({y} > 0)",
    ]
    codes += [
        f"torch.where({y} > {y}.mean(), {x}, {y})",
        f"{x} * ({y} > 0).to({x}.dtype)",
        f"torch.triu({x})",
    ]
    g.add(g.choice(codes))


PLACED: dict[Op, float] = {
    select: 2,
    gather: 0.7,
    write: 2.5,
    in_place: 0.7,
    masked: 1,
}
