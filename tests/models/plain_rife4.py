"""RIFE 4 as its specification says, by functions of torch alone: names and shapes of a state dict, two frames."""

import math

import torch
import torch.nn.functional as F

EARLY = ("4.0", "4.1", "4.2", "4.3", "4.4", "4.5", "4.6")
FIVE = ("4.25", "4.26", "4.25.heavy", "4.26.heavy", "4.25.lite")
SCALES = {name: (16, 8, 4, 2, 1) for name in FIVE} | {"4.25.lite": (32, 16, 8, 4, 1)}
MULTIPLES = {name: 64 for name in FIVE} | {"4.25.lite": 128}
LARGE = 32


def sized(x, factor):
    size = [round(n * factor) for n in x.shape[2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def warped(x, flow):
    height, width = x.shape[2:]
    y, x_ = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack(((x_ + flow[:, 0]) * 2 / (width - 1) - 1, (y + flow[:, 1]) * 2 / (height - 1) - 1), -1)
    return F.grid_sample(x, places, mode="bilinear", padding_mode="border", align_corners=True)


def exchanged(flow):
    return torch.cat((flow[:, 2:], flow[:, :2]), 1)


class PlainRIFE4:
    """A release by its name and tensors."""

    def __init__(self, name, state):
        self.name, self.state = name, state
        self.scales, self.multiple = SCALES.get(name, (8, 4, 2, 1)), MULTIPLES.get(name, 32)

    def conv(self, x, key, stride=1, groups=1):
        return F.conv2d(x, self.state[f"{key}.weight"], self.state[f"{key}.bias"], stride, 1, groups=groups)

    def larger(self, x, key):
        return F.conv_transpose2d(x, self.state[f"{key}.weight"], self.state[f"{key}.bias"], 2, 1)

    def encoded(self, frame):
        keys = sorted({key.rpartition(".")[0] for key in self.state if key.startswith("encode.")})
        if not keys:
            return frame[:, :0]
        for i, key in enumerate(keys[:-1]):
            frame = self.conv(frame, key, 2 if i == 0 else 1)
            frame = F.leaky_relu(frame, 0.2) if len(keys) > 2 else frame
        return self.larger(frame, keys[-1])

    def block(self, i, x):
        """Flow, mask and features of a block, at the size of its input."""
        of = f"block{i}"
        sums, residual = f"{of}.conv0.0.1.weight" in self.state, f"{of}.convblock.0.beta" in self.state

        def activated(x, key):
            return F.prelu(x, self.state[f"{key}.weight"]) if sums else F.leaky_relu(x, 0.2)

        for n in (0, 1):
            x = activated(self.conv(x, f"{of}.conv0.{n}.0", 2), f"{of}.conv0.{n}.1")
        before = x
        for n in range(8):
            key = f"{of}.convblock.{n}"
            if residual:
                groups = x.shape[1] // self.state[f"{key}.conv.weight"].shape[1]
                x = F.leaky_relu(self.conv(x, f"{key}.conv", groups=groups) * self.state[f"{key}.beta"] + x, 0.2)
            else:
                x = activated(self.conv(x, f"{key}.0"), f"{key}.1")
        x = x + before if sums else x
        if f"{of}.lastconv.weight" in self.state:  # at half size
            return self.larger(x, f"{of}.lastconv"), 2
        return F.pixel_shuffle(self.larger(x, f"{of}.lastconv.0"), 2), 1

    def answer(self, i, frames, features, t, before, scale):
        pair, told = frames, features
        parts = [*pair, *told, torch.full_like(frames[0][:, :1], t)]
        if before is not None:
            flow, mask, kept = before
            halves = flow[:, :2], flow[:, 2:]
            pair = [warped(x, half) for x, half in zip(frames, halves)]
            told = [warped(x, half) for x, half in zip(features, halves) if x.shape[1]]
            parts = [*pair, *told, torch.full_like(frames[0][:, :1], t), mask, kept]
        x = sized(torch.cat(parts, 1), 1 / scale)
        if before is not None:
            x = torch.cat((x, sized(before[0], 1 / scale) / scale), 1)
        x, half = self.block(i, x)
        x = sized(x, half * scale)
        return x[:, :4] * half * scale, x[:, 4:5], x[:, 5:] if x.shape[1] == 13 else x[:, :0]

    def step(self, i, frames, features, t, before, scale, ensemble):
        flow, mask, kept = self.answer(i, frames, features, t, before, scale)
        if ensemble:
            turned = None if before is None else (exchanged(before[0]), -before[1], before[2])
            other = self.answer(i, frames[::-1], features[::-1], 1 - t, turned, scale)
            flow, mask = (flow + exchanged(other[0])) / 2, (mask - other[1]) / 2
        if before is not None:
            mask = before[1] + mask if self.name in EARLY else mask
            return (before[0] + flow, mask, kept), flow
        return (flow, mask, kept), flow

    def estimated(self, frames, t, scales, ensemble):
        """Flow and mask of the last block, and by how much the second changed the flow."""
        features, state, changes = [self.encoded(frame) for frame in frames], None, []
        for i, scale in enumerate(scales):
            state, change = self.step(i, frames, features, t, state, scale, ensemble)
            changes.append(change)
        return state, changes[1]

    def __call__(self, frame0, frame1, t, scale, ensemble=False):
        """The frame (1, 3, H, W) between two of any size."""
        height, width = frame0.shape[2:]

        def padded(multiple):
            right, below = (math.ceil(n / multiple) * multiple - n for n in (width, height))
            return [F.pad(frame.clamp(0, 1), (0, right, 0, below)) for frame in (frame0, frame1)]

        frames, scales = padded(round(self.multiple / scale)), [s / scale for s in self.scales]
        (flow, mask, _), change = self.estimated(frames, t, scales, ensemble)
        if self.name in ("4.0", "4.1") and all(half.abs().max() > LARGE for half in change.split(2, 1)):
            frames = padded(round(2 * self.multiple / scale))
            (flow, mask, _), _ = self.estimated(frames, t, [2 * s for s in scales], ensemble)
        share = mask.sigmoid()
        warps = [warped(frame, half) for frame, half in zip(frames, (flow[:, :2], flow[:, 2:]))]
        return (warps[0] * share + warps[1] * (1 - share))[:, :, :height, :width]
