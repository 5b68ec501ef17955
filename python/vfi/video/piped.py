"""Standard input as FFmpeg reads it, of which the beginning and the end are kept: they tell whether it came whole."""

import os

_HEAD, _TAIL = 4096, 1 << 18


class Piped:
    """What has come so far: `size` bytes, `head` and `tail`. boxes_end: of an MP4 or MOV file, where the last of its
    boxes whose beginning has come will end; 0: it is none."""

    def __init__(self) -> None:
        self.size, self.head, self.boxes_end = 0, b"", 0
        self._tail = bytearray()
        self._in_boxes = True

    def read(self, count: int) -> bytes:
        """What comes next, at most so many bytes; none at the end."""
        data = os.read(0, count)
        self.size += len(data)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        self._tail += data
        self._follow_boxes()
        if len(self._tail) > 2 * _TAIL:
            del self._tail[:-_TAIL]
        return data

    def _follow_boxes(self) -> None:
        while self._in_boxes and self.boxes_end + 16 <= self.size:
            at = self.boxes_end - (self.size - len(self._tail))
            head = self._tail[at : at + 16]
            length = int.from_bytes(head[8:] if head[:4] == b"\0\0\0\1" else head[:4], "big")
            self._in_boxes = length >= 8 and head[4:8].isalnum()
            self.boxes_end = self.boxes_end + length if self._in_boxes else 0

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
