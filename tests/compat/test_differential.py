"""Small deviations from every warp of the family: the verdict is right, and never by a name."""

import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from vfi_kernels import compat
from vfi_kernels.compat import _stand_ins, _warps

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

FAMILY = [
    _warps.Warp(grid, outside, _warps.Mask(mask) if mask else None, last=last)
    for (grid, outside), mask, last in itertools.product(_warps.FORMS, (None, 0.999, 0.9999), (False, True))
]


def normalised_grid(flow, image, grid):
    """(B, H, W, 2): the table of _warps in the numbers of grid_sample."""
    height, width = flow.shape[2:]
    planes = []
    for axis, n in enumerate((width, height)):
        if grid == "half a pixel off":
            start, over = torch.arange(n) * 2 / n - 1, n / 2
        else:
            edge = 1 - 1 / n if grid == "centres" else 1
            start, over = torch.linspace(-edge, edge, n), (n - 1) / 2
        start = start if axis == 0 else start[:, None]
        planes.append(start.to(flow.device) + flow[:, axis] / over)
    return torch.stack(planes, 3)


def client(kind, *, on_gpu=False, threshold=None, of_flow=None, of_result=None, mode="bilinear"):
    """A client's function of this kind, with a deviation."""

    def warp(image, flow):
        flow = flow.permute(0, 3, 1, 2) if kind.last else flow
        at = normalised_grid(of_flow(flow) if of_flow else flow, image, kind.grid)
        at = at.cuda() if on_gpu else at
        corners = kind.grid == "corners"
        out = F.grid_sample(image, at, mode=mode, padding_mode=kind.outside, align_corners=corners)
        if kind.mask is not None:
            ones = torch.ones_like(image[:, :1])
            out = out * (F.grid_sample(ones, at, align_corners=corners) >= (threshold or kind.mask.threshold))
        return of_result(out) if of_result else out

    return warp


def patched(function):
    module = ModuleType("client")
    module.warp = function
    report = compat.patch(module)
    now = module.warp
    return report, now


@pytest.mark.nightly
@pytest.mark.parametrize("on_gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.in_turn
def test_every_warp_of_the_family_is_recognised(on_gpu):
    module = ModuleType("clients")
    functions = {f"warp_{n}": client(kind, on_gpu=on_gpu) for n, kind in enumerate(FAMILY)}
    vars(module).update(functions)
    report = compat.patch(module)
    assert len(report.replaced) == len(FAMILY) and not report.left, str(report)
    size = (13, 17) if on_gpu else (104, 106)
    image = torch.rand(2, 3, *size)
    assert on_gpu or image.numel() > _stand_ins.SMALL
    for n, kind in enumerate(FAMILY):
        if kind.last and not on_gpu:
            continue
        flow = torch.randn(2, 2, *size) * 6
        flow = flow.permute(0, 2, 3, 1) if kind.last else flow
        expected, found = client(kind)(image, flow), vars(module)[f"warp_{n}"](image, flow)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert not torch.equal(found, expected), "it is ours"


DEVIATIONS = {
    "a mask at 0.99": {"threshold": 0.99},
    "a mask at 0.998": {"threshold": 0.998},
    "a mask at 0.9995": {"threshold": 0.9995},
    "the result times 1.0001": {"of_result": lambda out: out * 1.0001},
    "the result plus 0.0001": {"of_result": lambda out: out + 1e-4},
    "the result clamped": {"of_result": lambda out: out.clamp(0, 1)},
    "NaN made 0": {"of_result": torch.nan_to_num},
    "the flow times 1.0001": {"of_flow": lambda flow: flow * 1.0001},
    "the flow times 0.5": {"of_flow": lambda flow: flow * 0.5},
    "the flow negated": {"of_flow": lambda flow: -flow},
    "the flow clamped": {"of_flow": lambda flow: flow.clamp(-512, 512)},
    "the flow's axes swapped": {"of_flow": lambda flow: flow.flip(1)},
    "the flow rounded": {"of_flow": torch.round},
    "the flow detached": {"of_flow": torch.detach},
    "NaN made 0 in the flow": {"of_flow": torch.nan_to_num},
    "the nearest pixel": {"mode": "nearest"},
    "bicubic": {"mode": "bicubic"},
}


@pytest.mark.in_turn("deviation")
@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_what_deviates_stays(deviation):
    options = DEVIATIONS[deviation]
    kinds = [kind for kind in FAMILY if kind.mask is not None or "threshold" not in options]
    kinds = [kind for kind in kinds if not (deviation == "bicubic" and kind.outside == "zeros" and kind.mask)]
    module = ModuleType("clients")
    vars(module).update({f"warp_{n}": client(kind, **options) for n, kind in enumerate(kinds)})
    report = compat.patch(module, dry_run=True)
    wrong = [(r.place, r.reason, kinds[int(r.place.rpartition("_")[2])]) for r in report.replaced]
    assert wrong == []
    assert len(report.left) == len(kinds)
