"""Wan 2.1 written down from its papers and file formats: names, shapes and formulas, to hold the loaders to. States are
random tensors under Wan's names; the functions are the networks of these states."""

import math
import re
from itertools import pairwise

import torch
import torch.nn.functional as F


def random(shapes, seed=0):
    """Values for {name: shape}, small enough for deep networks and never symmetric."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        size = max(math.prod(shape[1:]), 1) ** -0.5 if len(shape) > 1 else 0.3
        state[name] = size * torch.randn(shape, generator=generator)
        if re.search(r"norm[^.]*\.weight$|gamma$", name):
            state[name] = 1 + 0.3 * torch.randn(shape, generator=generator)
    return state


def linears(shapes):
    """{name: (out, in)} as weights and biases."""
    return {f"{k}.{kind}": s for k, v in shapes.items() for kind, s in (("weight", v), ("bias", v[:1]))}


def linear(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def normed(state, name, x, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def attend(q, k, v, heads, scale=None, bias=0.0):
    """(B, N, C) each, softmax written out."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale) + bias
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


WB = ("weight", "bias")


def dit_shapes(width=24, hidden=40, layers=2, channels=36, out=16, text=20, freq=16, image=12, positions=None):
    shapes = {"patch_embedding.weight": (width, channels, 1, 2, 2), "patch_embedding.bias": (width,)}
    shapes |= linears({
        "text_embedding.0": (width, text), "text_embedding.2": (width, width), "time_embedding.0": (width, freq),
        "time_embedding.2": (width, width), "time_projection.1": (6 * width, width), "head.head": (4 * out, width),
    })  # fmt: skip
    shapes["head.modulation"] = (1, 2, width)
    if image:
        shapes |= {f"img_emb.proj.{n}.{kind}": (size,) for n, size in ((0, image), (4, width)) for kind in WB}
        shapes |= linears({"img_emb.proj.1": (image, image), "img_emb.proj.3": (width, image)})
    if positions:
        shapes["img_emb.emb_pos"] = (1, positions, image)
    for i in range(layers):
        block = {f"{a}.{n}": (width, width) for a in ("self_attn", "cross_attn") for n in "qkvo"}
        block |= {"ffn.0": (hidden, width), "ffn.2": (width, hidden)}
        block |= {f"cross_attn.{n}": (width, width) for n in ("k_img", "v_img") if image}
        named = linears(block) | {f"norm3.{kind}": (width,) for kind in WB} | {"modulation": (1, 6, width)}
        named |= {f"{a}.norm_{n}.weight": (width,) for a in ("self_attn", "cross_attn") for n in "qk"}
        named |= {"cross_attn.norm_k_img.weight": (width,)} if image else {}
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in named.items()}
    return shapes


def rms(state, name, x, eps=1e-6):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * state[f"{name}.weight"]


