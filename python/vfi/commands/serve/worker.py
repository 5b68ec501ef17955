"""A process that works on what people have sent: `python -m vfi.commands.serve.worker`.

It reads requests, a line of JSON each, from its standard input, and writes answers to its standard output: lines of
progress, then one with an answer or an error. It ends when its input does, whatever it is at.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping

from vfi.commands.program import sentence_of
from vfi.files.allocator import keep_blocks
from vfi.video.av_common import stay_within_the_file

_BROKEN = "this could not be done, for a fault of ours: the server's log has it"


def main() -> int:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what else is printed is for the log
    keep_blocks()
    stay_within_the_file()
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    from vfi.commands.serve import work  # heavy: the first request does not wait for it

    def tell(message: Mapping[str, object]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    while True:
        asked = json.loads(requests.get())
        os.chdir(asked["folder"])
        try:
            made = work.WORK[asked["do"]](asked, lambda done, total: tell({"frames": done, "total": total}))
        except Exception as error:
            problem = sentence_of(error)
            if problem is None:
                sys.excepthook(*sys.exc_info())
            tell({"error": problem or _BROKEN})
        else:
            tell({"answer": made})
        os.chdir("/")


def _read(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # nobody waits for an answer


if __name__ == "__main__":
    sys.exit(main())
