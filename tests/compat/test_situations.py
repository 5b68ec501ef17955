"""One list of situations for everything that compat.patch tries: what deviates in one of them stays, whatever it is."""

import inspect
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from compat import test_adaptive as adaptive
from compat.transcriptions import cost_volume, grid_warp, softsplat, splat_sum

from vfi_kernels import compat
from vfi_kernels.compat import _kernels, _situations

pytestmark = pytest.mark.in_turn


def deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask):
    """Of 3 x 3, from its definition, reading with grid_sample; the groups are what the channels say."""
    b, c, h, w = x.shape
    rows, columns = offset.shape[2:]
    groups, of_offsets = c // weight.shape[1], offset.shape[1] // 18
    ys, xs = torch.meshgrid(
        torch.arange(rows) * stride - padding, torch.arange(columns) * stride - padding, indexing="ij"
    )
    read = []
    for n in range(9):
        parts = []
        for g, part in enumerate(x.chunk(of_offsets, 1)):
            at = 2 * (g * 9 + n)
            y, x_ = ys + n // 3 * dilation + offset[:, at], xs + n % 3 * dilation + offset[:, at + 1]
            grid = torch.stack(((2 * x_ + 1) / w - 1, (2 * y + 1) / h - 1), 3)
            parts.append(F.grid_sample(part, grid, align_corners=False) * mask[:, g * 9 + n : g * 9 + n + 1])
        read.append(torch.cat(parts, 1))
    columns_of = torch.stack(read, 2).view(b, groups, c // groups * 9, rows, columns)
    kernels = weight.reshape(groups, -1, c // groups * 9)
    out = torch.einsum("gok,bgkhw->bgohw", kernels, columns_of).reshape(b, -1, rows, columns)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


KINDS = {  # a function that computes what an op of ours does, under a name that is tried
    "splat": lambda image, flow: splat_sum(image, flow),
    "softsplat": lambda tenIn, tenFlow, tenMetric, strMode: softsplat(tenIn, tenFlow, tenMetric, strMode),
    "correlation": lambda one, two: cost_volume(one, two),
    "adacof": lambda image, weight, down, right, dilation: adaptive.adacof(image, weight, down, right, dilation),
    "sepconv": lambda image, vertical, horizontal: adaptive.sepconv(image, vertical, horizontal),
    "dsepconv": lambda image, v, h, down, right, mask: adaptive.dsepconv(image, v, h, down, right, mask),
    "deform_conv2d": deform_conv2d,
    "warp": lambda image, flow: grid_warp(image, flow, "border"),
}
DEVIATIONS = {  # of the result, by the first argument x
    "a result that is made finite": "torch.nan_to_num(out)",
    "one channel": "out * (1.5 if x.shape[1] == 1 else 1)",
    "four channels": "out * (1.5 if x.shape[1] == 4 else 1)",
    "23 channels": "out * (1.5 if x.shape[1] == 23 else 1)",
    "20 channels and more": "out * (1.5 if x.shape[1] > 20 else 1)",
    "one image": "out * (1.5 if x.shape[0] == 1 else 1)",
    "more than 70 rows": "out * (1.5 if x.shape[2] > 70 else 1)",
    "more than 70 columns": "out * (1.5 if 70 < x.shape[3] else 1)",
    "more than 6000 pixels": "out * (1.5 if x.shape[2] * x.shape[3] > 6000 else 1)",
    "without gradients": "out * (1 if x.requires_grad else 1.5)",
    "no_grad": "out * (1 if torch.is_grad_enabled() else 1.5)",
    "on a GPU": "out * (1.5 if x.is_cuda else 1)",
    "no gradient": "out.detach()",
    "half a gradient": "out * 0.5 + out.detach() * 0.5",
    "a little more": "out * 1.0005",
}  # fmt: skip


def patched(kind, of_result, first=""):
    """`first`: a statement before all others."""
    module = ModuleType("client")
    module.torch, module.inner = torch, KINDS[kind]
    names = list(inspect.signature(KINDS[kind]).parameters)
    given = ", ".join(names)
    code = f"def {kind}({given}):\n    x = {names[0]}\n    {first}\n    out = inner({given})\n    return {of_result}\n"
    exec(code, vars(module))
    theirs = vars(module)[kind]
    report = compat.patch(module)
    return theirs, vars(module)[kind], report


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_replaced(kind):
    theirs, ours, report = patched(kind, "out")
    assert "client." + kind in {r.place for r in report.replaced}, str(report)
    assert ours is not theirs


@pytest.mark.in_turn("kind", "deviation", of=6)
@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_deviates_in_a_situation_is_the_original(kind, deviation):
    """It stays; or calls in that situation are its own."""
    theirs, ours, report = patched(kind, DEVIATIONS[deviation])
    if "client." + kind not in {r.place for r in report.replaced}:
        assert "client." + kind in {item.place for item in report.left}
        return
    assert deviation in ("more than 70 rows", "more than 70 columns", "more than 6000 pixels"), str(report)
    for s in (_situations.Situation(1, 1, (90, 90), grad="off"), _situations.Situation(1, 2, (6, 90), grad="off")):
        given = _situations.prepared(arguments(kind, s), s)
        assert _situations.close(ours(*given), theirs(*given), s)


def arguments(kind, s):
    if kind == "softsplat":
        return [*_kernels.pictures(s), None, "sum"]
    if kind == "warp":
        return _kernels.pictures(s)
    return next(known.arguments(s) for known in _kernels.KERNELS if known.by == BY[kind])


BY = {
    "splat": "compat.softsplat.softsplat_func.apply", "correlation": "compat.softsplat.FunctionCorrelation",
    "adacof": "compat.adacof.FunctionAdaCoF.apply", "sepconv": "compat.sepconv.FunctionSepconv",
    "dsepconv": "compat.dsepconv.FunctionDSepconv", "deform_conv2d": "compat.torchvision.deform_conv2d",
}  # fmt: skip


@pytest.mark.in_turn("kind", "change", "dtype", of=6)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("change", ["out * 1.06", "out.float()", "out.clamp(max=0.3)"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dtype_in_which_it_deviates_is_its_own(kind, change, dtype):
    theirs, ours, report = patched(kind, f"out if x.dtype != torch.{str(dtype).partition('.')[2]} else {change}")
    assert "client." + kind in {r.place for r in report.replaced}, str(report)
    s = _situations.of_dtype(dtype)
    given = _situations.prepared(arguments(kind, s), s)
    try:
        expected = theirs(*given)
    except RuntimeError:
        return  # it does not run in this dtype: ours may
    found = ours(*given)
    assert found.dtype == expected.dtype and torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_every_shape_give_what_they_gave(kind):
    theirs, ours, _ = patched(kind, "out")
    for s in (*_situations.MORE, *_situations.THIN, _situations.Situation(2, 17, (33, 21))):
        given = _situations.prepared(arguments(kind, s), s)
        expected, found = theirs(*given), ours(*given)
        assert _situations.close(found, expected, _situations.FIRST) or not expected.isfinite().all(), s


BLOCK = """
import torch.nn.functional as F
class CorrBlock:
    def __init__(self, fmap1, fmap2, num_levels=4, radius=4):
        self.radius, (b, c, h, w) = radius, fmap1.shape
        self.x = fmap1
        pairs = torch.matmul(fmap1.flatten(2).transpose(1, 2), fmap2.flatten(2)).view(b * h * w, 1, h, w)
        self.levels = [pairs / torch.tensor(c).float().sqrt()]
        for _ in range(num_levels - 1):
            self.levels.append(F.avg_pool2d(self.levels[-1], 2, stride=2))

    def __call__(self, coords):
        x, (b, _, h, w) = self.x, coords.shape
        line = torch.linspace(-self.radius, self.radius, 2 * self.radius + 1)
        delta = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
        centre = coords.permute(0, 2, 3, 1).reshape(b * h * w, 1, 1, 2)
        found = []
        for n, level in enumerate(self.levels):
            px, py = (centre / 2**n + delta).split(1, 3)
            grid = torch.cat([2 * px / (level.shape[3] - 1) - 1, 2 * py / (level.shape[2] - 1) - 1], 3)
            found.append(F.grid_sample(level.float(), grid, align_corners=True).view(b, h, w, -1))
        out = torch.cat(found, 3).permute(0, 3, 1, 2).contiguous().float()
        return {of_result}
"""
OF_BLOCKS = [d for d in DEVIATIONS if d not in ("more than 70 rows", "more than 70 columns", "more than 6000 pixels")]


@pytest.mark.parametrize("deviation", ["none", *OF_BLOCKS])
def test_a_look_up_that_deviates_stays(deviation):
    module = ModuleType("client")
    module.torch = torch
    exec(BLOCK.replace("{of_result}", DEVIATIONS.get(deviation, "out")), vars(module))
    module.CorrBlock.__module__ = "client"
    report = compat.patch(module)
    assert len(report.replaced) == (deviation == "none"), str(report)


@pytest.mark.parametrize("change", ["out", "out * 1.02", "out + 0.01", "out.clamp(max=0.98)", "out.flip(1)"])
def test_a_warp_that_runs_in_half_precision_only(change):
    """It is compared with float32 to a few roundings, too."""
    _, _, report = patched("warp", change, "assert x.dtype == torch.float16")
    assert ("client.warp" in {r.place for r in report.replaced}) == (change == "out"), str(report)
