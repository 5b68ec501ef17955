"""Properties of the flow-splat model that hold for any input."""

import numpy as np
import pytest
import torch
from shared_files import SHARED, needs_shared

import vfi_kernels as vk
from vfi.evaluation import scoring
from vfi.evaluation.metrics import compare
from vfi.files.images import to_array, to_tensor
from vfi.models.flow_splat import FlowSplat
from vfi.networks.resampling import block_means, doubled, fill_holes, mean_around, offsets, spread


@pytest.fixture(scope="module")
def model() -> FlowSplat:
    return FlowSplat()


def test_the_ends_are_the_frames_themselves(model, sliding):
    frame0, frame1 = to_tensor(sliding(0)), to_tensor(sliding(6))
    start, middle, end = model.interpolate_many(frame0, frame1, [0, 0.5, 1])
    assert torch.equal(start, frame0) and torch.equal(end, frame1)
    assert not torch.equal(middle, frame0) and not torch.equal(middle, frame1)
    start += 1
    assert not torch.equal(start, frame0), "the result is a copy"


def test_identical_frames_give_the_same_picture(model, sliding):
    frame = to_tensor(sliding(0))
    for t in (0.25, 0.5):
        torch.testing.assert_close(model.interpolate(frame, frame, t), frame, atol=1e-6, rtol=0)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_translation_is_recovered(model, sliding, t):
    """A slide by 8 pixels: at t the view from 8 t, far better than the average of the two views."""
    first, second, truth = sliding(20), sliding(28), sliding(20 + round(8 * t))
    result = to_array(model.interpolate(to_tensor(first), to_tensor(second), t))
    mean = ((1 - t) * first.astype(float) + t * second).round().astype(np.uint8)
    assert compare(result, truth).psnr > compare(mean, truth).psnr + 12
    # Nothing is guessed away from the border: the result there is the truth.
    assert np.abs(result[8:-8, 12:-12].astype(int) - truth[8:-8, 12:-12]).mean() < 1


def test_what_enters_and_leaves_comes_from_the_frame_that_shows_it(model, sliding):
    first, second, truth = sliding(20), sliding(28), sliding(24)
    result = to_array(model.interpolate(to_tensor(first), to_tensor(second), 0.5))
    mean = (first.astype(float) + second) / 2
    for columns in (slice(0, 4), slice(-4, None)):
        error, error_of_mean = (
            np.abs(frame[:, columns].astype(float) - truth[:, columns]).mean() for frame in (result, mean)
        )
        assert error < error_of_mean / 4


def test_time_runs_the_same_backwards(model, sliding):
    frame0, frame1 = to_tensor(sliding(0)), to_tensor(sliding(5))
    torch.testing.assert_close(
        model.interpolate(frame0, frame1, 0.3), model.interpolate(frame1, frame0, 0.7), atol=1e-4, rtol=0
    )


def test_a_batch_is_its_samples(model, sliding):
    frame0 = torch.cat([to_tensor(sliding(x)) for x in (0, 10)])
    frame1 = torch.cat([to_tensor(sliding(x)) for x in (4, 7)])
    both = model.interpolate(frame0, frame1, 0.5)
    for i in range(2):
        one = model.interpolate(frame0[i : i + 1], frame1[i : i + 1], 0.5)
        torch.testing.assert_close(both[i : i + 1], one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5), (33, 47), (64, 65)])
def test_any_size(model, size):
    generator = torch.Generator().manual_seed(0)
    frame0, frame1 = torch.rand(2, 1, 3, *size, generator=generator)
    result = model.interpolate(frame0, frame1, 0.5)
    assert result.shape == (1, 3, *size) and result.isfinite().all()
    assert result.min() >= 0 and result.max() <= 1


def test_no_flow_can_make_the_result_not_a_number(model):
    """Black against white: no candidate explains anything."""
    result = model.interpolate(torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32), 0.25)
    torch.testing.assert_close(result, torch.full_like(result, 0.25), atol=0.05, rtol=0)


def test_half_precision_frames_give_half_precision(model, sliding):
    frame0, frame1 = to_tensor(sliding(0)).half(), to_tensor(sliding(4)).half()
    result = model.interpolate(frame0, frame1, 0.5)
    assert result.dtype == torch.float16
    torch.testing.assert_close(
        result.float(), model.interpolate(frame0.float(), frame1.float(), 0.5), atol=2e-3, rtol=0
    )


