"""RIFE 4: golden files, the table of the family, the plain forward, checkpoints, frames encoded once."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shared_files import SHARED, needs_shared
from test_rife import seeded

import vfi_kernels as vk
from vfi.errors import ArgumentError, UserError
from vfi.models import rife
from vfi.models.registry import load_model, load_objective
from vfi.models.rife4.family import FAMILY, NAMES, NETWORKS
from vfi.models.rife4.model import RIFE4, recognised, shapes_of
from vfi.networks.layers import resized

GOLDEN = ("4.0", "4.5", "4.6", "4.7", "4.12.lite", "4.13", "4.14.lite", "4.20", "4.22.lite", "4.25", "4.25.heavy",
          "4.25.lite")  # fmt: skip
WHOLE = {"4.25.lite"}  # in the fast tests
SMALL = [network.smaller() for network in FAMILY]


def small(network, seed=0):
    torch.manual_seed(seed)
    model = RIFE4(network).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(10 if "lastconv" in name else 1)  # flows of several pixels
    return model


def frames(height=128, width=192, batch=1):
    torch.manual_seed(1)
    coarse = torch.rand(2 * batch, 3, height // 8, width // 8, dtype=torch.float64)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1).split(batch)


@needs_shared
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in WHOLE else pytest.mark.slow, id=n) for n in GOLDEN])
def test_golden(name):
    """The files are float32: flows of 4.0 reach 490 pixels there, where their own rounding is 8.4e-5 of ours in
    float64."""
    with np.load(SHARED / "golden/rife4.npz") as file:
        found = {key: torch.from_numpy(value) for key, value in file.items() if key.startswith(("frame", f"{name}/"))}
    frame0, frame1 = (found.pop(f"frame{i}").double()[None] / 255 for i in (0, 1))
    model = seeded(rife.load(variant=name))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.mul_(8 if "lastconv" in key else 1)
    model.double()
    assert len(found) >= 2
    for key, expected in found.items():
        what = key.partition("/")[2]
        model.set_usual(scale=0.5 if "scale0.5" in what else 1.0, ensemble="ensemble" in what)
        result = model.interpolate(frame0, frame1, float(what[1:4]))[0, :, ::2, ::2]
        torch.testing.assert_close(result.float(), expected, rtol=0, atol=1e-4 if name == "4.0" else 2e-5)


@needs_shared
def test_the_table_has_the_published_tensors():
    published = json.loads((SHARED / "golden/rife4_state_dicts.json").read_text())
    assert {network.names[0] for network in FAMILY} == published.keys()
    for name, tensors in published.items():
        assert shapes_of(NETWORKS[name]) == {key: tuple(shape) for key, shape in tensors.items()}, name


def test_the_names():
    assert len(NAMES) == 36 and len(FAMILY) == 17 and NAMES[0] == "4.0" and NAMES[-1] == "4.26.heavy"
    for network in FAMILY:
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes_of(network).items()}
        assert recognised(state) is network


def plain(model, frame0, frame1, time, scale, ensemble):
    """The specification, step by step: everything warped and concatenated at full size, then reduced."""
    network = model.network

    def answer(i, pair, t, before, s):
        a, b = pair if before is None else (vk.backward_warp(pair[0], before["flow"][:, :2]),
                                            vk.backward_warp(pair[1], before["flow"][:, 2:]))  # fmt: skip
        x = [a[:, :3], b[:, :3], a[:, 3:], b[:, 3:], torch.full_like(a[:, :1], t)]
        x = torch.cat(x if before is None else [*x, before["mask"], before["features"]], 1)
        x = resized(x, 1 / s)
        if before is not None:
            x = torch.cat([x, resized(before["flow"], 1 / s) / s], 1)
        out = model.get_submodule(f"block{i}")(x)
        factor = s if network.shuffled else 2 * s
        out = resized(out, factor)
        return out[:, :4] * factor, out[:, 4:5], out[:, 5:] if network.features else out[:, :0]

    def turned(before):
        flow = torch.cat([before["flow"][:, 2:], before["flow"][:, :2]], 1)
        return {**before, "flow": flow, "mask": -before["mask"]}

    def step(i, before, s):
        flow, mask, features = answer(i, pair, time, before, s)
        if ensemble:
            other = answer(i, pair[::-1], 1 - time, before and turned(before), s)
            flow = (flow + torch.cat([other[0][:, 2:], other[0][:, :2]], 1)) / 2
            mask = (mask - other[1]) / 2
        if before is None:
            return {"flow": flow, "mask": mask, "features": features}, flow
        total = before["mask"] + mask if network.adds_masks else mask
        return {"flow": before["flow"] + flow, "mask": total, "features": features}, flow

    pair = [model.encoded(frame) for frame in (frame0, frame1)]
    scales = [s / scale for s in network.scales]
    state, _ = step(0, None, scales[0])
    state, change = step(1, state, scales[1])
    if network.widens and all(part.abs().max() > 32 for part in change.split(2, 1)):
        scales = [2 * s for s in scales]
        state, _ = step(0, None, scales[0])
        state, change = step(1, state, scales[1])
    for i in range(2, len(scales)):
        state, _ = step(i, state, scales[i])
    m = state["mask"].sigmoid()
    return vk.backward_warp(frame0, state["flow"][:, :2]) * m + vk.backward_warp(frame1, state["flow"][:, 2:]) * (1 - m)


FORWARDS = [pytest.param(n, 1.0, marks=() if i in (0, 6, 13) else pytest.mark.slow) for i, n in enumerate(SMALL)]
FORWARDS += [(SMALL[i], s) for i in (0, 6, 13) for s in (0.5, 2.0, 4.0)]


@pytest.mark.parametrize(("network", "scale"), FORWARDS, ids=lambda v: getattr(v, "names", (str(v),))[0])
def test_the_fast_forward_is_the_plain_one(network, scale):
    model, pair = small(network), frames(128, 128)
    for ensemble in (False, True) if network.takes_ensemble else (False,):
        with torch.no_grad():
            result = model(*pair, 0.3, scale, ensemble)
            expected = plain(model, *pair, 0.3, scale, ensemble)
        assert 1 < result.stages[-1].flow.abs().max() < 500
        torch.testing.assert_close(result.frame, expected, rtol=0, atol=1e-9)


def test_the_first_release_works_again_at_twice_the_scale_where_motion_is_large():
    model, pair = small(SMALL[0]), frames(128, 128)
    with torch.no_grad():
        assert not model.moves_far(torch.full((1, 4, 2, 2), 32.0))
        model.block1.lastconv.bias[:4] = 100
        torch.testing.assert_close(model(*pair).frame, plain(model, *pair, 0.5, 1.0, False), rtol=0, atol=1e-9)
        assert model(*pair).stages[0].masks[0].factor == 32
        model.block1.lastconv.bias[2:4] = 0  # of one frame alone
        assert model(*pair).stages[0].masks[0].factor == 16


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (90, 131)])
def test_any_size_and_time(size):
    model = small(SMALL[13]).float()
    frame0, frame1 = torch.rand(2, 1, 3, *size).unbind()
    results = model.interpolate(frame0, frame1, [0, 0.25, 1])
    assert [tuple(r.shape) for r in results] == [(1, 3, *size)] * 3
    assert torch.equal(results[0], frame0) and torch.equal(results[2], frame1)
    if size[0] % 64:
        return  # the padding is on one side
    turned = model.set_usual(tta=True).interpolate(frame0.flip(2, 3), frame1.flip(2, 3), 0.25)
    torch.testing.assert_close(turned.flip(2, 3), model.interpolate(frame0, frame1, 0.25), rtol=0, atol=1e-5)


def counted(model, monkeypatch):
    """How often a frame was encoded."""
    calls, encode = [], model.encode.forward
    monkeypatch.setattr(model.encode, "forward", lambda x: calls.append(1) or encode(x))
    return calls


def test_a_frame_is_encoded_once(monkeypatch):
    model = small(SMALL[13]).float()
    clip = [torch.rand(1, 3, 60, 70) for _ in range(3)]
    alone = [model.interpolate(clip[i].clone(), clip[i + 1].clone(), 0.5) for i in (0, 1)]
    calls = counted(model, monkeypatch)
    together = [model.interpolate_many(*clip[i : i + 2], [0.25, 0.5, 0.75]) for i in (0, 1)]
    assert len(calls) == 3 and len(model.seen_frames) == 3
    assert all(torch.equal(between[1], frame) for between, frame in zip(together, alone))
    clip[0].mul_(0.5)  # is another frame from then on
    model.interpolate(clip[0], clip[1], 0.5)
    assert len(calls) == 4
    model.set_usual(scale=0.5).interpolate(clip[0], clip[1], 0.5)
    assert len(calls) == 6
    with torch.no_grad():
        next(model.parameters()).mul_(1.1)
    model.interpolate(clip[0], clip[1], 0.5)
    assert len(calls) == 8
    del clip
    assert not model.seen_frames  # and nothing is kept of frames that are gone
    copy.deepcopy(model)


def test_a_video_encodes_every_frame_once(monkeypatch):
    from fractions import Fraction

    from vfi.commands.video_frames import Renderer
    from vfi.commands.workers import Workers
    from vfi.video.reader import TimedFrame
    from vfi.video.timeline import Multiplied

    model = small(SMALL[13]).float()
    calls = counted(model, monkeypatch)
    rng = np.random.default_rng(0)
    source = [
        TimedFrame(Fraction(i), Fraction(1), rng.integers(0, 40, (64, 64, 3), dtype=np.uint8) + 20 * i)
        for i in range(5)
    ]
    renderer = Renderer(Workers([(model, "cpu")]), Multiplied(4), scene_cuts=False)
    assert len(list(renderer.render(source))) == 20 and renderer.interpolated == 12
    assert len(calls) == 5


@pytest.mark.parametrize("index", [0, 4, 6, 13])
def test_checkpoints(tmp_path, index):
    """With or without `module.`, with tensors that are not used, of other widths than the published ones."""
    torch.manual_seed(0)
    model = RIFE4(SMALL[index]).eval()
    path = tmp_path / "flownet.pkl"
    unused = {"block_tea.conv0.0.0.weight": torch.zeros(3), "caltime.0.bias": torch.zeros(2)}
    torch.save({f"module.{key}": value for key, value in {**model.state_dict(), **unused}.items()}, path)
    again = rife.load(path)
    assert again.network == replace(SMALL[index], names=(f"like {FAMILY[index].names[0]}",))
    assert again.notices == (
        f"2 tensors of {path} are not used to interpolate: block_tea.conv0.0.0.weight, caltime.0.bias",
    )
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert load_model("rife", path, scale=0.5).scale == 0.5


def test_wrong_checkpoints_are_one_sentence(tmp_path):
    path = tmp_path / "flownet.pkl"
    state = {key: torch.zeros(shape) for key, shape in shapes_of(NETWORKS["4.15.lite"]).items()}
    torch.save(state, path)
    assert rife.load(path, variant="4.16.lite").network is NETWORKS["4.15.lite"]
    with pytest.raises(UserError, match=r"holds weights of RIFE 4\.15\.lite, 4\.16\.lite, 4\.17\.lite, not of 4\.25$"):
        rife.load(path, variant="4.25")
    with pytest.raises(ArgumentError, match=r"RIFE 4\.22 has no ensemble"):
        rife.load(variant="4.22").set_usual(ensemble=True)
    with pytest.raises(ArgumentError, match=r"RIFE of ECCV 2022 has no ensemble"):
        rife.load().set_usual(ensemble=True)
    with pytest.raises(ArgumentError, match=r"expected variant to be rife, rife_m, 4\.0, .*, got '4\.99'"):
        rife.load(variant="4.99")
    for key in ("block3.conv0.0.0.weight", "encode.cnn0.bias", "block2.convblock.5.beta"):
        torch.save({name: value for name, value in state.items() if name != key}, path)
        with pytest.raises(UserError, match=rf"most like RIFE 4\.15\.lite, .* fit: 1 keys missing: {key}"):
            rife.load(path)


@pytest.mark.parametrize("number", range(len(FAMILY)))
def test_a_network_without_a_whole_block_is_told(number, tmp_path):
    """By what is missing, and never taken for one of other widths; but some without their last block are another."""
    network, path = FAMILY[number], tmp_path / "cut.pkl"
    shapes = shapes_of(network)
    whole = {tuple(sorted(shapes_of(other).items())) for other in FAMILY}
    for block in (f"block{n}." for n in range(len(network.widths))):
        left = {name: shape for name, shape in shapes.items() if not name.startswith(block)}
        if tuple(sorted(left.items())) in whole:
            continue
        torch.save({name: torch.zeros(shape) for name, shape in left.items()}, path)
        with pytest.raises(UserError, match=rf"is most like RIFE 4[^:]*: .*{block}"):
            rife.load(path)


@pytest.mark.parametrize("name", ["4.6", "4.25"])
def test_training_learns(name):
    torch.manual_seed(0)
    objective = load_objective("rife", None, tiny=True, variant=name)
    assert objective.any_time and objective.multiple == NETWORKS[name].multiple
    (group,) = objective.begin(1)
    optimizer = torch.optim.AdamW(group.parameters, 1e-3)
    clip, losses = torch.rand(2, 3, 3, 128, 128), []
    for _ in range(6):
        outcome = objective.outcome(clip, torch.tensor([0.3, 0.5]))
        optimizer.zero_grad()
        outcome.loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in group.parameters)
        optimizer.step()
        losses.append(outcome.loss.item())
    assert losses[-1] < losses[0]
