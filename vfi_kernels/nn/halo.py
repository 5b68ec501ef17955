"""What a block meets at the edge of the image while it runs on patches with a halo."""

import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction

from vfi_kernels.checks import expect, shape

OP = "RoutedBlock"
# What pads with zeros, and where among its arguments a stride stands that patches must be multiples of.
CONVOLUTIONS: dict[Any, int | None] = {
    torch.conv2d: 3,
    torch.conv_transpose2d: None,
    torch.ops.vfi_kernels.modulated_deform_conv2d.default: 5,
}
# What is of single pixels as long as one of its arguments is None, and where that stands.
LOCAL = {torch.ops.vfi_kernels.mixture_lora.default: 8}
POOLS = (F.max_pool2d, F.max_pool2d_with_indices, F.avg_pool2d, torch.max_pool2d)
# Functions of torch that look further whatever their options, and methods of that name.
OTHERS = (
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices", "avg_pool1d", "avg_pool3d",
    "conv1d", "conv3d", "conv_transpose1d", "conv_transpose3d", "convolution", "fliplr", "flipud", "fold",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "grid_sample", "grid_sampler", "group_norm",
    "instance_norm", "layer_norm", "lp_pool2d", "max_pool1d", "max_pool3d", "max_unpool2d",
    "multi_head_attention_forward", "rms_norm", "rot90", "scaled_dot_product_attention", "unfold", "upsample",
)  # fmt: skip
# Functions along some dimensions, and where among their arguments these stand: along the channels they are allowed.
ALONG = {
    "amax": 1, "amin": 1, "argmax": 1, "argmin": 1, "argsort": 1, "cummax": 1, "cummin": 1, "cumprod": 1, "cumsum": 1,
    "flip": 1, "glu": 1, "kthvalue": 2, "log_softmax": 1, "logcumsumexp": 1, "logsumexp": 1, "max": 1, "mean": 1,
    "median": 1, "min": 1, "mode": 1, "nanmean": 1, "nanmedian": 1, "nansum": 1, "norm": 2, "normalize": 2, "prod": 1,
    "quantile": 2, "roll": 2, "softmax": 1, "softmin": 1, "sort": 1, "std": 1, "std_mean": 1, "sum": 1, "topk": 2,
    "var": 1, "var_mean": 1,
}  # fmt: skip


def _named(names: Iterable[str]) -> dict[Any, str]:
    """torch's functions and methods of these names."""
    owners = (F, torch, Tensor)
    return {found: name for name in names for owner in owners if (found := getattr(owner, name, None)) is not None}


def _ours() -> list[Any]:
    """Every op of ours: one that is not named above is refused, and so is a new one."""
    names = (name.removeprefix("vfi_kernels::") for name in torch._C._dispatch_get_all_op_names() if "vfi_k" in name)
    packets = [getattr(torch.ops.vfi_kernels, name) for name in names]
    return [op for packet in packets for op in (packet, packet.default)]


FURTHER, MIXING = frozenset(_named(OTHERS)), _named(ALONG)
WATCHED = frozenset([*CONVOLUTIONS, *POOLS, *_ours(), *FURTHER, *MIXING, F.pad, F.interpolate])
NEAREST = ("nearest", "nearest-exact")


