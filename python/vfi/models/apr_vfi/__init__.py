"""APR-VFI (Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation, 2024) on
vfi_kernels: work on each patch by how hard it is. There are no public weights; the flow network takes those of EBME."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.apr_vfi.alignment import Result
    from vfi.models.apr_vfi.config import APRConfig
    from vfi.models.apr_vfi.explanation import APRExplanation
    from vfi.models.apr_vfi.model import APRVFI, load
    from vfi.models.apr_vfi.routing import misalignment, top_shares
    from vfi.models.apr_vfi.synthesis import RefineBlock

__all__ = [
    "APRVFI",
    "APRConfig",
    "APRExplanation",
    "RefineBlock",
    "Result",
    "load",
    "misalignment",
    "top_shares",
]
__getattr__, __dir__ = lazily(
    __name__, __all__, ("alignment", "config", "explanation", "model", "routing", "synthesis")
)
