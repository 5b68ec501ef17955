"""How engines and precisions are called. Imports nothing heavy: `vfi --help` shows them."""

from typing import Literal, get_args

Engine = Literal["auto", "torch", "compile", "openvino", "onnxruntime", "tensorrt"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
