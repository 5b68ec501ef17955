"""Files that are no checkpoint, or a hostile one: every loader says so in one sentence, and takes no memory for it."""

import io
import json
import os
import pickle
import resource
import zipfile
from functools import cache

import pytest
import torch
from safetensors.torch import save
from torch import nn

pytest.importorskip("diffusers")

from diffusers import AutoencoderKLWan

from vfi.errors import UserError
from vfi.evaluation.sfibench import inception
from vfi.files import checkpoints
from vfi.models import apr_vfi, ebme, rdvfi, rife, semfi, sg_rife
from vfi.models.apr_vfi.config import APRConfig
from vfi.models.rdvfi.files import OWN, put
from vfi.models.registry import MODELS
from vfi.models.semfi.files import adapter_state
from vfi.models.sg_rife import dino
from vfi.networks import lpips, wan
from vfi.training import state as training_state

whole_rdvfi, whole_semfi = cache(lambda: rdvfi.tiny("d")), cache(semfi.tiny)


def own_rdvfi():
    parts = {name: getattr(whole_rdvfi(), name).state_dict() for name in OWN}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def heads_of_lpips():
    return {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(lpips.CHANNELS)}


@cache
def lpips_backbone(folder):
    torch.manual_seed(0)
    convs = zip((0, 3, 6, 8, 10), [layer[-2] for layer in lpips.LPIPS().layers])
    state = {f"features.{i}.{key}": value for i, conv in convs for key, value in conv.state_dict().items()}
    torch.save(state, folder / "alexnet.pth")
    return folder / "alexnet.pth"


def training():
    network = rife.RIFE(rife.config.TINY).state_dict()
    empty = {key: {} for key in ("settings", "optimizer", "scaler", "ema", "meter")}
    return {**empty, "step": 1, "network": network}


def read_training(path):
    (path.parent / "last.pt").unlink(missing_ok=True)
    if path.exists():
        os.symlink(path, path.parent / "last.pt")
    return training_state.read(path.parent, {})


