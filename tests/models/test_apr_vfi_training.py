"""Training of APR-VFI: what each of the three stages trains, for which terms, and that it learns."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny import batch, log_of

from vfi.data.synthetic import triplet
from vfi.errors import UserError
from vfi.models.apr_vfi import APRVFI
from vfi.models.apr_vfi.routing import misalignment, top_shares
from vfi.models.apr_vfi.training import APRObjective, objective
from vfi.training import Job, train
from vfi.training.losses import census, charbonnier, psnr


def fresh():
    torch.manual_seed(0)
    return objective(None, tiny=True)


def test_stages_train_what_the_paper_says():
    with torch.device("meta"):
        whole = APRObjective(APRVFI())
    flow, router = 632_900, 5_128
    counts = [sum(p.numel() for group in whole.begin(stage) for p in group.parameters) for stage in (1, 2, 3)]
    assert counts == [2_236_656 - router, 2_236_656 - router - flow, 2_236_656 - flow]
    assert [s.steps for s in whole.stages] == [800_000, 200_000, 200_000]
    assert {(s.batch, s.warm_up, s.learning_rate, s.final_rate, s.weight_decay) for s in whole.stages} == {
        (32, 2000, 2e-4, 2e-5, 1e-4)
    }
    assert whole.weights == {"reconstruction": 1, "census": 0.1, "route": 0.01}


def test_it_begins_with_the_mean_of_the_warped_frames():
    frames, _ = batch()
    network = fresh().network.eval()
    with torch.no_grad():
        result = network(frames[:, 0], frames[:, 2], routing="static")
    torch.testing.assert_close(result.frame, (result.warped0 + result.warped1) / 2)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_terms(stage):
    whole = fresh()
    for earlier in range(1, stage + 1):
        whole.begin(earlier)
    frames, times = batch()
    torch.manual_seed(0)
    outcome = whole.outcome(frames, times)
    assert set(outcome.terms) == {"reconstruction", "census"} | ({"route"} if stage == 3 else set())
    truth = frames[:, 1]
    torch.testing.assert_close(outcome.terms["reconstruction"], charbonnier(outcome.frames, truth))
    torch.testing.assert_close(outcome.terms["census"], census(outcome.frames.flip(1), truth.flip(1)))
    torch.testing.assert_close(outcome.loss, sum(whole.weights[name] * term for name, term in outcome.terms.items()))
    if stage == 3:
        torch.manual_seed(0)
        result = whole.network(frames[:, 0], frames[:, 2])
        scores = misalignment(result.warped0, result.warped1, result.seen, 16)[..., None]
        wanted = top_shares(scores, whole.network.config.keep)
        assert wanted.float().mean((0, 1, 2)).tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])
        assert outcome.terms["route"].item() == pytest.approx((result.route - wanted.float()).abs().mean().item())
        outcome.terms["route"].backward()
        assert whole.network.router.choice.weight.grad.any()


@pytest.mark.nightly
def test_synthesis_learns(tmp_path):
    """With the exact flow in place of the network's, above the mean of the warped frames."""
    whole = fresh()
    made = [triplet(seed, (64, 64), max_motion=8) for seed in range(4)]
    frames = torch.stack([one.frames for one in made]).flip(2)
    flow = torch.stack([torch.cat((one.flow[2:] - one.flow[:2], one.flow[:2] - one.flow[2:])) for one in made])
    whole.network.flow.forward = lambda frame0, frame1, levels=None: flow
    optimizer = torch.optim.AdamW(whole.begin(1)[0].parameters)
    losses = []
    for step in range(80):
        optimizer.param_groups[0]["lr"] = min(step + 1, 20, 80 - step) / 20 * 1e-3
        outcome = whole.outcome(frames, torch.full((4,), 0.5))
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        losses.append(psnr(outcome.frames.detach(), frames[:, 1]).item())
    assert losses[-1] > losses[0] + 1.5, losses


@pytest.mark.nightly
def test_three_stages(tmp_path):
    """Each begins where the one before ended; what is frozen stays, what is trained moves."""
    whole = fresh()
    states = [{k: v.clone() for k, v in whole.network.state_dict().items()}]
    usual = {"data": "synthetic:4", "batch": 4, "crop": 64, "quiet": True, "augment": False, "learning_rate": 3e-3}
    for stage, steps in ((1, 12), (2, 5), (3, 40)):
        folder = tmp_path / str(stage)
        train(whole, Job("apr-vfi", stage, output=folder, steps=steps, **usual))
        states.append(load_file(folder / "weights.safetensors"))
    frozen = [("patch", "router."), ("patch", "router.", "flow."), ("patch", "flow.")]
    for before, after, names in zip(states, states[1:], frozen):
        moved = {k for k, v in after.items() if not torch.equal(v, before[k])}
        assert moved == {k for k in after if not k.startswith(names)}
    route = [record["route"] for record in log_of(tmp_path / "3")[1:]]
    assert sum(route[-5:]) < 0.8 * sum(route[:5]), "the router learns the reference route"


def test_sampled_routes_go_on_too(tmp_path):
    """The third stage draws routes at random: the same ones when it was stopped in between."""
    whole = fresh()
    usual = {"data": "synthetic:2", "batch": 2, "crop": 64, "quiet": True, "steps": 4, "learning_rate": 1e-3}
    train(whole, Job("apr-vfi", 1, output=tmp_path / "1", **usual))
    weights = str(tmp_path / "1" / "weights.safetensors")
    train(objective(weights, tiny=False), Job("apr-vfi", 3, output=tmp_path / "whole", **usual))
    train(objective(weights, tiny=False), Job("apr-vfi", 3, output=tmp_path / "parts", stop_after=2, **usual))
    torch.rand(7)
    train(objective(weights, tiny=False), Job("apr-vfi", 3, output=tmp_path / "parts", resume=True, **usual))
    once, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[key]) for key, value in once.items())


def test_later_stages_want_weights(tmp_path):
    job = Job("apr-vfi", 2, output=tmp_path / "x", data="synthetic:2", batch=2, crop=64, steps=1)
    with pytest.raises(UserError, match="stage 2 begins with weights of the stage before"):
        train(fresh(), job)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.in_turn
def test_mixed_precision(tmp_path, precision):
    job = Job("apr-vfi", 1, output=tmp_path, data="synthetic:2", batch=2, crop=64, steps=2, quiet=True)
    train(fresh(), replace(job, precision=precision))
    assert all(value.isfinite().all() for value in load_file(tmp_path / "weights.safetensors").values())
    assert 0 < log_of(tmp_path)[-1]["loss"] < 1
