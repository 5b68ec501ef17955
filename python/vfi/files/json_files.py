"""JSON that is written elsewhere: read and understood, or refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vfi.errors import UserError

LARGEST = 1 << 28  # bytes
NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)

Parsed = TypeVar("Parsed")


def parsed(path: Path, parse: Callable[[dict[str, object]], Parsed], what: str) -> Parsed:
    """What `parse` makes of a document; what: such documents, in sentences.

    Raises:
        UserError: if the file cannot be read, or `parse` does not get on with what is in it.
    """
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(LARGEST).decode("utf-8"))
        if not isinstance(document, dict):
            raise TypeError
        return parse(document)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except NOT_UNDERSTOOD as error:
        raise UserError(f"expected {what} as JSON in {path}") from error
