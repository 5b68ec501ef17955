"""Images that cannot be read, and those whose decoder makes up what is missing."""

import re
from collections.abc import Sequence

from vfi.errors import UserError

# What decoders print themselves, and what of it says that they made something up.
PRINTED = re.compile(
    rb"(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS parameters|"
    rb"Warning: unknown JFIF|Unknown Adobe color|libpng (?:error|warning)|\[ ?(?:WARN|ERROR|INFO):\d+@).*\n*"
)
_MADE_UP = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")


class Damaged(UserError):
    """An image that cannot be decoded, or whose file cannot be read."""


def made_up(printed: Sequence[str]) -> str:
    """What is damaged in a picture that was decoded all the same, in its decoder's words; "": nothing."""
    return next((line.removeprefix("Corrupt JPEG data: ") for line in printed if line.startswith(_MADE_UP)), "")
