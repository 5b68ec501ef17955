"""Files of RIFE, SG-RIFE and DINOv3: what loads, and what is refused in one sentence."""

import pytest
import torch
from tiny import SMALL_DINO

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import rife, sg_rife
from vfi.models.sg_rife.model import ADAPTERS


def metas_names(state):
    """A state dict of transformers' names as Meta's file has it."""
    names = {
        "attention.o_proj": "attn.proj", "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
        "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2",
    }  # fmt: skip
    tensors = {"rope_embed.periods": torch.ones(4)}
    for key, value in state.items():
        key = key.replace("embeddings.patch_embeddings", "patch_embed.proj").replace("register", "storage")
        key = key.replace("model.layer.", "blocks.").removeprefix("embeddings.")
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        tensors[key] = value[0] if key == "mask_token" else value
    for block in range(12):
        prefix = f"blocks.{block}.attention"
        weights = [tensors.pop(f"{prefix}.{n}_proj.weight") for n in "qkv"]
        q, v = tensors.pop(f"{prefix}.q_proj.bias"), tensors.pop(f"{prefix}.v_proj.bias")
        tensors[f"blocks.{block}.attn.qkv.weight"] = torch.cat(weights)
        tensors[f"blocks.{block}.attn.qkv.bias"] = torch.cat((q, torch.full_like(q, 7), v))
        tensors[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(3 * len(q))
    return tensors


@pytest.mark.parametrize("kind", ["meta", "transformers", "transformers 4"])
def test_dino_files(tmp_path, monkeypatch, kind):
    """Meta's names, transformers' and those of its fourth version give the same network."""
    make = sg_rife.dino.make_network
    monkeypatch.setattr(sg_rife.dino, "make_network", lambda: make(**SMALL_DINO))
    torch.manual_seed(0)
    network = sg_rife.dino.make_network()
    state = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    written = metas_names(state) if kind == "meta" else state
    if kind == "transformers 4":
        written = {key.removeprefix("model."): value for key, value in state.items()}
    torch.save(written, tmp_path / "dino.pth")
    rgb = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        expected, maps = (d(rgb) for d in (sg_rife.dino.Dino(network), sg_rife.dino.load(tmp_path / "dino.pth")))
    for a, b in zip(expected, maps, strict=True):
        assert a.shape == (1, 24, 2, 3) and torch.equal(a, b)
    assert not any(p.requires_grad for p in sg_rife.dino.load(tmp_path / "dino.pth").train().parameters())


def test_dino_can_see_a_smaller_picture():
    torch.manual_seed(0)
    dino = sg_rife.dino.Dino(sg_rife.dino.make_network(**SMALL_DINO), max_side=32)
    assert dino(torch.rand(1, 3, 64, 96))[0].shape == (1, 24, 1, 2)
    maps = [torch.rand(1, 384, 2, 3) for _ in range(2)]
    model = sg_rife.load()
    with torch.no_grad():
        assert model(*torch.rand(2, 1, 3, 64, 96), maps=(maps, maps)).frame.shape == (1, 3, 64, 96)


@pytest.mark.parametrize("variant", ["rife", "rife_m"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_checkpoints_load_strictly(tmp_path, variant, prefix, suffix):
    torch.manual_seed(0)
    model = rife.load(variant=variant)
    path, state = tmp_path / f"flownet{suffix}", {prefix + k: v.contiguous() for k, v in model.state_dict().items()}
    if suffix == ".pkl":
        torch.save({**state, "other": torch.ones(1)} if prefix else state, path)  # RIFE's own loader takes the prefixed
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    loaded = rife.load(path, channel_order="rgb")
    assert loaded.config.variant == variant and loaded.channel_order == "rgb" and not loaded.training
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    with pytest.raises(UserError, match="holds weights of"):
        rife.load(path, variant={"rife": "rife_m", "rife_m": "rife"}[variant])


def test_a_rife_checkpoint_lacks_only_the_adapters(tmp_path):
    torch.save(rife.load().state_dict(), tmp_path / "rife.pkl")
    model = sg_rife.load(tmp_path / "rife.pkl")
    own, keys_of_rife = set(model.state_dict()), set(rife.load().state_dict())
    assert all(name.startswith(ADAPTERS) for name in own - keys_of_rife) and own - keys_of_rife and keys_of_rife <= own
    torch.save(model.state_dict(), tmp_path / "sg.pkl")
    sg_rife.load(tmp_path / "sg.pkl")
    partial = {k: v for k, v in model.state_dict().items() if k != "unet.fusion_s2.gamma"}
    torch.save(partial, tmp_path / "partial.pkl")
    with pytest.raises(UserError, match=r"partial\.pkl does not fit sg-rife: 1 keys missing: unet\.fusion_s2\.gamma"):
        sg_rife.load(tmp_path / "partial.pkl")


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_wrong_checkpoints_get_one_sentence(tmp_path, capsys):
    path = tmp_path / "x.pkl"
    with pytest.raises(UserError, match=r"expected a checkpoint, got .*none\.pkl, which is no file"):
        rife.load(tmp_path / "none.pkl")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="is not a checkpoint that can be read safely"):
        rife.load(path)
    torch.save(Evil(), path)
    with pytest.raises(UserError, match="is not a checkpoint that can be read safely"):
        rife.load(path)
    assert "run" not in capsys.readouterr().out
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(UserError, match=r"it holds more than tensors \(save net\.state_dict\(\)\)$"):
        rife.load(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="to hold a state dict, names and tensors, got list"):
        rife.load(path)
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(UserError, match=r"no checkpoint of RIFE: expected block0\.conv0\.0\.0\.weight .* no such key"):
        rife.load(path)
    state = rife.load().state_dict()
    wrong = {**state, "extra": torch.ones(1), "unet.conv.bias": torch.ones(4)}
    del wrong["unet.conv.weight"]
    torch.save({"state_dict": wrong}, path)
    parts = r"1 keys missing: unet\.conv\.weight; 1 keys unknown: extra; 1 of another shape: unet\.conv\.bias \(4,\)"
    with pytest.raises(UserError, match=parts):
        rife.load(path)
    torch.save({**state, "unet.conv.bias": torch.full((3,), float("nan"))}, path)
    with pytest.raises(UserError, match=r"x\.pkl does not fit rife: values that are not finite in unet\.conv\.bias$"):
        rife.load(path)
    path.with_suffix(".safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="is not a checkpoint that can be read safely"):
        checkpoints.read(path.with_suffix(".safetensors"))
