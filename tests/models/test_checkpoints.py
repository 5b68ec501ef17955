"""Files that are no checkpoint, or a hostile one: every loader says so in one sentence, and takes no memory for it."""

import gzip
import os
import pickle
import zipfile
from functools import cache

import pytest
import torch
from safetensors.torch import save

pytest.importorskip("diffusers")

from damaged_files import (
    Payload,
    beside,
    cyclic,
    each,
    refused,
    saved,
    unzipped,
    whole_rdvfi,
    whole_semfi,
    wider,
    zipped,
)
from diffusers import AutoencoderKLWan
from lpips_files import state_of_stlpips

from vfi.evaluation.sfibench import inception
from vfi.files import checkpoints
from vfi.models import apr_vfi, ebme, rife, semfi, sg_rife
from vfi.models.apr_vfi.config import APRConfig
from vfi.models.rdvfi.files import OWN, put
from vfi.models.registry import MODELS
from vfi.models.semfi.files import adapter_state
from vfi.models.sg_rife import dino
from vfi.models.vfi_s.files import load_network
from vfi.models.vfi_s.network import TINY, Network
from vfi.networks import lpips, stlpips, wan
from vfi.training import state as training_state


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
    "vfi-s": (lambda: Network(TINY).state_dict(), load_network),
    "ebme-splat": (lambda: ebme.BiFlowNet().state_dict(), ebme.load),
    "rdvfi-d": (own_rdvfi, lambda path: put(whole_rdvfi(), checkpoints.read(path), path)),
    "semfi": (
        lambda: adapter_state(whole_semfi().transformer),
        lambda path: semfi.load_adapters(whole_semfi().transformer, path),
    ),
    "dino": (lambda: dino.make_network().state_dict(), dino.load),
    "lpips": (heads_of_lpips, lambda path: lpips.load(lpips_backbone(path.parent), path)),
    "stlpips": (lambda: state_of_stlpips(stlpips.ShiftTolerantLPIPS()), stlpips.load),
    "inception": (lambda: inception.Inception().state_dict(), inception.load),
    "wan transformer": (lambda: whole_rdvfi().denoiser.state_dict(), lambda path: wan.transformer(path, heads=2)),
    "wan vae": (lambda: AutoencoderKLWan(base_dim=4).state_dict(), wan.vae),
    "wan image encoder": (
        lambda: whole_rdvfi().image_encoder.state_dict(), lambda path: wan.image_encoder(path, heads=2)
    ),
    "wan text encoder": (lambda: whole_semfi().text_encoder.state_dict(), wan.text_encoder),
    "training": (training, read_training),
}  # fmt: skip


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
    "zeros": (bytes(1000), "it begins with zeros"),
    "two letters": (b"PK", "damaged, or something else"),
    "gzip": (gzip.compress(b"abc"), "it is an archive of gzip: unpack it"),
    "zip with weights": (zipped([("train_log/flownet.pkl", b"abc")]), "unpack it, for train_log/flownet.pkl"),
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


def test_every_model_with_weights_has_a_loader_here():
    assert {name for name, entry in MODELS.items() if entry.weights} - set(LOADERS) == {"rdvfi-u"}  # as rdvfi-d


SLOW = ("dino", "inception")  # large as they are


@pytest.mark.in_turn
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly if n in SLOW else ()) for n in LOADERS])
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
