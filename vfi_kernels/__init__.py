"""Kernels for video frame interpolation, as torch ops: warping, splatting, trajectories, deformable convolution,
correlation."""

from vfi_kernels import backends

backends.load_compiled()

from vfi_kernels import _call_log, _flops, compat, nn  # noqa: E402
from vfi_kernels._arguments import ArgumentError  # noqa: E402
from vfi_kernels.ops.adacof.op import adacof  # noqa: E402
from vfi_kernels.ops.backward_warp.op import backward_warp  # noqa: E402
from vfi_kernels.ops.correlation.op import correlation  # noqa: E402
from vfi_kernels.ops.correlation_lookup.op import correlation_lookup  # noqa: E402
from vfi_kernels.ops.mixture_lora.op import mixture_lora  # noqa: E402
from vfi_kernels.ops.modulated_deform_conv2d.op import modulated_deform_conv2d  # noqa: E402
from vfi_kernels.ops.patches.op import patch_gather, patch_indices, patch_scatter, patch_scatter_  # noqa: E402
from vfi_kernels.ops.routed_conv2d.op import routed_conv2d, routed_conv2d_  # noqa: E402
from vfi_kernels.ops.sample_trajectory.op import sample_trajectory  # noqa: E402
from vfi_kernels.ops.sepconv.op import sepconv  # noqa: E402
from vfi_kernels.ops.splat.op import splat  # noqa: E402
from vfi_kernels.ops.trajectory_splat.op import trajectory_splat  # noqa: E402
from vfi_kernels.ops.trajectory_warp.op import trajectory_warp  # noqa: E402
from vfi_kernels.ops.warp_blend.op import warp_blend  # noqa: E402

use_backend = backends.use_backend
backends.prefer_triton_on_old_gpus()
backends.apply_environment()
_call_log.apply_environment(backends.ops())
_flops.register_when_counting()

__version__ = "0.1.0"
__all__ = [
    "ArgumentError",
    "adacof",
    "backends",
    "backward_warp",
    "compat",
    "correlation",
    "correlation_lookup",
    "mixture_lora",
    "modulated_deform_conv2d",
    "nn",
    "patch_gather",
    "patch_indices",
    "patch_scatter",
    "patch_scatter_",
    "routed_conv2d",
    "routed_conv2d_",
    "sample_trajectory",
    "sepconv",
    "splat",
    "trajectory_splat",
    "trajectory_warp",
    "use_backend",
    "warp_blend",
]


def __dir__() -> list[str]:
    """What is promised: modules with an underscore and what they hold may change."""
    return sorted(__all__)
