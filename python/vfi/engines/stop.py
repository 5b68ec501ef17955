"""What goes wrong with an engine."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from vfi.errors import UserError


class EngineFailed(UserError):
    """An engine, or its provider, cannot build or run a network; another one may."""


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk of what is not needed here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
