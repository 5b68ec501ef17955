"""The network of vfi-s: motion at time t is corrected coarse to fine, both frames are warped along it and blended.

1. Motion that flow-splat finds is splatted to t (vfi.networks.motion_at): four candidates; a fifth is no motion.
   They are averaged with weights by how well the two frames agree along each.
2. At 1/8, 1/4 and 1/2 of the resolution convolutions see what both frames' features show along the flows so far, and
   how they correlate around it, and correct the flows to frame 0 and to frame 1, each for itself. At 1/4 they also
   choose between the flows so far and the candidates, pixel by pixel.
3. Both frames are warped in their doubled size, and blended by time, by what lies inside, and by a mask of the network.
4. This frame and that of flow-splat are blended by a second mask, and a correction of the colours is added.

Before training flows are not changed and both frames count the same. Where nothing differs between the frames far
around, that stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.vfi_s.blocks import Colours, Encoder, Stage, centred
from vfi.models.vfi_s.motion import FLOWS, scored_at_a_quarter
from vfi.networks.layers import channels, resized, softmax
from vfi.networks.motion_at import ScoredFlow, inside, motion_at
from vfi.networks.resampling import doubled, offsets

MULTIPLE = 16  # of which height and width must be
CANDIDATES = 2 * FLOWS + 1
# Logits before training: of no motion among the candidates, and of the flow so far against all candidates.
STILL, SO_FAR = -3.0, 6.0
DIFFERENCE = 32.0  # frames that differ by less than its inverse somewhere around are corrected by less
NEARBY = 5  # of blocks of 16 x 16 pixels: how far "around" is


@dataclass(frozen=True)
class Widths:
    """Channels: of the features at 1/2, 1/4 and 1/8; of the convolutions there and at 1/16; of what a stage tells the
    next one; of the correction of colours."""

    features: tuple[int, int, int] = (16, 32, 48)
    stages: tuple[int, int, int] = (32, 64, 96)
    deepest: int = 128
    told: tuple[int, int] = (24, 32)
    colours: int = 32


TINY = Widths((4, 6, 8), (8, 8, 8), 8, (4, 4), 8)


@dataclass(frozen=True)
class Seen:
    """What is known of a frame alone: itself, at half and a quarter of its size, doubled; features at 1/2, 1/4, 1/8."""

    frame: Tensor
    half: Tensor
    quarter: Tensor
    fine: Tensor
    features: tuple[Tensor, ...]


@dataclass(frozen=True)
class Pair:
    """What is known of two frames, whatever the time: each of them; optical flow at 1/4, both ways; and where they
    differ, (B, 1, H / 16, W / 16)."""

    frames: tuple[Seen, Seen]
    motions: list[tuple[ScoredFlow, ScoredFlow]]
    differs: Tensor


@dataclass(frozen=True)
class Result:
    """The frame (B, 3, H, W), and before flow-splat's is blended in; flows (B, 4, h, w) to frames 0 and 1, in pixels of
    their size, after each stage: twice at 1/4, once at 1/2; masks (B, 1, h, w) of the same, added to the logits of
    frame 0."""

    frame: Tensor
    own: Tensor
    flows: list[Tensor]
    masks: list[Tensor]


class Network(nn.Module):
    """Frames at any time between two RGB frames."""

    channel_order, called = "rgb", "vfi-s"

    def __init__(self, widths: Widths | None = None):
        super().__init__()
        self.widths = widths = widths or Widths()
        half, quarter, eighth = widths.features
        finer, coarser = widths.told
        self.encoder = Encoder(widths.features)
        shared = 4 + 1  # the flows so far, and the time
        beside = CANDIDATES + 2 * FLOWS  # how well each fits, and what each flow says is seen of the two frames
        self.coarse = Stage(2 * eighth + 81 + shared + beside, widths.stages[2], 5, coarser, widths.deepest)
        self.middle = Stage(
            2 * quarter + 49 + 6 + shared + beside + 4 * (CANDIDATES - 1) + 1 + coarser, widths.stages[1],
            CANDIDATES + 1 + 5 + 36, finer,
        )  # fmt: skip
        self.fine = Stage(2 * half + 6 + shared + 1 + finer, widths.stages[0], 5, widths.stages[0])
        self.colours = Colours(3 * 12 + 1 + widths.stages[0], widths.colours)
        self.sharpness = nn.Parameter(torch.tensor(60.0).log())
        self.still = nn.Parameter(torch.tensor(STILL))

    def seen(self, frame: Tensor) -> Seen:
        """frame: float32 (B, 3, H, W) in [0, 1], H and W multiples of MULTIPLE."""
        half, quarter = (F.avg_pool2d(frame, n) for n in (2, 4))
        return Seen(frame, half, quarter, doubled(frame), self.encoder(frame))

    @staticmethod
    def pair(first: Seen, second: Seen, flows: Tensor) -> Pair:
        """flows: of vfi.models.vfi_s.motion.quartered."""
        differs = F.max_pool2d((first.frame - second.frame).abs().amax(1, keepdim=True), MULTIPLE)
        differs = (DIFFERENCE * F.max_pool2d(differs, NEARBY, 1, NEARBY // 2)).clamp(max=1)
        motions = scored_at_a_quarter(flows, first.quarter, second.quarter)
        return Pair((first, second), motions, differs)

    def forward(self, frame0: Tensor, frame1: Tensor, flows: Tensor, splatted: Tensor, times: Tensor) -> Result:
        """frame0, frame1: as of `seen`; flows: as of `pair`; splatted: as of `between`; times: (B,) in (0, 1)."""
        pair = self.pair(self.seen(frame0), self.seen(frame1), flows)
        return self.between(pair, splatted, times.reshape(-1, 1, 1, 1))

    def between(self, pair: Pair, splatted: Tensor, t: Tensor) -> Result:
        """splatted: the frame of flow-splat, (B, 3, H, W); t: (B, 1, 1, 1)."""
        with torch.no_grad():
            motions = [motion_at(both, t) for both in pair.motions]
        candidates = [along(flow, t) for motion in motions for flow in (motion.first, motion.second)]
        errors, flow = self.begun(pair, candidates)
        beside = torch.cat((10 * errors, *(motion.seen for motion in motions)), 1)
        told, coarse, mask = self.after_coarse(pair, flow, beside, t)
        told, middle, next_mask, weights = self.after_middle(pair, coarse, mask, beside, candidates, told, t)
        told, fine, last_mask = self.after_fine(pair, 2 * larger(middle, weights), resized(next_mask, 2), told, t)
        own = self.blended(pair, fine, last_mask, t)
        frame = self.finished(pair, own, splatted, last_mask, told)
        return Result(frame, own[2], [coarse, middle, fine], [mask, next_mask, last_mask])

    def begun(self, pair: Pair, candidates: list[Tensor]) -> tuple[Tensor, Tensor]:
        """How far frames differ along each candidate, (B, CANDIDATES, h, w), and the flows to begin with, at 1/4."""
        quarters = [seen.quarter for seen in pair.frames]
        differences = [apart(*warped(quarters, flow)) for flow in candidates]
        errors = F.avg_pool2d(torch.cat((*differences, apart(*quarters)), 1), 3, 1, 1, count_include_pad=False)
        logits = -self.sharpness.exp() * errors
        shares = softmax(torch.cat((logits[:, :-1], logits[:, -1:] + self.still), 1), 1)
        return errors, averaged(shares, candidates)

    def after_coarse(self, pair: Pair, flow: Tensor, beside: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the next stage is told, at 1/8; flows and mask at 1/4."""
        small = F.avg_pool2d(flow, 2) / 2
        first, second = warped([seen.features[2] for seen in pair.frames], small)
        known = F.avg_pool2d(beside, 2)
        first, second = even(first), even(second)
        x = channels(first, second, vk.correlation(first, second, 4), small / 4, known, t.expand_as(small[:, :1]))
        answer, told = self.coarse(x)
        answer = resized(answer.float(), 2)
        return told, flow + 2 * answer[:, :4] * resized(pair.differs, 4), answer[:, 4:]

    def after_middle(
        self, pair: Pair, flow: Tensor, mask: Tensor, beside: Tensor, candidates: list[Tensor], told: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """What the next stage is told, flows, mask, and the weights by which flows are made larger; all at 1/4."""
        first, second = warped([seen.features[1] for seen in pair.frames], flow)
        colours = warped([seen.quarter for seen in pair.frames], flow)
        x = channels(
            first, second, matches(first, second, 3), *map(centred, colours), flow / 8,
            t.expand_as(mask), beside, *(candidate - flow for candidate in candidates), mask,
            resized(told, 2),
        )  # fmt: skip
        answer, told = self.middle(x)
        answer = answer.float()
        choice, change, more, weights = answer.split((CANDIDATES + 1, 4, 1, 36), 1)
        shares = softmax(torch.cat((choice[:, :1] + SO_FAR, choice[:, 1:-1], choice[:, -1:] + STILL), 1), 1)
        flow = averaged(shares, (flow, *candidates))
        return told, flow + change * resized(pair.differs, 4), mask + more, weights

    def after_fine(
        self, pair: Pair, flow: Tensor, mask: Tensor, told: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is told to the correction of colours, flows and mask; all at 1/2."""
        features = warped([seen.features[0] for seen in pair.frames], flow)
        colours = warped([seen.half for seen in pair.frames], flow)
        x = channels(*features, *map(centred, colours), flow / 16, t.expand_as(mask), mask, resized(told, 2))
        answer, told = self.fine(x)
        answer = answer.float()
        return told, flow + answer[:, :4] * resized(pair.differs, 8), mask + answer[:, 4:]

    @staticmethod
    def blended(pair: Pair, flow: Tensor, mask: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both frames warped to t, and their blend."""
        flow = 2 * resized(flow, 2)
        there = offsets(slice(0, flow.shape[2]), flow.shape[3], 2, flow)
        first, second = warped([seen.fine for seen in pair.frames], 2 * flow + there.repeat(1, 2, 1, 1))
        return first, second, second + share(flow, resized(mask, 2), t) * (first - second)

    def finished(
        self, pair: Pair, own: tuple[Tensor, Tensor, Tensor], splatted: Tensor, mask: Tensor, told: Tensor
    ) -> Tensor:
        first, second, frame = own
        x = channels(told, *(F.pixel_unshuffle(centred(each), 2) for each in (first, second, splatted)), mask)
        answer: tuple[Tensor, Tensor] = self.colours(x)
        correction, trust = answer
        frame = frame + trust.float().sigmoid() * (splatted - frame)
        return frame + correction.float() * resized(pair.differs, 16)


def share(flow: Tensor, mask: Tensor, t: Tensor) -> Tensor:
    """Of frame 0 in the blend, (B, 1, h, w): by time and mask; a frame in which the point lies outside counts only
    where it does in both."""
    weight0, weight1 = (1 - t) * (inside(flow[:, :2]) + 1e-3), t * (inside(flow[:, 2:]) + 1e-3)
    return (mask + (weight0 / weight1).log()).sigmoid()


def averaged(shares: Tensor, flows: Sequence[Tensor]) -> Tensor:
    """The first of the shares are those of the flows."""
    parts = [shares[:, i : i + 1] * flow for i, flow in enumerate(flows)]
    return sum(parts[1:], start=parts[0])


def along(motion: Tensor, t: Tensor) -> Tensor:
    """Flows (B, 4, h, w) to frames 0 and 1 of a steady motion from frame 0 to frame 1."""
    return torch.cat((-t * motion, (1 - t) * motion), 1)


def warped(maps: Sequence[Tensor], flow: Tensor) -> tuple[Tensor, Tensor]:
    return vk.backward_warp(maps[0], flow[:, :2]), vk.backward_warp(maps[1], flow[:, 2:])


def apart(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs().mean(1, keepdim=True)


def matches(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Cosines between the features of a pixel and of those around it."""
    return vk.correlation(even(first), even(second), radius)


def even(x: Tensor) -> Tensor:
    """Of one size in every pixel: products are cosines then, and training cannot make features vanish."""
    return x * (x.square().mean(1, keepdim=True) + 1e-4).rsqrt()


def larger(flow: Tensor, logits: Tensor) -> Tensor:
    """(B, 4, h, w) -> (B, 4, 2 h, 2 w): each pixel is a mean of the 3 x 3 around it, bilinear where the logits
    (B, 36, h, w) are 0.

    Source: Teed and Deng, RAFT, ECCV 2020, section 3.3 (convex upsampling).
    """
    batch, _, height, width = flow.shape
    shares = softmax(logits.view(batch, 9, 4, height, width) + bilinear(flow), 1)
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    parts = [
        padded[:, :, None, j : j + height, i : i + width] * shares[:, None, 3 * j + i]
        for j in range(3)
        for i in range(3)
    ]  # (B, 4, 4, h, w) each
    total = sum(parts[1:], start=parts[0])
    return F.pixel_shuffle(total.flatten(1, 2), 2)


def bilinear(like: Tensor) -> Tensor:
    """(9, 4, 1, 1): logarithms of the weights that the 3 x 3 around have in each of four pixels."""
    near, far = torch.tensor([0.25, 0.75, 1e-4]), torch.tensor([1e-4, 0.75, 0.25])
    rows = [torch.outer(y, x).flatten() for y in (near, far) for x in (near, far)]
    return torch.stack(rows, 1).log().to(like.device)[:, :, None, None]