def test_the_explanation_is_the_motion(model, sliding):
    explanation = model.explain(to_tensor(sliding(20)), to_tensor(sliding(28)), 0.5)
    motion = explanation.flow[0, :, 10:-10, 16:-16].flatten(1).median(1).values
    torch.testing.assert_close(motion, torch.tensor([-8.0, 0.0]), atol=0.2, rtol=0)
    # What frame 1 shows at its right end is not in frame 0, and the other way round.
    assert not explanation.seen0[0, 0, 20:-20, -2:].any() and explanation.seen1[0, 0, 20:-20, -4:].float().mean() > 0.9
    assert not explanation.seen1[0, 0, 20:-20, :2].any()


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_times_outside_are_refused(model, t):
    with pytest.raises(ValueError, match=r"expected t in \[0, 1\]"):
        model.interpolate(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), t)


def test_wrong_shapes_are_refused(model):
    with pytest.raises(
        ValueError, match=r"expected floating frames of shape \(B, 3, H, W\), got \(1, 1, 16, 16\), float32"
    ):
        model.interpolate(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), 0.5)
    bytes_of = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"expected floating frames .* uint8"):
        model.interpolate(bytes_of, bytes_of, 0.5)
    with pytest.raises(ValueError, match="expected two frames of one shape"):
        model.interpolate(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17), 0.5)


def test_doubled_keeps_the_pixels_and_places_edges_between():
    image = torch.rand(1, 2, 5, 7)
    fine = doubled(image)
    assert fine.shape == (1, 2, 9, 13)
    assert torch.equal(fine[..., ::2, ::2], image)
    ramp = torch.arange(12.0).expand(1, 1, 6, 12)
    torch.testing.assert_close(doubled(ramp)[..., 5:-6], (torch.arange(23.0) / 2).expand(1, 1, 11, 23)[..., 5:-6])


def test_offsets_lead_to_the_pixels_of_the_rows():
    """Of the image itself, and of the doubled one."""
    image = torch.rand(1, 2, 12, 7)
    for times, fine in ((1, image), (2, doubled(image))):
        to = offsets(slice(4, 9), 7, times, image)
        assert torch.equal(vk.backward_warp(fine, to), image[:, :, 4:9])


def test_a_wave_between_the_pixels_of_the_doubled_image():
    wave = torch.sin(torch.arange(40.0) * 0.7).expand(1, 1, 8, 40)
    flow = offsets(slice(0, 8), 40, 2, wave)
    flow[:, 0] += 1
    expected = torch.sin((torch.arange(40.0) + 0.5) * 0.7).expand(1, 1, 8, 40)
    # Bilinear sampling of the wave itself is wrong by 6 %.
    torch.testing.assert_close(vk.backward_warp(doubled(wave), flow)[..., 4:-4], expected[..., 4:-4], atol=0.01, rtol=0)


def test_fill_holes_takes_the_nearest_surroundings():
    values = torch.zeros(1, 1, 16, 24)
    values[..., 12:] = 1
    valid = torch.ones(1, 1, 16, 24, dtype=torch.bool)
    valid[..., 4:7, 2:6] = valid[..., 8:12, 18:23] = False
    values[~valid] = torch.nan
    filled = fill_holes(values, valid)
    assert torch.equal(filled[valid], values[valid])
    assert (filled[..., 4:7, 2:6] == 0).all() and (filled[..., 8:12, 18:23] == 1).all()
    assert (fill_holes(values, torch.zeros_like(valid)) == 0).all(), "nothing known: 0"


def local_mean(plane):
    """Over blocks, then over those around, interpolated between them."""
    return spread(mean_around(block_means(plane)), *plane.shape[2:])


@pytest.mark.parametrize("size", [(1, 1), (9, 4), (30, 41)])
def test_local_mean_of_ones_is_one_to_the_border(size):
    torch.testing.assert_close(local_mean(torch.ones(1, 1, *size)), torch.ones(1, 1, *size))


def test_local_mean_is_local_and_a_mean():
    plane = torch.zeros(1, 1, 64, 64)
    plane[..., 32, 32] = 1
    spread = local_mean(plane)
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.count_nonzero(spread[..., 20:46, 20:46]) == torch.count_nonzero(spread) and spread.max() < 0.01


@pytest.mark.slow
@needs_shared
def test_middlebury(model):
    """Mean over the six scenes with a true middle frame; averaging the two frames gives 29.6 dB."""
    scores = list(scoring.evaluate(model, "middlebury", SHARED / "data" / "middlebury", "cpu"))
    assert len(scores) == 6
    assert np.mean([score.values["psnr"] for score in scores]) > 36.0
    assert np.mean([score.values["ssim_gaussian"] for score in scores]) > 0.95
