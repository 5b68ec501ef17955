"""What the networks are made of; the names of parameters are those of public checkpoints."""

import torch
from torch import Tensor, nn


class PReLU(nn.PReLU):
    """A slope for each channel. In half precision and channels_last on a CPU torch goes over the channels of one pixel
    after another, which takes many times as long as with the slopes of a whole row of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.dtype in (torch.bfloat16, torch.float16) and x.device.type == "cpu"
        if not half or x.dim() != 4 or x.stride(1) != 1 or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(x)
        row = self.weight.to(x.dtype).view(1, -1, 1, 1).expand(1, x.shape[1], 1, x.shape[3])
        return torch._prelu_kernel(x, row.contiguous(memory_format=torch.channels_last))


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and PReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), PReLU(outputs))


def deconv(inputs: int, outputs: int) -> nn.Sequential:
    """4x4 transposed convolution to twice the size, and PReLU."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), PReLU(outputs))


class Conv2(nn.Module):
    """Two convolutions, the first to half the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 2)
        self.conv2 = conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv2(self.conv1(x))
        return result


def softmax(x: Tensor, dim: int) -> Tensor:
    """torch's own takes thrice as long along channels, and its last bit depends on the number of threads."""
    shares = (x - x.detach().amax(dim, keepdim=True)).exp_()
    total = shares.sum(dim, keepdim=True)
    return shares / total if shares.requires_grad else shares.div_(total)


def resized(x: Tensor, factor: float) -> Tensor:
    """Bilinear, pixels as areas (align_corners=False), by a whole number or to a whole part of the size."""
    if factor == 1:
        return x
    # Sizes in whole numbers: of symbols, as in torch.export, products with a fraction are slow to reckon with.
    size = [n * round(factor) if factor > 1 else n // round(1 / factor) for n in x.shape[2:]]
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def channels(first: Tensor, *others: Tensor | None) -> Tensor:
    """Those that are there, one after another, in the dtype of the first: flow stays float32 in a half network. If that
    one is channels_last, so is the result, also where torch.cat would make another of mixed ones, which the
    convolution behind it would then change; but in graphs and for gradients, where nothing is written into."""
    parts = [first, *(t for t in others if t is not None)]
    if first.stride(1) != 1 or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.cat([t.to(first.dtype) for t in parts], 1)
    counts = [t.shape[1] for t in parts]
    size = (first.shape[0], sum(counts), *first.shape[2:])
    out = torch.empty(size, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
    for place, part in zip(out.split(counts, 1), parts):
        place.copy_(part)
    return out
