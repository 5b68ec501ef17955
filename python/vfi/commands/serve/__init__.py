"""`vfi serve`: a page in the browser.

The page (`page`) is of one process, which never opens what people send. That is for others (`workers` starts them,
`worker` is one, `work` what they do), which end when a job is cancelled, takes too long or breaks. `sessions` has what
belongs to one tab of a browser.
"""

from vfi.commands.serve.command import add, run

__all__ = ["add", "run"]