def turned(x, grid, heads):
    """Pairs of channels turned by the place in time, row and column: (B, N, C)."""
    size = x.shape[-1] // heads
    parts = (size - 4 * (size // 6), 2 * (size // 6), 2 * (size // 6))
    places = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), -1).flatten(0, 2).double()
    angles = torch.cat([
        places[:, k : k + 1] * 10000 ** (-torch.arange(0, n, 2).double() / n) for k, n in enumerate(parts)
    ], 1)  # fmt: skip
    pairs = torch.view_as_complex(x.double().unflatten(-1, (heads, size // 2, 2)))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(2).to(x)


def dit_block(state, b, x, e, text, seen, grid, heads):
    """e: six rows of modulation; text and seen: what is looked at, of the prompt and of the image (or None)."""
    e = (state[f"{b}.modulation"] + e).unbind(1)
    y = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + e[1]) + e[0]
    q, k = (turned(rms(state, f"{b}.self_attn.norm_{n}", linear(state, f"{b}.self_attn.{n}", y)), grid, heads)
            for n in "qk")  # fmt: skip
    y = attend(q, k, linear(state, f"{b}.self_attn.v", y), heads)
    x = x + linear(state, f"{b}.self_attn.o", y) * e[2]
    c = f"{b}.cross_attn"
    q = rms(state, f"{c}.norm_q", linear(state, f"{c}.q", normed(state, f"{b}.norm3", x, 1e-6)))
    y = attend(q, rms(state, f"{c}.norm_k", linear(state, f"{c}.k", text)), linear(state, f"{c}.v", text), heads)
    if seen is not None:
        k = rms(state, f"{c}.norm_k_img", linear(state, f"{c}.k_img", seen))
        y = y + attend(q, k, linear(state, f"{c}.v_img", seen), heads)
    x = x + linear(state, f"{c}.o", y)
    y = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + e[4]) + e[3]
    y = linear(state, f"{b}.ffn.2", F.gelu(linear(state, f"{b}.ffn.0", y), approximate="tanh"))
    return x + y * e[5]


def dit(state, x, time, text, image, heads):
    """x (1, C, T, H, W), time (1,), text (1, 512, D), image (1, N, D) or None -> (1, 16, T, H, W)."""
    grid = (x.shape[2], x.shape[3] // 2, x.shape[4] // 2)
    tokens = F.conv3d(x, state["patch_embedding.weight"], state["patch_embedding.bias"], (1, 2, 2))
    tokens = tokens.flatten(2).transpose(1, 2)
    half = state["time_embedding.0.weight"].shape[1] // 2
    angles = time[:, None].double() * 10000 ** (-torch.arange(half).double() / half)
    e = torch.cat((angles.cos(), angles.sin()), 1).float()
    e = linear(state, "time_embedding.2", F.silu(linear(state, "time_embedding.0", e)))
    rows = linear(state, "time_projection.1", F.silu(e)).unflatten(1, (6, -1))
    text = linear(state, "text_embedding.2", F.gelu(linear(state, "text_embedding.0", text), approximate="tanh"))
    if image is not None:
        image = image + state.get("img_emb.emb_pos", 0)
        image = F.gelu(linear(state, "img_emb.proj.1", normed(state, "img_emb.proj.0", image)))
        image = normed(state, "img_emb.proj.4", linear(state, "img_emb.proj.3", image))
    layers = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    for i in range(layers):
        tokens = dit_block(state, f"blocks.{i}", tokens, rows, text, image, grid, heads)
    shift, scale = (state["head.modulation"] + e[:, None]).unbind(1)
    tokens = linear(state, "head.head", F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift)
    pieces = tokens.view(*grid, 1, 2, 2, -1)
    return torch.einsum("fhwpqrc->cfphqwr", pieces).reshape(1, -1, *x.shape[2:])


# CLIP's image encoder.


def clip_shapes(width=32, hidden=48, layers=3, patch=4, side=12):
    tokens = (side // patch) ** 2 + 1
    shapes = {"visual.patch_embedding.weight": (width, 3, patch, patch), "visual.cls_embedding": (1, 1, width)}
    shapes |= {"visual.pos_embedding": (1, tokens, width), "visual.head": (width, 10)}
    shapes |= {f"visual.{n}.{kind}": (width,) for n in ("pre_norm", "post_norm") for kind in WB}
    for i in range(layers):
        block = {"attn.to_qkv": (3 * width, width), "attn.proj": (width, width), "mlp.0": (hidden, width)}
        named = linears(block | {"mlp.2": (width, hidden)})
        named |= {f"{n}.{kind}": (width,) for n in ("norm1", "norm2") for kind in WB}
        shapes |= {f"visual.transformer.{i}.{name}": shape for name, shape in named.items()}
    return shapes | {"textual.token_embedding.weight": (9, 4), "log_scale": ()}


def clip(state, picture, heads, layers):
    """(B, 3, S, S) -> (B, N, C) after so many layers."""
    patches = F.conv2d(picture, state["visual.patch_embedding.weight"], stride=4).flatten(2).transpose(1, 2)
    x = torch.cat((state["visual.cls_embedding"].expand(len(picture), -1, -1), patches), 1)
    x = normed(state, "visual.pre_norm", x + state["visual.pos_embedding"])
    for i in range(layers):
        b = f"visual.transformer.{i}"
        q, k, v = linear(state, f"{b}.attn.to_qkv", normed(state, f"{b}.norm1", x)).chunk(3, -1)
        x = x + linear(state, f"{b}.attn.proj", attend(q, k, v, heads))
        y = F.gelu(linear(state, f"{b}.mlp.0", normed(state, f"{b}.norm2", x)))
        x = x + linear(state, f"{b}.mlp.2", y)
    return x


# UMT5's encoder.


def t5_shapes(words=30, width=24, heads=3, size=10, hidden=40, layers=2, steps=32):
    shapes = {"token_embedding.weight": (words, width), "norm.weight": (width,)}
    inner = heads * size
    for i in range(layers):
        block = {f"attn.{n}": (inner, width) for n in "qkv"} | {"attn.o": (width, inner), "norm1": (width,)}
        block |= {"norm2": (width,), "ffn.gate.0": (hidden, width), "ffn.fc1": (hidden, width)}
        block |= {"ffn.fc2": (width, hidden), "pos_embedding.embedding": (steps, heads)}
        shapes |= {f"blocks.{i}.{name}.weight": shape for name, shape in block.items()}
    return shapes


def bucket(distance, steps=32, farthest=128):
    """The number of a distance: exact below 8, then logarithmic; the second half is for what comes later."""
    half, away = steps // 2, abs(distance)
    if away >= half // 2:
        away = half // 2 + int(math.log(away / (half // 2)) / math.log(farthest / (half // 2)) * (half - half // 2))
    return min(away, half - 1) + (half if distance > 0 else 0)


def t5(state, ids, heads):
    """(1, N) -> (1, N, C)."""
    x, count = state["token_embedding.weight"][ids], ids.shape[1]
    numbers = torch.tensor([[bucket(key - query) for key in range(count)] for query in range(count)])
    for i in range(len({name.split(".")[1] for name in state if name.startswith("blocks.")})):
        b = f"blocks.{i}"
        bias = state[f"{b}.pos_embedding.embedding.weight"][numbers].permute(2, 0, 1)
        y = rms(state, f"{b}.norm1", x)
        q, k, v = (linear(state, f"{b}.attn.{n}", y) for n in "qkv")
        x = x + linear(state, f"{b}.attn.o", attend(q, k, v, heads, 1.0, bias))
        y = rms(state, f"{b}.norm2", x)
        y = F.gelu(linear(state, f"{b}.ffn.gate.0", y), approximate="tanh") * linear(state, f"{b}.ffn.fc1", y)
        x = x + linear(state, f"{b}.ffn.fc2", y)
    return rms(state, "norm", x)


# The VAE, of single frames: a causal convolution of the first frame sees the last slice of its kernel alone.


def vae_shapes(width=4, latent=16):
    shapes = {"conv1.weight": (2 * latent, 2 * latent, 1, 1, 1), "conv1.bias": (2 * latent,)}
    shapes |= {"conv2.weight": (latent, latent, 1, 1, 1), "conv2.bias": (latent,)}
    rising, falling = [width * n for n in (1, 1, 2, 4, 4)], [width * n for n in (4, 4, 4, 2, 1)]
    for part, first, last, dims in (
        ("encoder", 3, 2 * latent, rising), ("decoder", latent, 3, falling),
    ):  # fmt: skip
        shapes |= conv(f"{part}.conv1", first, dims[0])
        middle = dims[-1] if part == "encoder" else dims[0]
        for n in (0, 2):
            shapes |= residual(f"{part}.middle.{n}", middle, middle)
        shapes |= {f"{part}.middle.1.norm.gamma": (middle, 1, 1)}
        for name, out in (("to_qkv", 3 * middle), ("proj", middle)):
            shapes |= conv(f"{part}.middle.1.{name}", middle, out, (1, 1))
        shapes |= {f"{part}.head.0.gamma": (dims[-1], 1, 1, 1)} | conv(f"{part}.head.2", dims[-1], last)
    shapes |= vae_stages("encoder.downsamples", rising, 2, (False, True, True), lambda n: (n, n))
    return shapes | vae_stages("decoder.upsamples", falling, 3, (True, True, False), lambda n: (n // 2, 2 * n))


def vae_stages(prefix, dims, blocks, temporal, sizes):
    shapes, number = {}, 0
    for i, (before, after) in enumerate(pairwise(dims)):
        before = before // 2 if i and prefix.startswith("decoder") else before
        for _ in range(blocks):
            shapes |= residual(f"{prefix}.{number}", before, after)
            before, number = after, number + 1
        if i < 3:
            space, time = sizes(after)
            shapes |= conv(f"{prefix}.{number}.resample.1", after, space, (3, 3))
            if temporal[i]:
                shapes |= conv(f"{prefix}.{number}.time_conv", after, time, (3, 1, 1))
            number += 1
    return shapes


def conv(name, inside, out, kernel=(3, 3, 3)):
    return {f"{name}.weight": (out, inside, *kernel), f"{name}.bias": (out,)}


def residual(name, inside, out):
    shapes = {f"{name}.residual.0.gamma": (inside, 1, 1, 1), f"{name}.residual.3.gamma": (out, 1, 1, 1)}
    shapes |= conv(f"{name}.residual.2", inside, out) | conv(f"{name}.residual.6", out, out)
    return shapes | (conv(f"{name}.shortcut", inside, out, (1, 1, 1)) if inside != out else {})


def causal(state, name, x):
    weight = state[f"{name}.weight"][:, :, -1]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def channel_normed(state, name, x):
    return F.normalize(x, dim=1) * x.shape[1] ** 0.5 * state[f"{name}.gamma"].view(-1, 1, 1)


def residual_block(state, name, x):
    y = causal(state, f"{name}.residual.2", F.silu(channel_normed(state, f"{name}.residual.0", x)))
    y = causal(state, f"{name}.residual.6", F.silu(channel_normed(state, f"{name}.residual.3", y)))
    return y + (causal(state, f"{name}.shortcut", x) if f"{name}.shortcut.weight" in state else x)


def vae_middle(state, part, x):
    x = residual_block(state, f"{part}.middle.0", x)
    names = [f"{part}.middle.1.{n}" for n in ("norm", "to_qkv", "proj")]
    y = channel_normed(state, names[0], x)
    y = F.conv2d(y, state[f"{names[1]}.weight"], state[f"{names[1]}.bias"])
    q, k, v = y.flatten(2).transpose(1, 2).chunk(3, -1)
    y = attend(q, k, v, 1).transpose(1, 2).unflatten(2, x.shape[2:])
    x = x + F.conv2d(y, state[f"{names[2]}.weight"], state[f"{names[2]}.bias"])
    return residual_block(state, f"{part}.middle.2", x)


def vae_head(state, part, x):
    return causal(state, f"{part}.head.2", F.silu(channel_normed(state, f"{part}.head.0", x)))


def encoded(state, frame):
    """The mean of the latent of one frame: (1, 3, H, W) in [-1, 1] -> (1, 16, H / 8, W / 8)."""
    x = causal(state, "encoder.conv1", frame)
    for n in range(11):
        name = f"encoder.downsamples.{n}"
        if n in (2, 5, 8):
            weights = state[f"{name}.resample.1.weight"], state[f"{name}.resample.1.bias"]
            x = F.conv2d(F.pad(x, (0, 1, 0, 1)), *weights, stride=2)
        else:
            x = residual_block(state, name, x)
    return causal(state, "conv1", vae_head(state, "encoder", vae_middle(state, "encoder", x))).chunk(2, 1)[0]


def decoded(state, latent):
    x = vae_middle(state, "decoder", causal(state, "decoder.conv1", causal(state, "conv2", latent)))
    for n in range(15):
        name = f"decoder.upsamples.{n}"
        if n in (3, 7, 11):
            weights = state[f"{name}.resample.1.weight"], state[f"{name}.resample.1.bias"]
            x = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest-exact"), *weights, padding=1)
        else:
            x = residual_block(state, name, x)
    return vae_head(state, "decoder", x).clamp(-1, 1)
