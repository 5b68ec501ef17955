"""What holds for every SplatModel, whatever finds its flow."""

import pytest
import torch
import torch.nn.functional as F

from vfi.errors import ArgumentError
from vfi.models import flow_splat, splat_model
from vfi.models.flow_splat import FlowSplat
from vfi.models.splat_model import BlendConfig, SplatModel
from vfi.networks import resampling
from vfi.networks.optical_flow import DisConfig, optical_flow


def smooth(channels, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 5, 7, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


class Given(SplatModel):
    """Two pairs of flow of several pixels, which agree neither with each other nor with the frames."""

    def __init__(self, by_coverage):
        super().__init__()
        self.config = BlendConfig(by_coverage=by_coverage)

    def flows(self, frame0, frame1):
        found = [(smooth(2, *frame0.shape[2:], seed) - 0.5) * 12 for seed in range(4)]
        return [(found[0], found[1]), (found[2], found[3])]


def large():
    """With the flows of large pictures."""
    return FlowSplat(flow_splat.FlowSplatConfig(flows=flow_splat.FlowSplatConfig.flows_of_large))


MODELS = {"flow-splat": FlowSplat, "large": large, "given": lambda: Given(False), "by coverage": lambda: Given(True)}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def frames(height, width, count=2):
    return [smooth(3, height, width, 10 + seed) for seed in range(count)]


@pytest.mark.parametrize("size", [(50, 70), (9, 33), (64, 41)])
def test_strips_are_the_whole(model, size, monkeypatch):
    """Of a few rows, the last of fewer. Roundings decide whether a pixel that something hardly touches is seen."""
    pair = frames(*size)
    whole = model.interpolate_many(*pair, [0.25, 0.5])
    monkeypatch.setattr(resampling, "_STRIP", 1)
    assert len(resampling.strips(pair[0])) > 2
    for found, expected in zip(model.interpolate_many(*pair, [0.25, 0.5]), whole):
        assert ((found - expected).abs() > 1e-4).float().mean() < 0.005


def test_any_number_of_threads_gives_the_same_bits(model, threads):
    pair = frames(301, 479)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(model.interpolate(*(frame.clone() for frame in pair), 0.4))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (70, 131)])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_where_nothing_moves_the_frame_is_kept(size, t):
    """Whatever the frames hold, also at the border."""
    frame = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for model in (FlowSplat(), Still()):
        torch.testing.assert_close(model.interpolate(frame, frame.clone(), t), frame, atol=1e-6, rtol=0)


class Still(Given):
    def __init__(self):
        super().__init__(True)

    def flows(self, frame0, frame1):
        return [(torch.zeros_like(frame0[:, :2]),) * 2]


def test_several_times_are_each_by_itself(model):
    pair, times = frames(40, 57), [0, 0.2, 0.5, 0.9, 1]
    for t, found in zip(times, model.interpolate_many(*pair, times)):
        assert torch.equal(found, model.interpolate(*pair, t))


@pytest.mark.parametrize("name", MODELS)
def test_what_a_frame_needs_is_made_once(name, monkeypatch):
    """In all pairs of a clip; and again once the frame has changed."""
    clip = frames(40, 57, 3)
    alone = [MODELS[name]().interpolate(*clip[i : i + 2], 0.5) for i in (0, 1)]
    made = []
    for module, function in ((splat_model, "doubled"), (flow_splat, "Planes")):
        make = getattr(module, function)
        monkeypatch.setattr(module, function, lambda frame, make=make: made.append(make) or make(frame))
    kinds = 2 if name in ("flow-splat", "large") else 1
    model = MODELS[name]()
    for i, expected in enumerate(alone):
        assert torch.equal(model.interpolate(*clip[i : i + 2], 0.5), expected)
    assert len(made) == 3 * kinds
    clip[2].mul_(0.5)
    changed = model.interpolate(*clip[1:], 0.5)
    assert len(made) == 4 * kinds and torch.equal(changed, MODELS[name]().interpolate(*clip[1:], 0.5))


def test_the_flow_goes_from_the_first_to_the_second(sliding):
    """Of each sample of a batch its own, of either plane."""
    first = torch.cat([torch.from_numpy(sliding(x)).permute(2, 0, 1)[None] / 255 for x in (20, 20)])
    second = torch.cat([torch.from_numpy(sliding(x)).permute(2, 0, 1)[None] / 255 for x in (23, 15)])
    usual = FlowSplat().config
    for config in (*usual.flows, *usual.flows_of_large):
        flow = optical_flow(first, second, config)
        assert flow.shape == (2, 2, *first.shape[2:]) and flow.dtype == torch.float32
        along = flow[:, :, 10:-10, 16:-16].flatten(2).median(2).values
        torch.testing.assert_close(along, torch.tensor([[-3.0, 0], [5.0, 0]]), atol=0.3, rtol=0)


def test_a_plane_that_there_is_not_gets_one_sentence():
    with pytest.raises(ArgumentError, match=r"^DisConfig: expected plane luma or chroma, got 'red'$"):
        DisConfig(plane="red")
