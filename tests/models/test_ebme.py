"""EBME's flow network against its golden file, and the model ebme-splat."""

import json

import numpy as np
import pytest
import torch
from shared_files import SHARED, needs_shared

import vfi_kernels as vk
from vfi.commands.main import main
from vfi.errors import UserError
from vfi.evaluation import scoring
from vfi.evaluation.metrics import compare
from vfi.files.images import to_array, to_tensor, write_image
from vfi.models import ebme
from vfi.models.registry import load_model
from vfi.models.splat_model import BlendConfig

WEIGHTS = SHARED / "weights" / "ebme" / "bi-flownet.pkl"


def count(module):
    return sum(p.numel() for p in module.parameters())


class GivenFlow(torch.nn.Module):
    """In place of the network."""

    channel_order = "rgb"

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, frame0, frame1):
        return self.flow.expand(len(frame0), -1, *frame0.shape[2:])


def sliding_model(pixels):
    return ebme.EBMESplat(GivenFlow(torch.tensor([pixels, 0.0, -pixels, 0.0]).view(1, 4, 1, 1)))


@needs_shared
@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_golden(backend):
    with np.load(SHARED / "golden" / "ebme_Urban2.npz") as file:
        frames = [torch.from_numpy(file[key]).float()[None] / 255 for key in ("frame0", "frame1")]
        expected, levels = torch.from_numpy(file["bidirectional_flow"]), int(file["pyramid_levels"])
    assert levels == ebme.levels_for(max(frames[0].shape[2:]))
    with vk.use_backend(backend), torch.no_grad():
        torch.testing.assert_close(ebme.load(WEIGHTS)(*frames)[0], expected, rtol=0, atol=1e-3)


@needs_shared
def test_names_and_shapes_are_those_of_the_public_checkpoint():
    expected = json.loads((SHARED / "golden" / "ebme_state_dict.json").read_text())
    assert {key: list(value.shape) for key, value in ebme.BiFlowNet().state_dict().items()} == expected


@needs_shared
@pytest.mark.parametrize("size", [(64, 96), (61, 90)])
def test_first_comes_the_flow_from_frame_0_to_1(sliding, size):
    """A camera that slides to the right by 3 pixels; also where the frames had to be padded."""
    frames = [to_tensor(sliding(x, *size[::-1])).flip(1) for x in (20, 23)]
    with torch.no_grad():
        flow = ebme.load(WEIGHTS)(*frames, levels=2)
    assert flow.shape == (1, 4, *size)
    middle = flow[0, :, 8:-8, 12:-12].flatten(1).median(1).values
    torch.testing.assert_close(middle, torch.tensor([-3.0, 0, 3, 0]), rtol=0, atol=0.25)


def test_parameter_count():
    network = ebme.BiFlowNet()
    assert count(network.feat_pyramid) + count(network.flow_estimator) == count(network) == 632_900


def test_levels_follow_the_longer_side():
    sides = (1, 448, 640, 1280, 1920, 2048, 2560, 3840, 4096)
    assert [ebme.levels_for(side) for side in sides] == [3, 3, 4, 5, 5, 5, 6, 7, 7]
    torch.manual_seed(0)
    network, frames = ebme.load(), torch.rand(2, 1, 3, 456, 16)
    with torch.no_grad():
        assert torch.equal(network(*frames), network(*frames, levels=4))


@pytest.mark.parametrize(("size", "levels"), [((1, 1), None), ((30, 41), None), ((64, 64), 5), ((17, 33), 1)])
def test_any_size_and_level(size, levels):
    torch.manual_seed(0)
    network, frames = ebme.load(), torch.rand(2, 2, 3, *size)
    with torch.no_grad():
        both = network(*frames, levels)
        one = network(*frames[:, 1:], levels)
    assert both.shape == (2, 4, *size)
    torch.testing.assert_close(both[1:], one, rtol=0, atol=1e-5)


def test_frames_are_continued_by_their_border():
    torch.manual_seed(0)
    network, frames = ebme.load(), torch.rand(2, 1, 3, 61, 90)
    padded = [torch.nn.functional.pad(frame, (0, 6, 0, 3), mode="replicate") for frame in frames]
    with torch.no_grad():
        assert torch.equal(network(*frames, 4), network(*padded, 4)[..., :61, :90])


