"""Reference data that only developers and CI have: the folder `shared` beside the repository, or VFI_KERNELS_SHARED."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("VFI_KERNELS_SHARED", Path(__file__).resolve().parents[2] / "shared"))

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference data (VFI_KERNELS_SHARED)")
