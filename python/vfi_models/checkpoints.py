"""Checkpoints of torch and safetensors: nothing in them is run, and no more is unpacked or built than they hold."""

import math
import pickletools
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from vfi_models.errors import UserError, require
from vfi_models.outputs import written_whole

SHOWN = 4  # keys named in a sentence
DEPTH = 4  # keys under which tensors may lie
LEGACY = 5  # pickles before the numbers in a file of torch.save before 1.6
MOST_STEPS = 1 << 22  # of a pickle: a tensor takes about 40
MOST_LISTED = 1 << 25  # bytes of names and sizes in safetensors: a tensor takes about 100
MOST_SHARED = 2  # bytes of tensors for each byte of the file: networks name the same tensor twice
ALLOWANCE = 1 << 20  # bytes, of small files
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip
NO_NETWORK = (ArithmeticError, AssertionError, MemoryError, RuntimeError, TypeError, ValueError)
UNREADABLE = "not a checkpoint that can be read safely"
OBJECTS = "it holds more than tensors (save net.state_dict())"
DAMAGED = "it is damaged, or something else"
# What a pickle of tensors may name; each takes no more memory than its arguments
GLOBALS = {
    "collections OrderedDict", "collections Counter", "builtins set", "builtins complex", "_codecs encode",
    "torch Size", "torch device", "torch.storage UntypedStorage", "torch.nn.parameter Parameter",
    "torch._tensor _rebuild_from_type_v2", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    *(f"torch._utils _rebuild_tensor{version}" for version in ("", "_v2", "_v3")),
}  # fmt: skip
OTHER_TENSORS = {
    "torch._utils _rebuild_sparse_tensor": "sparse",
    "torch._utils _rebuild_qtensor": "quantized",
    "torch._utils _rebuild_meta_tensor_no_storage": "meta",
    "torch._utils _rebuild_nested_tensor": "nested",
}


class Refused(ValueError):
    """Why a file is not read, without its name."""


def read(path: str | Path) -> dict[str, Tensor]:
    """A file's tensors by name, on the CPU, without the prefix `module.` that DataParallel adds.

    A checkpoint whose tensors lie under one key (`state_dict`, `model`, ...) is opened there. With any key beginning
    with `module.`, the others are left out, as the loaders of RIFE do.

    Raises:
        UserError: if the file cannot be read, holds anything but dense tensors of numbers, or tensors larger than
            itself.
    """
    path = Path(path)
    return tensors_of(contents(path), path)


def contents(path: Path, otherwise: str = UNREADABLE) -> object:
    """What a file holds, tensors in mappings and lists, as `read`; otherwise: what is said of one that is refused."""
    head, size = _beginning(path)
    try:
        return _read_as(_kind(head, path.suffix == ".safetensors"), path, size)
    except Refused as error:
        raise UserError(f"{path} is {otherwise}: {error}") from error
    except Exception as error:  # damaged files fail in many ways, and torch advises what a user should not follow
        short = isinstance(error, MemoryError) or "allocate memory" in str(error)
        raise UserError(f"{path} is {otherwise}: {'there is not enough memory' if short else DAMAGED}") from error


def _beginning(path: Path) -> tuple[bytes, int]:
    """By which files are known, and the size."""
    try:
        if not path.is_file():
            raise UserError(f"expected a checkpoint, got {path}, which is {'a folder' if path.is_dir() else 'no file'}")
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
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS in place of the file (git lfs pull)"
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith(("<!", "<html", "<HTML", "<?xml")):
        return "it is a web page in place of the file"
    line = text.partition("\n")[0].rstrip()[:40]
    return f"it is a text, {line!r}" if line.isprintable() and "\ufffd" not in line else DAMAGED


def _read_as(kind: str, path: Path, size: int) -> object:
    if kind == "safetensors":
        state = require("safetensors.torch").load_file(str(path))
    else:
        if kind == "zip":
            _check_zip(path, size)
        elif tarfile.is_tarfile(path):
            raise Refused(DAMAGED)
        else:
            with path.open("rb") as file:
                _check_pickle(file, LEGACY)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Mapped, a part cannot reach beyond the file, whatever size it claims
            state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=kind == "zip")
    _check_sizes(state, size)
    return state


