"""What stands still in front of what moves stays what it is: displays, subtitles, logos, before pans and zooms."""

import io

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vfi.files.images import to_array, to_tensor
from vfi.models.flow_splat import FlowSplat
from vfi.models.splat_model import BlendConfig, SplatModel
from vfi.networks.standstill import Standstill, around


def background(height, width, kind):
    """Twice as large as the picture: random squares, or smooth at many sizes."""
    generator = np.random.default_rng(3)
    if kind == "squares":
        tiles = generator.integers(30, 225, (height // 6 + 1, width // 6 + 1, 3))
        return torch.from_numpy(np.kron(tiles, np.ones((12, 12, 1)))).permute(2, 0, 1)[None].float()
    total = torch.full((1, 3, 2 * height, 2 * width), 127.0)
    for side in (4, 8, 16, 32, 64):
        noise = torch.from_numpy(generator.normal(0, 4 + 0.6 * side, (1, 3, 2 * height // side, 2 * width // side)))
        total += F.interpolate(noise.float(), total.shape[2:], mode="bicubic")
    return total.clamp(0, 255)


def view(whole, height, width, at, zoom):
    """The middle of `whole`, moved by `at` (x, y) pixels."""
    across = (torch.arange(width) - (width - 1) / 2) / zoom + at[0]
    down = (torch.arange(height) - (height - 1) / 2) / zoom + at[1]
    sizes = [(n - 1) / 2 for n in (whole.shape[3], whole.shape[2])]
    grid = torch.stack(torch.meshgrid(across / sizes[0], down / sizes[1], indexing="xy"), 2)[None]
    return F.grid_sample(whole, grid, mode="bicubic", align_corners=True)[0].permute(1, 2, 0).numpy()


def stripes(height, width):
    """A dark box of strokes as far apart as the pan goes in a frame, and a plain one in a corner."""
    colour, mask = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    mask[-30:-10, 20:120] = mask[10:30, -70:-10] = True
    colour[-25:-15, 25:115:6], colour[10:30, -70:-10] = 255, (255, 255, 0)
    return colour, mask


def letters(height, width):
    """White strokes of three pixels in a dark seam of two, as of subtitles."""
    strokes = np.zeros((height, width), bool)
    top = height * 3 // 4
    for i, left in enumerate(range(width // 8, width * 7 // 8, 16)):
        bar = top + 8 * (i % 3)
        strokes[top : top + 20, left : left + 3] = strokes[bar : bar + 3, left : left + 11] = True
    mask = F.max_pool2d(torch.from_numpy(strokes)[None, None].float(), 5, 1, 2)[0, 0].numpy() > 0
    return np.repeat(strokes[..., None] * 255.0, 3, 2), mask


def encoded(pictures, crf):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for rgb in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


SCENES = {  # size, background, what stands still, pan in pixels a frame, zoom a frame, crf
    "display": ((180, 320), "squares", stripes, (6, 0), 1, 4),
    "display before a pan back and down": ((180, 320), "smooth", stripes, (-3, 2), 1, 23),
    "display before a zoom": ((240, 426), "smooth", stripes, (0, 0), 1.04, 12),
    "subtitles": ((180, 320), "smooth", letters, (5, 0), 1, 12),
    "subtitles before a fast pan": ((270, 480), "smooth", letters, (-11, 1), 1, 18),
    "subtitles before squares": ((180, 320), "squares", letters, (0, 7), 1, 4),
}
LARGE = {"large": ((1080, 1920), "smooth", stripes, (14, 3), 1, 18)}


def shots(size, kind, still, pan, zoom):
    """A function of time."""
    whole = background(*size, kind)
    colour, mask = still(*size)

    def shot(i):
        behind = view(whole, *size, (pan[0] * i, pan[1] * i), zoom**i)
        return np.where(mask[..., None], colour, behind).round().clip(0, 255).astype(np.uint8)

    return shot, mask


def check(size, kind, still, pan, zoom, crf):
    shot, mask = shots(size, kind, still, pan, zoom)
    _, first, second, _ = encoded([shot(i) for i in range(4)], crf)
    made = to_array(FlowSplat().interpolate(to_tensor(first), to_tensor(second), 0.5))
    error, of_source = (np.abs(rgb - shot(1.5).astype(float))[mask].mean() for rgb in (made, first))
    assert error < of_source + 4, f"{error:.1f} levels, {of_source:.1f} in the source"


@pytest.mark.parametrize("scene", SCENES)
def test_what_stands_still_before_what_moves(scene):
    check(*SCENES[scene])


@pytest.mark.slow
@pytest.mark.parametrize("scene", LARGE)
def test_in_large_pictures(scene):
    check(*LARGE[scene])


class Dragged(SplatModel):
    """Of flow that says everything moves alike, also what stands still."""

    config = BlendConfig()

    def flows(self, frame0, frame1):
        flow = torch.zeros_like(frame0[:, :2])
        flow[:, 0] = -6
        return [(flow, -flow)]


@pytest.mark.parametrize("model", [FlowSplat, Dragged])
@pytest.mark.parametrize("t", [0.2, 0.5])
def test_where_the_frames_are_equal_the_result_is_that(model, t):
    """Within what is drawn over a pan, a dozen pixels from its ends; whichever flow was found there."""
    shot, _ = shots((120, 200), "smooth", stripes, (6, 0), 1)
    first, second = to_tensor(shot(0)), to_tensor(shot(1))
    made = model().interpolate(first, second, t)
    inside = np.s_[..., -25:-15, 36:104]
    assert torch.equal(first[inside], second[inside])
    torch.testing.assert_close(made[inside], first[inside], atol=1e-6, rtol=0)


def test_what_moves_before_what_stands_still_is_kept():
    whole, size = background(120, 200, "smooth"), (120, 200)
    behind, disc = view(whole, *size, (0, 0), 1), view(whole, *size, (60, 20), 1)[::-1]
    rows, columns = np.indices(size)

    def shot(i):
        near = (rows - 60) ** 2 + (columns - 60 - 10 * i) ** 2 < 20**2
        shown = np.where(near[..., None], np.roll(disc, round(10 * i), 1) * 0.5, behind)
        return shown.round().clip(0, 255).astype(np.uint8)

    made = to_array(FlowSplat().interpolate(to_tensor(shot(0)), to_tensor(shot(1)), 0.5)).astype(float)
    mean = (shot(0).astype(float) + shot(1)) / 2
    error, of_mean = (np.abs(rgb - shot(0.5)).mean() for rgb in (made, mean))
    assert error < of_mean / 3


def test_a_slide_is_no_standstill(sliding):
    """With the true flow, nothing of it stands still; with none, all that is equal does."""
    first, second = to_tensor(sliding(20)), to_tensor(sliding(24))
    flow = torch.zeros_like(first[:, :2])
    flow[:, 0] = -4
    still = Standstill(first, second)
    assert still.in_frame0(flow)[..., 8:-8].mean() < 0.05 and still.in_frame1(-flow)[..., 8:-8].mean() < 0.05
    same = Standstill(first, first)
    assert same.in_frame0(flow * 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 7)])
def test_the_mean_around_is_one_of_ones(size):
    torch.testing.assert_close(around(torch.ones(1, 1, *size)), torch.ones(1, 1, *size))