# What a good file holds, and who reads it
LOADERS = {
    "rife": (lambda: rife.RIFE(rife.config.TINY).state_dict(), rife.load),
    "sg-rife": (lambda: sg_rife.SGRIFE(config=sg_rife.config.TINY).state_dict(), sg_rife.load),
    "apr-vfi": (lambda: apr_vfi.APRVFI(APRConfig.tiny()).state_dict(), apr_vfi.load),
    "ebme-splat": (lambda: ebme.BiFlowNet().state_dict(), ebme.load),
    "rdvfi-d": (own_rdvfi, lambda path: put(whole_rdvfi(), checkpoints.read(path), path)),
    "semfi": (
        lambda: adapter_state(whole_semfi().transformer),
        lambda path: semfi.load_adapters(whole_semfi().transformer, path),
    ),
    "dino": (lambda: dino.make_network().state_dict(), dino.load),
    "lpips": (heads_of_lpips, lambda path: lpips.load(lpips_backbone(path.parent), path)),
    "inception": (lambda: inception.Inception().state_dict(), inception.load),
    "wan transformer": (lambda: whole_rdvfi().denoiser.state_dict(), lambda path: wan.transformer(path, heads=2)),
    "wan vae": (lambda: AutoencoderKLWan(base_dim=4).state_dict(), wan.vae),
    "wan image encoder": (
        lambda: whole_rdvfi().image_encoder.state_dict(), lambda path: wan.image_encoder(path, heads=2)
    ),
    "wan text encoder": (lambda: whole_semfi().text_encoder.state_dict(), wan.text_encoder),
    "training": (training, read_training),
}  # fmt: skip


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def zipped(parts, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in parts:
            archive.writestr(name, data)
    return file.getvalue()


def unzipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def each(state, change):
    """`change` of every tensor of real numbers, however deep."""
    if isinstance(state, dict):
        return {key: each(value, change) for key, value in state.items()}
    return change(state) if isinstance(state, torch.Tensor) and state.is_floating_point() else state


def wider(value):
    return torch.zeros(1).expand(10**6, *value.shape[1:]) if value.dim() else value


def cyclic(state):
    found = {}
    found["state_dict"] = found
    return found


def beside(state):
    """Weights and a mapping that holds itself."""
    return {"model": state, "other": cyclic(state)}


class Payload:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


FILES = {
    "empty": (b"", "it is empty"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n", "a pointer of Git LFS"),
    "Git LFS after a mark": (b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "answer of a server": (b"Repository not found", "it is a text, 'Repository not found'"),
    "cut pickle": (b"\x80\x04\x8e\x00\x00\x00\x00\x02\x00\x00\x00abc.", "damaged, or something else"),
    "pickle": (pickle.dumps([1, 2, 3], protocol=2), "damaged, or something else"),
    "payload": (pickle.dumps(Payload(), protocol=2), r"more than tensors"),
    "payload, protocol 4": (pickle.dumps(Payload(), protocol=4), r"more than tensors"),
    "zip": (zipped([("a/readme.txt", b"hello")]), "none of torch.save"),
    "bytearray": (zipped([("a/data.pkl", b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x04\x85R.")]),
                  "more than tensors"),
}  # fmt: skip
STATES = {
    "expanded": (lambda s: each(s, lambda v: v.reshape(-1)[:1].expand(2, v.numel())), "more than the file holds"),
    "huge": (lambda s: each(s, wider), "more than the file holds"),
    "float8": (lambda s: each(s, lambda v: v.to(torch.float8_e4m3fn)), "is float8_e4m3fn"),
    "complex": (lambda s: each(s, lambda v: v.to(torch.complex64)), "is complex64"),
    "meta": (lambda s: each(s, lambda v: v.to("meta")), "got meta ones"),
    "sparse": (lambda s: each(s, lambda v: v.to_sparse()), "got sparse ones"),
    "quantized": (lambda s: each(s, lambda v: torch.quantize_per_tensor(v.float(), 0.1, 0, torch.qint8)),
                  "got quantized ones"),
    "cyclic": (cyclic, "got dict that holds itself|not the state of a training"),
    "cyclic beside": (beside, "with 2 mappings side by side: model, other|not the state of a training"),
    "nothing": (lambda s: {}, "got dict with nothing in it|not the state of a training"),
    "nothing inside": (lambda s: {"model": {}}, "got dict with nothing in it|not the state of a training"),
}  # fmt: skip
# What a training that goes on is not asked
VALUES = {
    "boolean": (lambda v: v > 0, "bool"),
    "whole": (lambda v: v.to(torch.int64), "int64"),
    "too large": (lambda v: torch.full_like(v, 1e300, dtype=torch.float64), "too large for float32|float64"),
    "not a number": (lambda v: torch.full_like(v, float("nan")), "not finite"),
}  # fmt: skip


def most_memory():
    """MB that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def refused(load, path, reason):
    before, size = most_memory(), path.stat().st_size >> 20 if path.is_file() else 0
    with pytest.raises(UserError, match=reason) as error:
        load(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert most_memory() - before < 200 + 4 * size, "MB"


def test_every_model_with_weights_has_a_loader_here():
    assert {name for name, entry in MODELS.items() if entry.weights} - set(LOADERS) == {"rdvfi-u"}  # as rdvfi-d


SLOW = ("dino", "inception")  # large as they are


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in LOADERS])
def test_what_is_no_checkpoint_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    make, load = LOADERS[name]
    good, path = make(), tmp_path / "weights.pth"
    path.write_bytes(saved(good))
    load(path)
    path.write_bytes(saved(good, _use_new_zipfile_serialization=False))
    load(path)
    before = {key: value.clone() for key, value in {**own_rdvfi(), **whole_semfi().transformer.state_dict()}.items()}
    for data, reason in FILES.values():
        path.write_bytes(data)
        refused(load, path, reason)
    for change, reason in STATES.values():
        path.write_bytes(saved(change(good)))
        refused(load, path, reason)
    parts = unzipped(saved(good))
    for data, reason in (
        (zipped(parts, zipfile.ZIP_DEFLATED), "its parts are compressed"),
        (zipped([part for part in parts if not part[0].endswith("data/0")]), "damaged, or something else"),
        (saved(good)[:-100], "damaged, or something else"),
        (saved(good, _use_new_zipfile_serialization=False)[:-100], "damaged, or something else"),
        (save({"x": torch.zeros(1)}), "it holds safetensors, which its name does not say"),
    ):
        path.write_bytes(data)
        refused(load, path, reason)
    for change, reason in VALUES.values() if name != "training" else ():
        path.write_bytes(saved(each(good, change)))
        refused(load, path, reason)
    path.unlink()
    refused(load, path, "which is no file")
    path.mkdir()
    refused(load, path, r"folder|model\.safetensors in")
    after = {**own_rdvfi(), **whole_semfi().transformer.state_dict()}
    assert all(torch.equal(value, after[key]) for key, value in before.items()), "a refusal changes nothing"
    assert not (tmp_path / "was-run").exists()


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
    found = checkpoints.built(lambda: nn.Linear(3, 2), layer.state_dict(), "w.pth")
    assert torch.equal(found.weight, layer.weight) and seen == [1]
    without = {"weight": layer.weight.detach()}
    assert torch.equal(checkpoints.built(lambda: nn.Linear(3, 2), without, "w.pth", ("bias",)).weight, layer.weight)
    with pytest.raises(UserError, match="keys missing: bias"):
        checkpoints.built(lambda: nn.Linear(3, 2), without, "w.pth")


def test_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    good = save({"x": torch.zeros(8)})
    for data, reason in (
        (good[:-1], "damaged, or something else"),
        (good.replace(b"[8]", b"[9]"), r"x of shape \(9,\) takes 36 bytes, its list says 32$"),
        (listing(x=("F32", [10**12, 10**12], 0, 4)), "takes more than the file holds of it$"),
        (listing(x=("F32", [10**10], 0, 4 * 10**10)), r"x of shape \(10000000000,\) takes more than the file holds"),
        (listing(x=("F32", [-2], 0, 8)), r"x of shape \(-2,\) has a negative size$"),
        (listing(x=("F32", [4], 0, 16), y=("F32", [4], 0, 16)), "x and y lie on the same bytes$"),
        (listing(x=("F32", [4], 0, 16), y=("F32", [4], 8, 24)), "x and y lie on the same bytes$"),
        (listing(x=("F32", [2], 0, 8), y=("F32", [2], 16, 24)), "x and y have a gap between them$"),
        (listing(x=("F99", [2], 0, 8)), "damaged, or something else"),
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


@pytest.mark.parametrize("name", ["rife", "sg-rife", "apr-vfi"])
def test_sizes_that_the_rest_does_not_have(name, tmp_path):
    """One tensor is wide, and in the file; the network is not built to find that out."""
    make, load = LOADERS[name]
    state = dict(make())
    for key in ("contextnet.conv1.conv1.0.weight", "synthesis.blocks.0.to_half.0.0.weight"):
        if key in state:
            state[key] = torch.zeros(30_000, 3, 3, 3)
    torch.save(state, tmp_path / "w.pth")
    refused(load, tmp_path / "w.pth", "does not fit|no network of the sizes")


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
