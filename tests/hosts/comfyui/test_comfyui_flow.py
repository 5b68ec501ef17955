"""The nodes for optical flow, warping and splatting."""

import pytest
import torch
from comfyui_frames import ramp


@pytest.fixture
def moved():
    """Two images, the second moved by 4 pixels to the right."""
    coarse = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(coarse, size=(80, 100), mode="bicubic").clamp(0, 1).movedim(1, -1)
    return wide[:, :, 4:], wide[:, :, :-4]


def test_flow_is_found_and_images_follow_it(comfy, moved):
    first, second = moved
    flow, picture = comfy.run("VFIKernelsOpticalFlow", first=first, second=second)
    assert flow.shape == (1, 2, 80, 96) and picture.shape == first.shape and 0 <= picture.min() <= picture.max() <= 1
    inner = flow[:, :, 16:-16, 16:-16]
    assert float((inner[:, 0] - 4).abs().mean()) < 0.5 and float(inner[:, 1].abs().mean()) < 0.5
    exact = torch.zeros_like(flow)
    exact[:, 0] = 4
    warped, outside = comfy.run("VFIKernelsWarp", image=second, flow=exact)
    assert torch.equal(warped[:, :, :-4], first[:, :, :-4]) and outside.shape == (1, 80, 96)
    assert outside[:, :, -4:].min() == 1 and outside[:, :, :-4].max() == 0
    splatted, holes = comfy.run("VFIKernelsSplat", image=first, flow=exact)
    assert (
        torch.equal(splatted[:, :, 4:], second[:, :, 4:]) and holes[:, :, :4].min() == 1 and holes[:, :, 4:].max() == 0
    )
    half, _ = comfy.run("VFIKernelsSplat", image=first, flow=exact, amount=0.5)
    assert torch.equal(half[:, :, 2:], first[:, :, :-2])
    soft, _ = comfy.run("VFIKernelsSplat", image=first, flow=exact, mode="softmax", importance=torch.rand(80, 96))
    assert torch.allclose(soft[:, :, 4:], second[:, :, 4:], atol=1e-6)


def test_one_of_a_batch_goes_with_all(comfy, moved):
    first, second = moved
    flow, _ = comfy.run("VFIKernelsOpticalFlow", first=first, second=torch.cat([second, first, second]))
    assert len(flow) == 3 and torch.equal(flow[0], flow[2]) and float(flow[1].abs().max()) < 0.1
    made, _ = comfy.run("VFIKernelsWarp", image=first, flow=flow)
    assert len(made) == 3


FLOW_REFUSED = {
    "sizes": ("VFIKernelsOpticalFlow", {"first": ramp(1), "second": ramp(1, (8, 12))}, "one size, got 10x8 and 12x8"),
    "batches": ("VFIKernelsOpticalFlow", {"first": ramp(2), "second": ramp(3)}, "one length, or of 1, got 2 and 3"),
    "network": ("VFIKernelsOpticalFlow", {"first": ramp(1), "second": ramp(1), "method": "ebme"}, "needs weights"),
    "splat": ("VFIKernelsSplat", {"image": ramp(1), "flow": torch.zeros(1, 2, 8, 12)}, "splat: expected flow"),
    "importance": ("VFIKernelsSplat", {"image": ramp(1), "flow": torch.zeros(1, 2, 8, 10), "mode": "softmax"},
                   "needs importance"),
    "mask": ("VFIKernelsSplat", {"image": ramp(1), "flow": torch.zeros(1, 2, 8, 10), "mode": "softmax",
                                 "importance": torch.zeros(1, 4, 4)}, "importance of 10x8 as the image is, got 4x4"),
}  # fmt: skip


@pytest.mark.parametrize("case", FLOW_REFUSED)
def test_what_is_wrong_with_flow_is_one_sentence(comfy, case):
    node, given, said = FLOW_REFUSED[case]
    with pytest.raises(RuntimeError, match=said) as error:
        comfy.run(node, **given)
    assert "\n" not in str(error.value)
