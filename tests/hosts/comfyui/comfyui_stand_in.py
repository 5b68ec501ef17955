"""As much of ComfyUI as its nodes meet, written from its documented interface, and from what a real one does with
graphs (tests/hosts/test_comfyui_real.py).

Follows ComfyUI 0.8.1 and docs.comfy.org as of November 2026: Lifecycle (how folders in custom_nodes are loaded),
Properties (INPUT_TYPES, VALIDATE_INPUTS, IS_CHANGED, FUNCTION), Images and masks, `folder_paths`,
`comfy.utils.ProgressBar`, `comfy.model_management`, and of `comfy_api` VideoFromFile, VideoFromComponents and
VideoComponents. Nodes are of the documented schema V1, and run in `torch.inference_mode()`.
"""

import importlib.util
import inspect
import io
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import av
import torch

WIDGETS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class InterruptProcessingException(Exception):
    pass


class PromptRefused(Exception):
    """What the page shows on a node before anything runs."""


class ProgressBar:
    bars: ClassVar[list["ProgressBar"]] = []

    def __init__(self, total, node_id=None):
        self.total, self.current, self.seen = total, 0, []
        self.bars.append(self)

    def update_absolute(self, value, total=None, preview=None):
        ComfyUI.throw()
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        self.seen.append((self.current, self.total))
        if ComfyUI.interrupt_at is not None and len(self.seen) >= ComfyUI.interrupt_at:
            ComfyUI.interrupted = True

    def update(self, value):
        self.update_absolute(self.current + value)


@dataclass
class VideoComponents:
    images: torch.Tensor
    frame_rate: Fraction
    audio: dict | None = None
    metadata: dict | None = None
    alpha: torch.Tensor | None = None


class VideoInput:
    def get_active_trim_window(self):
        return 0.0, 0.0

    def get_stream_source(self):
        return io.BytesIO()


class VideoFromFile(VideoInput):
    def __init__(self, file, *, start_time=0, duration=0):
        self._file, self._window = file, (float(start_time), float(duration))

    def get_stream_source(self):
        return self._file

    def get_active_trim_window(self):
        return self._window

    def get_components(self):
        with av.open(self._file) as container:
            frames = [torch.from_numpy(each.to_ndarray(format="rgb24")) for each in container.decode(video=0)]
            rate = Fraction(container.streams.video[0].average_rate)
        return VideoComponents(torch.stack(frames).float() / 255, rate)


class VideoFromComponents(VideoInput):
    def __init__(self, components):
        self._components = components

    def get_components(self):
        return self._components


def is_widget(value: object) -> bool:
    """What a graph can hold by itself; the rest comes from other nodes."""
    return isinstance(value, (str, int, float, bool, dict))


