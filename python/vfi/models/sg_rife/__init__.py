"""SG-RIFE: RIFE whose fusion is guided by semantic features of DINOv3, aligned by deformable convolution. `load` takes
the public checkpoint, and that of DINOv3 as a file of its own."""

from vfi.models.sg_rife.config import GuidedConfig
from vfi.models.sg_rife.model import SGRIFE, load, load_for_command

__all__ = ["SGRIFE", "GuidedConfig", "load", "load_for_command"]
