"""compat.softsplat and compat.ebme against golden files and a transcription."""

import numpy as np
import pytest
import torch
from compat.transcriptions import cost_volume, softsplat
from shared_files import SHARED, needs_shared

from vfi_kernels import compat

MODES = ["sum", "avg", "linear", "linear-addeps", "linear-zeroeps", "linear-clipeps"]
MODES += ["soft", "soft-addeps", "soft-zeroeps", "soft-clipeps"]
BROKEN_THERE = ["avg-addeps", "avg-zeroeps", "avg-clipeps"]  # lose the last channel: what the names say is tested here


def small(dtype=torch.float64, metric_scale=3.0):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 3, 5, 6, generator=generator, dtype=dtype)
    flow = torch.rand(2, 2, 5, 6, generator=generator, dtype=dtype) * 6 - 3
    return values, flow, torch.rand(2, 1, 5, 6, generator=generator, dtype=dtype) * metric_scale


@needs_shared
@pytest.mark.parametrize("mode", [m for m in MODES if m != "linear-addeps"])
def test_golden_file(mode):
    """Outputs and gradients of softmax-splatting's own kernels; the flow holds NaN, inf, 1e9, integers and exits."""
    golden = {k: torch.from_numpy(v) for k, v in np.load(SHARED / "golden" / "softsplat_modes.npz").items()}
    leaves = {k: golden[k].clone().requires_grad_() for k in ("input", "flow", "metric")}
    if mode.startswith("linear"):
        leaves["metric"] = golden["metric"].abs().requires_grad_()
    metric = None if mode in ("sum", "avg") else leaves["metric"]
    out = compat.softsplat.softsplat(leaves["input"], leaves["flow"], metric, mode)
    torch.testing.assert_close(out, golden[f"{mode}__output"], rtol=0, atol=1e-5)
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape))
    for key, leaf in leaves.items():
        if f"{mode}__grad_{key}" in golden:
            expected = golden[f"{mode}__grad_{key}"]
            torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize("mode", [*MODES, *BROKEN_THERE])
def test_softsplat(mode):
    values, flow, metric = small()
    metric = None if mode[:3] in ("sum", "avg") else metric
    expected = softsplat(values, flow, metric, mode)
    torch.testing.assert_close(compat.softsplat.softsplat(values, flow, metric, mode), expected, rtol=0, atol=1e-12)


def test_the_metric_of_gmfss():
    """GMFSS imports softsplat as warp, clips its metric to +-20 and splats in mode soft, in half precision too."""
    values, flow, metric = small(torch.float32, 60.0)
    metric = (metric - 30).clip(-20, 20)
    expected = softsplat(values.double(), flow.double(), metric.double(), "soft")
    torch.testing.assert_close(
        compat.softsplat.softsplat(values, flow, metric, strMode="soft").double(), expected, rtol=0, atol=1e-5
    )
    half = compat.softsplat.softsplat(values.half(), flow, metric.half(), "soft")  # exp(20) is no float16
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), expected, rtol=0, atol=5e-2)


@pytest.mark.parametrize("mode", ["soft", "soft-zeroeps", "soft-clipeps"])
def test_large_metrics_stay_finite(mode):
    values, flow, _ = small(torch.float32)
    for level in (85.0, 200.0, float("inf"), float("nan")):
        out = compat.softsplat.softsplat(values, flow, torch.full((2, 1, 5, 6), level), mode)
        assert out.isfinite().all()


def test_an_isolated_pixel_of_low_metric_keeps_the_old_arithmetic():
    """exp(-20) / (exp(-20) + 1e-7) = 0.02: what trained weights have seen."""
    value = compat.softsplat.softsplat(
        torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1), torch.tensor([[[[-20.0]]]]), "soft"
    )
    assert value.item() == pytest.approx(0.0201937, rel=1e-4)


@pytest.mark.parametrize("mode", ["max", "soft-eps", "soft-", "sum-addeps", "", "softmax"])
def test_unknown_modes_are_assertions(mode):
    values, flow, metric = small()
    with pytest.raises(AssertionError, match="expected strMode sum, avg, linear, soft"):
        compat.softsplat.softsplat(values, flow, metric, mode)


