"""Random steps: layers of `torch.nn`, and their functional forms with weights that are computed."""

from __future__ import annotations

from fuzz_builder import Builder, Op

__all__ = ["LAYERS"]

ACTIVATIONS = (
    "nn.ReLU() nn.GELU() nn.SiLU() nn.Tanh() nn.Sigmoid() nn.Hardswish() nn.LeakyReLU(0.1) nn.ELU() nn.Mish() "
    "nn.ReLU6() nn.Softplus() nn.Hardtanh() nn.Dropout(0.1) nn.Identity() nn.CELU() nn.LogSigmoid()"
).split()
FUNCTIONS = (
    "F.relu({0}) torch.tanh({0}) {0}.sigmoid() F.gelu({0}) F.silu({0}) {0}.abs() torch.exp(-{0}**2) {0}*0.5+1 "
    "{0}.clamp(-2,2) torch.sin({0}) -{0} {0}*{0} F.softplus({0}) {0}.clamp(min=0) 1/(1+{0}**2) {0}.square()+1 "
    "F.dropout({0},0.1,self.training) {0}.to({0}.dtype) {0}.contiguous() torch.where({0}>0,{0},0.1*{0}) F.elu({0}) "
    "torch.maximum({0},0.1*{0}) F.leaky_relu({0},0.2) torch.erf({0}) {0}.pow(2).add(1).log() F.hardtanh({0}) "
    "torch.sqrt({0}**2+1) torch.zeros_like({0})+{0} {0}.type_as({0}) torch.addcmul({0},{0},{0},value=0.3) "
    "torch.lerp({0},{0}.tanh(),0.3)"
).split()


def activation(g: Builder) -> None:
    x = g.pick(plain=False)
    if g.chance(0.5):
        g.add(f"{g.layer(g.choice(ACTIVATIONS))}({x})")
    else:
        g.add(g.choice(FUNCTIONS).format(x))


def _kernel(g: Builder, count: int) -> str:
    """Kernel, stride, padding and dilation."""
    kernel = g.choice((1, 1, 3, 3, 3, 2) if count < 3 else (1, 2, 3))
    parts = [str(kernel)]
    if g.chance(0.25):
        parts.append("stride=2")
    elif g.chance(0.1) and kernel % 2:
        parts.append("padding='same'")
        return ", ".join(parts)
    if kernel > 1 and g.chance(0.8):
        parts.append(f"padding={kernel // 2}")
    if kernel > 1 and g.chance(0.1):
        parts.append("dilation=2")
    if g.chance(0.25):
        parts.append("bias=False")
    if kernel > 1 and g.chance(0.1):
        parts.append(f"padding_mode='{g.choice(('reflect', 'circular', 'replicate'))}'")
    return ", ".join(parts)


def convolution(g: Builder) -> None:
    """One to three dimensions; plain, grouped, depthwise, depthwise with a multiplier."""
    x = g.pick(4, 4, 3, 5)
    width, count = g.shapes[x][1], len(g.shapes[x]) - 2
    settings, kind = _kernel(g, count), g.random.random()
    if kind < 0.6:
        layer = f"nn.Conv{count}d({width}, {g.channels}, {settings})"
    elif kind < 0.75:
        layer = f"nn.Conv{count}d({width}, {width * g.choice((1, 1, 2))}, {settings}, groups={width})"
    else:
        groups = g.divisor(width)
        layer = f"nn.Conv{count}d({width}, {groups * g.choice((1, 2, 3, 4))}, {settings}, groups={groups})"
    g.add(f"{g.layer(layer)}({x})")


def transposed(g: Builder) -> None:
    x = g.pick(4, 4, 3, 5)
    width, count = g.shapes[x][1], len(g.shapes[x]) - 2
    settings = g.choice(
        ("2, stride=2", "3, padding=1", "1", "4, stride=2, padding=1", "3, stride=2, output_padding=1")
    )
    groups = g.divisor(width) if g.chance(0.3) else 1
    out = g.channels if groups == 1 else groups * g.choice((1, 2, 3))
    bias = ", bias=False" if g.chance(0.3) else ""
    g.add(f"{g.layer(f'nn.ConvTranspose{count}d({width}, {out}, {settings}, groups={groups}{bias})')}({x})")