def test_flow_of_a_half_network_is_float32():
    torch.manual_seed(0)
    network, frames = ebme.load(), torch.rand(2, 1, 3, 32, 48)
    with torch.no_grad():
        expected, flow = network(*frames), network.bfloat16()(*frames.bfloat16())
    assert flow.dtype == torch.float32
    torch.testing.assert_close(flow, expected, rtol=0, atol=0.02 * expected.abs().max().item())


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = ebme.BiFlowNet()
    network(*torch.rand(2, 1, 3, 32, 32), 2).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_wrong_arguments():
    network, frame = ebme.load(), torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match="expected two frames of one shape"):
        network(frame, frame[..., :8])
    with pytest.raises(ValueError, match="expected levels from 1 to 7, got 0"):
        network(frame, frame, 0)
    with pytest.raises(ValueError, match="expected channel_order bgr or rgb, got 'gbr'"):
        ebme.load(channel_order="gbr")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_load_strictly(tmp_path, prefix):
    state = {prefix + key: torch.randn_like(value) for key, value in ebme.load().state_dict().items()}
    torch.save(state, tmp_path / "bi-flownet.pkl")
    loaded = ebme.load(tmp_path / "bi-flownet.pkl", channel_order="rgb")
    assert loaded.channel_order == "rgb" and not loaded.training
    assert all(torch.equal(state[prefix + key], value) for key, value in loaded.state_dict().items())
    del state[prefix + "flow_estimator.conv_layer6.0.bias"]
    torch.save(state, tmp_path / "bi-flownet.pkl")
    with pytest.raises(UserError, match=r"1 keys missing: flow_estimator\.conv_layer6\.0\.bias"):
        ebme.load(tmp_path / "bi-flownet.pkl")


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_splatting_recovers_a_slide(sliding, t):
    frame0, frame1, truth = to_tensor(sliding(20)), to_tensor(sliding(28)), sliding(20 + round(8 * t))
    model = sliding_model(-8.0)
    assert compare(to_array(model.interpolate(frame0, frame1, t)), truth).psnr > 50
    assert torch.equal(model.interpolate(frame0, frame1, 1), frame1)
    explanation = model.explain(frame0, frame1, t)
    expected = torch.tensor([-8.0, 0]).view(1, 2, 1, 1).expand_as(explanation.flow)
    torch.testing.assert_close(explanation.flow, expected, rtol=0, atol=1e-4)
    shift = round(8 * t)
    assert explanation.seen0[..., : 96 - shift].all() and not explanation.seen0[..., 96 - shift :].any()


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_what_opens_comes_from_the_frame_that_shows_it(t):
    """A bright square moves right by 8 over a dark ground: what it leaves is seen in frame 1 only."""
    frame0, frame1 = torch.zeros(2, 1, 3, 48, 48)
    flow = torch.zeros(1, 4, 48, 48)
    frame0[..., 16:32, 12:28], frame1[..., 16:32, 20:36] = 1, 1
    flow[:, 0, 16:32, 12:28], flow[:, 2, 16:32, 20:36] = 8, -8
    truth = torch.zeros(1, 3, 48, 48)
    left = round(12 + 8 * t)
    truth[..., 16:32, left : left + 16] = 1

    def error(config):
        return (ebme.EBMESplat(GivenFlow(flow), config).interpolate(frame0, frame1, t) - truth).abs().mean()

    assert error(None) < error(BlendConfig(by_coverage=False)) / 10


def test_the_command(tmp_path, sliding):
    torch.manual_seed(0)
    torch.save({f"module.{k}": v for k, v in ebme.load().state_dict().items()}, tmp_path / "bi-flownet.pkl")
    for name, x in (("a.png", 0), ("b.png", 4)):
        write_image(tmp_path / name, sliding(x))
    out = tmp_path / "middle.png"
    command = ["interpolate", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(out)]
    weights = ["--model", "ebme-splat", "--weights", str(tmp_path / "bi-flownet.pkl")]
    assert main([*command, *weights, "--t", "0.3", "--strip", str(tmp_path / "strip.png")]) == 0
    assert (tmp_path / "strip.png").stat().st_size > 0
    model = load_model("ebme-splat", str(tmp_path / "bi-flownet.pkl"))
    frames = [to_tensor(sliding(x)).flip(1) for x in (0, 4)]  # the network's weights are for BGR
    import cv2

    expected = to_array(model.interpolate(*frames, 0.3))
    assert np.abs(cv2.imread(str(out)).astype(int) - expected).max() <= 1
    with pytest.raises(UserError, match=r"needs weights, such as bi-flownet\.pkl of EBME"):
        load_model("ebme-splat")


@pytest.mark.slow
@needs_shared
def test_middlebury():
    """flow-splat, with DIS flow, has 36.2 dB here."""
    model = load_model("ebme-splat", str(WEIGHTS))
    scores = list(scoring.evaluate(model, "middlebury", SHARED / "data" / "middlebury", "cpu"))
    assert len(scores) == 6
    assert np.mean([score.values["psnr"] for score in scores]) > 36.5
    assert np.mean([score.values["ssim_gaussian"] for score in scores]) > 0.955
