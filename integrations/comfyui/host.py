"""What the nodes use of ComfyUI: folders of models, the device, progress, interrupts, and errors of one sentence."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

import vfi_kernels as vk
from vfi.errors import UserError

# Ours, and that of the interpolation nodes in ComfyUI itself.
FOLDERS = ("vfi", "frame_interpolation")
SUFFIXES = (".pkl", ".pth", ".pt", ".ckpt", ".bin", ".safetensors")
NONE = "none"
Result = TypeVar("Result")


class NodeError(RuntimeError):
    """One sentence, which ComfyUI shows on the node, and the name of this class in its report."""

    __module__ = "vfi"  # a folder's nodes are modules by the name of its path


def in_one_sentence(function: Callable[..., Result]) -> Callable[..., Result]:
    """Errors that people can act on become ComfyUI's; it knows what to do about memory and interrupts by itself.

    ComfyUI runs nodes in inference mode, whose tensors do not tell whether they changed: what a model keeps of a frame,
    and weights that stay loaded, are usual tensors.
    """

    @functools.wraps(function)
    def wrapped(*arguments: object, **named: object) -> Result:
        try:
            with torch.inference_mode(False), torch.no_grad():
                return function(*arguments, **named)
        except (UserError, vk.ArgumentError) as error:
            raise NodeError(str(error)) from error

    return wrapped


def register_folders() -> None:
    """Makes the folder models/vfi, and it and where ComfyUI-Frame-Interpolation has put RIFE known."""
    import folder_paths

    known = folder_paths.folder_names_and_paths
    paths, suffixes = known.get(FOLDERS[0], ([], set()))
    packs = [folder for path in known.get("custom_nodes", ([], set()))[0] for folder in Path(path).glob("*")]
    others = [folder / "ckpts/rife" for folder in packs if folder.name.lower() == "comfyui-frame-interpolation"]
    own = os.path.join(folder_paths.models_dir, FOLDERS[0])
    with contextlib.suppress(OSError):  # of who may not write there
        os.makedirs(own, exist_ok=True)
    mine = [own, *(str(path) for path in others if path.is_dir())]
    known[FOLDERS[0]] = ([*paths, *(path for path in mine if path not in paths)], {*suffixes, *SUFFIXES})


def files() -> list[str]:
    """Names of files of weights in these folders, below them as well."""
    import folder_paths

    known = [name for name in FOLDERS if name in folder_paths.folder_names_and_paths]
    return list(dict.fromkeys(file for name in known for file in folder_paths.get_filename_list(name)))


def path_of(file: str) -> str | None:
    """Where a file of that name is; None: in none of the folders."""
    import folder_paths

    paths = (folder_paths.get_full_path(name, file) for name in FOLDERS)
    return next((path for path in paths if path is not None), None)


def why_not_there(file: object) -> str | None:
    """None: it is there, or was not given, or comes from another node, so that nobody knows yet."""
    if file is None or file == NONE:
        return None
    if not isinstance(file, str):
        return f"expected the name of a file, got {file!r}"
    if path_of(file) is not None:
        return None
    return f"{file} is in none of ComfyUI's folders {' and '.join(FOLDERS)} of models; nothing is downloaded"


def weights_of(file: str) -> str | None:
    """The path of a file that was chosen."""
    if reason := why_not_there(file):
        raise NodeError(reason)
    return None if file == NONE else path_of(file)


def state_of(file: str | None) -> str:
    """Changes when the file does; None: it comes from another node, and is any of them."""
    states = []
    for path in map(path_of, files() if file is None else [file]):
        with contextlib.suppress(OSError):  # of one that is deleted meanwhile
            found = os.stat(path or "")
            states.append(f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns}")
    return f"{file} {states}"


def device() -> str:
    """Where ComfyUI computes."""
    from comfy import model_management

    return str(model_management.get_torch_device())


def clear_cache() -> None:
    from comfy import model_management

    model_management.soft_empty_cache()


class Progress:
    """ComfyUI's bar on the node; `done` also ends the work if its user has asked for that."""

    def __init__(self, total: int) -> None:
        from comfy.utils import ProgressBar

        self._bar = ProgressBar(total)
        check_interrupted()

    def done(self, count: int) -> None:
        self._bar.update(count)
        check_interrupted()

    def reached(self, count: int, total: int | None) -> None:
        self._bar.update_absolute(count, total)
        check_interrupted()


def check_interrupted() -> None:
    """Raises what ComfyUI takes for a job that was cancelled."""
    from comfy import model_management

    model_management.throw_exception_if_processing_interrupted()


def planes(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, C) to (B, C, H, W) in float32."""
    return images.movedim(-1, 1).float()


def images(planes: torch.Tensor) -> torch.Tensor:
    """And back, on the CPU."""
    return planes.movedim(1, -1).contiguous().cpu()
