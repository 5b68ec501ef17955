"""Wrong arguments of the linear layer with two adapters."""

import pytest
import torch

import vfi_kernels as vk

OK = {"x": (4, 3), "weight": (2, 3), "bias": (2,), "lora_a": (3, 2, 3), "lora_b": (3, 2, 2), "lora_a_bias": (3, 2),
      "lora_b_bias": (3, 2)}  # fmt: skip
START = "mixture_lora: expected "


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"x": ()}, r"input of shape \(..., in\), got \(\)"),
    ({"weight": (2, 4)}, r"weight of shape \(out, 3\) for input of shape \(4, 3\), got \(2, 4\)"),
    ({"bias": (3,)}, r"bias of shape \(2,\), got \(3,\)"),
    ({"lora_a": (1, 2, 3)}, r"lora_a of shape \(E, r, 3\) with E from 2 up, got \(1, 2, 3\)"),
    ({"lora_b": (3, 2, 1)}, r"lora_b of shape \(3, 2, 2\), got \(3, 2, 1\)"),
    ({"lora_a_bias": (2, 2)}, r"lora_a_bias of shape \(3, 2\), got \(2, 2\)"),
    ({"lora_b_bias": (3, 3)}, r"lora_b_bias of shape \(3, 2\), got \(3, 3\)"),
])  # fmt: skip
def test_wrong_shapes(backend, changed, sentence):
    tensors = {name: torch.zeros(shape) for name, shape in (OK | changed).items()}
    for call in (vk.mixture_lora, lambda *a: torch.ops.vfi_kernels.mixture_lora(*(a[:-1]), a[-1], None, None, False)):
        with pytest.raises(RuntimeError, match=f"^{START}{sentence}$"):
            call(*tensors.values(), 1)


@pytest.mark.parametrize(("expert", "segments", "sentence"), [
    (0, None, "expert from 1 to 2, got 0"),
    (3, None, "expert from 1 to 2, got 3"),
    (1.0, None, "expert to be an integer, got 1.0"),
    (1, [0, 4], "segments with a tensor of experts, and only then, got expert 1"),
    ([1], None, "segments with a tensor of experts, and only then, got experts alone"),
    ([1, 2], [0, 4], r"segments of shape \(3,\), got \(2,\)"),
    ([], [0], r"expert of shape \(S,\) with S from 1 up, got \(0,\)"),
    ([[1]], [0, 4], r"expert of shape \(S,\) with S from 1 up, got \(1, 1\)"),
    ([1.0], [0, 4], "expert of dtype int64 or int32, got float32"),
    ([1], [0.0, 4.0], "segments of dtype int64 or int32, got float32"),
])  # fmt: skip
def test_wrong_choices(backend, expert, segments, sentence):
    tensors = [torch.zeros(shape) for shape in OK.values()]
    chosen = torch.tensor(expert, dtype=None if expert else torch.int64) if isinstance(expert, list) else expert
    with pytest.raises(RuntimeError, match=f"^{START}{sentence}$"):
        vk.mixture_lora(*tensors, chosen, segments=None if segments is None else torch.tensor(segments))


@pytest.mark.parametrize(("expert", "segments", "sentence"), [
    ([1, 3], [0, 2, 4], "expert from 1 to 2, got 3"),
    ([0, 1], [0, 2, 4], "expert from 1 to 2, got 0"),
    ([1, 2], [0, 2, 5], r"segments that go up from 0 to 4, the number of tokens, got \(0, 2, 5\)"),
    ([1, 2], [1, 2, 4], r"segments that go up from 0 to 4, the number of tokens, got \(1, 2, 4\)"),
    ([1, 2, 1], [0, 3, 2, 4], r"segments that go up from 0 to 4, the number of tokens, got \(0, 3, 2, 4\)"),
])  # fmt: skip
def test_wrong_values_of_segments(expert, segments, sentence):
    tensors = [torch.zeros(shape) for shape in OK.values()]
    for name in ("cpp", "reference"):
        with vk.use_backend(name), pytest.raises(RuntimeError, match=f"^{START}{sentence}$"):
            vk.mixture_lora(*tensors, torch.tensor(expert), segments=torch.tensor(segments))


@pytest.mark.parametrize("name", ["weight", "lora_a", "lora_b_bias"])
def test_arguments_that_are_no_floating_tensors(backend, name):
    tensors = {n: torch.zeros(shape) for n, shape in OK.items()}
    with pytest.raises(RuntimeError, match=f"{START}{name} of dtype float64, float32, float16 or bfloat16, got int64"):
        vk.mixture_lora(*(tensors | {name: torch.zeros(OK[name], dtype=torch.int64)}).values(), 1)
    with pytest.raises(RuntimeError, match=f"{START}{name} to be a tensor, got list"):
        vk.mixture_lora(*(tensors | {name: [0.0]}).values(), 1)
