"""Clips for training: where they come from, how they are varied, and an objective of nine frames."""

import numpy as np
import pytest
import torch
from test_training_data import Ramp
from tiny import log_of, quick

from vfi.data.synthetic import clip
from vfi.errors import UserError
from vfi.files.images import write_image
from vfi.training import data, sources, train
from vfi.training.objective import Group, Objective, Outcome, Stage


def write_frames(folder, names, size=(64, 64), first=0):
    """Frames whose brightness says their number."""
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        write_image(folder / name, np.full((*size, 3), first + i, dtype=np.uint8))


def numbers(frames):
    return frames[:, 0, 0, 0].tolist()


def test_synthetic_clips():
    """Of mixed motion, at even times; triplets stay what they are."""
    source, held_out = sources.sources("synthetic:40", frames=9)
    assert len(source) == 40 and len(held_out) == 2
    frames, time = source.read(3, 64)
    assert frames.shape == (9, 64, 64, 3) and time == 0.5
    expected = clip(3, (64, 64), 9, max_motion=8, photographs=True).frames
    assert np.array_equal(frames, (expected.permute(0, 2, 3, 1) * 255).round().byte().numpy())
    assert not np.array_equal(held_out.read(3, 64)[0], frames)
    assert sources.sources("synthetic:40")[0].read(3, 64)[0].shape == (3, 64, 64, 3)


def test_folders_give_windows(tmp_path):
    """Every run of consecutive frames, in the order of the numbers in the names, never across folders."""
    write_frames(tmp_path / "a", [f"{i}.png" for i in range(8, 15)])
    write_frames(tmp_path / "b" / "c", ["x2y1.png", "x2y10.jpg", "x10y1.png", "x10y3.png", "x11y0.png"][::-1], first=50)
    (tmp_path / "b" / "notes.txt").touch()
    source, held_out = sources.sources(str(tmp_path), frames=5)
    assert len(source) == 4 and held_out is None
    windows = [source.read(i, 64) for i in range(4)]
    assert [numbers(frames) for frames, _ in windows[:3]] == [[k, k + 1, k + 2, k + 3, k + 4] for k in range(3)]
    assert numbers(windows[3][0]) == [54, 53, 52, 51, 50] and {time for _, time in windows} == {0.5}
    with pytest.raises(UserError, match=r"expected at least 7 frames in .*c, got 5"):
        sources.sources(str(tmp_path), frames=7)
    with pytest.raises(UserError, match=r"expected frames of at least 96x96 in .*a, got 64x64; give crop"):
        source.read(0, 96)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="expected folders with 9 images or more below"):
        sources.sources(str(tmp_path / "none"), frames=9)


def test_whole_folders_are_held_out(tmp_path):
    for number in range(20):
        write_frames(tmp_path / f"{number:02}", [f"{i}.png" for i in range(6)], first=10 * number)
    source, held_out = sources.sources(str(tmp_path), frames=5)
    assert (len(source), len(held_out)) == (38, 2)
    assert numbers(held_out.read(1, 64)[0]) == [191, 192, 193, 194, 195]
    write_image(tmp_path / "00" / "1.png", np.zeros((64, 80, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"the 5 frames of .*00 differ in size"):
        source.read(0, 64)


def test_septuplets_of_vimeo90k(tmp_path):
    for number in range(2):
        folder = tmp_path / "sequences" / "00001" / f"{number:04}"
        write_frames(folder, [f"im{i}.png" for i in range(1, 8)], first=10 * number)
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n00001/0000\n")
    source, _ = sources.sources(str(tmp_path), frames=7)
    frames, time = source.read(0, 64)
    assert len(source) == 2 and numbers(frames) == list(range(10, 17)) and time == 0.5
    for count in (3, 9):
        with pytest.raises(UserError, match=f"is Vimeo90K with 7 frames in a row, but the model is trained on {count}"):
            sources.sources(str(tmp_path), frames=count)
    (tmp_path / "sequences" / "00001" / "0000" / "im7.png").unlink()
    with pytest.raises(UserError, match=r"1 of 2 scenes is incomplete: .*00001/0000/im7\.png does not exist"):
        sources.sources(str(tmp_path), frames=7)
    (tmp_path / "sep_trainlist.txt").rename(tmp_path / "tri_trainlist.txt")
    with pytest.raises(UserError, match="is Vimeo90K with 3 frames in a row, but the model is trained on 7"):
        sources.sources(str(tmp_path), frames=7)
    assert len(sources.sources(str(tmp_path))[0]) == 2


class LongRamp(Ramp):
    def read(self, index, size, random=None):
        frames, _ = super().read(index, size)
        frames = np.concatenate((frames, frames[:1], frames[:1]))
        frames[..., 2] = np.arange(5)[:, None, None]
        return frames, 0.5


def test_augmentation_of_clips():
    """All frames are cut and turned alike, forwards and backwards."""
    samples = data.Augmented(LongRamp(), 64, seed=3)
    orders = set()
    for epoch in range(20):
        sample = samples[epoch, 1]
        assert sample.frames.shape == (5, 3, 64, 64) and sample.time == 0.5
        assert (sample.frames[:, :2] == sample.frames[:1, :2]).all()
        orders.add(tuple(sample.frames[:, 2, 0, 0].tolist()))
    assert orders == {(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)}
    frames, times = data.collated([samples[0, 0], samples[0, 1]])
    assert frames.shape == (2, 5, 3, 64, 64) and times.tolist() == [0.5, 0.5]


class Mixture(torch.nn.Module):
    """Frames between as weighted means of the ends, with one weight to learn."""

    channel_order = "rgb"

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def interpolate(self, before, after, time):
        return before + time * self.weight * (after - before)


class ClipObjective(Objective):
    stages = (Stage("a weight", 1, 2, 64, learning_rate=0.1, final_rate=0.1),)
    frames = 9

    def begin(self, stage):
        return [Group(list(self.parameters()))]

    def outcome(self, frames, times):
        assert frames.shape == (2, 9, 3, 64, 64) and times.tolist() == [0.5, 0.5]
        made = [self.network.interpolate(frames[:, 0], frames[:, -1], i / 8) for i in range(9)]
        loss = (torch.stack(made, 1) - frames).square().mean()
        return Outcome(loss, {"whole": loss}, made[4])


def test_an_objective_of_nine_frames(tmp_path):
    """It trains; what is watched is the frame in the middle."""
    objective = ClipObjective(Mixture())
    train(objective, quick(tmp_path / "run", epochs=5, learning_rate=0.1, augment=False))
    log = log_of(tmp_path / "run")
    assert log[-1]["loss"] < log[1]["loss"] and objective.network.weight > 0.3
    frames, time = sources.sources("synthetic:4", frames=9)[1].read(0, 64)
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        made = objective.network.interpolate(pictures[:1], pictures[-1:], time)
    watched = -10 * torch.log10((made - pictures[4]).square().mean()).item()
    assert abs(watched - log[-1]["held_out_psnr"]) < 1e-3
