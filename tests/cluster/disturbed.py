"""What stands between S3's server and those who ask it, and disturbs them."""

import re
import socket
import threading
from contextlib import suppress
from functools import cached_property

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
BROKEN = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class Disturbed:
    """Hands on each request, but those whose first line fits `which`: to those `how` happens, `times` times.

    how: "500" and "403" are answered; "cut": the answer breaks off in its body; "cut request": the request does.
    asked: the first lines of all requests. happened: how often something has.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.how, self.which, self.times, self.happened = "", re.compile("(?!)"), 0, 0
        self.asked: list[str] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    @cached_property
    def client(self):
        import boto3

        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self._behind}")

    def disturb(self, how: str, which: str, times: int = 10**9) -> None:
        with self._lock:
            self.how, self.which, self.times, self.happened = how, re.compile(which), times, 0

    def names(self) -> list[str]:
        return sorted(each["Key"] for each in self.client.list_objects_v2(Bucket="films").get("Contents", ()))

    def end(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._one, args=[self._listener.accept()[0]], daemon=True).start()

    def _one(self, asking: socket.socket) -> None:
        """A request, and its answer; the connection ends with it."""
        with suppress(OSError, ValueError), asking, asking.makefile("rb") as coming:
            head = lines(coming)
            first = head[0].decode()
            how = self._chosen(first)
            if how in ("500", "403"):
                self._answer(asking, coming, head, how)
                return
            with socket.create_connection(("127.0.0.1", self._behind)) as behind, behind.makefile("rb") as answer:
                kept = [line for line in head if not line.lower().startswith((b"connection:", b"expect:"))]
                behind.sendall(b"".join([*kept[:-1], b"Connection: close\r\n", b"\r\n"]))
                if any(line.lower().startswith(b"expect:") for line in head):
                    asking.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                size = length(head)
                body = coming.read(size // 2 if how == "cut request" else size)
                behind.sendall(body)
                if how == "cut request":
                    return
                told = lines(answer)
                asking.sendall(b"".join(line for line in told if not line.lower().startswith(b"connection:"))[:-2])
                asking.sendall(b"Connection: close\r\n\r\n")
                if how == "cut":
                    asking.sendall(answer.read(length(told) // 2))
                    return
                while data := answer.read1(1 << 16):
                    asking.sendall(data)

    def _chosen(self, first: str) -> str:
        with self._lock:
            self.asked.append(first)
            if self.times > 0 and self.which.search(first):
                self.times, self.happened = self.times - 1, self.happened + 1
                return self.how
        return ""

    def _answer(self, asking: socket.socket, coming, head: list[bytes], how: str) -> None:
        if any(line.lower().startswith(b"expect:") for line in head):
            asking.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        coming.read(length(head))
        status, body = ("500 Internal Server Error", BROKEN) if how == "500" else ("403 Forbidden", DENIED)
        body = b"" if head[0].startswith(b"HEAD") else body
        told = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        asking.sendall(told.encode() + b"Connection: close\r\n\r\n" + body)


def lines(file) -> list[bytes]:
    """The head of a request or an answer."""
    found = []
    while (line := file.readline()) not in (b"\r\n", b""):
        found.append(line)
    if not found:
        raise ValueError("nothing came")
    return [*found, b"\r\n"]


def length(head: list[bytes]) -> int:
    return next((int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")), 0)
