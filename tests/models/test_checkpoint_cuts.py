"""A file of weights that is cut at any byte, or changed anywhere, is refused in a sentence, or is what it was."""

import random

import pytest
import torch
from safetensors.torch import save

pytest.importorskip("diffusers")
from damaged_files import saved

from vfi.errors import UserError
from vfi.files import checkpoints

STATE = {f"block0.conv{n}.weight": torch.arange(8.0 * n + 1) for n in range(5)}
FILES = {
    "flownet.pkl": saved(STATE),
    "flownet.pth": saved(STATE, _use_new_zipfile_serialization=False),
    "flownet.safetensors": save(STATE),
}
SUMS = ("flownet.pkl",)  # has them


def said_of(path):
    """None if it is read."""
    try:
        found = checkpoints.read(path)
    except UserError as error:
        return str(error), {}
    return None, found


@pytest.mark.parametrize("name", FILES)
def test_every_cut(name, tmp_path):
    path, data = tmp_path / name, FILES[name]
    begins = f"{path} is not a checkpoint that can be read safely: "
    for size in (*range(60), *range(60, len(data), 7), *range(len(data) - 60, len(data))):
        path.write_bytes(data[:size])
        said, _ = said_of(path)
        assert said is not None and said.startswith(begins) and "\n" not in said and len(said) < 300, (size, said)
        reason = said.removeprefix(begins)
        assert "damaged" in reason or "cut off" in reason or reason == "it is empty" or size < 10, (size, said)
        if name.endswith("pkl") and size > 3:
            assert f"cut off after {size:,} bytes" in reason


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["zeros to the end", "zeros", "noise", "a bit"])
def test_every_damage(name, how, tmp_path):
    """Numbers that change in a file without sums are other numbers; names and shapes are never others unnoticed."""
    draw, path, data = random.Random(f"{name} {how}"), tmp_path / name, FILES[name]
    for _ in range(120):
        changed, begin = bytearray(data), draw.randrange(len(data))
        count = {"zeros to the end": len(data), "zeros": 40, "noise": 40, "a bit": 1}[how]
        piece = changed[begin : begin + count]
        new = {"noise": draw.randbytes(len(piece)), "a bit": bytes([piece[0] ^ 1 << draw.randrange(8)])}
        changed[begin : begin + count] = new.get(how, bytes(len(piece)))
        path.write_bytes(changed)
        said, found = said_of(path)
        if said is not None:
            assert said.startswith((f"{path} is not a ", f"expected {path} to hold a state dict, ")), said
            assert "\n" not in said and len(said) < 400
        elif name in SUMS:
            assert all(torch.equal(value, STATE[key]) for key, value in found.items()) and len(found) == len(STATE)
