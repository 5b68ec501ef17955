"""A model as a file that runs without this package: ONNX, or a package of AOTInductor, which C++ loads without Python.

The file takes `frame0` and `frame1`, (1, 3, H, W), RGB in [0, 1], and `t`, (1,) float32 in [0, 1]; it gives `frame`,
(1, 3, H, W). Frames are padded inside. A network that knows the middle only takes t = 0.5, and the ends 0 and 1; of
other times its frame is NaN. What a file takes stands in its metadata (`described`)."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from vfi.engines.parts import OpsHeard
from vfi.engines.stop import quiet
from vfi.errors import ArgumentError, UserError, dtype_name, require
from vfi.files.atomic import check_target, written_whole
from vfi.models.interpolator import Interpolator, reordered
from vfi.options import whole

INPUTS, OUTPUT = ("frame0", "frame1", "t"), "frame"
SUFFIXES = (".onnx", ".pt2")
EXAMPLE = (100, 150)  # a size to trace with where any will do: no multiple of what networks want
PROBE = 64  # pixels along the sides of frames that show which ops a model runs
DTYPES = (torch.float32, torch.float16)
Size = tuple[int, int]


def export_onnx(
    model: Interpolator,
    path: str | Path,
    *,
    size: Size | None,
    dtype: torch.dtype = torch.float32,
    opset: int | None = None,
) -> None:
    """Writes `model` to an ONNX file.

    Args:
        size: height and width of the frames that the file takes; None: any.
        dtype: of weights, frames and the result: float32 or float16.
        opset: of ONNX; None: the oldest that has the model's operators.

    Raises:
        ArgumentError: if the model is none that can be exported so, with the reason, or an argument is none of these.
        UserError: if the file cannot be written, or a package is missing.
    """
    translations = require("vfi_kernels.onnx", "onnx")
    newest = require("onnx", "onnx").defs.onnx_opset_version()
    if opset is not None and whole("opset", opset, 1) > newest:
        raise ArgumentError(f"expected `opset` to be {newest}, the newest that is installed, or less, got {opset}")
    check_target(Path(path), overwrite=True)
    check(model, size, dtype)
    least = translations.opset_of(ops_of(model))
    if opset is not None and opset < least:
        raise ArgumentError(f"expected `opset` to be {least} or more for this model, got {opset}")
    with quietly():
        program = traced(model, size, dtype)
        made = torch.onnx.export(
            program, dynamo=True, verbose=False, opset_version=opset or least, input_names=INPUTS, output_names=[OUTPUT]
        )
    assert made is not None
    if made.model.opset_imports[""] != (opset or least):  # torch leaves it as it is where it cannot be converted
        raise UserError(f"cannot express this model in `opset` {opset}; the oldest that has all of it is {least}")
    made.model.metadata_props.update(described(model, size, dtype))
    with written_whole(Path(path)) as temporary:
        made.save(temporary)


def export_package(
    model: Interpolator, path: str | Path, *, size: Size | None, dtype: torch.dtype = torch.float32
) -> None:
    """Compiles `model` for the device it is on into a package of AOTInductor (.pt2): docs/onnx.md says who loads it.
    Arguments and errors as those of `export_onnx`; a C++ compiler is needed."""
    check_target(Path(path), overwrite=True)
    check(model, size, dtype)
    with written_whole(Path(path)) as temporary, quietly():
        program = traced(model, size, dtype)
        try:
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(temporary),
                inductor_configs={"aot_inductor.metadata": described(model, size, dtype)},
            )
        except torch._inductor.exc.InvalidCxxCompiler as error:
            raise UserError("a package of AOTInductor needs a C++ compiler, of which there is none") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Of what torch and its exporter say nothing is for who wants a file; docs/onnx.md has what files differ in."""
    with quiet(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def ops_of(model: Interpolator) -> set[str]:
    """The ops that a model runs, by a run on small frames, which takes much less than to trace it."""
    assert isinstance(model, nn.Module)
    weight = next(model.parameters())
    frames = [torch.rand(1, 3, PROBE, PROBE, dtype=weight.dtype, device=weight.device) for _ in range(2)]
    names: set[str] = set()
    with OpsHeard(lambda op: names.add(op.removesuffix(".default"))), torch.no_grad():
        model.interpolate(frames[0], frames[1], 0.5)
    return names


def check(model: Interpolator, size: Size | None, dtype: torch.dtype) -> None:
    """What can be said before any work."""
    if dtype not in DTYPES:
        raise ArgumentError(f"expected `dtype` to be float32 or float16, got {dtype_name(dtype)}")
    if size is not None:
        size = (whole("size", size[0], 1), whole("size", size[1], 1))
    reason = model.why_not_exported(size, dtype)
    if reason is not None:
        raise ArgumentError(f"{model.called} cannot be exported: {reason}")


def traced(model: Interpolator, size: Size | None, dtype: torch.dtype) -> torch.export.ExportedProgram:
    """The model as a graph of torch."""
    network = copy.deepcopy(model)
    assert isinstance(network, nn.Module)
    network.to(dtype).requires_grad_(False)
    device = next(network.parameters()).device
    height, width = EXAMPLE if size is None else size
    frames = [torch.rand(1, 3, height, width, dtype=dtype, device=device) for _ in range(2)]
    arguments = (*frames, torch.full((1,), 0.5, device=device))
    sides = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    shapes = {"frame0": sides, "frame1": sides, "t": {}} if size is None else None
    with torch.no_grad():
        return torch.export.export(Between(network).eval(), arguments, dynamic_shapes=shapes, strict=False)


class Between(nn.Module):
    """What a file computes."""

    def __init__(self, model: Interpolator) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        for side in (2, 3):
            torch._check(frame0.shape[side] == frame1.shape[side])
        times = t.reshape(-1, 1, 1, 1)
        result = self.model.traced(reordered(self.model, frame0), reordered(self.model, frame1), t)
        result = reordered(self.model, result).to(frame0.dtype)
        if not self.model.any_time:
            result = torch.where(times == 0.5, result, torch.nan)
        return torch.where(times == 0, frame0, torch.where(times == 1, frame1, result))


def described(model: Interpolator, size: Size | None, dtype: torch.dtype) -> dict[str, str]:
    """What the file says of itself: `vfi.size` is 576x1024, height first, or any; `vfi.times` any or 0.5."""
    return {
        "vfi.model": model.called,
        "vfi.size": "any" if size is None else f"{size[0]}x{size[1]}",
        "vfi.times": "any" if model.any_time else "0.5",
        "vfi.dtype": dtype_name(dtype),
    }
