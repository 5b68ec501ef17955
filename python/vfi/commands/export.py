"""`vfi export`: its arguments, and what they ask for."""

import argparse
from pathlib import Path

from vfi.commands import chosen_model
from vfi.errors import UserError, require
from vfi.files.atomic import check_target

_EXAMPLES = """examples:
  vfi export --model rife --weights flownet.pkl -o rife.onnx
  vfi export --model rife --weights flownet.pkl -o rife.pt2 --size 1080 1920 --precision float16
"""
SHARED = ("size",)  # with models whose frames are made at a size of their own
KINDS = {".onnx": "ONNX", ".pt2": "a package of AOTInductor, which C++ loads without Python"}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "export",
        help="a model as a file that runs without this package",
        description="A model as a file that runs without this package. It takes frame0 and frame1, (1, 3, H, W), RGB "
        "in [0, 1], and t, (1,) float32; it gives frame.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    argument = parser.add_argument
    kinds = "; ".join(f"{suffix}: {kind}" for suffix, kind in KINDS.items())
    argument("-o", "--output", required=True, type=Path, help=f"the file, whose suffix says what it is: {kinds}")
    argument("--overwrite", action="store_true", help="replace a file that exists already")
    what = "of the frames that the file takes, in pixels (default: any size)"
    argument("--size", nargs=2, type=int, metavar=("H", "W"), help=what)
    argument("--precision", default="float32", help="of weights and frames: float32 (default) or float16")
    argument("--opset", type=int, help="ONNX: its version (default: the oldest that has the model's operators)")
    chosen_model.add(parser)
    parser.set_defaults(run=run)
    chosen_model.add_options(parser, SHARED)


def run(options: argparse.Namespace) -> None:
    path, precisions = options.output, ("float32", "float16")
    if path.suffix not in KINDS:
        raise UserError(f"expected a name that ends in {' or '.join(KINDS)}, got {path}")
    if options.precision not in precisions:
        raise UserError(f"expected --precision {' or '.join(precisions)}, got {options.precision}")
    if options.opset is not None and path.suffix != ".onnx":
        raise UserError(f"--opset is for ONNX, got {path}")
    check_target(path, overwrite=options.overwrite, inputs=tuple(map(Path, filter(None, [options.weights]))))
    if path.suffix == ".onnx":
        require("onnxscript", "onnx")
    model, _ = chosen_model.load(options, SHARED)
    import torch

    from vfi import export

    size = None if options.size is None else (options.size[0], options.size[1])
    dtype = torch.float16 if options.precision == "float16" else torch.float32
    if path.suffix == ".onnx":
        export.export_onnx(model, path, size=size, dtype=dtype, opset=options.opset)
    else:
        export.export_package(model, path, size=size, dtype=dtype)
    takes = "frames of any size" if size is None else f"frames of {size[0]} x {size[1]} pixels, height first"
    print(f"{path}: {options.model}, {options.precision}, takes {takes}")
