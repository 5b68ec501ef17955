"""How engines and precisions are called. Imports nothing heavy: `vfi --help` shows them."""

from typing import Literal, get_args

Engine = Literal["auto", "torch", "compile", "openvino", "onnxruntime", "tensorrt"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def taken(engine: Engine | None, precision: Precision | None, usual: Engine) -> tuple[Engine, Precision]:
    """What is taken where one of the two, or both, are not asked for: float32, but of an engine that is asked for what
    is fastest in it."""
    return engine or usual, precision or ("auto" if engine else "float32")
