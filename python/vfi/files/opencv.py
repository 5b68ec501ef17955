"""OpenCV, imported when it is first needed."""

import os
from types import ModuleType

from vfi.errors import require

# A larger picture is more likely an attack than a photograph.
MOST_PIXELS = 2**28


def opencv() -> ModuleType:
    """cv2, set up before its import, the only moment it reads these: limited in size, silent about damaged files."""
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    return require("cv2")
