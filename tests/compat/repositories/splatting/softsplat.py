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
        return cuda_launch("softsplat_out")(grid=(1, 1, 1), block=(512, 1, 1), args=[tenIn.data_ptr()])

    @staticmethod
    def backward(self, tenOutgrad):
        raise AssertionError("the kernel of the repository was reached")


def softsplat(tenIn, tenFlow, tenMetric, strMode):
    assert strMode.split("-")[0] in ["sum", "avg", "linear", "soft"]
    return softsplat_func.apply(tenIn, tenFlow)


def FunctionSoftsplat(tenInput, tenFlow, tenMetric, strType):
    return softsplat_func.apply(tenInput, tenFlow)


class ModuleSoftsplat(torch.nn.Module):
    def __init__(self, strType):
        super().__init__()
        self.strType = strType

    def forward(self, tenInput, tenFlow, tenMetric):
        return FunctionSoftsplat(tenInput, tenFlow, tenMetric, self.strType)
