"""APR-VFI (Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation, 2024) on
vfi_kernels: work on each patch by how hard it is. There are no public weights; the flow network takes those of EBME."""

from vfi.models.apr_vfi.config import APRConfig
from vfi.models.apr_vfi.explanation import Explanation
from vfi.models.apr_vfi.model import APRVFI, Result, load, load_for_command
from vfi.models.apr_vfi.routing import misalignment, top_shares
from vfi.models.apr_vfi.synthesis import RefineBlock

__all__ = [
    "APRVFI",
    "APRConfig",
    "Explanation",
    "RefineBlock",
    "Result",
    "load",
    "load_for_command",
    "misalignment",
    "top_shares",
]
