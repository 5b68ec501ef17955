"""What docs/devices.md says of devices that are not here."""

import pytest
import torch

from vfi_kernels import backends

OTHERS = ("MPS", "XPU", "HPU", "PrivateUse1")  # dispatch keys of devices for which nothing is compiled


@pytest.mark.parametrize("key", OTHERS)
def test_every_op_has_the_reference_on_any_other_device(key):
    for op in backends.ops():
        name = f"vfi_kernels::{op}"
        assert torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, key), op
        assert not torch._C._dispatch_has_kernel_for_dispatch_key(name, key), op


@pytest.fixture
def amd(monkeypatch):
    """A torch for AMD's GPUs, and a library with CUDA kernels inside, as the wheel has. Yields what is overridden."""
    overridden = []
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends, "build_info", lambda: {"cuda": "13.0", "cuda_archs": ["9.0"]})
    monkeypatch.setattr(backends, "_override", overridden.append)
    monkeypatch.setattr(backends, "_overrides", [])
    monkeypatch.delenv("TRITON_INTERPRET")
    return overridden


def test_triton_serves_amds_gpus(amd):
    assert backends.unavailable("triton") is None
    assert backends.unavailable("cuda") == "this torch is for AMD's GPUs"
    backends.prefer_triton_on_old_gpus()
    assert amd == [{"CUDA": backends._triton_kernel}]


def test_a_cpu_build_has_no_gpu(amd, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None)
    assert backends.unavailable("triton") == backends.unavailable("cuda") == "this torch is a CPU build"
    backends.prefer_triton_on_old_gpus()
    assert amd == []
