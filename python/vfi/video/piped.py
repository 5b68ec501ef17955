"""Standard input as FFmpeg reads it, of which the beginning and the end are kept: they tell whether it came whole."""

import os

_HEAD, _TAIL = 4096, 1 << 18


class Piped:
    """What has come so far: `size` bytes, `head` and `tail`."""

    def __init__(self) -> None:
        self.size, self.head = 0, b""
        self._tail = bytearray()

    def read(self, count: int) -> bytes:
        """What comes next, at most so many bytes; none at the end."""
        data = os.read(0, count)
        self.size += len(data)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        self._tail += data
        if len(self._tail) > 2 * _TAIL:
            del self._tail[:-_TAIL]
        return data

    def drain(self) -> None:
        """Reads to the end what nobody wants."""
        while self.read(_TAIL):
            pass

    @property
    def tail(self) -> bytes:
        return bytes(self._tail)

    def since(self, place: int) -> bytes | None:
        """What came from a place on; None: it is not kept any more."""
        begin = place - (self.size - len(self._tail))
        return bytes(self._tail[begin:]) if begin >= 0 else None
