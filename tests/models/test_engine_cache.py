"""What is remembered between runs: choices of `auto`, and engines that were built."""

import copy
import json
import os
import stat

import pytest
import torch
from test_engines import AMX, PLAIN, pair, rife4

from vfi.engines import cache, choice
from vfi.engines.plans import USUAL, Plan, built
from vfi.models.on_engine import OnEngine

pytestmark = pytest.mark.usefixtures("own_cache")


def running(model, said, machine=AMX):
    made = OnEngine(model, "auto", "auto", "cpu", said.append)
    made.machine, made.offered = machine, [Plan("torch", "bfloat16"), USUAL]
    return made


def test_auto_remembers_per_model_weights_size_and_machine(monkeypatch):
    said, tried = [], []
    monkeypatch.setattr(choice, "built", lambda model, plan: (tried.append(plan), built(model, plan))[1])
    model = rife4()
    first = running(model, said)
    for _ in range(2):
        first.interpolate(*pair(), 0.5)
    assert len(said) == 1 and said[0].startswith("engine torch in ") and tried == first.offered
    tried.clear()
    again = running(model, said)
    again.interpolate(*pair(), 0.5)
    assert not tried and "as chosen before" in said[-1]
    again.interpolate(*pair(64, 192), 0.5)
    assert tried  # another size
    tried.clear()
    running(model, said, PLAIN).interpolate(*pair(), 0.5)
    assert tried  # another machine
    tried.clear()
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).mul_(1.001)
    running(other, said).interpolate(*pair(), 0.5)
    assert tried  # other weights


def test_a_damaged_or_foreign_cache_is_as_none(own_cache, monkeypatch):
    model, offered = rife4(), [Plan("torch", "bfloat16"), USUAL]
    first = choice.chosen(model, (64, 128), offered, PLAIN)
    (file,) = (own_cache / "choices").glob("*.json")
    good = file.read_bytes()
    key = json.loads(good)["key"]
    assert not choice.chosen(model, (64, 128), offered, PLAIN).seconds
    hostile = [b"", b"{", b"[" * 100_000, b"null", b"\xff" * 9, good[:-9], json.dumps({"key": key}).encode(),
               json.dumps({"key": key, "plan": ["torch", "float16", "../x"]}).encode(),
               json.dumps({"key": {**key, "weights": "0"}, "plan": ["torch", "float32", ""]}).encode(),
               json.dumps({"key": key, "plan": {"torch": 1}}).encode(), b" " * (1 << 17) + good]  # fmt: skip
    for data in hostile:
        file.write_bytes(data)
        assert choice.chosen(model, (64, 128), offered, PLAIN).seconds, data[:40]
        assert json.loads(file.read_bytes())["key"] == key and first.plan in offered
    for folder in (own_cache / "choices", own_cache):  # others might have written it
        os.chmod(folder, 0o777)
        assert choice.chosen(model, (64, 128), offered, PLAIN).seconds
        os.chmod(folder, 0o700)
    assert not choice.chosen(model, (64, 128), offered, PLAIN).seconds
    monkeypatch.setenv("VFI_CACHE", str(file / "no folder"))
    assert choice.chosen(model, (64, 128), offered, PLAIN).seconds


def test_built_engines_are_found_again_whole_or_not_at_all(own_cache, monkeypatch):
    built_now = []

    def build():
        built_now.append(1)
        return b"engine" * 100

    key = {"weights": "a", "version": "1"}
    for _ in range(2):
        assert cache.bytes_for("openvino", key, build) == b"engine" * 100
    assert len(built_now) == 1
    assert stat.S_IMODE((own_cache / "openvino").stat().st_mode) == 0o700
    (file,) = (own_cache / "openvino").glob("*.bin")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert cache.bytes_for("openvino", key, build) == b"engine" * 100 and len(built_now) == 2
    for other in ({**key, "weights": "b"}, {**key, "version": "2"}):
        cache.bytes_for("openvino", other, build)
    assert len(built_now) == 4
    monkeypatch.setattr(cache, "MOST_BYTES", 700)
    cache.bytes_for("openvino", {**key, "version": "3"}, build)
    assert len([*(own_cache / "openvino").glob("*.bin")]) == 1
    assert not [*own_cache.rglob("*unfinished*")]