def _check_zip(path: Path, size: int) -> None:
    """torch.save compresses nothing, so that the parts together are smaller than the file."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if len({part.filename.lower() for part in parts}) < len(parts):
            raise Refused("it has two parts of one name")
        lists = [part for part in parts if part.filename.partition("/")[2] == "data.pkl"]
        if len(lists) != 1:
            raise Refused("it is a zip archive, but none of torch.save")
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise Refused("its parts are compressed, which torch.save never does")
        if sum(part.file_size for part in parts) > size:
            raise Refused("its parts claim to be larger than the file")
        if any("/code/" in part.filename for part in parts):
            raise Refused("it is a program of TorchScript (save net.state_dict())")
        _check_pickle(BytesIO(archive.read(lists[0])), 1)


def _check_pickle(file: BinaryIO, count: int) -> None:
    """So many pickles that end, are not too long and name only what tensors need, before they are loaded."""
    steps = 0
    for _ in range(count):
        for code, argument, _ in pickletools.genops(file):
            steps += 1
            if steps > MOST_STEPS:
                raise Refused("its list of tensors is too long")
            if code.name == "GLOBAL":
                _check_global(argument)
            elif code.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                raise Refused(OBJECTS)


def _check_global(name: str) -> None:
    if name in OTHER_TENSORS:
        raise Refused(f"expected dense tensors, got {OTHER_TENSORS[name]} ones")
    module, _, kind = name.partition(" ")
    of_torch = module == "torch" and (kind.endswith("Storage") or isinstance(getattr(torch, kind, None), torch.dtype))
    if not of_torch and name not in GLOBALS:
        raise Refused(OBJECTS)


def _check_sizes(state: object, size: int) -> None:
    """Tensors of numbers that the file holds: none repeats a few of them, and together they are no larger than it."""
    total = 0
    for name, value in tensors_within(state):
        kind = str(value.layout) if value.layout is not torch.strided else str(value.dtype)
        if value.is_meta or value.is_quantized or value.layout is not torch.strided or value.dtype not in DTYPES:
            kind = "meta" if value.is_meta else "quantized" if value.is_quantized else kind.removeprefix("torch.")
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
            for name in file.keys():  # noqa: SIM118: no mapping
                piece = file.get_slice(name)
                yield name, piece.get_dtype(), math.prod(piece.get_shape())
    except (Refused, require("safetensors").SafetensorError) as error:
        reason = error if isinstance(error, Refused) else DAMAGED
        raise UserError(f"{path} is {UNREADABLE}: {reason}") from error


def tensors_within(state: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in mappings and lists, with the keys that lead to it."""
    waiting: list[tuple[str, object]] = [("", state)]
    entered = set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name or "the tensor", value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in entered:
            entered.add(id(value))  # one may hold itself
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [(f"{name}.{key}" if name else str(key), item) for key, item in items]


def tensors_of(state: object, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors in what a file held."""
    found = state
    for _ in range(DEPTH):
        if not isinstance(found, Mapping):
            break
        if {"network", "optimizer", "step"} <= set(found):
            raise UserError(f"{path} is the state of a training; its weights are in weights.safetensors beside it")
        tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        prefixed = {name.removeprefix("module."): v for name, v in tensors.items() if name.startswith("module.")}
        if tensors:
            return {name: value.detach() for name, value in (prefixed or tensors).items()}
        inner = [value for value in found.values() if isinstance(value, Mapping)]
        if len(inner) != 1:
            break
        found = inner[0]
    raise UserError(f"expected {path} to hold a state dict, names and tensors, got {type(state).__name__}")


def check(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path,
    missing: tuple[str, ...] = (),
    *,
    names: Callable[[str], str] = str,
    assign: bool = False,
) -> dict[str, Tensor]:
    """What `load_into` will load, by the model's keys, which may be on the meta device; raises as it does."""
    own = {names(key): value for key, value in model.state_dict().items()}
    lacking = [k for k in own if k not in state and not k.startswith(missing or ("\0",))]
    unknown = [k for k in state if k not in own]
    pairs = {k: (state[k], v) for k, v in own.items() if k in state}
    other = [f"{k} {tuple(a.shape)} instead of {tuple(b.shape)}" for k, (a, b) in pairs.items() if a.shape != b.shape]
    kinds = [
        f"{k} {kind_of(a)} instead of {kind_of(b)}"
        for k, (a, b) in pairs.items() if b.is_floating_point() and not a.is_floating_point()
    ]  # fmt: skip
    problems = {"keys missing": lacking, "keys unknown": unknown, "of another shape": other, "of another kind": kinds}
    told = [f"{len(found)} {what}: {listed(found)}" for what, found in problems.items() if found]
    if told:
        raise UserError(f"{path} does not fit {type(model).__name__}: {'; '.join(told)}")
    for key, (value, wanted) in pairs.items():
        converted(value, value.dtype if assign else wanted.dtype, key, f"{path} does not fit {type(model).__name__}")
    places = {key: names(key) for key in model.state_dict()}
    return {key: state[name] for key, name in places.items() if name in state}


def kind_of(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def listed(names: list[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"


def converted(value: Tensor, dtype: torch.dtype, key: str, blame: str) -> Tensor:
    """`value` as `dtype`; its numbers must be finite, before and after."""
    found = value.to(dtype)
    if not found.isfinite().all():
        known = value.isfinite().all()
        raise UserError(f"{blame}: values {f'too large for {kind_of(found)}' if known else 'that are not finite'} in {key}")
    return found


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path,
    missing: tuple[str, ...] = (),
    *,
    names: Callable[[str], str] = str,
    assign: bool = False,
) -> None:
    """Loads every parameter, or none; those that begin with one of `missing` may be absent.

    Args:
        names: the name in `state` of each of the model's keys.
        assign: the tensors of `state` become the parameters, and are not copied into those that are there.

    Raises:
        UserError: naming keys that are missing, not known, of another shape, whole numbers in place of real ones, or
            with values that are not finite in the model's dtype.
    """
    found = check(model, state, path, missing, names=names, assign=assign)
    model.load_state_dict(found, strict=not missing, assign=assign)


def built(make: Callable[[], Any], state: Mapping[str, Tensor], path: str | Path, missing: tuple[str, ...] = ()) -> Any:
    """The network that `make` builds of sizes read off `state`, with it loaded; compared before it takes memory."""
    try:
        check(without_memory(make), state, path, missing)
    except NO_NETWORK as error:
        raise UserError(f"there is no network of the sizes in {path}") from error
    model = make()
    load_into(model, state, path, missing)
    return model


def without_memory(make: Callable[[], Any]) -> Any:
    """The network on the meta device; one of NO_NETWORK if there is none of these sizes."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers without channels
        return make()


def save(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes safetensors, whole or not at all."""
    with written_whole(path, lasting=True) as temporary:
        kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        temporary.write_bytes(require("safetensors.torch").save(kept))  # save_file would hide it from other users
