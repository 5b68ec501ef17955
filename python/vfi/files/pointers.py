"""Pointers of Git LFS: small texts in place of large files that were not fetched."""

BEGIN = b"version https://git-lfs"


def is_pointer(head: bytes) -> bool:
    """Of a file's first bytes."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(BEGIN)