def test_files_of_built_engines_in_each_others_place(own_cache):
    """Every pair of them, of other weights, versions, sizes and kinds; and cut off, or with one bit changed."""
    base = {"weights": "a", "version": "1", "shapes": [[1, 3, 64, 96]], "part": "unet"}
    others = (("weights", "b"), ("version", "2"), ("shapes", [[1, 3, 96, 64]]), ("part", "block0"))
    keys = [("openvino", base), *(("openvino", {**base, name: value}) for name, value in others), ("onnx", base)]

    def made(n):
        return cache.bytes_for(*keys[n], lambda: bytes([n]) * 40)

    def place(n):
        kind, key = keys[n]
        return own_cache / kind / f"{cache.name_of(key)}.bin"

    for n in range(len(keys)):
        assert made(n) == bytes([n]) * 40
    good = [place(n).read_bytes() for n in range(len(keys))]
    for n, own in enumerate(good):
        others = [data for m, data in enumerate(good) if m != n]
        cut = [own[:length] for length in range(len(own))]
        changed = [own[:at] + bytes([own[at] ^ 1]) + own[at + 1 :] for at in range(len(own))]
        for data in (*others, *cut, *changed, own + b"?", others[0][:32] + own[32:], own[:32] + others[0][32:]):
            place(n).write_bytes(data)
            assert cache.bytes_for(*keys[n], lambda: b"anew") == b"anew"
        place(n).write_bytes(own)
        assert made(n) == bytes([n]) * 40


def test_a_key_has_the_text_of_the_package(monkeypatch, tmp_path):
    model = torch.nn.Conv2d(3, 3, 1)
    before = cache.hash_of(model)
    cache.hash_of_sources.cache_clear()
    assert cache.hash_of(model) == before
    (tmp_path / "flow.py").write_text("x = 1")
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    found = set()
    for text in ("x = 1", "x = 2"):
        (tmp_path / "flow.py").write_text(text)
        cache.hash_of_sources.cache_clear()
        found.add(cache.hash_of(model))
    cache.hash_of_sources.cache_clear()
    assert len({before, *found}) == 3


@pytest.mark.nightly
def test_engines_in_each_others_place_are_built_again(own_cache, stand_ins):
    """Those of two networks: each file has the content of the same part of the other one, and of its own next part."""
    frames, models = pair(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(rife4())
    for plan, ending in (
        (Plan("openvino", "float32", "CPU"), "openvino/*.bin"),
        (Plan("onnxruntime", "float32", "CPUExecutionProvider"), "onnx/*.bin"),
        (Plan("tensorrt", "float32", "TensorrtExecutionProvider"), "tensorrt/*/*.engine"),
    ):
        right, each = [], []
        for model in models:
            right.append(built(model, plan).interpolate(*frames, 0.5))
            new = set(own_cache.glob(ending)) - {file for files in each for file in files}
            each.append(sorted(new, key=lambda file: file.stat().st_mtime_ns))  # the parts are built in one order
        contents = [[file.read_bytes() for file in files] for files in each]
        assert len(each[0]) == len(each[1]) > 1
        before = stand_ins.imported
        assert torch.equal(built(models[0], plan).interpolate(*frames, 0.5), right[0])
        assert stand_ins.imported > before or plan.engine == "onnxruntime"  # they are found as they are
        for others in (contents[::-1], [[*own[1:], own[0]] for own in contents]):
            for files, data in zip(each, others, strict=True):
                for file, content in zip(files, data, strict=True):
                    file.write_bytes(content)
            for model, expected in zip(models, right, strict=True):
                assert torch.equal(built(model, plan).interpolate(*frames, 0.5), expected)


def test_a_cached_engine_of_other_weights_is_not_used(stand_ins):
    frames = pair()
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = rife4()
        for plan in (Plan("openvino", "float32", "CPU"), Plan("onnxruntime", "float32", "CPUExecutionProvider")):
            for _ in range(2):  # built, then from the cache
                result = built(model, plan).interpolate(*frames, 0.5)
                assert choice.decibels(result, model.interpolate(*frames, 0.5)) > 90
    assert stand_ins.imported > 0
