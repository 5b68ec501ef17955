"""Wan 2.1's files: every tensor in its place, shown against the formulas written out in wan_originals."""

import json

import pytest
import torch
import wan_originals as originals
from safetensors.torch import save_file

from vfi.errors import UserError
from vfi.networks import wan

pytest.importorskip("diffusers")
DIT, CLIP, T5, VAE = "diffusion_pytorch_model.safetensors", "clip.pth", "t5.pth", "Wan2.1_VAE.pth"


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        AutoencoderKLWan,
        UNetSpatioTemporalConditionModel,
        WanTransformer3DModel,
    )

    with torch.device("meta"):
        assert count(WanTransformer3DModel(**wan.FUN_1_3B)) == 1_564_428_608
        assert count(WanTransformer3DModel(**wan.I2V_14B)) == 16_394_878_784
        assert count(AutoencoderKLWan()) == 126_892_531
        assert count(UNetSpatioTemporalConditionModel()) == 1_524_623_082
        down, widths = ("DownEncoderBlock2D",) * 4, (128, 256, 512, 512)
        decoder = AutoencoderKLTemporalDecoder(down_block_types=down, block_out_channels=widths, layers_per_block=2)
        assert count(decoder) == 97_742_847


@pytest.fixture
def dit_file(tmp_path):
    """A small transformer with Wan's names, as one file and config.json."""

    def write(folder=tmp_path, heads=2, **sizes):
        state = originals.random(originals.dit_shapes(**sizes))
        save_file(state, folder / DIT)
        (folder / "config.json").write_text(json.dumps({"num_heads": heads, "dim": 24, "in_dim": 36}))
        return state

    return write


def inputs(channels=36, image=12, tokens=5):
    generator = torch.Generator().manual_seed(3)
    shapes = (1, channels, 2, 4, 6), (1, 512, 20), (1, tokens, image)
    x, text, seen = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, torch.tensor([700.0]), text, seen if image else None


def run(network, x, time, text, seen):
    with torch.no_grad():
        return network(x, time, text, seen).sample


@pytest.mark.parametrize(
    "sizes", [{}, {"layers": 3, "hidden": 17}, {"image": 0, "channels": 16}, {"freq": 8, "out": 4}]
)
def test_the_transformer_is_wans(dit_file, tmp_path, sizes):
    state = dit_file(**sizes)
    network = wan.transformer(tmp_path / DIT)
    arguments = inputs(sizes.get("channels", 36), sizes.get("image", 12))
    expected = originals.dit(state, *arguments, heads=2)
    torch.testing.assert_close(run(network, *arguments), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1 and not network.training
    assert torch.equal(run(wan.transformer(tmp_path), *arguments), run(network, *arguments)), "the folder is the same"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("self_attn.q", "self_attn.k"), ("cross_attn.k", "cross_attn.k_img"), ("cross_attn.v", "cross_attn.o"),
        ("self_attn.norm_q", "self_attn.norm_k"), ("cross_attn.norm_k", "cross_attn.norm_k_img"),
    ],
)  # fmt: skip
def test_every_place_counts(dit_file, tmp_path, a, b):
    """Two tensors of one shape exchanged give something else, so the test above would see it."""
    state = dit_file()
    swapped = {f"blocks.0.{a}.weight": f"blocks.0.{b}.weight", f"blocks.0.{b}.weight": f"blocks.0.{a}.weight"}
    other = {key: state[swapped.get(key, key)] for key in state}
    gap = originals.dit(state, *inputs(), heads=2) - originals.dit(other, *inputs(), heads=2)
    assert gap.abs().max() > 5e-3


def test_names_go_both_ways(dit_file):
    state = dit_file(positions=514)
    renamed = {key: wan.diffusers_name(key) for key in state}
    assert len(set(renamed.values())) == len(state)
    assert all(wan.original_name(new) == old for old, new in renamed.items())
    assert renamed["blocks.1.norm3.weight"] == "blocks.1.norm2.weight"
    assert wan.diffusers_name("blocks.7.cross_attn.k_img") == "blocks.7.attn2.add_k_proj"
    assert wan.diffusers_name("something.else.weight") == "something.else.weight"


def test_the_names_are_those_that_diffusers_converts(dit_file, tmp_path):
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    state = dit_file(positions=514)
    network = wan.transformer(tmp_path)
    converted = convert_wan_transformer_to_diffusers(dict(state))
    # its table has no name for the positions of the first and last frame
    converted["condition_embedder.image_embedder.pos_embed"] = converted.pop("img_emb.emb_pos")
    assert set(converted) == set(network.state_dict())
    assert all(torch.equal(value, converted[key]) for key, value in network.state_dict().items())
    assert network.config.pos_embed_seq_len == 514


def test_published_transformers_have_heads_of_128(tmp_path):
    save_file(originals.random(originals.dit_shapes(width=256, layers=1)), tmp_path / "one.safetensors")
    network = wan.transformer(tmp_path / "one.safetensors")
    assert network.config.num_attention_heads == 2 and network.config.attention_head_dim == 128
    assert wan.transformer(tmp_path / "one.safetensors", heads=4).config.num_attention_heads == 4