def test_the_metric_goes_with_the_mode():
    values, flow, metric = small()
    with pytest.raises(AssertionError, match="expected tenMetric None in mode 'sum', got one"):
        compat.softsplat.softsplat(values, flow, metric, "sum")
    with pytest.raises(AssertionError, match="expected a tenMetric in mode 'soft', got None"):
        compat.softsplat.softsplat(values, flow, None, "soft")


def test_softsplat_func_of_m2m():
    """M2M weights by hand and calls the autograd function."""
    values, flow, metric = small()
    weighted = torch.cat((values * metric.exp(), metric.exp()), 1)
    sums = compat.softsplat.softsplat_func.apply(weighted, flow)
    torch.testing.assert_close(sums, softsplat(weighted, flow, None, "sum"), rtol=0, atol=1e-10)
    assert torch.autograd.gradcheck(
        compat.softsplat.softsplat_func.apply, (values[:1].clone().requires_grad_(), flow[:1].clone().requires_grad_())
    )


LEGACY = {"summation": "sum", "average": "avg-zeroeps", "linear": "linear-zeroeps", "softmax": "soft-zeroeps"}


@pytest.mark.parametrize("mode", LEGACY)
def test_the_names_of_ebme(mode):
    values, flow, metric = small()
    given = metric if mode in ("linear", "softmax") else None
    expected = softsplat(values, flow, given, LEGACY[mode])
    out = compat.ebme.FunctionSoftsplat(tenInput=values, tenFlow=flow, tenMetric=given, strType=mode)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    assert torch.equal(compat.ebme.ModuleSoftsplat(mode)(values, flow, given), out)
    if given is None:
        assert torch.equal(compat.ebme.FunctionSoftsplat(values, flow, metric, mode), out)


def test_wrong_arguments_of_ebme():
    values, flow, metric = small()
    with pytest.raises(AssertionError, match="expected strType summation, average, linear, softmax, got 'soft'"):
        compat.ebme.FunctionSoftsplat(values, flow, metric, "soft")
    with pytest.raises(AssertionError, match=r"tenMetric of shape \(B, 1, H, W\), got \(2, 3, 5, 6\)"):
        compat.ebme.FunctionSoftsplat(values, flow, values, "softmax")
    with pytest.raises(AssertionError, match="expected a tenMetric in mode 'soft-zeroeps', got None"):
        compat.ebme.FunctionSoftsplat(values, flow, None, "softmax")


