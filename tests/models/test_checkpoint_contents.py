"""What a checkpoint holds is looked at before it is used."""

import io
import json
import zipfile

import pytest
import torch
from safetensors.torch import save
from torch import nn

pytest.importorskip("diffusers")

from damaged_files import refused, saved, unzipped, whole_rdvfi, zipped

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import rdvfi
from vfi.networks import wan


def test_a_list_without_end(tmp_path):
    (tmp_path / "w.pth").write_bytes(zipped([("a/data.pkl", b"\x80\x02}" + b"N0" * 2_200_000 + b".")]))
    refused(checkpoints.read, tmp_path / "w.pth", "list of tensors is too long")


def listing(**tensors):
    """A file of safetensors that lists these, with 24 bytes for them."""
    names = ("dtype", "shape", "data_offsets")
    listed = json.dumps({n: dict(zip(names, (k, s, [i, j]))) for n, (k, s, i, j) in tensors.items()}).encode()
    return len(listed).to_bytes(8, "little") + listed + bytes(24)


def test_a_changed_byte_anywhere_in_the_parts_of_a_file_is_noticed(tmp_path):
    """By the sums of torch.save; a file that was written without them is read without."""
    path, state = tmp_path / "w.pth", {"x": torch.arange(300.0), "y": torch.ones(2)}
    good = saved(state)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        for part in archive.infolist():
            begin = good.index(archive.read(part), part.header_offset + 30)
            for at in {begin, begin + part.file_size // 2, begin + part.file_size - 1}:
                path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
                refused(checkpoints.read, path, f"damaged: its part {part.filename} is not what was written$")
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(saved(state))
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(checkpoints.read(path)["x"], state["x"])


def test_what_is_built_is_compared_once(tmp_path, monkeypatch):
    layer = nn.Linear(3, 2)
    seen, check = [], checkpoints.check
    monkeypatch.setattr(checkpoints, "check", lambda *a, **k: (seen.append(1), check(*a, **k))[1])
    loaded = checkpoints.built(lambda: nn.Linear(3, 2), layer.state_dict(), "w.pth")
    assert torch.equal(loaded.weight, layer.weight) and seen == [1]
    without = {"weight": layer.weight.detach()}
    assert torch.equal(checkpoints.built(lambda: nn.Linear(3, 2), without, "w.pth", ("bias",)).weight, layer.weight)
    with pytest.raises(UserError, match="keys missing: bias"):
        checkpoints.built(lambda: nn.Linear(3, 2), without, "w.pth")


def test_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    good = save({"x": torch.zeros(8)})
    for data, reason in (
        (good[:-1], "cut off after"),
        (good.replace(b"[8]", b"[9]"), r"x of shape \(9,\) takes 36 bytes, its list says 32$"),
        (listing(x=("F32", [10**12, 10**12], 0, 4)), "takes more than the file holds of it$"),
        (listing(x=("F32", [10**10], 0, 4 * 10**10)), r"x of shape \(10000000000,\) takes more than the file holds"),
        (listing(x=("F32", [-2], 0, 8)), r"x of shape \(-2,\) has a negative size$"),
        (listing(x=("F32", [4], 0, 16), y=("F32", [4], 0, 16)), "x and y lie on the same bytes$"),
        (listing(x=("F32", [4], 0, 16), y=("F32", [4], 8, 24)), "x and y lie on the same bytes$"),
        (listing(x=("F32", [2], 0, 8), y=("F32", [2], 16, 24)), "x and y have a gap between them$"),
        (listing(x=("F99", [2], 0, 8)), "x of shape .* is of dtype F99, which is not known here"),
        (listing(x=("F32", "2", 0, 8)), "damaged, or something else"),
        (save({}), "got dict with nothing in it"),
        (b"\xff" * 7 + b"\x00{", "list of tensors is too long"),
        (save({"x": torch.zeros(8).to(torch.float8_e5m2)}), "x is float8_e5m2"),
        (saved({"x": torch.zeros(8)}), "it holds a file of torch.save, which its name does not say"),
    ):
        path.write_bytes(data)
        refused(checkpoints.read, path, reason)


def test_a_part_that_claims_more_than_it_has(tmp_path):
    """Numbers beyond it would be those of other memory."""
    parts = unzipped(saved({"x": torch.zeros(4)}))
    claims = (b"K\x04tq", b"J\x00\x00\x00\x01tq"), (b"K\x04\x85", b"J\x00\x00\x00\x01\x85")
    changed = []
    for name, data in parts:
        for old, new in claims if name.endswith("data.pkl") else ():
            assert old in data
            data = data.replace(old, new)
        changed.append((name, data))
    (tmp_path / "w.pth").write_bytes(zipped(changed))
    refused(checkpoints.read, tmp_path / "w.pth", "damaged, or something else")


def test_one_storage_under_many_names_counts_each_time(tmp_path):
    shared = torch.zeros(1 << 18)
    torch.save({"a": shared, "b": shared.view(2, -1)}, tmp_path / "twice.pth")
    assert set(checkpoints.read(tmp_path / "twice.pth")) == {"a", "b"}
    torch.save({f"{i}": shared.view(-1) for i in range(9)}, tmp_path / "often.pth")
    refused(checkpoints.read, tmp_path / "often.pth", r"its tensors take 9,437,184 bytes, the file has")


def test_what_half_precision_cannot_hold(tmp_path):
    state = dict(whole_rdvfi().denoiser.state_dict())
    state["proj_out.weight"] = torch.full_like(state["proj_out.weight"], 1e6)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"values too large for float16 in proj_out\.weight$"):
        wan.transformer(tmp_path / "w.pth", torch.float16, heads=2)
    layer = nn.Linear(2, 2).half()
    before = layer.weight.clone()
    with pytest.raises(UserError, match="too large for float16 in bias"):
        checkpoints.load_into(layer, {"weight": torch.zeros(2, 2), "bias": torch.full((2,), 1e6)}, "w.pth")
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("part", "key", "value", "reason"),
    [
        ("image_encoder", "hidden_size", 8000, "describes a network of"),
        ("image_encoder", "num_hidden_layers", 10**9, "asks for 1000000000 layers"),
        ("estimator", "width", 4000, "describes a network of"),
        ("denoiser", "num_attention_heads", 1000, "describes a network of"),
        ("denoiser", "num_attention_heads", "many", "describes no WanTransformer3DModel"),
    ],
)
def test_folders_of_sizes_that_they_do_not_hold(part, key, value, reason, tmp_path):
    whole_rdvfi().save_pretrained(tmp_path)
    path = tmp_path / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    refused(rdvfi.load, tmp_path, reason)


def test_folders_whose_weights_are_not_finite_or_missing(tmp_path):
    whole_rdvfi().save_pretrained(tmp_path)
    file = tmp_path / "synthesis" / "diffusion_pytorch_model.safetensors"
    state = {key: torch.full_like(value, 1e6) for key, value in whole_rdvfi().synthesis.state_dict().items()}
    file.write_bytes(save(state, {"format": "pt"}))
    rdvfi.load(tmp_path)
    refused(lambda path: rdvfi.load(path, torch.float16), tmp_path, r"not finite as float16 in synthesis\.")
    file.write_bytes(save({"x": torch.zeros(1)}, {"format": "pt"}))
    refused(rdvfi.load, tmp_path, "describes a network of")


@pytest.mark.parametrize("method", ["is_file", "open"])
def test_what_may_not_be_read(method, tmp_path, monkeypatch):
    """In a folder that may not be entered, or by itself."""

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "w.pth").write_bytes(saved({"x": torch.zeros(1)}))
    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), method, refuse)
        with pytest.raises(UserError, match=r"^cannot read .*w\.pth: Permission denied$"):
            checkpoints.read(tmp_path / "w.pth")
