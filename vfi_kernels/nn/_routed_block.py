"""A block of convolutions on the active patches of an image."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from vfi_kernels._arguments import expect, expect_floating, expect_image, expect_integer, expect_tensors, shape
from vfi_kernels._autograd import refuse_gradient
from vfi_kernels._overrides import leaf, written_as_memory
from vfi_kernels._results import memory_format
from vfi_kernels.nn._halo import Halo
from vfi_kernels.nn._routing import as_indices, expect_base, fitting, keep
from vfi_kernels.ops._shared.reference_math.patches import check_patch
from vfi_kernels.ops._shared.rest import rest_of
from vfi_kernels.ops.patches.op import patch_gather, patch_scatter, patch_scatter_


def _is_seen(listed: Tensor) -> bool:
    """Whether the host may look into a list without waiting: on the CPU, not in a traced graph and not under vmap."""
    traced = torch.compiler.is_compiling() or torch._C._functorch.is_batchedtensor(listed)
    return listed.device.type == "cpu" and not traced


class RoutedBlock(nn.Module):
    """Runs a block of convolutions on the active patches of an image, several patches at a time.

    Patches are gathered in chunks small enough for the CPU's cache to hold what the block makes of them, the block runs
    on each chunk as on a batch of small images, and its results are written where the patches were. This beats routing
    layer by layer: only the block's first input and last output pass through memory.

    Args:
        module: the block, from (n, C, h, w) to (n, C_out, h', w'): convolutions with whatever is between them, skips
            and resolutions of its own; each pixel may depend on its surroundings only. Shared, not copied: the same
            weights serve dense and routed calls, from any thread. Its parameters are those of `.module`, where its own
            state dict is loaded.
        patch: pixels along each side of a patch; a multiple of the block's stride.
        halo: pixels around a patch that are computed too and thrown away. 0: patches are independent images, padded as
            the block pads. With at least as many as the block reaches (a multiple of its stride), active patches equal
            those of the dense block: positions outside the image are made zero before every convolution, which is what
            the dense block's padding is there. Only what is known to be of single pixels is accepted beside
            convolutions: torch's conv2d and conv_transpose2d and vk.modulated_deform_conv2d, which pad with zeros by
            themselves; arithmetic and activations; norms, sums and products over channels; pooling without padding;
            interpolation to the nearest pixel by scale_factor, a whole number or one over it. Any other is refused
            where it is called, also TorchScript and torch.utils.checkpoint inside the block (checkpoint the whole
            call): docs/routed_convolution.md.
        chunk: patches that run at a time: few for a CPU's cache, more to fill a GPU. Under torch.compile all do.
            Statistics of a BatchNorm in training are those of a chunk.

    Shapes:
        forward(input, indices, base): input (B, C, H, W), or a sequence of such tensors, which are gathered each and
        given to the block as its arguments; H and W are multiples of `patch`. indices (P, 3) as from
        `vk.patch_indices`, or a route map (B, H / patch, W / patch) of bool, or None: the block runs on all of the
        image at once. base (B, C_out, H', W') is what the other patches keep; None for zeros -> (B, C_out, H', W'), of
        the dtype of base, which is that of x or of what the block makes. With inplace=True `base` itself is written and
        returned, without a gradient, when all patches are made; it may be x. Otherwise differentiable in x, base and
        the weights.

    A list with a capacity: its unused rows are left out on the CPU. On a GPU and in a traced graph they are computed as
    patches of zeros and thrown away; only a BatchNorm in training notices. torch.compile(fullgraph=True) with inductor
    needs a capacity: without one the convolution of a list of unknown length fails in inductor itself.

    Raises:
        ArgumentError: if a shape or dtype does not fit, patch or halo is not a multiple of the block's stride, or a
            layer is none that a halo can serve.

    Source:
        Ren et al., SBNet: Sparse Blocks Network for Fast Inference, CVPR 2018, without the ring by which blocks of
        valid convolutions differ from padded ones.
    """

    def __init__(self, module: nn.Module, patch: int, halo: int = 0, chunk: int = 16):
        super().__init__()
        module_type = type(module).__name__
        expect(isinstance(module, nn.Module), type(self).__name__, "module to be a torch.nn.Module", module_type)
        for name, value, least in (("patch", patch, 1), ("halo", halo, 0), ("chunk", chunk, 1)):
            expect_integer(type(self).__name__, name, value, least)
        self.module, self.patch, self.halo, self.chunk = module, patch, halo, chunk

    @leaf
    def forward(
        self,
        input: Tensor | Sequence[Tensor],
        indices: Tensor | None = None,
        base: Tensor | None = None,
        *,
        inplace: bool = False,
    ) -> Tensor:
        images: list[Any] = list(input) if isinstance(input, (list, tuple)) else [input]
        expect(len(images) > 0, "RoutedBlock", "at least one input", "none")
        for t in images:
            expect_tensors("RoutedBlock", x=t)
        expect_base("RoutedBlock", base, inplace)
        if indices is None:
            return keep("RoutedBlock", self.module(*images), images[0], base, inplace)
        traced = torch.jit.is_tracing()
        expect(not traced, "RoutedBlock", "torch.export or torch.compile", "torch.jit.trace, which keeps one list")
        listed = self._listed(images, indices)
        parts = self._parts(images, listed)
        mapped = any(torch._C._functorch.is_batchedtensor(t) for t in (listed, *images))
        plain = written_as_memory(listed, *images)
        if (torch.is_grad_enabled() or mapped or not plain) and not inplace:
            # Gathered at once: the gradient of each gather is as large as the image.
            gathered = [self._gather(t, listed) for t in images]
            # The parts of an unsafe split are no views, to which a block that begins in place could not write; vmap has
            # no such split.
            split = torch.Tensor.split if mapped else torch.Tensor.unsafe_split_with_sizes
            # A list of unknown length is one part.
            tiles = [[t] if len(parts) == 1 else split(t, [len(part) for part, _ in parts]) for t in gathered]
            chunks = [self._run(list(ts), images, *part) for *ts, part in zip(*tiles, parts, strict=True)]
            patches = torch.cat(chunks) if len(chunks) > 1 else chunks[0]
            base = self._base(images, patches, base)
            return patch_scatter(patches.to(base.dtype), listed, base)
        if inplace:
            # All patches before the first is written: whatever refuses leaves base as it was, and base may be x.
            made = [self._run([self._gather(t, part) for t in images], images, part, clears) for part, clears in parts]
            for patches in made:
                target = self._base(images, patches, base)
                refuse_gradient("RoutedBlock", "inplace=False", patches, target)
            for patches, (part, _) in zip(made, parts):
                patch_scatter_(patches.to(target.dtype), part, target)
            return target
        own: Tensor | None = None
        for part, clears in parts:
            patches = self._run([self._gather(t, part) for t in images], images, part, clears)
            if own is None:
                own = self._base(images, patches, base)
                own = own if base is None else rest_of(own, own, own.shape, listed, patches.shape[2])
            patch_scatter_(patches.to(own.dtype), part, own)
        assert own is not None
        return own

    def _listed(self, images: list[Tensor], indices: Tensor) -> Tensor:
        """The list of patches, without the rows of -1 that fill it where these can be seen."""
        listed = as_indices("RoutedBlock", indices, images[0], self.patch)
        expected = tuple(images[0].shape[i] for i in (0, 2, 3))
        for t in images:
            expect_image("RoutedBlock", "input", t)
            if tuple(t.shape[i] for i in (0, 2, 3)) != expected:
                expect(False, "RoutedBlock", f"inputs of one batch size, height and width {expected}", shape(t))
        check_patch("RoutedBlock", self.patch, images[0], "input")
        if _is_seen(listed):
            named = listed[:, 0] >= 0
            listed = listed if named.all() else listed[named]
        return listed

    def _parts(self, images: list[Tensor], listed: Tensor) -> list[tuple[Tensor, bool]]:
        """What runs at a time, and whether the halo of a patch in it may leave the image; at least one part, for an
        empty result's shape, and all at once in a traced graph, where the length of the list may be unknown."""
        if torch.compiler.is_compiling():
            return [(listed, True)]
        if self.halo == 0 or not _is_seen(listed):
            return [(part, self.halo > 0) for part in listed.split(self.chunk)]
        cells = torch.tensor([n // self.patch for n in images[0].shape[2:]])
        reach = -(-self.halo // self.patch)
        leaves = ((listed[:, 1:] < reach) | (listed[:, 1:] >= cells - reach)).any(1)
        return [(p, bool(at.any())) for p, at in zip(listed.split(self.chunk), leaves.split(self.chunk))]

    def _gather(self, image: Tensor, listed: Tensor) -> Tensor:
        return patch_gather(image, listed, self.patch, halo=self.halo, memory_format=torch.channels_last)

    def _run(self, tiles: list[Tensor], images: list[Tensor], part: Tensor, clears: bool) -> Tensor:
        """What the block makes of some patches, which are gathered already."""
        size = (images[0].shape[2], images[0].shape[3])
        return self._crop(Halo(part, size, self.patch, self.halo, clears).run(self.module, tiles))

    def _crop(self, out: Tensor) -> Tensor:
        """Without the halo, which the block may have scaled."""
        side = self.patch + 2 * self.halo
        expect(isinstance(out, Tensor), "RoutedBlock", "a block that returns a tensor", type(out).__name__)
        expect_floating("RoutedBlock", "a result", out)
        expect(out.dim() == 4 and out.shape[2] == out.shape[3], "RoutedBlock", "a block that keeps squares", shape(out))
        halo = Fraction(self.halo * out.shape[2], side)
        whole = halo.denominator == 1 and self.patch * out.shape[2] % side == 0
        expect(
            whole, "RoutedBlock", f"a block that scales {side} pixels to whole numbers of patch and halo", shape(out)
        )
        n = int(halo)
        return out[:, :, n : out.shape[2] - n, n : out.shape[3] - n]

    def _base(self, images: list[Tensor], patches: Tensor, base: Tensor | None) -> Tensor:
        """`base`, which must fit what the block makes of patches, or zeros."""
        b, _, h, w = images[0].shape
        size = (b, patches.shape[1], h // self.patch * patches.shape[2], w // self.patch * patches.shape[3])
        if base is not None:
            return fitting("RoutedBlock", base, size, patches, images[0])
        layout = memory_format(images[0])
        return torch.empty(size, dtype=patches.dtype, device=patches.device, memory_format=layout).zero_()