@pytest.mark.parametrize(
    "correlation",
    [compat.softsplat.FunctionCorrelation, compat.ebme.FunctionCorrelation, compat.ebme.ModuleCorrelation()],
)
def test_correlation(correlation):
    first, second = torch.rand(2, 2, 5, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(correlation(first, second), cost_volume(first, second), rtol=0, atol=1e-12)


def test_parameter_names():
    values, flow, _ = small()
    compat.softsplat.softsplat(tenIn=values, tenFlow=flow, tenMetric=None, strMode="sum")
    compat.softsplat.FunctionCorrelation(tenOne=values, tenTwo=values)
    compat.ebme.FunctionCorrelation(tenFirst=values, tenSecond=values)
    compat.softsplat.backwarp(tenIn=values, tenFlow=flow)
    compat.ebme.backwarp(tenInput=values, tenFlow=flow)
    compat.rife.warp(tenInput=values, tenFlow=flow, tenFlow_div=None, backwarp_tenGrid=None)
    compat.ifrnet.warp(img=values, flow=flow)
    compat.xvfi.bwarp(x=values, flo=flow)


def test_autocast_leaves_the_correlation_alone():
    first, second = torch.rand(2, 1, 5, 7, 9)
    expected = compat.ebme.FunctionCorrelation(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compat.ebme.FunctionCorrelation(first, second), expected)


@pytest.mark.parametrize("wrong", [None, 3, np.zeros((1, 3, 4, 5))])
def test_what_is_no_tensor_gets_one_sentence(wrong):
    values, flow, _ = small()
    for call in (
        lambda: compat.softsplat.softsplat(wrong, flow, None, "sum"),
        lambda: compat.rife.warp(values, wrong),
        lambda: compat.ebme.FunctionCorrelation(wrong, values),
        lambda: compat.torchvision.deform_conv2d(wrong, flow, values),
    ):
        with pytest.raises(RuntimeError, match=rf"to be a tensor, got {type(wrong).__name__}$"):
            call()
    with pytest.raises(AssertionError, match="got 'None'"):
        compat.softsplat.softsplat(values, flow, None, None)


def test_autocast_gives_float32():
    values, flow, metric = (t.bfloat16() for t in small())
    assert compat.softsplat.softsplat(values, flow, metric, "soft").dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert compat.softsplat.softsplat(values, flow, metric, "soft").dtype == torch.float32


def splatted_as_published(tenIn, tenFlow, tenMetric, kind, suffix):
    """GIMM-VFI's softsplat with return_norm, around the sum of a splat."""
    weight = torch.ones_like(tenIn[:, :1]) if kind == "avg" else tenMetric if kind == "linear" else tenMetric.exp()
    out = compat.softsplat.softsplat(torch.cat((tenIn * weight, weight), 1), tenFlow, None, "sum")
    norm = out[:, -1:]
    if suffix in ("", "-addeps"):
        norm = norm + 0.0000001
    elif suffix == "-zeroeps":
        norm = torch.where(norm == 0, torch.ones_like(norm), norm)
    else:
        norm = norm.clip(0.0000001, None)
    return out[:, :-1], norm


@pytest.mark.parametrize("suffix", ["", "-addeps", "-zeroeps", "-clipeps"])
@pytest.mark.parametrize("kind", ["avg", "linear", "soft", "softmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_return_norm(kind, suffix, dtype):
    generator = torch.Generator().manual_seed(0)
    image, flow = torch.rand(2, 3, 9, 13, generator=generator), 9 * torch.randn(2, 2, 9, 13, generator=generator)
    metric = None if kind == "avg" else torch.rand(2, 1, 9, 13, generator=generator)
    given = [t if t is None else t.to(dtype).requires_grad_() for t in (image, flow, metric)]
    found = compat.softsplat.softsplat(*given, kind + suffix, return_norm=True)
    expected = splatted_as_published(*given, kind, suffix)
    leaves = [t for t in given if t is not None]
    cotangents = [torch.rand(t.shape, generator=generator).to(dtype) for t in expected]
    for got, right in zip(found, expected, strict=True):
        torch.testing.assert_close(got, right)
    slopes = [torch.autograd.grad(pair, leaves, cotangents, allow_unused=True) for pair in (found, expected)]
    torch.testing.assert_close(*slopes)
    alone = compat.softsplat.softsplat(*given, kind.removesuffix("max") + suffix)
    torch.testing.assert_close(found[0] / found[1], alone, rtol=1e-4, atol=1e-5)
    again = compat.softsplat.softsplat(*given, kind.removesuffix("max") + suffix, return_norm=False)
    assert torch.equal(again, alone)


def test_return_norm_of_a_sum_is_the_sum():
    image, flow = torch.rand(1, 3, 6, 7), torch.randn(1, 2, 6, 7)
    found = compat.softsplat.softsplat(image, flow, None, "sum", return_norm=True)
    assert torch.equal(found, compat.softsplat.softsplat(image, flow, None, "sum"))
    with pytest.raises(ValueError, match="softsplat: expected return_norm "):
        compat.softsplat.softsplat(image, flow, None, "avg", return_norm=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_return_norm_in_half_precision_and_with_metrics_that_are_none(dtype):
    image, flow, metric = (
        torch.rand(1, 3, 6, 7).to(dtype),
        torch.zeros(1, 2, 6, 7).to(dtype),
        torch.zeros(1, 1, 6, 7).to(dtype),
    )
    metric[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    sums, norm = compat.softsplat.softsplat(image, flow, metric, "soft", return_norm=True)
    assert sums.dtype == norm.dtype == dtype and bool(sums.isfinite().all()) and not sums[0, :, 0, :3].any()
    torch.testing.assert_close(sums[..., 1:, :], image[..., 1:, :])
