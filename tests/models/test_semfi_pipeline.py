"""SemFi as a pipeline: what it generates from two frames and a text."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("diffusers")
from vfi.models import semfi


def ends(height=64, width=96):
    return torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frames", [5, 9, 17])
def test_generates_frames(frames):
    pipe, (first, last) = semfi.tiny(), ends()
    steps = []
    settings = {"steps": 3, "size": (64, 96)}
    result = pipe.generate(first, last, "a cat.", frames, callback=lambda *done: steps.append(done), **settings)
    assert result.shape == (frames, 3, 64, 96) and result.min() >= 0 and result.max() <= 1
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert pipe.transformer.expert == semfi.expert_for(frames)
    same = pipe.generate(first, last, "a cat.", frames, **settings)
    assert torch.equal(result, same)
    for mode in ("merged", "naive"):
        pipe.transformer.set_frames(frames, mode)
        other = pipe.generate(first, last, "a cat.", frames, **settings)
        torch.testing.assert_close(other, result, atol=2e-3, rtol=0)


def test_what_is_given_decides():
    pipe, (first, last) = semfi.tiny(), ends()
    settings = {"steps": 2, "size": (64, 96)}
    usual = pipe.generate(first, last, "a cat.", 5, **settings)
    for changed in (
        pipe.generate(first, last, "dogs, many dogs.", 5, **settings),
        pipe.generate(first, last, "a cat.", 5, negative_prompt="blur", **settings),
        pipe.generate(first, last, "a cat.", 5, cfg=1.0, **settings),
        pipe.generate(first, last, "a cat.", 5, seed=1, **settings),
        pipe.generate(first, first, "a cat.", 5, **settings),
        pipe.generate(last, last, "a cat.", 5, **settings),
    ):
        assert not torch.equal(changed, usual)


def test_conditioning():
    """Guidance frames, mask, and the sum of CLIP's features, as the transformer gets them."""
    pipe, (first, last) = semfi.tiny(), ends()
    seen = []
    forward = pipe.transformer.forward
    pipe.transformer.forward = lambda **inputs: seen.append(inputs) or forward(**inputs)
    pipe.generate(first, last, "", 9, steps=2, cfg=1.0, size=(64, 96))
    inputs = seen[0]
    assert inputs["hidden_states"].shape == (1, 36, 3, 8, 12) and inputs["encoder_hidden_states"].shape == (1, 512, 32)
    assert [value["timestep"].item() for value in seen] == pytest.approx([1000.0, 1000 * 2.5 / 3])
    mask = inputs["hidden_states"][0, 16:20].mean((2, 3))
    assert mask.tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    clip = torch.cat((first[:, :, None], torch.full((1, 3, 7, 64, 96), 0.5), last[:, :, None]), 2)
    mode = pipe.vae.encode(2 * clip - 1).latent_dist.mode()
    mean, std = (
        torch.tensor(v).view(1, -1, 1, 1, 1) for v in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std)
    )
    torch.testing.assert_close(inputs["hidden_states"][:, 20:], (mode - mean) / std, atol=1e-4, rtol=1e-4)

    def features(frame):
        small = F.interpolate(frame, (32, 32), mode="bicubic")
        shift, scale = torch.tensor((0.48145466, 0.4578275, 0.40821073)), (0.26862954, 0.26130258, 0.27577711)
        values = (small - shift.view(3, 1, 1)) / torch.tensor(scale).view(3, 1, 1)
        return pipe.image_encoder(values, output_hidden_states=True).hidden_states[-2]

    torch.testing.assert_close(inputs["encoder_hidden_states_image"], features(first) + features(last))


def test_sigmas_are_the_published():
    schedule = semfi.ShiftedEuler(shift=5.0)
    schedule.set_timesteps(4)
    torch.testing.assert_close(schedule.sigmas, torch.tensor([1.0, 0.9375, 5 / 6, 0.625, 0.0]))
    torch.testing.assert_close(schedule.timesteps, 1000 * schedule.sigmas[:-1])


def test_numbers_of_frames():
    assert [semfi.rounded(n) for n in (2, 5, 6, 7, 8, 9, 10, 80, 81)] == [5, 5, 9, 9, 9, 9, 13, 81, 81]
    result = semfi.tiny().generate(*ends(), "", 7, steps=1, size=(32, 32))
    assert len(result) == 9


def test_size_follows_the_frames():
    from vfi.models.semfi.pipeline import size_for

    assert size_for(480, 832) == (480, 832) and size_for(1080, 1920) == (480, 848)
    assert size_for(1920, 1080) == (848, 480)
    assert all(side % 16 == 0 for side in size_for(7, 1000))


def test_whole_pipeline_is_saved_and_loaded(tmp_path):
    pipe, pair = semfi.tiny(), ends()
    wanted = pipe.generate(*pair, "a cat.", 9, steps=2, size=(64, 96))
    pipe.save_pretrained(tmp_path)
    again = semfi.load(tmp_path)
    torch.testing.assert_close(again.generate(*pair, "a cat.", 9, steps=2, size=(64, 96)), wanted, atol=1e-4, rtol=0)
    half = semfi.load(tmp_path, torch.bfloat16)
    assert half.vae.dtype == torch.float32 and half.transformer.patch_embedding.weight.dtype == torch.bfloat16
    assert half.generate(*pair, "a cat.", 9, steps=2, size=(64, 96)).isfinite().all()
    half.enable_model_cpu_offload(device="cpu")
    assert half.generate(*pair, "", 5, steps=1, size=(64, 96)).isfinite().all()


def test_wrong_requests():
    pipe, (first, last) = semfi.tiny(), ends()
    for arguments, options, sentence in (
        ((first, last[..., :-1]), {}, "expected two frames of one shape"),
        ((first.expand(2, -1, -1, -1), last.expand(2, -1, -1, -1)), {}, "expected one pair of frames, got 2"),
        ((first, last, "", 1), {}, "expected num_frames of 2 or more, got 1"),
        ((first, last), {"steps": 0}, "expected steps of 1 or more, got 0"),
        ((first, last), {"size": (60, 64)}, "expected a size of multiples of 16, got 60x64"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pipe.generate(*arguments, **options)
    for options, sentence in (
        ({"cfg": float("nan")}, "expected cfg of 1 or more, got nan"),
        ({"prompt": ["a", "b"]}, "expected prompt and negative_prompt to be text"),
        ({"size": 64}, "expected a size of a height and a width, got 64"),
        ({"num_frames": 5.0}, "expected num_frames to be a whole number, got 5.0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pipe.generate(first, last, **options)
    with pytest.raises(ValueError, match="expected frames of finite numbers"):
        pipe.generate(first / 0, last)
    for frames in (0, 9.5):
        with pytest.raises(ValueError, match=r"expected frames (of 1 or more|to be a whole number), got"):
            pipe.transformer.set_frames(frames)
    with pytest.raises(ValueError, match="expected max_sequence_length 512, got 226"):
        pipe(first, prompt="", last_image=last, max_sequence_length=226)
