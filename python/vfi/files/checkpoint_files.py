"""What files of torch and safetensors hold: nothing in them is run, and no more is unpacked than they are large."""

import json
import math
import pickletools
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from vfi.errors import UserError, dtype_name, require
from vfi.files.pointers import is_pointer

LEGACY = 5  # pickles before the numbers in a file of torch.save before 1.6
MOST_STEPS = 1 << 21  # of a pickle: a tensor takes about 40
MOST_HOLDERS = 1 << 19  # lists, tuples and the like in a pickle, each many times its one byte: a tensor takes about 8
MOST_DEPTH = 32  # of holders in holders
MOST_LISTED = 1 << 25  # bytes of names and sizes in safetensors: a tensor takes about 100
MOST_SHARED = 2  # bytes of tensors for each byte of the file: networks name the same tensor twice
ALLOWANCE = 1 << 20  # bytes, of small files
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip
WEIGHTS = (".pkl", ".pth", ".pt", ".ckpt", ".bin", ".safetensors")
MOST_SHOWN = 60  # characters of a shape in a sentence
# Of a number in safetensors, by the names there
BITS = {
    "BOOL": 8, **{f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)},
    "F8_E4M3": 8, "F8_E5M2": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
UNREADABLE = "not a checkpoint that can be read safely"
OBJECTS = "it holds more than tensors (save net.state_dict())"
DAMAGED = "it is damaged, or something else"
ARCHIVES = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"Rar!": "RAR"}
# What a pickle of tensors may name; each takes no more memory than its arguments
GLOBALS = {
    "collections OrderedDict", "collections Counter", "builtins set", "builtins complex", "_codecs encode",
    "torch Size", "torch device", "torch.storage UntypedStorage", "torch.nn.parameter Parameter",
    "torch._tensor _rebuild_from_type_v2", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    *(f"torch._utils _rebuild_tensor{version}" for version in ("", "_v2", "_v3")),
}  # fmt: skip
# Steps of a pickle that make what holds others
HOLDERS = {
    *(f"EMPTY_{kind}" for kind in ("LIST", "TUPLE", "DICT", "SET")), "LIST", "DICT", "FROZENSET",
    *(f"TUPLE{count}" for count in ("", "1", "2", "3")), "REDUCE", "NEWOBJ",
}  # fmt: skip
OTHER_TENSORS = {
    "torch._utils _rebuild_sparse_tensor": "sparse",
    "torch._utils _rebuild_qtensor": "quantized",
    "torch._utils _rebuild_meta_tensor_no_storage": "meta",
    "torch._utils _rebuild_nested_tensor": "nested",
}


class Refused(ValueError):
    """Why a file is not read, without its name."""


