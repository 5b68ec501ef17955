"""What every program of this package has: errors of one sentence, exit codes, notes."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from vfi.errors import UserError
from vfi.files.interrupts import stopped_once


class SentenceParser(argparse.ArgumentParser):
    """Errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def exit_code(program: str, action: Callable[[], None], interrupted: str = "interrupted") -> int:
    """Runs `action`: 0, 2 for a wrong request or input, 3 for an input that was not whole, 130 after Ctrl-C or SIGTERM.

    Here errors about arguments, which speak of them as Python does, become those of a command.
    """
    # Before torch is loaded: threads that spin while they wait take the CPU from each other and from all else that runs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    code = 2
    try:
        with stopped_once():
            action()
    except UserError as error:
        problem, code = error.for_command(), error.exit_code
    except ImportError as error:
        problem = str(error)  # vfi_kernels without its compiled library says how to build it
    except PermissionError as error:
        problem = f"cannot use {error.filename}: permission denied"
    except MemoryError:
        problem = "there is not enough memory for frames of this size"
    except KeyboardInterrupt:
        print(f"{program}: {interrupted}", file=sys.stderr)
        return 130
    else:
        return 0
    print(f"{program}: {problem}", file=sys.stderr)
    return code


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
