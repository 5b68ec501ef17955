"""RDVFI from published files, and by the `vfi` command."""

import json

import pytest
import torch

pytest.importorskip("diffusers")

import wan_originals as originals
from safetensors.torch import save_file

from vfi.commands.main import main
from vfi.errors import UserError
from vfi.files.images import read_image, write_image
from vfi.models import rdvfi
from vfi.networks import wan

NAMES = wan.files.PUBLISHED
SIZE = {"low_size": (64, 64), "keyframes": 3}


@pytest.fixture
def published(tmp_path):
    """A folder like Wan2.1-Fun-1.3B-InP, small."""
    folder = tmp_path / "Wan2.1-Fun-1.3B-InP"
    folder.mkdir()
    shapes = {
        "transformer": originals.dit_shapes(text=24, image=80),
        "vae": originals.vae_shapes(),
        "text_encoder": originals.t5_shapes(),
        "image_encoder": originals.clip_shapes(width=80),
    }
    for seed, (part, names) in enumerate(shapes.items()):
        state = originals.random(names, seed)
        save = save_file if NAMES[part].endswith("safetensors") else torch.save
        save(state, folder / NAMES[part])
    (folder / "config.json").write_text(json.dumps({"num_heads": 2, "model_type": "i2v"}))
    return folder


@pytest.fixture
def svd(tmp_path):
    """A folder like stable-video-diffusion-img2vid, small: a U-Net of eight input channels."""
    folder, net = tmp_path / "svd", rdvfi.tiny("u")
    unet = net.denoiser
    narrow = torch.nn.Conv2d(8, unet.conv_in.out_channels, 3, padding=1)
    narrow.load_state_dict({"weight": unet.conv_in.weight[:, :8], "bias": unet.conv_in.bias})
    unet.conv_in = narrow
    unet.register_to_config(in_channels=8)
    unet.save_pretrained(folder / "unet", variant="fp16")
    net.vae.save_pretrained(folder / "vae")
    net.image_encoder.save_pretrained(folder / "image_encoder")
    return folder


def own_weights(net, path, *parts):
    names = {f"{part}.{key}": value for part in parts for key, value in getattr(net, part).state_dict().items()}
    save_file({key: value.contiguous() for key, value in names.items()}, path)
    return path


def pair():
    return torch.rand(2, 1, 3, 70, 90, generator=torch.Generator().manual_seed(0))


def frame_of(net):
    return net.interpolate(*pair(), 0.5, torch.Generator().manual_seed(0))


def test_wan(published):
    net = rdvfi.from_backbone("d", published, **SIZE)
    assert net.variant == "d" and frame_of(net).isfinite().all()
    # The prompt is what T5 makes of the end token alone
    state = torch.load(published / NAMES["text_encoder"], weights_only=True)
    torch.testing.assert_close(net.prompt.embedding.data, originals.t5(state, torch.tensor([[1]]), 3)[0])
    torch.testing.assert_close(net.prompt(2)[:, 1:], torch.zeros(2, 511, 24))


def test_weights_bring_the_prompt_so_that_t5_is_not_read(published, tmp_path):
    net = rdvfi.from_backbone("d", published, **SIZE)
    torch.nn.init.normal_(net.synthesis.head.weight)
    wanted = frame_of(net)
    path = own_weights(net, tmp_path / "own.safetensors", "estimator", "synthesis", "prompt")
    (published / NAMES["text_encoder"]).unlink()
    torch.testing.assert_close(frame_of(rdvfi.from_backbone("d", published, path, **SIZE)), wanted)
    with pytest.raises(UserError, match=r"models_t5_umt5-xxl-enc-bf16.pth .* is missing"):
        rdvfi.from_backbone("d", published, own_weights(net, path, "estimator", "synthesis"), **SIZE)


def test_a_trained_denoiser_takes_the_place_of_the_published(published, tmp_path):
    net = rdvfi.from_backbone("d", published, **SIZE)
    torch.nn.init.normal_(net.denoiser.proj_out.weight)
    wanted = net.trajectory(*pair(), torch.Generator().manual_seed(0)).latents
    parts = ("estimator", "synthesis", "prompt", "denoiser")
    again = rdvfi.from_backbone("d", published, own_weights(net, tmp_path / "own.safetensors", *parts), **SIZE)
    torch.testing.assert_close(again.trajectory(*pair(), torch.Generator().manual_seed(0)).latents, wanted)


def test_svd(svd):
    net = rdvfi.from_backbone("u", svd, **SIZE)
    assert net.variant == "u" and net.denoiser.config.in_channels == 12
    assert frame_of(net).isfinite().all()


def test_wider_unet_gives_what_it_gave():
    torch.manual_seed(0)
    unet = rdvfi.tiny("u").denoiser
    eight = torch.rand(1, 5, 8, 8, 8)
    others = {"timestep": torch.tensor([1.6]), "encoder_hidden_states": torch.rand(1, 2, 16)}
    added = torch.tensor([[6.0, 127.0, 0.02]])
    wide = unet(torch.cat((eight, torch.rand(1, 5, 4, 8, 8)), 2), **others, added_time_ids=added).sample
    narrow = torch.nn.Conv2d(8, unet.conv_in.out_channels, 3, padding=1)
    narrow.load_state_dict({"weight": unet.conv_in.weight[:, :8], "bias": unet.conv_in.bias})
    unet.conv_in = narrow
    torch.testing.assert_close(wide, unet(eight, **others, added_time_ids=added).sample)
    assert rdvfi.widened(unet).config.in_channels == 12 and unet.conv_in.in_channels == 12
    with pytest.raises(ValueError, match="expected a U-Net of 8 or 12 input channels, got 3"):
        unet.conv_in = torch.nn.Conv2d(3, 4, 3)
        rdvfi.widened(unet)


