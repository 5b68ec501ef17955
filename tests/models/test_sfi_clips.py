"""Clips with captions: reading them as they were, made-up ones, and batches of one length."""

import json

import numpy as np
import pytest
import torch

from vfi.data.captioned.clips import CaptionedClips, ClipBatches, SyntheticClips, caption, covering
from vfi.data.synthetic import random_scene
from vfi.errors import UserError

CLIP = {
    "video": "in.mp4", "first": 3, "frames": 5, "fps": 10.0, "size": [64, 96], "caption": "a slide",
    "clip_score": None, "flow_score": 2.5,
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def to_manifest(*clips, **changes):
        path = tmp_path / "clips.jsonl"
        path.write_text("".join(json.dumps({**CLIP, **changes, **clip}) + "\n" for clip in clips or ({},)))
        return path

    return to_manifest


def test_a_clip_is_its_frames(make_video, write, sliding):
    frames = [sliding(4 * i) for i in range(14)]
    make_video(frames, "in.mp4")
    clips = CaptionedClips(write({}, {"first": 0, "frames": 3}, {"first": 9}), (64, 96))
    assert len(clips) == 3 and clips.counts == {3: [1], 5: [0, 2]} and clips.fps(1) == 10
    for index, first, count in ((0, 3, 5), (1, 0, 3), (2, 9, 5)):
        clip, text = clips.read(index)
        assert clip.shape == (count, 3, 64, 96) and clip.dtype == torch.uint8 and text == "a slide"
        for shown, expected in zip(clip.permute(0, 2, 3, 1).numpy(), frames[first:]):
            assert np.abs(shown.astype(int) - expected).mean() < 3
        assert torch.equal(clip, clips.read(index)[0])
    assert CaptionedClips(clips.folder / "clips.jsonl", (64, 96), counts=(3, 81)).counts == {3: [0]}
    with pytest.raises(UserError, match=r"no clip of .* has 81 frames"):
        CaptionedClips(clips.folder / "clips.jsonl", counts=(81,))


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (30, 90), (128, 200), (64, 96), (31, 47)])
def test_pictures_cover_the_size(size):
    """Proportions stay, the middle stays the middle."""
    y, x = np.mgrid[:64, :96]
    picture = np.stack((2 * y, 2 * x, 0 * x), axis=2).astype(np.uint8)
    covered = covering(picture, size)
    assert covered.shape == (*size, 3)
    assert abs(covered[..., 0].mean() - 63) < 1.5 and abs(covered[..., 1].mean() - 95) < 1.5
    scale = max(size[0] / 64, size[1] / 96)
    for axis in (0, 1):
        step = np.diff(covered[..., axis].astype(float), axis=axis).mean()
        assert step * scale == pytest.approx(2, rel=0.1)


def test_what_a_manifest_may_not_say(make_video, write, sliding, tmp_path):
    make_video([sliding(i) for i in range(6)], "in.mp4")
    for wrong in (
        {"first": -1}, {"frames": 1}, {"frames": "5"}, {"fps": None}, {"size": [64]}, {"caption": 3}, {"video": 7},
        {"first": 2**40}, {"clip_score": "x"}, {"flow_score": float("nan")}, {"frames": True}, {"file": 1},
    ):  # fmt: skip
        with pytest.raises(UserError, match="clip 2 of"):
            CaptionedClips(write({}, wrong))
    (tmp_path / "clips.jsonl").write_text("")
    with pytest.raises(UserError, match="no clip in"):
        CaptionedClips(tmp_path / "clips.jsonl")
    with pytest.raises(UserError, match="cannot read"):
        CaptionedClips(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"expected frames 3 to 7 in .*in\.mp4; it has changed"):
        CaptionedClips(write({})).read(0)
    for name in ("gone.mp4", "http://127.0.0.1:9/x.mp4", "concat:in.mp4"):
        with pytest.raises(UserError, match="does not exist, but the manifest names it"):
            CaptionedClips(write({"video": name})).read(0)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(UserError, match="cannot read"):
        CaptionedClips(write({"video": "list.m3u8"})).read(0)