def linear(g: Builder) -> None:
    x = g.pick(fit=lambda shape: len(shape) > 1 and shape[-1] > 0, plain=False)
    width = g.shapes[x][-1]
    g.add(f"{g.layer(f'nn.Linear({width}, {g.channels}, bias={g.chance(0.7)})')}({x})")


def mlp(g: Builder) -> None:
    """Linear layers with a wide middle, and a gate for some."""
    x = g.pick(2, 3)
    width, middle = g.shapes[x][-1], g.channels * 2
    one = g.add(f"{g.layer(f'nn.Linear({width}, {middle})')}({x})")
    gate = f"{g.layer(f'nn.Linear({width}, {middle}, bias=False)')}({x})"
    inner = g.add(f"F.silu({one}) * {gate}" if g.chance(0.5) else f"F.gelu({one})")
    g.add(f"{x} + {g.layer(f'nn.Linear({middle}, {width})')}({inner})")


def batch_norm(g: Builder) -> None:
    x = g.pick(4, 4, 2, 3, 5)
    shape = g.shapes[x]
    name = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}[len(shape)]
    g.add(f"{g.layer(f'nn.BatchNorm{name}({shape[1]}, affine={g.chance(0.85)})')}({x})")


def channel_norm(g: Builder) -> None:
    """Group and instance norms."""
    x = g.pick(4, 4, 3, 5)
    shape = g.shapes[x]
    if g.chance(0.7):
        groups = g.choice((1, shape[1], g.divisor(shape[1])))
        g.add(f"{g.layer(f'nn.GroupNorm({groups}, {shape[1]}, affine={g.chance(0.85)})')}({x})")
    else:
        g.add(f"{g.layer(f'nn.InstanceNorm{len(shape) - 2}d({shape[1]}, affine={g.chance(0.5)})')}({x})")


def layer_norm(g: Builder) -> None:
    x = g.pick(fit=lambda shape: len(shape) > 1 and shape[-1] > 2)
    shape = g.shapes[x]
    over = list(shape[-2:]) if len(shape) > 2 and g.chance(0.15) else shape[-1]
    kind = g.choice(
        ("nn.LayerNorm({})", "nn.LayerNorm({})", "nn.RMSNorm({})", "nn.LayerNorm({}, bias=False)")
    )
    g.add(f"{g.layer(kind.format(over))}({x})")


def norm_by_hand(g: Builder) -> None:
    """Means and variances that code takes itself."""
    x = g.pick(2, 3, 4)
    dim = g.choice((1, -1))
    width = g.shapes[x][dim]
    mean = g.add(f"{x}.mean({dim}, keepdim=True)")
    if g.chance(0.5):
        spread = g.add(f"({x} - {mean}).pow(2).mean({dim}, keepdim=True)")
    else:
        spread = g.add(f"{x}.var({dim}, keepdim=True, unbiased={g.chance(0.5)})")
    scale = g.parameter(width, *[1] * (len(g.shapes[x]) - 2 if dim == 1 else 0))
    g.add(f"({x} - {mean}) * torch.rsqrt({spread} + 1e-3) * {scale}")


def pooling(g: Builder) -> None:
    x = g.pick(4, 4, 3, 5)
    count = len(g.shapes[x]) - 2
    codes = [f"F.max_pool{count}d({x}, 2)", f"F.avg_pool{count}d({x}, 2)", f"nn.MaxPool{count}d(3, 2, 1)"]
    codes += [f"nn.AdaptiveAvgPool{count}d({n})" for n in (1, 2)] + [f"nn.AvgPool{count}d(3, 1, 1)"]
    codes += [f"F.adaptive_max_pool{count}d({x}, 2)"]
    if count == 2:
        codes += [f"F.interpolate({x}, scale_factor=2, mode='{m}')" for m in ("nearest", "bilinear")]
        codes += [
            f"F.pad({x}, (1, 0, 1, 1))",
            f"F.pad({x}, (1, 1, 1, 1), mode='reflect')",
            "nn.Upsample(scale_factor=2)",
        ]
    code = g.choice(codes)
    g.add(f"{g.layer(code)}({x})" if code.startswith("nn.") else code)


