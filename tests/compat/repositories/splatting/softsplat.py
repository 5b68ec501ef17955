"""Shaped like softmax-splatting's module: CuPy kernels in a string, launched by an autograd function, no CPU."""

import cupy
import torch

KERNEL = """
extern "C" __global__ void __launch_bounds__(512) softsplat_out(const int n, const float* tenIn) { not a kernel }
"""


@cupy.memoize(for_each_device=True)
def cuda_launch(name):
    return cupy.cuda.compile_with_cache(KERNEL).get_function(name)


class softsplat_func(torch.autograd.Function):
    @staticmethod
    def forward(self, tenIn, tenFlow):
        out = tenIn.new_zeros(tenIn.shape)
        if not tenIn.is_cuda:
            raise RuntimeError("no CUDA here")
        stream = torch.cuda.current_stream().cuda_stream
        cuda_launch("softsplat_out")(grid=(1, 1, 1), block=(512, 1, 1), args=[tenIn.data_ptr(), out.data_ptr(), stream])
        return out

    @staticmethod
    def backward(self, tenOutgrad):
        raise AssertionError("the kernel of the repository was reached")


def weighted(tenIn, tenFlow, weight, eps):
    """The sum of weighted pixels over the sum of weights."""
    out = softsplat_func.apply(torch.cat([tenIn * weight, weight], 1), tenFlow)
    norm = out[:, -1:]
    if eps == "zero":
        norm = torch.where(norm == 0, 1.0, norm)
    else:
        norm = norm.clip(1e-7, None) if eps == "clip" else norm + 1e-7
    return out[:, :-1] / norm


def softsplat(tenIn, tenFlow, tenMetric, strMode):
    mode, _, eps = strMode.partition("-")
    assert mode in ["sum", "avg", "linear", "soft"] and eps in ["", "addeps", "zeroeps", "clipeps"]
    assert (tenMetric is None) == (mode in ["sum", "avg"])
    if mode == "sum":
        return softsplat_func.apply(tenIn, tenFlow)
    weight = {"avg": torch.ones_like(tenIn[:, :1]), "linear": tenMetric, "soft": tenMetric}[mode]
    return weighted(tenIn, tenFlow, weight.exp() if mode == "soft" else weight, eps[:-3])


def FunctionSoftsplat(tenInput, tenFlow, tenMetric, strType):
    assert strType in ["summation", "average", "linear", "softmax"]
    if strType == "summation":
        return softsplat_func.apply(tenInput, tenFlow)
    weight = torch.ones_like(tenInput[:, :1]) if strType == "average" else tenMetric
    return weighted(tenInput, tenFlow, weight.exp() if strType == "softmax" else weight, "zero")


class ModuleSoftsplat(torch.nn.Module):
    def __init__(self, strType):
        super().__init__()
        self.strType = strType

    def forward(self, tenInput, tenFlow, tenMetric):
        return FunctionSoftsplat(tenInput, tenFlow, tenMetric, self.strType)
