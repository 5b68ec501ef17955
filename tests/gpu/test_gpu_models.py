"""The diffusion models on a GPU: what they are on the CPU, with parts moved there only while they work."""

import pickle

import pytest
import torch

pytest.importorskip("diffusers")

from vfi.models import rdvfi, semfi

pytestmark = pytest.mark.gpu


def pair(height=90, width=120):
    return torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(0))


def stirred(variant):
    """Tiny, with motion."""
    torch.manual_seed(0)
    net = rdvfi.tiny(variant)
    for head in (net.estimator.adjacent.head, net.synthesis.head):
        torch.nn.init.normal_(head.weight, std=0.05)
    return net


@pytest.mark.parametrize("variant", ["d", "u"])
@pytest.mark.parametrize("offload", [False, True])
def test_rdvfi(variant, offload):
    net, (frame0, frame1) = stirred(variant), pair()
    wanted = net.interpolate(frame0, frame1, [0.25, 0.6], torch.Generator().manual_seed(0))
    if offload:
        net.enable_model_cpu_offload(device="cuda")
    else:
        net.to("cuda")
    motion = net.trajectory(frame0, frame1, torch.Generator().manual_seed(0))
    if offload:
        assert next(net.denoiser.parameters()).device.type == "cpu"
    for kept in (motion, pickle.loads(pickle.dumps(motion)), pickle.loads(pickle.dumps(motion)).to("cuda")):
        for frame, expected in zip(kept.frames([0.25, 0.6]), wanted, strict=True):
            torch.testing.assert_close(frame.cpu(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("mode", ["fused", "merged", "naive"])
@pytest.mark.parametrize("offload", [False, True])
def test_semfi(mode, offload):
    pipe, (first, last) = semfi.tiny(), pair(64, 96)
    settings = {"num_frames": 9, "steps": 2, "size": (64, 96)}
    wanted = pipe.generate(first, last, "a cat jumps.", **settings)
    if offload:
        pipe.enable_model_cpu_offload(device="cuda")
    else:
        pipe.to("cuda")
    pipe.transformer.set_frames(9, mode)
    result = pipe.generate(first, last, "a cat jumps.", **settings)
    torch.testing.assert_close(result.cpu(), wanted, atol=2e-2, rtol=0)
