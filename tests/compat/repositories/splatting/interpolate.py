"""A script as people write it: splats two images to the middle; writes the result where its argument says."""

import sys

import torch
from correlation import FunctionCorrelation
from mmcv.ops import ModulatedDeformConv2dPack
from softsplat import softsplat, softsplat_func
from softsplat import softsplat as warp
from torchvision.ops import DeformConv2d, deform_conv2d


def backwarp(tenIn, tenFlow):
    height, width = tenFlow.shape[2:]
    axes = torch.linspace(-1.0, 1.0, width), torch.linspace(-1.0, 1.0, height)
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"))[None].cuda()
    grid = grid + tenFlow / torch.cuda.FloatTensor([(n - 1) / 2 for n in tenIn.shape[:1:-1]]).view(1, 2, 1, 1)
    return torch.nn.functional.grid_sample(tenIn, grid.permute(0, 2, 3, 1), align_corners=True)


def main(path):
    torch.manual_seed(0)
    image, flow, metric = torch.rand(1, 3, 8, 9), torch.randn(1, 2, 8, 9), torch.rand(1, 1, 8, 9)
    offset = torch.randn(1, 18, 8, 9)
    weight = torch.rand(4, 3, 3, 3)
    results = {
        "inputs": (image, flow, metric, offset, weight),
        "soft": warp(image, flow, metric, strMode="soft"),
        "average": softsplat(tenIn=image, tenFlow=flow, tenMetric=None, strMode="avg"),
        "sum": softsplat_func.apply(image, flow),
        "correlation": FunctionCorrelation(image, image),
        "backwarp": backwarp(image, flow),
        "deform": deform_conv2d(image, offset, weight, padding=1),
        "layers": (DeformConv2d(3, 4, 3).weight.shape, ModulatedDeformConv2dPack(3, 4, 3, padding=1)(image).shape),
    }
    torch.save(results, path)


if __name__ == "__main__":
    main(sys.argv[1])