def contents(path: Path, otherwise: str = UNREADABLE) -> object:
    """What a file holds, tensors in mappings and lists, as `read`; otherwise: what is said of one that is refused."""
    head, size = _beginning(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged files there are some, and of old ones
            return _read_as(_kind(head, path.suffix == ".safetensors"), path, size)
    except Refused as error:
        raise UserError(f"{path} is {otherwise}: {error}") from error
    except Exception as error:  # damaged files fail in many ways, and torch advises what a user should not follow
        short = isinstance(error, MemoryError) or "allocate memory" in str(error)
        reason = "there is not enough memory" if short else f"{DAMAGED}; it has {size:,} bytes"
        raise UserError(f"{path} is {otherwise}: {reason}") from error


def _beginning(path: Path) -> tuple[bytes, int]:
    """By which files are known, and the size."""
    try:
        if not path.is_file():
            kind = (
                "a folder" if path.is_dir() else "no file" + ("" if path.exists() else ": there is none of this name")
            )
            raise UserError(f"expected a checkpoint, got {path}, which is {kind}")
        with path.open("rb") as file:
            return file.read(512), path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _kind(head: bytes, safe: bool) -> str:
    """zip, pickle or safetensors, as `safe` says it should be."""
    if head[8:9] == b"{":
        kind = "safetensors"
        if int.from_bytes(head[:8], "little") > MOST_LISTED:
            raise Refused("it is damaged, or its list of tensors is too long")
    elif head.startswith(b"PK\x03\x04"):
        kind = "zip"
    elif head[:1] == b"\x80":
        kind = "pickle"
    else:
        raise Refused(_what_else(head))
    if safe != (kind == "safetensors"):
        raise Refused(f"it holds {'a file of torch.save' if safe else 'safetensors'}, which its name does not say")
    return kind


def _what_else(head: bytes) -> str:
    if not head:
        return "it is empty"
    text = head.decode("utf-8-sig", "replace").lstrip()
    if is_pointer(head):
        return "it is a pointer of Git LFS in place of the file (git lfs pull)"
    if text.lower().startswith(("<!", "<html", "<head", "<body", "<?xml")):
        return "it is a web page in place of the file"
    if not any(head):
        return "it is damaged: it begins with zeros"
    for begin, name in ARCHIVES.items():
        if head.startswith(begin):
            return f"it is an archive of {name}: unpack it"
    if b"PK\x03\x04".startswith(head):
        return DAMAGED
    line = text.partition("\n")[0].rstrip()[:40]
    return f"it is a text, {line!r}" if line.isprintable() and "\ufffd" not in line else DAMAGED


def _read_as(kind: str, path: Path, size: int) -> object:
    if kind == "safetensors":
        try:
            state = require("safetensors.torch").load_file(str(path))
        except require("safetensors").SafetensorError as error:
            raise Refused(_wrong_list(path, size)) from error
    else:
        if kind == "zip":
            _check_zip(path, size)
        elif tarfile.is_tarfile(path):
            raise Refused(DAMAGED)
        else:
            with path.open("rb") as file:
                _check_pickle(file, LEGACY)
        # Mapped, a part cannot reach beyond the file, whatever size it claims
        state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=kind == "zip")
    _check_sizes(state, size)
    return state


def _check_zip(path: Path, size: int) -> None:
    """torch.save compresses nothing, so that the parts together are smaller than the file."""
    if not zipfile.is_zipfile(path):
        raise Refused(f"{DAMAGED}: it is cut off after {size:,} bytes, before the list of its parts")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if len({part.filename.lower() for part in parts}) < len(parts):
            raise Refused("it has two parts of one name")
        lists = [part for part in parts if part.filename.partition("/")[2] == "data.pkl"]
        if len(lists) != 1:
            weights = [part.filename for part in parts if part.filename.endswith(WEIGHTS)]
            within = f"; unpack it, for {weights[0][:MOST_SHOWN]}" if weights else ""
            raise Refused(f"it is a zip archive, but none of torch.save{within}")
        if any("/code/" in part.filename for part in parts):
            raise Refused("it is a program of TorchScript (save net.state_dict())")
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise Refused("its parts are compressed, which torch.save never does")
        if sum(part.file_size for part in parts) > size:
            raise Refused("its parts claim to be larger than the file")
        _check_sums(archive)
        _check_pickle(BytesIO(archive.read(lists[0])), 1)


def _check_sums(archive: zipfile.ZipFile) -> None:
    """torch.save writes a sum of each part, by which a changed byte is found; zeros if it was told not to."""
    parts = archive.infolist()
    if any(part.CRC for part in parts):
        changed = archive.testzip()
        if changed is not None:
            raise Refused(f"it is damaged: its part {changed} is not what was written")
    else:
        for part in parts:
            del part.CRC  # zipfile then reads without comparing