class Halo(TorchFunctionMode):
    """Inside, before every convolution pixels outside the image become 0, at the resolution that they have there: as
    the dense block pads each of its convolutions. Layers that would differ from the dense block's at an edge of the
    image, or because a patch starts between their pixels, are refused.

    A mode and not hooks: it holds in this thread and for this call only, sees functions as well as modules, and leaves
    the block as it is.

    Args:
        part: (P, 3), the patches that the block runs on.
        size: height and width of the image.
        patch, halo: pixels. Without a halo patches are images of their own, and only strides are checked.
        clears: whether the halo of one of the patches may leave the image.
    """

    def __init__(self, part: Tensor, size: tuple[int, int], patch: int, halo: int, clears: bool):
        super().__init__()
        self.part, self.size, self.patch, self.halo, self.clears = part, size, patch, halo, clears
        self.records = torch.is_grad_enabled()

    def run(self, module: nn.Module, tiles: Sequence[Tensor]) -> Any:
        with self:
            return module(*tiles)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in WATCHED:
            return func(*args, **kwargs)

        def given(at: int, name: str, default: Any = None) -> Any:
            return args[at] if len(args) > at else kwargs.get(name, default)

        x = given(0, "input")
        if func in CONVOLUTIONS:
            at = CONVOLUTIONS[func]
            self._check_stride(x, 1 if at is None else given(at, "stride", 1))
            if self.halo > 0:
                self._refuse_checkpoints()
                args, kwargs = args[1:], {name: v for name, v in kwargs.items() if name != "input"}
                return func(self._cleared(x), *args, **kwargs)
        elif func in POOLS:
            self._check_stride(x, given(2, "stride") or given(1, "kernel_size"))
            self._expect(_largest(given(3, "padding", 0)) == 0, "pooling without padding", func)
        elif func is F.pad:
            self._expect(given(2, "mode", "constant") == "constant", "convolutions that pad with zeros", func)
        elif func is F.interpolate:
            self._expect(given(3, "mode", "nearest") in NEAREST, "interpolation to the nearest pixel", func)
        elif func in LOCAL:
            self._expect(given(LOCAL[func], "experts") is None, "one expert for all pixels", func)
        elif func not in MIXING or self._mixes_pixels(x, self._dims(MIXING[func], args, kwargs)):
            self._expect(False, "convolutions and layers of single pixels", func)
        return func(*args, **kwargs)

    def _expect(self, ok: bool, expected: str, func: Any) -> None:
        expect(ok or self.halo == 0, OP, f"{expected} where there is a halo", f"another {func.__name__}")

    @staticmethod
    def _dims(name: str, args: Any, kwargs: Any) -> Any:
        """The dimensions that a function of ALONG is given: a number, numbers, None for all, or another tensor."""
        for key in ("dim", "dims", "axis"):
            if key in kwargs:
                return kwargs[key]
        if name == "flip" and len(args) > 2:
            return args[1:]
        default = {"normalize": 1, **dict.fromkeys(("argsort", "glu", "kthvalue", "mode", "sort", "topk"), -1)}.get(
            name
        )
        return args[ALONG[name]] if len(args) > ALONG[name] else kwargs.get("other", default)

    @staticmethod
    def _mixes_pixels(x: Any, dims: Any) -> bool:
        """Whether some of the dimensions are height or width of an image."""
        if isinstance(dims, Tensor) or x.dim() != 4 or x.shape[2] != x.shape[3]:
            return False
        return dims is None or any(d % 4 >= 2 for d in (dims if isinstance(dims, (list, tuple)) else (dims,)))

    def _check_stride(self, x: Tensor, stride: Any) -> None:
        """Patches and halos are whole pixels of a layer's input and of its output."""
        step, square = _largest(stride), x.dim() == 4 and x.shape[2] == x.shape[3]
        if self.halo == 0 and (step == 1 or not square):
            return
        side, n = self.patch + 2 * self.halo, x.shape[2] if square else 0
        if n == 0 or n * self.patch % side != 0 or n * self.halo % side != 0:
            expected = f"layers that scale the {side} pixels of a patch with its halo evenly and pad by themselves"
            expect(False, OP, expected, f"an input of shape {shape(x)} to one")
        for name, pixels in (("patch", self.patch), ("halo", self.halo)):
            if pixels * n // side % step != 0:
                whole = Fraction(side * step, n)
                expect(False, OP, f"a {name} that is a multiple of the block's stride of {whole}", pixels)

    def _refuse_checkpoints(self) -> None:
        """They call the layer again in backward, when the mode is over."""
        if torch.compiler.is_compiling() or not self.records:
            return
        frame: Any = sys._getframe()
        while frame is not None and frame.f_code is not Halo.run.__code__:
            inside = frame.f_code.co_filename == CheckpointFunction.forward.__code__.co_filename
            expect(
                not inside, OP, "torch.utils.checkpoint around the call of a block with a halo", "one inside the block"
            )
            frame = frame.f_back

    def _cleared(self, x: Tensor) -> Tensor:
        if not self.clears:
            return x
        side, n = self.patch + 2 * self.halo, x.shape[2]
        patch, halo = n * self.patch // side, n * self.halo // side
        steps = torch.arange(n, device=x.device) - halo
        inside = []
        for axis, extent in zip((1, 2), self.size):
            at = self.part[:, axis : axis + 1] * patch + steps
            inside.append((at >= 0) & (at < extent // self.patch * patch))
        return torch.where(inside[0][:, None, :, None] & inside[1][:, None, None, :], x, 0)


def _largest(value: Any) -> Any:
    return max(value) if isinstance(value, (list, tuple)) else value
