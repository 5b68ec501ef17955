"""Every release of RIFE 4 is what the specification says, at every scale, for frames of a size that fits nothing."""

import pytest
import torch
import torch.nn.functional as F
from plain_rife4 import PlainRIFE4
from shared_files import needs_shared
from test_rife import seeded

from vfi.models import rife
from vfi.models.rife4.family import NAMES, NETWORKS
from vfi.models.rife4.model import RIFE4
from vfi.networks.sized_inference import SCALES, multiple_at


def frames(height, width):
    generator = torch.Generator().manual_seed(3)
    return [
        F.interpolate(torch.rand(1, 3, 5, 7, generator=generator).double(), (height, width), mode="bicubic").clamp(0, 1)
        for _ in range(2)
    ]


def weighted(model, factor):
    """Names give the weights; `factor` of the last layers is how far things move."""
    seeded(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(factor if "lastconv" in name else 1)
    return model.double().eval()


EVERY = [
    pytest.param(name, scale, marks=() if scale > 1 and name == NETWORKS[name].names[0] else pytest.mark.slow)
    for name in NAMES
    for scale in SCALES
]


@needs_shared
@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_small_ones_at_every_scale(name, scale):
    """Of few channels, with frames that must be filled up, and with the smallest that must not."""
    model = weighted(RIFE4(NETWORKS[name].smaller()), 40)
    plain, multiple = PlainRIFE4(name, model.state_dict()), round(NETWORKS[name].multiple / scale)
    assert multiple_at(model, scale) == multiple
    for size in ((37, 70), (multiple, multiple)) if scale >= 1 else ((37, 70),):
        pair = frames(*size)
        for ensemble in (False, True) if model.network.takes_ensemble else (False,):
            model.set_usual(scale=scale, ensemble=ensemble)
            with torch.no_grad():
                expected = plain(*pair, 0.3, scale, ensemble)
            torch.testing.assert_close(model.interpolate(*pair, 0.3), expected, rtol=0, atol=1e-9)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_whole_ones(name):
    """Of the published sizes, with the weights of the golden files: flows of up to hundreds of pixels."""
    pair = frames(90, 120)
    model = weighted(rife.load(variant=name), 8)
    with torch.no_grad():
        expected = PlainRIFE4(name, model.state_dict())(*pair, 0.3, 1.0)
    torch.testing.assert_close(model.interpolate(*pair, 0.3), expected, rtol=0, atol=1e-9)
