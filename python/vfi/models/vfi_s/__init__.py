"""vfi-s: a small network of our own that corrects optical flow and blends along it; its weights are in the package."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.vfi_s.model import VFIS
    from vfi.models.vfi_s.network import Network

__all__ = ["VFIS", "Network"]
__getattr__, __dir__ = lazily(__name__, __all__, ("model", "network"))
