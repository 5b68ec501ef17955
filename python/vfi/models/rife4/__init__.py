"""RIFE 4.0 to 4.26 (Practical-RIFE), of which people have the weights, on vfi_kernels; `vfi.models.rife.load` takes
their checkpoints, and the older ones'."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.rife4.family import FAMILY, NAMES, Network
    from vfi.models.rife4.model import RIFE4, Result

__all__ = ["FAMILY", "NAMES", "RIFE4", "Network", "Result"]
__getattr__, __dir__ = lazily(__name__, __all__, ("family", "model"))
