"""Imported by every process of Python that finds it: the GPU is the simulator, where a rehearsal is asked for."""

import os

if os.environ.get("VFI_GPU_REHEARSAL"):
    import gpu_rehearsal

    gpu_rehearsal.install()