@pytest.mark.parametrize(("variant", "stance"), [
    ("d", "default"), ("u", "force_eager"), pytest.param("u", "default", marks=pytest.mark.nightly),
])  # fmt: skip
def test_a_compiled_denoiser(variant, stance):
    """To trace the U-Net takes half a minute; that it is recognised needs no trace."""
    net = rdvfi.tiny(variant)
    torch.nn.init.normal_(net.synthesis.head.weight)
    wanted = frame_of(net)
    net.denoiser = torch.compile(net.denoiser, backend="eager")
    assert net.variant == variant
    with torch.compiler.set_stance(stance):
        torch.testing.assert_close(frame_of(net), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["d", "u"])
def test_half_precision_leaves_trajectories_exact(variant, published, svd):
    net = rdvfi.from_backbone(variant, published if variant == "d" else svd, dtype=torch.bfloat16, **SIZE)
    assert net.estimator.dtype == net.vae.dtype == torch.float32
    assert net.image_encoder.dtype == net.synthesis.dtype == torch.bfloat16
    if variant == "d":
        assert net.denoiser.scale_shift_table.dtype == torch.float32  # as diffusers keeps it
        assert net.denoiser.patch_embedding.weight.dtype == torch.bfloat16
    assert frame_of(net).isfinite().all()
    assert net.trajectory(*pair()).motion.nodes0.dtype == torch.float32


def test_wrong_files_are_one_sentence(published, svd, tmp_path):
    for arguments, sentence in (
        (("x", published), "expected the variant d or u, got 'x'"),
        (("d", tmp_path / "nothing"), "expected the folder of Wan2.1-Fun-1.3B-InP, got .*nothing"),
        (("d", svd), "the files of Wan 2.1 in .* are not complete"),
        (("u", published), "expected the folder vae of stable-video-diffusion-img2vid in"),
        (
            ("u", svd, own_weights(rdvfi.tiny("d"), tmp_path / "d.safetensors", "estimator")),
            "does not fit RDVFI's own networks: ",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            rdvfi.from_backbone(*arguments, **SIZE)
    with pytest.raises(UserError, match="expected the variant d or u, got 'D'"):
        rdvfi.tiny("D")
    with pytest.raises(UserError, match=r"expected a folder with model_index.json"):
        rdvfi.load(published)
    (published / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    with pytest.raises(UserError, match="holds StableDiffusionXLPipeline, not RDVFI"):
        rdvfi.load(published)
    (published / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as RDVFI"):
        rdvfi.load(published)
    (svd / "unet" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        rdvfi.from_backbone("u", svd)


@pytest.fixture
def command(tmp_path, sliding):
    torch.manual_seed(0)
    net = rdvfi.tiny("d")
    torch.nn.init.normal_(net.estimator.adjacent.head.weight, std=0.1)
    net.save_pretrained(tmp_path / "whole")
    for name, x in (("a", 20), ("b", 28)):
        write_image(tmp_path / f"{name}.png", sliding(x, width=75, height=61))

    def run(*options, code=0):
        words = ["interpolate", tmp_path / "a.png", tmp_path / "b.png", "--model", "rdvfi-d", "--overwrite"]
        assert main([str(word) for word in (*words, "--weights", tmp_path / "whole", *options)]) == code

    return run


def test_images_by_command(command, tmp_path):
    strip = tmp_path / "strip.png"
    command("-o", tmp_path / "f_%d.png", "--t", 0.25, 0.5, "--strip", strip)
    command("-o", tmp_path / "one.png", "--t", 0.5)
    command("-o", tmp_path / "other.png", "--t", 0.5, "--seed", 3)
    pictures = {name: read_image(tmp_path / name).rgb for name in ("f_1.png", "f_2.png", "one.png", "other.png")}
    assert (pictures["f_2.png"] == pictures["one.png"]).all()  # the same noise for every run
    assert (pictures["other.png"] != pictures["one.png"]).any()
    assert read_image(strip).rgb.std() > 10
    command("-o", tmp_path / "half.png", "--dtype", "bfloat16", "--warp", "backward")


def test_video_by_command(command, tmp_path, make_video, sliding):
    video = make_video([sliding(x, width=64, height=48) for x in range(0, 30, 10)])
    words = ("interpolate", video, "-o", tmp_path / "out.mp4", "--factor", 4, "--model", "rdvfi-d", "--weights")
    assert main([str(word) for word in (*words, tmp_path / "whole", "--quiet")]) == 0
    assert (tmp_path / "out.mp4").stat().st_size > 0


def test_wrong_commands_are_one_sentence(command, tmp_path, capsys):
    weights = own_weights(rdvfi.tiny("d"), tmp_path / "own.safetensors", "estimator", "synthesis")
    out = ("-o", tmp_path / "m.png")
    for options, sentence in (
        (("--model", "rdvfi-u"), "holds rdvfi-d, not rdvfi-u"),
        (("--dtype", "int8"), "expected --dtype float32, bfloat16, float16, got int8"),
        (("--offload", "--device", "cpu"), "--offload is for a GPU"),
        (("--weights", weights), "the model rdvfi-d needs --backbone, the folder of Wan2.1-Fun-1.3B-InP"),
        (("--backbone", tmp_path), "give --backbone with a file of weights only"),
        (("--scale", 0.5), "--scale is not for the model rdvfi-d"),
        (("--seed", 10**30), "expected --seed from 0 to 9223372036854775807"),
        (("--weights", tmp_path / "nothing"), "nothing does not exist"),
        (("--weights", tmp_path, "--backbone", tmp_path), "expected a file of weights beside --backbone"),
    ):
        command(*out, *options, code=2)
        captured = capsys.readouterr().err
        assert sentence in captured and len(captured.strip().splitlines()) == 1, captured