def in_shards(state, folder):
    """In two files with an index, as published."""
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    places = {key: names[i % 2] for i, key in enumerate(state)}
    for name in names:
        save_file({key: value for key, value in state.items() if places[key] == name}, folder / name)
    (folder / f"{DIT}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text('{"num_heads": 2}')
    return names


def test_shards(tmp_path):
    state = originals.random(originals.dit_shapes())
    names = in_shards(state, tmp_path)
    expected = originals.dit(state, *inputs(), heads=2)
    torch.testing.assert_close(run(wan.transformer(tmp_path), *inputs()), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"to say which \.safetensors file holds which tensor"):
        (tmp_path / f"{DIT}.index.json").write_text('{"weight_map": {"a": 3}}')
        wan.transformer(tmp_path)
    for wrong in ("../outside.safetensors", "..\\outside.safetensors"):
        (tmp_path / f"{DIT}.index.json").write_text(json.dumps({"weight_map": {"a": wrong}}))
        with pytest.raises(UserError, match="expected files of its own folder"):
            wan.transformer(tmp_path)
    places = {"weight_map": {"a": names[0], "b": "gone.safetensors"}}
    (tmp_path / f"{DIT}.index.json").write_text(json.dumps(places))
    with pytest.raises(UserError, match=r"gone\.safetensors, which is no file"):
        wan.transformer(tmp_path)
    (tmp_path / f"{DIT}.index.json").write_text(json.dumps({"weight_map": dict(zip("ab", names))}))
    save_file(state, tmp_path / names[0])
    with pytest.raises(UserError, match=r"but .* is in several files"):
        wan.transformer(tmp_path)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_folder_of_diffusers(dit_file, tmp_path, dtype):
    """The same as diffusers itself reads, also which parameters stay float32."""
    from diffusers import WanTransformer3DModel

    dit_file()
    wan.transformer(tmp_path).save_pretrained(tmp_path / "whole" / "transformer")
    for path in (tmp_path / "whole", tmp_path / "whole" / "transformer"):
        network = wan.transformer(path, dtype)
        expected = WanTransformer3DModel.from_pretrained(tmp_path / "whole" / "transformer", torch_dtype=dtype)
        assert network.config.num_attention_heads == 2
        for key, value in expected.state_dict().items():
            assert torch.equal(network.state_dict()[key], value) and network.state_dict()[key].dtype == value.dtype
        assert torch.equal(network.rope.freqs_cos, expected.rope.freqs_cos), "what is not stored is there too"
        assert torch.equal(run(network.float(), *inputs()), run(expected.float(), *inputs()))


def broken(change):
    def edit(state):
        state = dict(state)
        change(state)
        return state

    return edit


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("blocks.1.ffn.2.bias"), r"1 keys missing: blocks\.1\.ffn\.2\.bias$"),
        (lambda s: s.update(extra=torch.ones(1)), "1 keys unknown: extra$"),
        (lambda s: s.update({"blocks.0.norm2.weight": s.pop("blocks.0.norm3.weight")}),
         r"keys missing: blocks\.0\.norm3\.weight; 1 keys unknown: blocks\.0\.norm2\.weight"),
        (lambda s: s.update({"head.modulation": torch.ones(1, 3, 24)}), r"head\.modulation \(1, 3, 24\) instead of"),
        (lambda s: s["head.head.bias"].fill_(torch.nan), r"not finite in head\.head\.bias"),
        (lambda s: s.pop("patch_embedding.weight"), r"hold a transformer of Wan 2\.1, but it has no patch_embedding"),
        (lambda s: s.update({"head.head.bias": torch.ones(64, dtype=torch.int8)}), r"head\.bias is int8"),
        (lambda s: s.clear() or s.update(other=torch.ones(2)), "but it has no patch_embedding.weight of 5 dimensions"),
        (lambda s: s.update({"blocks.9.ffn.2.bias": torch.ones(24)}), r"keys missing: blocks\.2\..*blocks\.9\.ffn"),
    ],
)  # fmt: skip
def test_wrong_transformers_are_one_sentence(tmp_path, change, sentence):
    save_file(broken(change)(originals.random(originals.dit_shapes())), tmp_path / DIT)
    (tmp_path / "config.json").write_text('{"num_heads": 2}')
    with pytest.raises(UserError, match=sentence) as error:
        wan.transformer(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "cannot tell how many heads .* 24 channels, 0 heads; give config.json with num_heads"),
        ('{"num_heads": 5}', "24 channels, 5 heads"),
        ('{"num_heads": -2}', "expected num_heads in config.json beside .* to be a number, got -2"),
        ('{"num_heads": "2"}', "to be a number, got '2'"),
        ("[1]", "to hold names and values, got list"),
        ("{", "config.json: it is damaged, or no JSON"),
        ("[" * 100_000, "config.json: it is damaged, or no JSON"),
    ],
)
def test_wrong_settings_are_one_sentence(dit_file, tmp_path, text, sentence):
    dit_file()
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        wan.transformer(tmp_path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"expected diffusion_pytorch_model\.safetensors or model\.safetensors in"):
        wan.transformer(tmp_path)
    (tmp_path / DIT).write_bytes(b"no tensors")
    for load in (wan.transformer, wan.vae, wan.image_encoder, wan.text_encoder):
        with pytest.raises(UserError, match="is not a checkpoint that can be read safely"):
            load(tmp_path)
        with pytest.raises(UserError, match="which is no file"):
            load(tmp_path / "none.pth")
        torch.save({"weights": print}, tmp_path / "code.pth")
        with pytest.raises(UserError, match="it holds more than tensors"):
            load(tmp_path / "code.pth")
        torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
        with pytest.raises(UserError, match=r"expected .*other\.pth to hold .*, but it has no .* of \d dimensions"):
            load(tmp_path / "other.pth")
