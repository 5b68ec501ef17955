"""What this machine is, and which precision it is fast at."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from vfi.engines.names import Precision

# Without one of these a product of bfloat16 is float32's with conversions around it.
BFLOAT16_UNITS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})  # the last one is how Linux calls it on ARM


@dataclass(frozen=True)
class Machine:
    """
    Attributes:
        cpu: its name.
        flags: what its cores can do, as Linux calls it; empty where the system does not say.
        threads: that torch uses.
        gpu: name of the GPU that the model is on; None: it is on the CPU.
    """

    cpu: str
    flags: frozenset[str]
    threads: int
    gpu: str | None = None

    @classmethod
    def here(cls, device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> "Machine":
        name, flags = read_cpuinfo(cpuinfo)
        gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
        return cls(name or platform.processor() or platform.machine(), flags, torch.get_num_threads(), gpu)

    @property
    def fast(self) -> Precision:
        """The precision that torch is fastest in here, for networks that bear it."""
        if self.gpu is not None:
            return "float16"
        return "bfloat16" if self.flags & BFLOAT16_UNITS else "float32"


def read_cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    """Name and flags of the first processor."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "", frozenset()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else "", frozenset(flags[1].split() if flags else ())