def recurrent(g: Builder) -> None:
    x = g.pick(3)
    kind = g.choice(("LSTM", "GRU", "RNN"))
    size, both, first = g.choice((4, 6, 8)), g.chance(0.4), g.chance(0.8)
    settings = (
        f"batch_first={first}, bidirectional={both}, num_layers={g.choice((1, 1, 2))}, bias={g.chance(0.8)}"
    )
    if kind == "LSTM" and g.chance(0.2):
        settings += f", proj_size={size // 2}"
    layer = g.layer(f"nn.{kind}({g.shapes[x][2]}, {size}, {settings})")
    x = x if first else g.add(f"{x}.transpose(0, 1)")
    both_values = g.add(f"{layer}({x})", pool=False)
    out = g.add(f"{both_values}[0]")
    if not first:
        g.add(f"{out}.transpose(0, 1)")
    if g.chance(0.4):
        state = f"{both_values}[1][0]" if kind == "LSTM" else f"{both_values}[1]"
        g.add(f"{state}[-1]" if g.chance(0.6) else f"{state}.transpose(0, 1).flatten(1)")


def block(g: Builder) -> None:
    """Layers in a container, and in one inside another."""
    x = g.pick(4, 4, 3, 2)
    shape, out = g.shapes[x], g.channels
    if len(shape) == 4:
        layers = [
            f"nn.Conv2d({shape[1]}, {out}, 3, padding=1)",
            f"nn.BatchNorm2d({out})",
            "nn.ReLU(inplace=True)",
        ]
        layers += [f"nn.Sequential(nn.Conv2d({out}, {shape[1]}, 1), nn.SiLU())"] * g.chance(0.5)
    else:
        layers = [f"nn.Linear({shape[-1]}, {out})", "nn.GELU()", "nn.Dropout(0.1)"]
        layers += [f"nn.Sequential(nn.Linear({out}, {shape[-1]}), nn.LayerNorm({shape[-1]}))"] * g.chance(0.5)
    joined = ", ".join(layers)
    g.add(f"{g.layer(f'nn.Sequential({joined})')}({x})")


def cells(g: Builder) -> None:
    """A recurrent cell over three steps in time, written as a loop."""
    x = g.pick(3, fit=lambda shape: shape[1] >= 3)
    size, kind = g.choice((4, 6)), g.choice(("LSTM", "GRU", "RNN"))
    cell = g.layer(f"nn.{kind}Cell({g.shapes[x][2]}, {size})")
    state = f"{cell}({x}[:, t], {'($, c)' if kind == 'LSTM' else '$'})"
    lines = ["c = $"] * (kind == "LSTM")
    lines += ["for t in range(3):", f"    {'$, c' if kind == 'LSTM' else '$'} = {state}"]
    g.add(f"{x}.new_zeros({x}.shape[0], {size})", *lines)


def patches(g: Builder) -> None:
    """Columns of an image, and norms across channels."""
    x = g.pick(4)
    codes = [f"F.unfold({x}, 2, stride=2)", f"F.unfold({x}, 3, padding=1)", f"F.local_response_norm({x}, 3)"]
    g.add(g.choice(codes))


LAYERS: dict[Op, float] = {
    activation: 6,
    convolution: 7,
    transposed: 1,
    linear: 5,
    mlp: 1,
    batch_norm: 3,
    channel_norm: 2,
    layer_norm: 2,
    norm_by_hand: 0.7,
    pooling: 2,
    recurrent: 1,
    block: 1.2,
    cells: 0.5,
    patches: 0.4,
}
