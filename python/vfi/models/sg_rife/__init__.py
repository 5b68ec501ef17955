"""SG-RIFE: RIFE whose fusion is guided by semantic features of DINOv3, aligned by deformable convolution. `load` takes
the public checkpoint, and that of DINOv3 as a file of its own."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.sg_rife.config import GuidedConfig
    from vfi.models.sg_rife.model import SGRIFE, load

__all__ = ["SGRIFE", "GuidedConfig", "load"]
__getattr__, __dir__ = lazily(__name__, __all__, ("config", "model"))
