"""ComfyUI nodes of vfi-kernels: video frame interpolation, optical flow, warping and splatting."""

import importlib

try:
    importlib.import_module("vfi")
except ImportError as error:
    advice = 'install it into ComfyUI\'s Python with: pip install "vfi-kernels[models]"'
    raise ImportError(f"vfi-kernels cannot be imported ({error}); {advice}") from error

from . import host
from .nodes_flow import OpticalFlow, Splat, Warp
from .nodes_frames import InterpolateFrames, LoadModel, RifeVFI, SkipFrames

host.register_folders()

_NODES = {
    "VFIKernelsLoadModel": (LoadModel, "Load VFI Model"),
    "VFIKernelsInterpolateFrames": (InterpolateFrames, "Interpolate Frames (VFI)"),
    "VFIKernelsRIFE": (RifeVFI, "RIFE VFI (vfi-kernels)"),
    "VFIKernelsSkipFrames": (SkipFrames, "Frames to Skip (VFI)"),
    "VFIKernelsOpticalFlow": (OpticalFlow, "Optical Flow (VFI)"),
    "VFIKernelsWarp": (Warp, "Warp by Flow (VFI)"),
    "VFIKernelsSplat": (Splat, "Splat along Flow (VFI)"),
}
try:
    importlib.import_module("comfy_api.input_impl")
except ImportError:  # older releases have no videos
    pass
else:
    from .nodes_video import InterpolateVideo

    _NODES["VFIKernelsInterpolateVideo"] = (InterpolateVideo, "Interpolate Video (VFI)")

NODE_CLASS_MAPPINGS = {name: node for name, (node, _) in _NODES.items()}
NODE_DISPLAY_NAME_MAPPINGS = {name: shown for name, (_, shown) in _NODES.items()}
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
