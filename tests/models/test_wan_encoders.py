"""Wan's VAE and encoders from its own files, and where the parts of a folder are."""

import json
from types import SimpleNamespace

import pytest
import torch
import wan_originals as originals
from safetensors.torch import save_file

from vfi.errors import UserError
from vfi.networks import wan
from vfi.networks.wan.clip import MEAN, STD, clip_input

pytest.importorskip("diffusers")
DIT, CLIP, T5, VAE = "diffusion_pytorch_model.safetensors", "clip.pth", "t5.pth", "Wan2.1_VAE.pth"


def test_the_vae_is_wans(tmp_path):
    """Of single frames, whatever a frame's place in a clip may be; nothing is left over of what clips need."""
    state = originals.random(originals.vae_shapes())
    torch.save(state, tmp_path / VAE)
    network = wan.vae(tmp_path / VAE)
    frame = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        latent = network.encode(frame[:, :, None]).latent_dist.mean
        torch.testing.assert_close(latent[:, :, 0], originals.encoded(state, frame), rtol=1e-4, atol=1e-4)
        again = network.decode(latent).sample[:, :, 0]
    torch.testing.assert_close(again, originals.decoded(state, latent[:, :, 0]), rtol=1e-4, atol=1e-4)
    assert latent.std() > 0.05 and again.std() > 0.05
    network.save_pretrained(tmp_path / "whole" / "vae")
    copy = wan.vae(tmp_path / "whole")
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in network.state_dict().items())
    assert copy.config.latents_mean == network.config.latents_mean
    del state["decoder.upsamples.3.time_conv.bias"]
    torch.save(state, tmp_path / VAE)
    with pytest.raises(UserError, match=r"1 keys missing: decoder\.up_blocks\.0\.upsamplers\.0\.time_conv\.bias"):
        wan.vae(tmp_path / VAE)


def test_latents_of_other_sizes_bring_their_statistics(tmp_path):
    torch.save(originals.random(originals.vae_shapes(latent=4)), tmp_path / VAE)
    with pytest.raises(UserError, match=r"expected latents of 16 channels in .*, got 4"):
        wan.vae(tmp_path / VAE)
    save_file(originals.random(originals.vae_shapes(latent=4)), tmp_path / DIT)
    for mean, wrong in (([0.0, 1, 2, 3], False), ([0.0], True), ("none", True), ([float("inf")] * 4, True)):
        (tmp_path / "config.json").write_text(json.dumps({"latents_mean": mean, "latents_std": [1, 1, 1, 1]}))
        if wrong:
            with pytest.raises(UserError, match=r"expected 4 numbers as latents_mean in config\.json"):
                wan.vae(tmp_path)
        else:
            assert wan.vae(tmp_path).config.latents_mean == mean


