"""SemFi (Semantic Frame Interpolation with Mixture-of-LoRA) on vfi_kernels: frames between a first and a last one by
Wan 2.1, guided by a text, with an expert for how many frames there are."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.semfi.files import load_adapters, save_adapters
    from vfi.models.semfi.loading import from_backbone, load, tiny
    from vfi.models.semfi.mixture import Adapter, MixtureLinear, SemFiTransformer, expert_for, with_adapters
    from vfi.models.semfi.options import FRAME_COUNTS
    from vfi.models.semfi.peft_files import export_peft, import_peft
    from vfi.models.semfi.pipeline import SemFi, rounded
    from vfi.models.semfi.scheduler import ShiftedEuler

__all__ = [
    "FRAME_COUNTS",
    "Adapter",
    "MixtureLinear",
    "SemFi",
    "SemFiTransformer",
    "ShiftedEuler",
    "expert_for",
    "export_peft",
    "from_backbone",
    "import_peft",
    "load",
    "load_adapters",
    "rounded",
    "save_adapters",
    "tiny",
    "with_adapters",
]
__getattr__, __dir__ = lazily(__name__, __all__, ("files", "loading", "mixture", "peft_files", "pipeline", "scheduler"))
