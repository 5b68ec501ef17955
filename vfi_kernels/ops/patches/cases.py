"""Inputs of the ops on patches for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.patches.op import patch_gather, patch_scatter
from vfi_kernels.testing import OpCase, Place, every_other_patch, random, register


def whole_patches(h: int, w: int, patch: int) -> tuple[int, int]:
    """Height and width rounded up to multiples of the patch."""
    return -(-h // patch) * patch, -(-w // patch) * patch


def make_image(
    b: int, c: int, h: int, w: int, flow: str = "none", *, patch: int, **options: Unpack[Place]
) -> tuple[Tensor]:
    return (random((b, c, *whole_patches(h, w, patch)), **options),)


def make_patches(
    b: int, c: int, h: int, w: int, flow: str = "none", *, patch: int, **options: Unpack[Place]
) -> tuple[Tensor, Tensor]:
    (base,) = make_image(b, c, h, w, patch=patch, **options)
    listed = every_other_patch(base, patch).shape[0]
    return base, random((listed, c, patch, patch), **options)


def gather(x: Tensor, *, patch: int, halo: int) -> Tensor:
    return patch_gather(x, every_other_patch(x, patch), patch, halo=halo)


def scatter(base: Tensor, patches: Tensor, *, patch: int) -> Tensor:
    return patch_scatter(patches, every_other_patch(base, patch), base)


SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67), (1, 19, 5, 37))
register(
    OpCase(
        name="patch_gather-halo",  # that reaches beyond the neighbouring patches
        op="patch_gather",
        call=functools.partial(gather, patch=2, halo=5),
        make_inputs=functools.partial(make_image, patch=2),
        small=SMALL,
        flow=None,
        linear=True,
    )
)
register(
    OpCase(
        name="patch_gather-64",
        op="patch_gather",
        call=functools.partial(gather, patch=64, halo=0),
        make_inputs=functools.partial(make_image, patch=64),
        small=((1, 17, 64, 128),),
        large={"2k": (1, 64, 1088, 2048)},
        bytes_moved=lambda x: x.nbytes,  # half of it read and written
        flow=None,
        linear=True,
    )
)
for patch in (4, 64):
    register(
        OpCase(
            name=f"patch_scatter-{patch}",
            op="patch_scatter",
            call=functools.partial(scatter, patch=patch),
            make_inputs=functools.partial(make_patches, patch=patch),
            small=SMALL if patch == 4 else ((1, 17, 64, 128),),
            large={} if patch == 4 else {"2k": (1, 64, 1088, 2048)},
            bytes_moved=lambda base, patches: 2 * base.nbytes,
            flow=None,
            linear=True,
        )
    )