def _wrong_list(path: Path, size: int) -> str:
    """What is wrong with the list of tensors of a file that safetensors refuses; DAMAGED if nothing more is known."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        listed = file.read(length)
    if len(listed) < length:
        return f"it is cut off within its list of tensors, after {size:,} bytes"
    try:
        tensors = {name: value for name, value in json.loads(listed).items() if name != "__metadata__"}
        places = sorted((*value["data_offsets"], name) for name, value in tensors.items())
        for first, last, name in places:
            shape, kind = tensors[name]["shape"], tensors[name]["dtype"]
            what = f"{name[:MOST_SHOWN]} of shape {str(tuple(shape))[:MOST_SHOWN]}"
            if kind not in BITS:
                return f"{what} is of dtype {kind[:MOST_SHOWN]}, which is not known here"
            if min(shape, default=0) < 0:
                return f"{what} has a negative size"
            count = -(-math.prod(shape) * BITS[kind] // 8)
            if count > size:
                return f"{what} takes more than the file holds of it"
            if count != last - first:
                return f"{what} takes {count} bytes, its list says {last - first}"
            if 8 + length + last > size:
                return f"it is cut off after {size:,} bytes, within {name[:MOST_SHOWN]}"
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return DAMAGED
    for (_, end, one), (begin, _, other) in pairwise(places):
        if begin != end:
            return f"{one} and {other} {'lie on the same bytes' if begin < end else 'have a gap between them'}"
    return DAMAGED


def _check_pickle(file: BinaryIO, count: int) -> None:
    """So many pickles that end, are not too long and name only what tensors need, before they are loaded."""
    steps = holders = 0
    for _ in range(count):
        for code, argument, _ in pickletools.genops(file):
            steps += 1
            if steps > MOST_STEPS:
                raise Refused("its list of tensors is too long")
            holders += code.name in HOLDERS
            if holders > MOST_HOLDERS:
                raise Refused("its list of tensors is too long")
            if code.name == "GLOBAL":
                _check_global(str(argument))
            elif code.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                raise Refused(OBJECTS)


def _check_global(name: str) -> None:
    if name in OTHER_TENSORS:
        raise Refused(f"expected dense tensors, got {OTHER_TENSORS[name]} ones")
    if name == "torch Tensor":  # which also makes memory, of any size
        raise Refused("expected plain tensors, got a torch.nn.Buffer, or one with attributes (save net.state_dict())")
    module, _, kind = name.partition(" ")
    of_torch = module == "torch" and (kind.endswith("Storage") or isinstance(getattr(torch, kind, None), torch.dtype))
    if not of_torch and name not in GLOBALS:
        raise Refused(OBJECTS)


def _check_sizes(state: object, size: int) -> None:
    """Tensors of numbers that the file holds: none repeats a few of them, and together they are no larger than it."""
    total = 0
    for name, value in tensors_within(state):
        kind = dtype_name(value.dtype if value.layout is torch.strided else value.layout)
        if value.is_meta or value.is_quantized or value.layout is not torch.strided or value.dtype not in DTYPES:
            kind = "meta" if value.is_meta else "quantized" if value.is_quantized else kind
            raise Refused(f"expected dense tensors of real numbers, but {name} is {kind}")
        count, held = value.numel() * value.element_size(), value.untyped_storage().nbytes()
        total += count
        if count > held or held > size:
            raise Refused(f"{name} of shape {tuple(value.shape)} takes more than the file holds of it")
    if total > MOST_SHARED * size + ALLOWANCE:
        raise Refused(f"its tensors take {total:,} bytes, the file has {size:,}")


def listed_in(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, dtype as safetensors calls it, and count of numbers of each tensor in a file, which is not loaded."""
    try:
        head, size = _beginning(path)
        _kind(head, safe=True)
        with require("safetensors").safe_open(str(path), "pt") as file:
            for name in file.offset_keys():
                piece = file.get_slice(name)
                yield name, piece.get_dtype(), math.prod(piece.get_shape())
    except (Refused, require("safetensors").SafetensorError) as error:
        reason = error if isinstance(error, Refused) else _wrong_list(path, size)
        raise UserError(f"{path} is {UNREADABLE}: {reason}") from error


def tensors_within(state: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in mappings and lists, with the keys that lead to it."""
    waiting: list[tuple[str, object, int]] = [("", state, 0)]
    entered = set()
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, Tensor):
            yield name or "the tensor", value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in entered:
            if depth == MOST_DEPTH:
                raise Refused(f"its mappings and lists lie more than {MOST_DEPTH} deep in each other")
            entered.add(id(value))  # one may hold itself
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            held = [(key, item) for key, item in items if isinstance(item, (Tensor, Mapping, list, tuple))]
            keys = [str(key)[:MOST_SHOWN] for key, _ in held]
            waiting += [
                (f"{name}.{key}" if name else key, item, depth + 1) for key, (_, item) in zip(keys, held, strict=True)
            ]


def kind_of(value: Tensor) -> str:
    return dtype_name(value.dtype)
