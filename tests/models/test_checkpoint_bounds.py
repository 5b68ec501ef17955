"""Small files that would be much more, or never end, and files cut or saved in another way: one sentence, soon."""

import io
import json
import re
import struct
import sys
import tracemalloc
import zipfile

import pytest
import torch
from safetensors.torch import save
from torch import nn

from vfi.errors import UserError
from vfi.files import checkpoint_files, checkpoints, json_lines
from vfi.models.semfi.peft_files import PeftConfig
from vfi.networks import diffusers_folders
from vfi.networks.wan.files import from_json
from vfi.training import state as training_state


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def with_pickle(data):
    """A file of torch.save whose pickle is another."""
    archive, file = zipfile.ZipFile(io.BytesIO(saved({"a": torch.rand(2)}))), io.BytesIO()
    with zipfile.ZipFile(file, "w") as changed:
        for part in archive.infolist():
            changed.writestr(part.filename, data if part.filename.endswith("data.pkl") else archive.read(part))
    return file.getvalue()


def refusal(path, data):
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        checkpoints.read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    return str(error.value)


SMALL = {
    "lists": b"\x80\x02](" + b"]" * 2_000_000 + b"e.",
    "mappings": b"\x80\x02](" + b"}" * 2_000_000 + b"e.",
    "sets": b"\x80\x04](" + b"\x8f" * 2_000_000 + b"e.",
    "nested tuples": b"\x80\x02)" + b"\x85" * 2_000_000 + b".",
    "nested lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "less nested tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
}


@pytest.mark.in_turn(of=3)
@pytest.mark.parametrize("name", SMALL)
def test_what_holds_others_is_counted_and_not_deep(name, tmp_path):
    data = with_pickle(SMALL[name])
    tracemalloc.start()
    try:
        told = refusal(tmp_path / "w.pkl", data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert re.search("list of tensors is too long|32 deep in each other|to hold a state dict", told)
    assert peak < 64 << 20, peak


def test_names_are_as_long_as_they_are_deep():
    """A key of a megabyte names its tensors by its beginning."""
    state = {"k" * 1_000_000: {str(n): torch.rand(1) for n in range(100)}}
    assert all(len(name) < 100 for name, _ in checkpoint_files.tensors_within(state))


DEEP = "[" * 100_000
READERS = {
    "adapter_config.json": PeftConfig,
    "config.json": from_json,
    "lines.jsonl": json_lines.read,
    "model_index.json": lambda path: diffusers_folders.held_by(path.parent, "X"),
    "x.safetensors": checkpoints.read,
}


@pytest.mark.parametrize("name", READERS)
def test_json_of_many_brackets_gets_one_sentence(name, tmp_path):
    path = tmp_path / name
    text = DEEP.encode() + b"\n"
    path.write_bytes(struct.pack("<Q", len(text) + 1) + b"{" + text if name.endswith("safetensors") else text)
    with pytest.raises(UserError) as error:
        READERS[name](path)
    assert "\n" not in str(error.value)


def test_a_line_of_brackets_is_no_record_of_a_training(tmp_path):
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1}}\n{DEEP}\n')
    training_state.cut_log(tmp_path, 5)
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1}\n'


def listing(kind):
    text = json.dumps({"a": {"dtype": kind, "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


def test_cut_and_unknown_safetensors_say_what_they_are(tmp_path):
    good, path = save({"a": torch.rand(10), "b": torch.rand(4)}), tmp_path / "w.safetensors"
    for cut in (9, 40, len(good) - 57):
        assert re.search(rf"cut off within its list of tensors, after {cut} bytes$", refusal(path, good[:cut]))
    for cut in (-1, -20, -56):
        assert re.search(rf"cut off after {len(good) + cut} bytes, within [ab]$", refusal(path, good[:cut]))
    for kind in ("F99", "F8_E8M0", "F4"):
        assert re.search(
            rf"a of shape \(2,\) is of dtype {kind}, which is not known here$", refusal(path, listing(kind))
        )


def nested(levels):
    return {"k": nested(levels - 1)} if levels else {"a": torch.rand(1)}


def scripted():
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2)), file)
    return file.getvalue()


OTHERS = {
    "scripted": (scripted, r"a program of TorchScript \(save net.state_dict\(\)\)$"),
    "buffers": (lambda: saved({"a": nn.Buffer(torch.rand(3))}), r"got a torch.nn.Buffer, or one with attributes"),
    "deep": (lambda: saved(nested(6)), r"lie under more than 4 keys$"),
    "web page": (lambda: b"<Html><p>", "a web page in place of the file$"),
    "head of one": (lambda: b"\n<head>", "a web page in place of the file$"),
    "doctype": (lambda: b"<!doctype html>", "a web page in place of the file$"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_other_files_say_what_they_are(name, tmp_path):
    make, told = OTHERS[name]
    assert re.search(told, refusal(tmp_path / "w.pkl", make()))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"w\.pkl, which is no file: there is none of this name$"):
        checkpoints.read(tmp_path / "w.pkl")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/maps")
def test_a_state_that_was_read_keeps_nothing_of_its_file(tmp_path):
    """Else the disk holds it until the training ends, after the next state has its name."""
    empty = {key: {} for key in ("settings", "scaler", "ema", "meter")}
    held = {"state": {0: {"exp_avg": torch.rand(9000)}}, "param_groups": [{"params": (torch.rand(5),)}]}
    state = {**empty, "step": 1, "network": {"w": torch.rand(9000)}, "optimizer": held}
    torch.save(state, tmp_path / "last.pt")
    saved = training_state.read(tmp_path, {})
    with open("/proc/self/maps") as maps:
        assert str(tmp_path) not in maps.read()
    torch.testing.assert_close(saved, state, rtol=0, atol=0)


WRONG_PEFT = {
    "lora_alpha": float("inf"), "r": float("nan"), "alpha_pattern": {"to_q": float("nan")},
    "rank_pattern": {"to_q": float("-inf")}, "use_rslora": "false", "lora_bias": "none", "init_lora_weights": 1,
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG_PEFT)
def test_a_configuration_of_peft_has_finite_numbers_and_words_that_it_knows(field, tmp_path):
    path, entries = tmp_path / "adapter_config.json", {"peft_type": "LORA", "r": 8, "lora_alpha": 16}
    path.write_text(json.dumps({**entries, "use_rslora": True, "lora_bias": None}))
    assert PeftConfig(path).scale("blocks.0.to_q", 8) == 16 / 8**0.5
    path.write_text(json.dumps({**entries, field: WRONG_PEFT[field]}))
    with pytest.raises(UserError, match=rf"{field}[^\n]*, got [^\n]*$"):
        PeftConfig(path)
