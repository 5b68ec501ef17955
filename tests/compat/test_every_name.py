"""What holds for every name of compat: its dtype inside torch.autocast is the original's, and it can be called with
tensors of the meta device, with proxies of torch.fx, and in torch.jit.trace."""

import types
import warnings

import pytest
import torch
import torch.nn.functional as F
from every_name import CALLS, DTYPES, HALVES, NO_CALLS, H, W, flow, ifrnet, image, module, rife, softsplat, weights

from vfi_kernels import compat

every_name = pytest.mark.parametrize("name", CALLS)


def outputs(found):
    return tuple(found) if isinstance(found, tuple) else (found,)


def test_every_name_is_here():
    modules = {n: m for n, m in vars(compat).items() if isinstance(m, types.ModuleType) and not n.startswith("_")}
    assert set(CALLS) | NO_CALLS == {f"{m}.{name}" for m, module in modules.items() for name in module.__all__}


def original_dtype(rule, arguments):
    x = arguments[0]
    if rule == "grid_sample":  # of linspaces of float32, and the flow
        grid = arguments[1].permute(0, 2, 3, 1)
        return F.grid_sample(x, grid.to(torch.promote_types(grid.dtype, torch.float32)), align_corners=True).dtype
    if rule == "conv2d":
        return F.conv2d(x, weights(x.dtype)).dtype
    return {"float32": torch.promote_types(x.dtype, torch.float32), "first": x.dtype, "index": torch.int32}.get(
        rule, arguments[1].dtype if len(arguments) > 1 else None
    )


@every_name
@pytest.mark.parametrize("cast", HALVES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtype_inside_autocast(name, cast, dtype):
    call, make, rule = CALLS[name]
    with torch.autocast("cpu", cast):
        arguments = make(dtype)
        expected = original_dtype(rule, arguments)
        assert {o.dtype for o in outputs(call(*arguments))} == {expected}


@pytest.mark.parametrize("name", [n for n, (_, _, rule) in CALLS.items() if rule in ("grid_sample", "float32")])
@pytest.mark.parametrize("dtypes", [(torch.float16, torch.float32), (torch.float32, torch.bfloat16)], ids=str)
def test_mixed_dtypes_inside_autocast(name, dtypes):
    call, make, _ = CALLS[name]
    frame, *others = (a.to(dtypes[min(n, 1)]) for n, a in enumerate(make(torch.float32)))
    with torch.autocast("cpu", torch.bfloat16):
        assert call(frame, *others).dtype == torch.float32


@pytest.mark.parametrize("name", [n for n in CALLS if "eform" in n and "Pack" not in n])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("offset_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_offsets_of_another_dtype(name, autocast, dtype, offset_dtype):
    """torchvision's result is as the input, mmcv's as the offset."""
    call, make, rule = CALLS[name]
    arguments = make(dtype, offset_dtype=offset_dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert call(*arguments).dtype == (offset_dtype if rule == "offset" else dtype)


@every_name
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_meta_device(name, dtype, autocast):
    call, make, _ = CALLS[name]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        if name == "sbnet.reduce_mask":
            with pytest.raises(RuntimeError, match=r"sbnet\.reduce_mask: expected a mask with values"):
                call(*make(dtype, "meta"))
            return
        found = call(*make(dtype, "meta"))
    expected = call(*make(dtype))
    assert found.device.type == "meta" and found.shape == expected.shape and found.dtype == expected.dtype


@every_name
def test_symbolic_trace(name):
    call, make, _ = CALLS[name]
    arguments = make(torch.float32)
    kind = getattr(getattr(compat, name.split(".")[0]), name.split(".")[1])
    names = ", ".join("abcdef"[: len(arguments)])
    if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
        traced = type("Holder", (torch.nn.Module,), {"forward": eval(f"lambda self, {names}: self.inner({names})")})()
        traced.inner = module(kind, torch.float32, arguments[0].device)
    else:
        traced = eval(f"lambda {names}: call({names})", {"call": call})
    graph = torch.fx.symbolic_trace(traced)
    for got, expected in zip(outputs(graph(*arguments)), outputs(call(*arguments)), strict=True):
        assert torch.equal(got, expected)


@every_name
def test_jit_trace_at_other_sizes(name):
    """The result of the call itself, or an error that says that a size differs."""
    call, make, _ = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of numbers that it keeps
        traced = torch.jit.trace(lambda *tensors: call(*tensors), make(torch.float32))
    for size in ((H, W), (W, H), (H, 2 * W)):
        arguments = make(torch.float32, size=size)
        try:
            found = outputs(traced(*arguments))
        except RuntimeError as error:
            assert size != (H, W) and "split_sizes to sum exactly to" in str(error)
        else:
            for got, expected in zip(found, outputs(call(*arguments)), strict=True):
                torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("warp", [rife.warp, ifrnet.warp, softsplat.backwarp], ids=lambda f: f.__module__[-9:])
def test_jit_trace_of_a_flow_of_another_size(warp):
    """A graph made with equal sizes takes equal ones, another one only those that it was made with."""
    for first, others in (((H, W), [(6, 9)]), ((6, 9), [(H, W), (6, 10)])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(lambda x, f: warp(x, f), (image(torch.float32), flow(torch.float32, size=first)))
        given = image(torch.float32), flow(torch.float32, size=first)
        torch.testing.assert_close(traced(*given), warp(*given))
        for size in others:
            with pytest.raises(RuntimeError, match="split_sizes to sum exactly to"):
                traced(image(torch.float32), flow(torch.float32, size=size))
    with pytest.raises(RuntimeError, match="split_sizes to sum exactly to"):
        traced(image(torch.float32, size=(H, W + 1)), flow(torch.float32, size=(6, 9)))
