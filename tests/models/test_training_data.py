"""Triplets for training: where they come from, how they are varied, which come in which step."""

import numpy as np
import pytest
import torch
from tiny import quick, tiny_rife, write_triplets

from vfi.errors import UserError
from vfi.training import data, sources, train


def test_batches_are_the_same_however_they_are_shared():
    whole = list(data.Batches(10, 4, 7, 0, 6))
    assert [len(b) for b in whole] == [4] * 6 and [b[0][0] for b in whole] == [0, 0, 1, 1, 2, 2]
    for epoch in range(3):
        seen = [index for b in whole for e, index in b if e == epoch]
        assert len(set(seen)) == 8 and set(seen) <= set(range(10))
    assert [i for _, i in whole[0]] != [i for _, i in whole[2]], "each epoch has its own order"
    halves = [list(data.Batches(10, 4, 7, 0, 6, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves)] == whole
    assert list(data.Batches(10, 4, 7, 3, 6)) == whole[3:]
    assert list(data.Batches(10, 4, 8, 0, 6)) != whole
    with pytest.raises(UserError, match="expected at least 4 triplets or clips, one batch, got 3"):
        data.Batches(3, 4, 0, 0, 1)


class Ramp:
    """Every pixel says where it was: red is the row, green the column, blue the frame."""

    def __len__(self):
        return 3

    def read(self, index, size, random=None):
        frames = np.zeros((3, 70, 90, 3), dtype=np.uint8)
        frames[..., 0], frames[..., 1] = np.arange(70)[:, None], np.arange(90)
        frames[..., 2] = np.arange(3)[:, None, None]
        return frames, 0.25


def test_augmentation():
    """One square of all three frames, in all eight orientations and both directions of time; by the seed alone."""
    samples = data.Augmented(Ramp(), 64, seed=3)
    kinds, corners = set(), set()
    for epoch in range(60):
        sample = samples[epoch, 1]
        frames = sample.frames.int()
        assert frames.shape == (3, 3, 64, 64) and sample.frames.dtype == torch.uint8
        assert (frames[:, :2] == frames[:1, :2]).all(), "the three frames are cut alike"
        rows, columns = frames[0, 0], frames[0, 1]
        steps = tuple((plane[1, 0] - plane[0, 0]).item() for plane in (rows, columns))
        steps += tuple((plane[0, 1] - plane[0, 0]).item() for plane in (rows, columns))
        assert rows.max() - rows.min() == columns.max() - columns.min() == 63
        order = tuple(frames[:, 2, 0, 0].tolist())
        assert (order, sample.time) in (((0, 1, 2), 0.25), ((2, 1, 0), 0.75))
        kinds.add((steps, order))
        corners.add((rows.min().item(), columns.min().item()))
    assert len(kinds) == 16 and len(corners) > 30
    again = data.Augmented(Ramp(), 64, seed=3)[5, 1]
    assert torch.equal(again.frames, samples[5, 1].frames)
    assert not torch.equal(data.Augmented(Ramp(), 64, seed=4)[5, 1].frames, again.frames)
    plain = data.Augmented(Ramp(), 64, seed=3, augment=False)[5, 1]
    assert plain.time == 0.25 and plain.frames[0, 0, 0, 0] == 3 and plain.frames[0, 1, 0, 0] == 13


def test_sources(tmp_path):
    write_triplets(tmp_path / "sequences" / "00001", 21)
    source, held_out = sources.sources(str(tmp_path))
    assert (len(source), len(held_out)) == (20, 1)
    frames, moment = source.read(0, 64)
    assert frames.shape == (3, 64, 64, 3) and moment == 0.5
    lines = [f"00001/{number:04}" for number in range(20)]
    (tmp_path / "tri_trainlist.txt").write_text("\n".join(lines) + "\n\n")
    source, held_out = sources.sources(str(tmp_path))
    assert (len(source), len(held_out)) == (19, 1), "the first 95 % of Vimeo90K's list"
    assert held_out.triplets[0][0].parent.name == "0019"
    source, held_out = sources.sources("synthetic:40", any_time=True)
    assert len(source) == 40 and len({source.read(i, 64)[1] for i in range(3)}) == 3
    assert not np.array_equal(source.read(0, 64)[0], held_out.read(0, 64)[0])
    for wrong in ("synthetic:x", "synthetic:0", str(tmp_path / "none")):
        with pytest.raises(UserError, match="expected"):
            sources.sources(wrong)
    with pytest.raises(UserError, match=r"expected frames of at least 96x96 in .*0000, got 64x64"):
        source, _ = sources.sources(str(tmp_path))
        source.read(0, 96)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_one_sentence(tmp_path, workers):
    write_triplets(tmp_path / "data", 2)
    (tmp_path / "data" / "0001" / "im2.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^cannot read .*0001/im2.png: it is not an image, or it is damaged$"):
        train(tiny_rife(), quick(tmp_path / "run", data=str(tmp_path / "data"), workers=workers))