def test_made_up_clips():
    clips = SyntheticClips(8, (32, 48), counts=(5, 9, 17))
    assert len(clips) == 8 and clips.counts == {5: [0, 3, 6], 9: [1, 4, 7], 17: [2, 5]}
    for index, count in ((0, 5), (1, 9), (5, 17)):
        frames, text = clips.read(index)
        assert frames.shape == (count, 3, 32, 48) and frames.dtype == torch.uint8
        assert torch.equal(frames, clips.read(index)[0]) and text == clips.read(index)[1]
        assert text.startswith("The background ") and text.count("In front of it a shape") == 3
        assert not torch.equal(frames[0], frames[-1])
    assert torch.equal(SyntheticClips(2, (32, 48), (5,), first_seed=3).read(0)[0], clips.read(3)[0])
    with pytest.raises(IndexError):
        clips.read(8)


def test_captions_say_what_moves():
    """By the exact motion of the layer."""
    for seed in range(12):
        layer = random_scene(seed, (64, 64), max_motion=24, motion="uniform", layers=1).layers[0]
        text = caption([layer], 64)
        x, y = (layer.motion.affine(1)[1] - layer.motion.affine(0)[1]).ravel()
        assert ("to the right" in text) == (x > 0.38 * np.hypot(x, y) and np.hypot(x, y) >= 0.64)
        assert (" up" in text) == (-y > 0.38 * np.hypot(x, y) and np.hypot(x, y) >= 0.64)
        turn = layer.motion.angle(1) - layer.motion.angle(0)
        assert ("counterclockwise" in text) == (turn < -0.1)


COUNTS = {5: list(range(0, 11)), 9: list(range(11, 18)), 17: [18, 19]}


def steps(start=0, stop=14, **more):
    return list(ClipBatches(COUNTS, 3, 7, start, stop, **more))


def length(index):
    return next(count for count, indices in COUNTS.items() if index in indices)


def test_batches_have_one_length():
    """Lengths in proportion to their full batches, every clip at most once in an epoch, another order in each."""
    every = ClipBatches(COUNTS, 3, 7, 0, 10)
    assert every.epoch_steps == 5 and len(every) == 10
    epochs = [list(every)[:5], list(every)[5:]]
    for number, batches in enumerate(epochs):
        assert all(epoch == number for batch in batches for epoch, _ in batch)
        lengths = [{length(i) for _, i in batch} for batch in batches]
        assert sorted(map(min, lengths)) == [5, 5, 5, 9, 9] and all(len(one) == 1 for one in lengths)
        seen = [i for batch in batches for _, i in batch]
        assert len(seen) == len(set(seen)) == 15
    assert [i for b in epochs[0] for _, i in b] != [i for b in epochs[1] for _, i in b]
    assert list(ClipBatches(COUNTS, 3, 8, 0, 10)) != list(every)


def test_over_epochs_every_clip_that_can_be_is_seen():
    seen = {i for batch in steps(0, 200) for _, i in batch}
    assert seen == set(range(18)), "two clips of 17 frames never fill a batch of three"
    first = [length(batch[0][1]) for batch in steps(0, 500)[::5]]
    assert 45 < first.count(5) < 75, "three of the five batches are of 5 frames, in any place of an epoch"


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_same_steps_for_any_processes_and_start(processes):
    whole = steps()
    shares = [steps(rank=rank, processes=processes) for rank in range(processes)]
    assert [[one for part in parts for one in part] for parts in zip(*shares)] == whole
    for start in (1, 5, 8):
        assert steps(start) == whole[start:]
    batches = ClipBatches(COUNTS, 3, 7, 0, 14)
    batches.start = 6
    assert list(batches) == whole[6:] and len(batches) == 8


def test_too_few_clips():
    with pytest.raises(UserError, match="expected at least 12 clips of one length, one batch, got 11"):
        ClipBatches(COUNTS, 12, 0, 0, 1)
    assert len(list(ClipBatches(COUNTS, 11, 0, 0, 3))) == 3
    with pytest.raises(UserError, match="got 0"):
        ClipBatches({}, 1, 0, 0, 1)


def test_they_feed_a_loader():
    source = SyntheticClips(7, (32, 32), counts=(3, 5))

    class Reading(torch.utils.data.Dataset):
        def __getitem__(self, place):
            return source.read(place[1])

    loader = torch.utils.data.DataLoader(Reading(), batch_sampler=ClipBatches(source.counts, 2, 0, 0, 3))
    shapes = [tuple(frames.shape) for frames, texts in loader if len(texts) == 2]
    assert sorted(shapes) == [(2, 3, 3, 32, 32), (2, 3, 3, 32, 32), (2, 5, 3, 32, 32)]
