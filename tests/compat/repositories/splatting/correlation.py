"""Shaped like the CuPy correlation of PWC-Net in PyTorch."""

import cupy
import torch

KERNEL = """
extern "C" __global__ void updateOutput(
    const int count, const int C, const int H, const int W, const float* one, const float* two, float* out
) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) { return; }
    const int x = i % W, y = (i / W) % H, d = (i / W / H) % 81, b = i / W / H / 81;
    const int sx = x + d % 9 - 4, sy = y + d / 9 - 4;
    float total = 0.0;
    if (sx >= 0 && sx < W && sy >= 0 && sy < H) {
        for (int c = 0; c < C; c++) {
            total += one[((b * C + c) * H + y) * W + x] * two[((b * C + c) * H + sy) * W + sx];
        }
    }
    out[i] = total / (float) C;
}
"""


class _FunctionCorrelation(torch.autograd.Function):
    @staticmethod
    def forward(self, first, second):
        out = first.new_zeros([first.shape[0], 81, first.shape[2], first.shape[3]])
        if not first.is_cuda:
            raise NotImplementedError()
        arguments = [out.nelement(), *first.shape[1:], first.data_ptr(), second.data_ptr(), out.data_ptr()]
        grid = ((out.nelement() + 511) // 512, 1, 1)
        cupy.RawKernel(KERNEL, "updateOutput")(grid, (512, 1, 1), tuple(arguments))
        return out


def FunctionCorrelation(tenFirst, tenSecond):
    return _FunctionCorrelation.apply(tenFirst, tenSecond)


class ModuleCorrelation(torch.nn.Module):
    def forward(self, tenOne, tenTwo):
        return _FunctionCorrelation.apply(tenOne, tenTwo)
