"""What is different while torch makes a graph.

torch.jit.trace keeps every number that Python computes from a size. A graph that is called with another size must
not go on with it: a view in the graph has to have the size that was seen, and torch's split says so if it has not."""

import torch
from torch import Tensor


def of_this_size(t: Tensor, *dims: int) -> Tensor:
    """`t`, whose sizes along `dims` are numbers of the graph."""
    if torch.jit.is_tracing():
        for dim in dims:
            t = t.split([int(t.shape[dim])], dim)[0]
    return t


def of_the_size_of(other: Tensor, t: Tensor, *dims: int) -> Tensor:
    """`t`, whose sizes along `dims` are those of `other`."""
    if torch.jit.is_tracing():
        for dim in dims:
            t = t.split([other.shape[dim]], dim)[0]
    return t


def makes_onnx() -> bool:
    """Whether torch.onnx.export is at work, whose graphs have no op that writes into its argument."""
    return torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()
