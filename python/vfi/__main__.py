"""`python -m vfi`: the `vfi` command, where another program starts Python, as torchrun does."""

import sys

from vfi.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