class ComfyUI:
    """One that runs in `root`, until `uninstall`."""

    interrupted = False
    interrupt_at: int | None = None  # updates of a bar after which its user presses Cancel

    def __init__(self, root: Path, *, videos: bool = True):
        ComfyUI.interrupted, ComfyUI.interrupt_at, self.cache_cleared = False, None, 0
        ProgressBar.bars.clear()
        self.root, self.videos = root, videos
        for name in ("models", "custom_nodes", "temp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.modules = self._modules()

    def _modules(self) -> dict[str, ModuleType | None]:
        made = {name: ModuleType(name) for name in ("folder_paths", "comfy", "comfy.utils", "comfy.model_management")}
        folders, management = made["folder_paths"], made["comfy.model_management"]
        folders.models_dir = str(self.root / "models")
        folders.folder_names_and_paths = {"custom_nodes": ([str(self.root / "custom_nodes")], set())}
        folders.get_temp_directory = lambda: str(self.root / "temp")
        folders.get_filename_list, folders.get_full_path = self._filenames, self._full_path
        made["comfy.utils"].ProgressBar = ProgressBar
        management.InterruptProcessingException = InterruptProcessingException
        management.get_torch_device = lambda: torch.device("cpu")
        management.soft_empty_cache = self._clear
        management.throw_exception_if_processing_interrupted = self.throw
        made["comfy"].utils, made["comfy"].model_management = made["comfy.utils"], management
        made["comfy"].__path__ = []
        if not self.videos:
            return {**made, "comfy_api": None}
        for name in ("comfy_api", "comfy_api.input_impl", "comfy_api.util"):
            made[name] = ModuleType(name)
        made["comfy_api"].__path__ = []
        made["comfy_api.input_impl"].VideoFromFile = VideoFromFile
        made["comfy_api.input_impl"].VideoFromComponents = VideoFromComponents
        made["comfy_api.util"].VideoComponents = VideoComponents
        return made

    def install(self, patch) -> None:
        """patch: pytest's monkeypatch."""
        for name, module in self.modules.items():
            patch.setitem(sys.modules, name, module)

    def load(self, folder: Path) -> dict[str, type]:
        """The nodes of a folder in custom_nodes, as Lifecycle has it; its own name is no module's."""
        name = str(folder).replace(".", "_x_")
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        finally:
            for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
                del sys.modules[loaded]
        self.nodes, self.shown = module.NODE_CLASS_MAPPINGS, module.NODE_DISPLAY_NAME_MAPPINGS
        return self.nodes

    def run(self, name: str, **given: object) -> tuple:
        """As a graph does: inputs that the page has filled, those of links as they are."""
        node = self.nodes[name]
        inputs = self.checked(node, given)
        if hasattr(node, "IS_CHANGED"):
            node.IS_CHANGED(**{key: value if is_widget(value) else None for key, value in inputs.items()})
        with torch.inference_mode():
            outputs = getattr(node(), node.FUNCTION)(**inputs)
        assert isinstance(outputs, tuple) and len(outputs) == len(node.RETURN_TYPES)
        return outputs

    @staticmethod
    def checked(node: type, given: dict[str, object]) -> dict[str, object]:
        """Widgets that are not given are as the page fills them, ... are left out; what the server refuses is a
        PromptRefused. VALIDATE_INPUTS is called whatever else is wrong, with what is there; a link is None."""
        kinds = node.INPUT_TYPES()
        every = {**kinds.get("required", {}), **kinds.get("optional", {})}
        unknown = set(given) - set(every)
        assert not unknown, f"no inputs of the node: {unknown}"
        validate = getattr(node, "VALIDATE_INPUTS", None)
        own = inspect.getfullargspec(validate).args[1:] if validate is not None else []
        inputs, wrong = {}, []
        for input_name, (kind, *more) in every.items():
            settings = more[0] if more else {}
            if given.get(input_name) is ...:
                wrong += [f"Required input is missing: {input_name}"] if input_name in kinds.get("required", {}) else []
                continue
            if input_name in given:
                inputs[input_name] = given[input_name]
            elif isinstance(kind, list) and kind:
                inputs[input_name] = settings.get("default", kind[0])
            elif "default" in settings:
                inputs[input_name] = settings["default"]
            elif input_name in kinds.get("required", {}):
                wrong.append(f"Required input is missing: {input_name}")
                continue
            else:
                continue
            value = inputs[input_name]
            if not is_widget(value):
                continue
            if str(kind) in WIDGETS:
                value = inputs[input_name] = WIDGETS[str(kind)](value)
            if input_name in own:
                continue
            if isinstance(kind, list) and value not in kind:
                wrong.append(f"Value not in list: {input_name}: {value!r} not in {kind}")
            if kind in ("INT", "FLOAT") and not settings.get("min", value) <= value <= settings.get("max", value):
                wrong.append(f"Value {value} is out of bounds: {input_name}")
        if validate is not None:
            judged = {each: inputs[each] if is_widget(inputs[each]) else None for each in own if each in inputs}
            said = validate(**judged)
            wrong += [] if said is True else [f"Custom validation failed for node: {each} - {said}" for each in judged]
        if wrong:
            raise PromptRefused("; ".join(wrong))
        return inputs

    def _filenames(self, name: str) -> list[str]:
        paths, suffixes = self.modules["folder_paths"].folder_names_and_paths[name]
        found = {
            str(file.relative_to(path))
            for path in paths
            for file in Path(path).rglob("*")
            if file.is_file() and (not suffixes or file.suffix in suffixes)
        }
        return sorted(found)

    def _full_path(self, name: str, file: str) -> str | None:
        paths, _ = self.modules["folder_paths"].folder_names_and_paths.get(name, ([], set()))
        inside = Path("/", file).resolve().relative_to("/")
        return next((str(Path(path, inside)) for path in paths if Path(path, inside).is_file()), None)

    def _clear(self) -> None:
        self.cache_cleared += 1

    @staticmethod
    def throw() -> None:
        if ComfyUI.interrupted:
            ComfyUI.interrupted = False
            raise InterruptProcessingException
