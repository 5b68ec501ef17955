"""Counting multiply-accumulates: by hand, and against figures of papers."""

import itertools

import pytest
import torch
from torch import nn

from vfi.evaluation.macs import count_macs
from vfi.models import ebme


class OneLayer(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, frame0, frame1):
        return self.layer(frame0)


@pytest.mark.parametrize(
    ("layer", "thop", "true"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 8 * 32 * 3 * 9, None),
        (nn.Conv2d(3, 6, (1, 3), stride=2, padding=(0, 1), groups=3), 6 * 8 * 3, None),
        (nn.ConvTranspose2d(3, 8, 4, 2, 1), 8 * 128 * 3 * 16, 8 * 32 * 3 * 16),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 7)), 192 + 320 + 35, None),
        (nn.PReLU(), 0, None),
    ],
)
def test_layers(layer, thop, true):
    model = OneLayer(layer)
    assert count_macs(model, (4, 8)).total == thop
    assert count_macs(model, (4, 8), "true").total == (thop if true is None else true)


def test_activations_count_where_asked():
    model = OneLayer(nn.Sequential(nn.PReLU(), nn.LeakyReLU(), nn.ReLU()))
    assert count_macs(model, (4, 8), activations=True).total == 2 * 96


def test_the_model_itself_is_left_alone():
    model = OneLayer(nn.Conv2d(3, 8, 3)).train()
    count_macs(model, (8, 8))
    assert model.training and model.layer.weight.device.type == "cpu" and not model.layer._forward_hooks


def test_unknown_convention():
    with pytest.raises(ValueError, match="expected convention thop or true, got 'flops'"):
        count_macs(OneLayer(nn.PReLU()), (4, 8), "flops")


def test_ebmes_flow_network():
    """68 k for each pixel; the cost volume, which is no module, would add 0.3 k."""
    counts = count_macs(ebme.BiFlowNet(), (1088, 2048))
    assert counts.total == 152_695_020_544 and counts == count_macs(ebme.BiFlowNet(), (1088, 2048), "true")
    assert counts.parts == {"feat_pyramid": 58_660_816_896, "flow_estimator": 94_034_203_648}


def chain(*widths, stride=1):
    """3x3 convolutions with PReLU, the first of them with a stride."""
    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride if i == 0 else 1, 1), nn.PReLU(outputs)]
    return nn.Sequential(*layers)


def deconv(inputs, outputs):
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.PReLU(outputs))


class EbmeH(nn.Module):
    """The layers of EBME-H in their order, for what they cost: the synthesis runs at twice the size; warps are left
    out, and flow is made of zeros."""

    def __init__(self):
        super().__init__()
        c = 16
        self.flow = ebme.BiFlowNet()
        self.context = nn.ModuleList(chain(i, o, o, stride=2) for i, o in ((3, c), (c, 32), (32, 64), (64, 128)))
        self.down = nn.ModuleList(
            [chain(16, 32, 32, 32, 32, stride=2), *(chain(i, i, i, stride=2) for i in (64, 128, 256))]
        )
        self.up = nn.ModuleList(deconv(i, o) for i, o in ((512, 128), (256, 64), (128, 32), (64, c)))
        self.last = chain(c, c, c)
        self.prediction = nn.Conv2d(c, 4, 3, 1, 1)
        self.shrink = nn.Sequential(
            nn.Conv2d(c, 32, 5, 2, 2), nn.PReLU(32), nn.Conv2d(32, 32, 3, 1, 1), nn.PReLU(32), nn.Conv2d(32, 25, 1)
        )

    def forward(self, frame0, frame1):
        self.flow(frame0, frame1, levels=3)
        frames = [nn.functional.interpolate(frame, scale_factor=2) for frame in (frame0, frame1)]
        sides = []
        for features in frames:
            sides.append([])
            for level in self.context:
                features = level(features)
                sides[-1].append(features)
        x = torch.cat((*frames, *frames, torch.zeros_like(frames[0])[:, :2].repeat(1, 2, 1, 1)), 1)
        skips = []
        for level, warped in zip(self.down, [[], *zip(*sides, strict=True)]):
            skips.append(level(torch.cat((x, *warped), 1)))
            x = skips[-1]
        x = torch.cat((x, sides[0][-1], sides[1][-1]), 1)
        for level, skip in zip(self.up, [*skips[2::-1], None], strict=True):
            x = level(x)
            x = x if skip is None else torch.cat((x, skip), 1)
        x = self.last(x)
        return self.prediction(x), self.shrink(x)


def test_ebme_h_has_the_figure_of_the_table():
    """Table 1 of APR-VFI: 1.086 T and 3.9 M parameters, at 2048 x 1088."""
    model = EbmeH()
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 3.9
    counts = [count_macs(model, (1088, 2048), activations=activations).total / 1e12 for activations in (False, True)]
    assert [round(f, 4) for f in counts] == [1.0851, 1.0868]