def test_the_image_encoder_is_wans(tmp_path):
    state = originals.random(originals.clip_shapes())
    torch.save(state, tmp_path / CLIP)
    network = wan.image_encoder(tmp_path / CLIP, heads=4)
    picture = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        seen = network(picture, output_hidden_states=True)
    assert seen.hidden_states[-2].shape == (2, 10, 32)
    torch.testing.assert_close(seen.hidden_states[-2], originals.clip(state, picture, 4, 2), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen.last_hidden_state, originals.clip(state, picture, 4, 3), rtol=1e-5, atol=1e-5)
    swapped = dict(state)
    weight = state["visual.transformer.0.attn.to_qkv.weight"]
    swapped["visual.transformer.0.attn.to_qkv.weight"] = weight.roll(32, 0)
    assert (originals.clip(swapped, picture, 4, 2) - seen.hidden_states[-2]).abs().max() > 0.01
    network.save_pretrained(tmp_path / "whole" / "image_encoder")
    copy = wan.image_encoder(tmp_path / "whole")
    with torch.no_grad():
        assert torch.equal(copy(picture).last_hidden_state, seen.last_hidden_state)
    old = {f"vision_model.{key}": value for key, value in network.state_dict().items()}
    save_file(old, tmp_path / "whole" / "image_encoder" / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(wan.image_encoder(tmp_path / "whole")(picture).last_hidden_state, seen.last_hidden_state)
    with pytest.raises(UserError, match=r"cannot tell how many heads .*: 32 channels, 0 heads"):
        wan.image_encoder(tmp_path / CLIP)
    state["visual.transformer.0.attn.to_q.weight"] = state.pop("visual.transformer.0.attn.to_qkv.weight")
    torch.save(state, tmp_path / CLIP)
    with pytest.raises(
        UserError, match=r"3 keys missing: .*1 keys unknown: visual\.transformer\.0\.attn\.to_q\.weight"
    ):
        wan.image_encoder(tmp_path / CLIP, heads=4)


def test_the_text_encoder_is_wans(tmp_path):
    """The positions reach beyond 8, where their buckets grow, and beyond 128, where they end."""
    state = originals.random(originals.t5_shapes())
    torch.save(state, tmp_path / T5)
    network = wan.text_encoder(tmp_path / T5)
    ids = torch.randint(30, (1, 150), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = network(ids).last_hidden_state
    torch.testing.assert_close(states, originals.t5(state, ids, 3), rtol=1e-4, atol=1e-4)
    for a, b in (("attn.q", "attn.k"), ("ffn.gate.0", "ffn.fc1")):
        names = [f"blocks.0.{name}.weight" for name in (a, b)]
        swapped = {**state, names[0]: state[names[1]], names[1]: state[names[0]]}
        assert (originals.t5(swapped, ids, 3) - states).abs().max() > 0.01
    assert network.shared.weight is network.encoder.embed_tokens.weight
    network.save_pretrained(tmp_path / "whole" / "text_encoder")
    with torch.no_grad():
        assert torch.equal(wan.text_encoder(tmp_path / "whole")(ids).last_hidden_state, states)
    assert {p.dtype for p in wan.text_encoder(tmp_path / T5, torch.bfloat16).parameters()} == {torch.bfloat16}
    del state["blocks.1.pos_embedding.embedding.weight"]
    torch.save(state, tmp_path / T5)
    with pytest.raises(UserError, match=r"1 keys missing: blocks\.1\.pos_embedding\.embedding\.weight$"):
        wan.text_encoder(tmp_path / T5)


def test_the_empty_prompt(tmp_path):
    """As the pipeline of diffusers has it: the end token, padding that the encoder is told not to see, then zeros."""
    torch.save(originals.random(originals.t5_shapes()), tmp_path / T5)
    network = wan.text_encoder(tmp_path / T5)
    embedding = wan.empty_prompt(network)
    assert embedding.shape == (1, 512, 24) and not embedding.requires_grad
    assert embedding[0, 0].abs().max() > 0.1 and not embedding[0, 1:].any()
    padded, mask = torch.zeros(1, 512, dtype=torch.long), torch.zeros(1, 512, dtype=torch.long)
    padded[0, 0] = mask[0, 0] = 1
    with torch.no_grad():
        torch.testing.assert_close(network(padded, mask).last_hidden_state[:, 0], embedding[:, 0], rtol=1e-5, atol=1e-5)
    assert wan.empty_prompt(network, 7).shape == (1, 7, 24)
    with pytest.raises(UserError, match="length of 1 or more, got 0"):
        wan.empty_prompt(network, 0)


def test_finding_the_parts(tmp_path):
    names = {
        "transformer": DIT, "vae": VAE, "text_encoder": "models_t5_umt5-xxl-enc-bf16.pth",
        "image_encoder": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
    }  # fmt: skip
    for name in names.values():
        (tmp_path / name).touch()
    assert wan.find(tmp_path) == wan.Parts(**{part: tmp_path / name for part, name in names.items()})
    (tmp_path / DIT).rename(tmp_path / f"{DIT}.index.json")
    assert wan.find(tmp_path).transformer == tmp_path
    (tmp_path / VAE).unlink()
    with pytest.raises(UserError, match=r"not complete: Wan2\.1_VAE\.pth \(or the folder vae\) is missing$"):
        wan.find(tmp_path)
    (tmp_path / "vae").mkdir()
    assert wan.find(tmp_path).vae == tmp_path / "vae"
    with pytest.raises(UserError, match="which is no folder"):
        wan.find(tmp_path / "none")


def test_frames_as_public_pipelines_show_them_to_clip():
    """Wan's: bicubic samples, no antialias, not clamped; SVD's with antialias, in [0, 1]."""
    encoder = SimpleNamespace(config=SimpleNamespace(image_size=8), dtype=torch.float32)
    frames = torch.rand(2, 3, 30, 44, generator=torch.Generator().manual_seed(0)).round()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    plain = torch.nn.functional.interpolate(frames, size=(8, 8), mode="bicubic", align_corners=False)
    assert plain.min() < 0 and plain.max() > 1
    torch.testing.assert_close(clip_input(frames, encoder), (plain - mean) / std)
    smooth = clip_input(frames, encoder, antialias=True) * std + mean
    assert smooth.min() >= -1e-6 and smooth.max() <= 1 + 1e-6 and smooth.std() < plain.std() / 2
