"""Python processes that need no second to start: they are forked from one that has imported torch.

`[*warm_python(), "-c", code]` is `[sys.executable, "-c", code]`: a process of its own, with its own environment,
folder, files and exit code. Not for what is settled when Python and torch start, as their number of threads, which is
refused, nor for a process that gets signals.
"""

import json
import os
import runpy
import socket
import sys
from functools import cache
from types import ModuleType

SETTLED = ("PYTHON", "OMP_NUM_THREADS", "MKL_", "MALLOC_", "LD_PRELOAD")  # what is read when a process starts
_KEPT: list[object] = []


@cache
def warm_python() -> tuple[str, ...]:
    """How a command begins. The server behind it ends with this process."""
    import subprocess
    import tempfile

    if not hasattr(os, "fork"):
        return (sys.executable,)
    folder = tempfile.TemporaryDirectory()
    address = os.path.join(folder.name, "socket")
    command = [sys.executable, __file__, "serve", address]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": ""}, **pipes)
    assert server.stdout.readline() == b"ready\n"
    _KEPT.extend((folder, server))
    return sys.executable, "-I", "-S", __file__, "ask", address


def ask(address: str, *words: str) -> None:
    """Has the server start `python *words` with this process's files and environment, and ends as that ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [b"."], [0, 1, 2])
        server.sendall(json.dumps([words, dict(os.environ), os.getcwd()]).encode() + b"\n")
        code = int(server.makefile().readline())
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def serve(address: str) -> None:
    """Until standard input ends; returns in the processes that were asked for, as those."""
    import gc
    import select
    import signal

    import torch  # noqa: F401

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [])[0]):
            connection = listener.accept()[0] if ready else None
            if os.fork() == 0:
                break
            connection.close()
        else:
            os._exit(0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    become(*_request(connection))


def _request(connection: socket.socket) -> list:
    """Of a process that was forked: what it is to be, in another one, whose exit code this one tells."""
    files = socket.recv_fds(connection, 1, 3)[1]
    request = json.loads(connection.makefile().readline())
    if child := os.fork():
        for file in files:
            os.close(file)
        status = os.waitpid(child, 0)[1]
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    return request


def become(words: list[str], environment: dict[str, str], folder: str) -> None:
    """This process is `python *words`."""
    for name in sorted(os.environ.keys() | environment.keys()):
        if name.startswith(SETTLED) and name != "PYTHONPATH" and os.environ.get(name) != environment.get(name):
            sys.exit(f"warm_python: expected {name} to be as it was when the server started: take sys.executable")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    search = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    first, *rest = words
    sys.argv = words
    if first == "-c":
        sys.path[:] = ["", *search]
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    elif first == "-m":
        sys.path[:] = [folder, *search]
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:] = [os.path.dirname(os.path.abspath(first)), *search]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    {"ask": ask, "serve": serve}[sys.argv[1]](*sys.argv[2:])
