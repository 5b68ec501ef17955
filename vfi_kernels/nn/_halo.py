"""What a block meets at the edge of the image while it runs on patches with a halo."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch._C._functorch import maybe_get_level
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointFunction

from vfi_kernels._arguments import expect, shape
from vfi_kernels._types import Arguments, Function, Options
from vfi_kernels.nn._layers import CONVOLUTIONS, LOCAL, NEAREST, OP, OURS, POOLS, SCALED, SCALES, largest, pair
from vfi_kernels.nn._local import ASKS, NAMED, RANDOM, RULES
from vfi_kernels.nn._rules import IMAGE, Call, reshaped, size_of_view

MARK = "_vfi_letters"


def _each(values: Iterable[object]) -> Iterator[Tensor]:
    """Tensors, and those in lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _each(value)


class Seen(TorchDispatchMode):
    """Refuses what works on the input without a function that `Halo` sees: TorchScript and extensions. torch.compile
    runs its functions as they are written while it is there."""

    def __init__(self, halo: "Halo"):
        super().__init__()  # type: ignore[no-untyped-call]
        self.halo = halo

    def __torch_dispatch__(
        self, func: Function, types: object, args: Arguments = (), kwargs: Options | None = None
    ) -> object:
        if not self.halo.inside and any(hasattr(t, MARK) for t in _each((*args, *(kwargs or {}).values()))):
            self.halo.unseen = str(func)
            raise RuntimeError(OP)  # which TorchScript rewrites: `Halo.run` says the sentence
        return func(*args, **kwargs) if kwargs else func(*args)


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
        self.inside = False
        self.seen: Seen | None = None
        self.unseen: str | None = None
        self.types: set[type] = set()
        self.level = -1
        self.letters: list[tuple[Tensor, str]] = []  # under torch.compile, where marks do not live on tensors
        self.masks: dict[int, Tensor] = {}

    def run(self, module: nn.Module, tiles: Sequence[Tensor]) -> Any:
        if self.halo == 0:
            with self:
                return module(*tiles)
        if not torch.compiler.is_compiling():
            self.types = {Tensor, nn.Parameter, nn.Buffer, *map(type, tiles)}
            self.level = max(map(maybe_get_level, tiles))
        for t in tiles:
            self._mark(t, IMAGE)
        if torch.compiler.is_compiling():
            with self:
                out = module(*tiles)
        else:
            out = self._watched(module, tiles)
        if isinstance(out, Tensor) and self._letters(out) != IMAGE:
            expect(False, OP, "a block that returns (P, C, h, w) made from its input", shape(out))
        return out

    def _watched(self, module: nn.Module, tiles: Sequence[Tensor]) -> Any:
        try:
            with Seen(self) as self.seen, self:
                return module(*tiles)
        except RuntimeError:
            if self.unseen is None:
                raise
        finally:
            self.seen = None
        expected = "functions of torch that are called from Python where there is a halo"
        expect(False, OP, expected, f"{self.unseen} of TorchScript or an extension")

    def _letters(self, t: object) -> str | None:
        """What the dimensions of a tensor mean; None of a constant."""
        if torch.compiler.is_compiling():
            for marked, letters in self.letters:
                if marked is t:
                    return letters
            return None
        mark: tuple[Halo, str] | None = getattr(t, MARK, None)
        if mark is None:
            return None
        expect(mark[0] is self, OP, "tensors of one call in a block with a halo", "one that was kept from another call")
        return mark[1]

    def _mark(self, t: Tensor, letters: str) -> None:
        if torch.compiler.is_compiling():
            self.letters.append((t, letters))
        else:
            setattr(t, MARK, (self, letters))

    def __torch_function__(
        self, func: Function, types: object, args: Arguments = (), kwargs: Options | None = None
    ) -> object:
        kwargs = kwargs or {}
        if func in ASKS:
            return func(*args, **kwargs)
        if self.halo == 0:
            if func in CONVOLUTIONS or func in POOLS:
                call = Call("", args, kwargs, self._letters)
                at = CONVOLUTIONS.get(func, 2)
                step = 1 if at is None else call.given(at, "stride")
                self._check_stride(call.first, step or (call.given(1, "kernel_size") if func in POOLS else 1))
            return func(*args, **kwargs)
        self.inside = True
        top: TorchDispatchMode | None = None
        if self.seen is not None and get_eval_frame_callback() is None:  # a function of torch.compile needs it there
            top = torch._C._pop_torch_dispatch_stack(None)  # which else would see every op
            if top is not self.seen:
                torch._C._push_on_torch_dispatch_stack(top)
                top = None
        try:
            return self._follow(func, args, kwargs)
        finally:
            self.inside = False
            if top is not None:
                torch._C._push_on_torch_dispatch_stack(top)

    def _follow(self, func: Function, args: Arguments, kwargs: Options) -> object:
        """Runs a function, if it is one of single pixels, and marks what it makes."""
        self._expect(func not in OURS, "convolutions and layers of single pixels", func)
        if func in LOCAL:
            one = Call("", args, kwargs, self._letters).given(LOCAL[func], "experts") is None
            self._expect(one, "one expert for all pixels", func)
        tensors = list(_each((*args, *kwargs.values())))
        if not torch.compiler.is_compiling():
            # Tensors of a subclass or of torch.func made inside hide the ones that they were made of.
            plain = all(type(t) in self.types and maybe_get_level(t) <= self.level for t in tensors)
            self._expect(plain, "plain tensors and no torch.func", func)
        if all(self._letters(t) is None for t in tensors):
            self._expect(func not in RANDOM, "nothing random", func)
            return func(*args, **kwargs)
        # torch.compile has functions of its own for some.
        name = getattr(func, "__name__", "") if torch.compiler.is_compiling() else NAMED.get(func, "")
        call = Call(name, args, kwargs, self._letters)
        letters: str | None
        if func in CONVOLUTIONS:
            self._refuse_checkpoints()
            return self._convolved(func, call)
        if func in POOLS or func is F.interpolate or func is F.pad:
            letters = self._scaled(func, call)
        elif func in LOCAL:
            letters_of_inputs = {meaning for t in _each(args) if (meaning := self._letters(t)) is not None}
            letters = letters_of_inputs.pop() if len(letters_of_inputs) == 1 else None
            letters = letters if letters and letters[-1] == "C" and self._letters(args[0]) else None
        else:
            if call.name == "pixel_unshuffle":
                self._check_stride(call.first, max(call.given(1, "downscale_factor"), 1))
            rule = RULES.get(call.name)
            fits = kwargs.get("out") is None
            sized = (size_of_view(call),) if fits and rule is reshaped else ()
            letters = rule(call, *sized) if rule is not None and fits else None
        self._expect(letters is not None, "convolutions and layers of single pixels", func)
        out = func(*args, **kwargs)
        for t in _each((out,)):
            self._mark(t, str(letters))
        return out

    def _convolved(self, func: Function, call: Call) -> Tensor:
        x, at = call.first, CONVOLUTIONS[func]
        step = 1 if at is None else call.given(at, "stride", 1)
        images = [t for t in _each((*call.args, *call.kwargs.values())) if self._letters(t) is not None]
        self._expect(all(self._letters(t) == IMAGE for t in images), "convolutions of (P, C, H, W)", func)
        self._check_stride(x, step)
        deforms = func not in (torch.conv2d, torch.conv_transpose2d)
        plain = len(images) == sum(self._letters(t) is not None for t in _each(call.args[:3] if deforms else (x,)))
        self._expect(self._letters(x) is not None and plain, "constant weights", func)
        args, kwargs = call.args[1:], {name: v for name, v in call.kwargs.items() if name != "input"}
        for t in _each(call.args[1:3] if deforms else ()):
            flat = self._letters(t) is not None or t.shape[2:].numel() == 1
            self._expect(flat, "offsets and masks of the input", func)
        out = func(self._cleared(x), *args, **kwargs)
        up = call.given(3, "stride", 1) if func is torch.conv_transpose2d else 1
        if out.shape[2] * largest(step) != x.shape[2] * largest(up) or out.shape[2] != out.shape[3]:
            self._uneven(out, "an output")
        # Derivatives outside the image, as of sqrt at 0, are not finite, and times a gradient of 0 they are NaN.
        out = self._cleared(out) if self.records else out
        self._mark(out, IMAGE)
        return out

    def _scaled(self, func: Function, call: Call) -> str | None:
        """Pooling without padding or overlaps, interpolation to the nearest pixel, padding of channels."""
        x = call.first
        if func is F.pad:
            self._expect(call.given(2, "mode", "constant") == "constant", "convolutions that pad with zeros", func)
            if any(list(call.given(1, "pad"))[:4]):
                self._expect(False, "convolutions that pad with zeros by themselves", func)
        elif func is F.interpolate:
            self._expect(call.given(3, "mode", "nearest") in NEAREST, "interpolation to the nearest pixel", func)
            self._expect(x.dim() == 4, "interpolation of (P, C, H, W)", func)
            factors = {*pair(call.given(2, "scale_factor"))}  # a size would be that of an image, or of a patch
            self._expect(len(factors) == 1 and factors <= SCALES.keys(), f"interpolation by {SCALED}", func)
            self._check_stride(x, SCALES[factors.pop()])
        else:
            kernel = call.given(1, "kernel_size")
            self._check_stride(x, call.given(2, "stride") or kernel)
            self._expect(largest(call.given(3, "padding", 0)) == 0, "pooling without padding", func)
            step = call.given(2, "stride") or kernel
            equal = {*pair(kernel)} == {*pair(step)} and len({*pair(kernel)}) == 1
            average = func is F.avg_pool2d
            plain = equal and (average or largest(call.given(4, "dilation", 1)) == 1)
            self._expect(plain, "pooling whose stride is its kernel", func)
            indices = func is F.max_pool2d_with_indices or (not average and call.given(6, "return_indices", False))
            self._expect(not indices, "pooling without indices", func)
        return IMAGE if self._letters(x) == IMAGE else None

    def _expect(self, ok: bool, expected: str, func: Function) -> None:
        if not ok:
            name = getattr(func, "__name__", str(func))
            name = getattr(getattr(func, "__self__", None), "__name__", name) if name == "__get__" else name
            expect(False, OP, f"{expected} where there is a halo", f"another {name} (halo=0 takes any)")

    def _uneven(self, x: Tensor, which: str) -> None:
        side = self.patch + 2 * self.halo
        expected = f"layers that scale the {side} pixels of a patch with its halo evenly and pad by themselves"
        expect(False, OP, expected, f"{which} of shape {shape(x)}" + (" to one" if which == "an input" else " of one"))

    def _check_stride(self, x: Tensor, stride: int | list[int] | tuple[int, ...]) -> None:
        """Patches and halos are whole pixels of a layer's input and of its output."""
        step, square = largest(stride), x.dim() == 4 and x.shape[2] == x.shape[3]
        if self.halo == 0 and (step == 1 or not square):
            return
        side, n = self.patch + 2 * self.halo, x.shape[2] if square else 0
        if n == 0 or n * self.patch % side != 0 or n * self.halo % side != 0:
            self._uneven(x, "an input")
        for name, pixels in (("patch", self.patch), ("halo", self.halo)):
            if pixels * n // side % step != 0:
                whole = Fraction(side * step, n)
                expect(False, OP, f"a {name} that is a multiple of the block's stride of {whole}", pixels)

    def _refuse_checkpoints(self) -> None:
        """They call the layer again in backward, when the mode is over."""
        if torch.compiler.is_compiling() or not self.records:
            return
        frame: FrameType | None = sys._getframe()
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
        if n not in self.masks:
            steps = torch.arange(n, device=x.device) - halo
            inside = []
            for axis, extent in zip((1, 2), self.size):
                at = self.part[:, axis : axis + 1] * patch + steps
                inside.append((at >= 0) & (at < extent // self.patch * patch))
            self.masks[n] = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return torch.where(self.masks[n], x, 0)
