"""What keeps a process from writing, for good, in whatever language: files cannot grow (POSIX), none can be opened for
writing, made, removed or renamed (Landlock, Linux 5.13), and another process is told who tried (seccomp, Linux 5.9)."""

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from typing import NamedTuple

# May be opened for writing, as drivers of GPUs want; nothing can be made there, and RLIMIT_FSIZE holds.
DEVICES = ("/dev", "/proc")
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same of every machine
NO_NEW_PRIVILEGES = 38  # of prctl
VERSION, BENEATH = 1, 1
WRITE_FILE = 1 << 1
# Landlock's names of what writes: WRITE_FILE, REMOVE_DIR to MAKE_SYM; REFER from its version 2 on, TRUNCATE from 3
RIGHTS = {1: WRITE_FILE | 0x1FF0, 2: WRITE_FILE | 0x3FF0, 3: WRITE_FILE | 0x7FF0}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Calls(NamedTuple):
    """A kind of machine as seccomp sees it: its number there, that of the call `seccomp`, and which argument is the
    path of each call that writes. Of those with flags, which argument these are."""

    machine: int
    seccomp: int
    paths: dict[int, int]
    flags: dict[int, int]


MACHINES = {
    # open, truncate, rename, mkdir, rmdir, creat, link, unlink, symlink, openat, mkdirat, unlinkat, renameat, renameat2
    "x86_64": Calls(
        0xC000003E, 317,
        {2: 0, 76: 0, 82: 0, 83: 0, 84: 0, 85: 0, 86: 1, 87: 0, 88: 1, 257: 1, 258: 1, 263: 1, 264: 1, 316: 1},
        {2: 1, 257: 2},
    ),
    # mkdirat, unlinkat, renameat, truncate, openat, renameat2
    "aarch64": Calls(0xC00000B7, 277, {34: 1, 35: 1, 38: 1, 45: 0, 56: 1, 276: 1}, {56: 2}),
}  # fmt: skip
# Of classic BPF and of seccomp
LOAD, EQUAL, HAS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
SET_FILTER, NEW_LISTENER = 1, 1 << 3
RECEIVE, SEND = 0xC0502100, 0xC0182101
GO_ON = 1
LONGEST = 4096  # of a path


def confine() -> int | None:
    """Takes writing from this process, which has one thread, and from all that it starts. What can be had of the three
    here is taken. Returns the file by which `tried` hears of it; None where there is none."""
    import resource  # which Windows lacks

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if not hasattr(os, "O_PATH"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    close_files(libc)
    return listener(libc)


def close_files(libc: ctypes.CDLL) -> None:
    """By Landlock, if the kernel has it."""
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION)
    if version < 1:
        return
    rules = ctypes.create_string_buffer(struct.pack("<Q", RIGHTS[min(version, max(RIGHTS))]), 8)
    ruleset = libc.syscall(CREATE_RULESET, rules, ctypes.c_size_t(8), 0)
    for path in filter(os.path.isdir, DEVICES):
        folder = os.open(path, os.O_PATH)
        rule = ctypes.create_string_buffer(struct.pack("<Qi", WRITE_FILE, folder), 12)
        libc.syscall(ADD_RULE, ruleset, BENEATH, rule, 0)
        os.close(folder)
    libc.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def listener(libc: ctypes.CDLL) -> int | None:
    """A filter of system calls that asks whoever has the returned file before one that writes."""
    calls = MACHINES.get(platform.machine())
    if calls is None or sys.maxsize < 2**32:  # another way to call the kernel
        return None
    code = program(calls)
    steps = ctypes.create_string_buffer(code, len(code))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(steps)))
    file = libc.syscall(calls.seccomp, SET_FILTER, NEW_LISTENER, filter_)
    return file if file >= 0 else None


def program(calls: Calls) -> bytes:
    """In BPF: the machine is ours, and the call is one that writes, by its number or its flags."""
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, calls.machine), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for number in calls.paths:
        if number in calls.flags:
            steps += [
                (EQUAL, 0, 4, number), (LOAD, 0, 0, 16 + 8 * calls.flags[number]), (HAS, 0, 1, WRITES),
                (RETURN, 0, 0, NOTIFY), (RETURN, 0, 0, ALLOW),
            ]  # fmt: skip
        else:
            steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, NOTIFY)]
    return b"".join(struct.pack("<HBBI", *step) for step in (*steps, (RETURN, 0, 0, ALLOW)))


def tried(file: int) -> str | None:
    """The path that the process behind the file of `confine` tries to write, which is refused now; None of a device."""
    import fcntl  # which Windows lacks

    note = bytearray(80)
    try:
        fcntl.ioctl(file, RECEIVE, note)
        ident, process, _, number, _, _, *arguments = struct.unpack("<QIIiIQ6Q", note)
        path = path_of(process, arguments[MACHINES[platform.machine()].paths[number]])
        device = path.startswith(tuple(f"{folder}/" for folder in DEVICES))
        answer = (ident, 0, 0, GO_ON) if device else (ident, 0, -errno.EACCES, 0)
        fcntl.ioctl(file, SEND, bytearray(struct.pack("<QqiI", *answer)))
    except OSError:  # it ended meanwhile
        return None
    return None if device else path


def path_of(process: int, address: int) -> str:
    """A string in the memory of another process."""
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        found = b""
        while b"\0" not in found and len(found) < LONGEST:
            memory.seek(address + len(found))
            found += memory.read(4096 - (address + len(found)) % 4096)  # to the end of a page: the next one may be none
    return os.fsdecode(found.partition(b"\0")[0])
