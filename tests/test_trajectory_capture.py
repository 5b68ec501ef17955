"""Ops along trajectories copy nothing from the host to a device, which a CUDA graph that is being captured forbids."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import vfi_kernels as vk
from vfi_kernels.ops._shared.trajectories import _counted


class NoCopyFromHost(TorchDispatchMode):
    """Refuses what brings the elements of a CPU tensor to another device; a number in a tensor of no dimensions too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        made = [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]
        if any(t.device.type == "cpu" for t in tensors) and any(t.device.type != "cpu" for t in (*tensors, *made)):
            raise AssertionError(f"{func} copies from the host")
        return out


CALLS = {
    "sample_trajectory": lambda x, k, m, taus, knots: vk.sample_trajectory(k, taus, knots=knots),
    "trajectory_warp": lambda x, k, m, taus, knots: vk.trajectory_warp(x, k, taus, knots=knots),
    "trajectory_splat": lambda x, k, m, taus, knots: vk.trajectory_splat(x, k, taus, m, knots=knots),
}


def on_device(device):
    sizes = ((1, 3, 4, 6), (1, 3, 2, 4, 6), (1, 1, 4, 6))
    return [torch.empty(size, device=device) for size in sizes]


every_taus = pytest.mark.parametrize("taus", [0.5, [0.25, 0.5], (0,), []], ids=repr)


@every_taus
@pytest.mark.parametrize("knots", [None, [0.0, 0.5, 1.0]], ids=["none", "list"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_numbers_are_not_copied_to_the_device(call, knots, taus):
    with NoCopyFromHost():
        out = call(*on_device("meta"), taus, knots)
    assert out.device.type == "meta" and out.shape[1] == (len(taus) if isinstance(taus, (list, tuple)) else 1)


@every_taus
def test_times_are_made_on_a_gpu(taus):
    """Of which this machine needs none; on "meta" torch.tensor would not be seen."""
    with FakeTensorMode():
        keyframes = torch.empty(1, 6, 4, 6, device="cuda:0")
        with NoCopyFromHost():
            made = _counted("sample_trajectory", taus, 0.0, keyframes)
        assert made.device == keyframes.device and made.dtype == torch.float32


def test_the_mode_sees_a_copy():
    with FakeTensorMode(), pytest.raises(AssertionError, match="copies from the host"), NoCopyFromHost():
        torch.tensor([0.25, 0.5], device="cuda:0")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_knots_on_the_device_are_refused_while_a_graph_is_captured(call, monkeypatch):
    with pytest.raises(vk.ArgumentError, match="expected knots that have values, got knots on meta"):
        call(*on_device("meta"), 0.5, torch.empty(3, device="meta"))
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="expected knots as numbers or on the CPU while a CUDA graph is captured"):
        call(*on_device("meta"), 0.5, torch.empty(3, device="meta"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_numbers_are_what_a_tensor_of_them_is(dtype):
    keyframes = torch.randn(2, 3, 2, 4, 5).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    as_numbers = vk.sample_trajectory(keyframes, [10.1, 10.7], knots=[10.0, 10.5, 11.0])
    counted = torch.tensor([10.1 - 10.0, 10.7 - 10.0], dtype=wide)
    assert torch.equal(as_numbers, vk.sample_trajectory(keyframes, counted, knots=[0.0, 0.5, 1.0]))
