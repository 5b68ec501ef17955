"""Made-up data in the published layout of every data set of `vfi evaluate`: tiny frames that slide."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from test_evaluate import snu_film, vimeo90k, write

from vfi.data import videos

TRIPLET = ("im1.png", "im2.png", "im3.png")


def pictures(sliding, count: int = 3) -> list[np.ndarray]:
    return [sliding(3 * i) for i in range(count)]


def numbered(root: Path, folder: str, count: int, sliding, name: str = "{:06d}.png", first: int = 1) -> None:
    write(root / folder, [name.format(first + i) for i in range(count)], pictures(sliding, count))


def planar(
    path: Path, width: int, height: int, frames: int, head: bytes = b"", each: bytes = b"", bits: int = 8
) -> None:
    """Random samples of 4:2:0 within the limited range."""
    random, kind = np.random.default_rng(len(path.name)), "<u2" if bits > 8 else "u1"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        for _ in range(frames):
            sizes = (width * height, *[-(-width // 2) * -(-height // 2)] * 2)
            planes = [random.integers(16 << bits - 8, 236 << bits - 8, size).astype(kind).tobytes() for size in sizes]
            file.write(each + b"".join(planes))


Y4M = b"YUV4MPEG2 W%d H%d F60:1 Ip A0:0 C420p10 XYSCSS=420P10\n"


def make_xiph(root: Path, sliding) -> None:
    """PNG of all clips but one, which is there as published."""
    for clip in videos.XIPH_CLIPS[:-1]:
        numbered(root, ".", 5, sliding, clip + "-{:03d}.png")
    clip = root / f"Netflix_{videos.XIPH_CLIPS[-1]}_4096x2160_60fps_10bit_420.y4m"
    planar(clip, 96, 64, 5, Y4M % (96, 64), b"FRAME\n", bits=10)


def make_hd(root: Path, sliding) -> None:
    for folder, height, width, names in videos.HD.values():
        for name in names:
            planar(root / "HD_dataset" / folder / f"{name}.yuv", width, height, 5)


def make_atd(root: Path, sliding) -> None:
    for level, name in enumerate(("Disney_a", "Japan_b", "Japan_c")):
        write(root / "test_2k_540p" / name, [f"frame{i}.jpg" for i in (1, 2, 3)], pictures(sliding))
        folder = root / "test_2k_annotations" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.json").write_text(json.dumps({"level": level, "motion_RoI": {}}))


@dataclass(frozen=True)
class Layout:
    """make: writes a data set of tiny frames. names: of the scenes that are found, by split; times: of the frames
    between. lost: a file without which it is incomplete, and `lacking` how many scenes then are."""

    make: Callable[..., None]
    names: dict[str, list[str]]
    lost: str
    lacking: str
    between: int = 1


def of_folders(*names: str, files: tuple[str, ...] = TRIPLET):
    return lambda root, sliding: [write(root / name, files, pictures(sliding)) for name in names] and None


def make_vimeo(root: Path, sliding) -> None:
    vimeo90k(root, ["00001/0001", "00001/0002"], pictures(sliding), "00001/0001\n00001/0002\n")


def make_septuplets(root: Path, sliding) -> None:
    (root / "sep_testlist.txt").write_text("00001/0001\n")
    numbered(root, "sequences/00001/0001", 7, sliding, "im{}.png")


def make_x4k(root: Path, sliding) -> None:
    for name in ("Type1/TEST01_003_f0433", "Type2/TEST06_001_f0273"):
        numbered(root, f"test/{name}", 33, sliding, "{:04d}.png", 0)


LAYOUTS = {
    "middlebury": Layout(
        of_folders("Beanbags", "Dimetrodon", files=("frame10.png", "frame10i11.png", "frame11.png")),
        {"": ["Beanbags", "Dimetrodon"]}, "", "",
    ),
    "triplets": Layout(of_folders("a", "b/c"), {"": ["a", "b/c"]}, "b/c/im2.png", "1 of 2 scenes is"),
    "vimeo90k": Layout(
        make_vimeo, {"": ["00001/0001", "00001/0002"]}, "sequences/00001/0002/im3.png", "1 of 2 scenes is"
    ),
    "vimeo90k-septuplet": Layout(
        make_septuplets, {"": ["00001/0001"]}, "sequences/00001/0001/im4.png", "1 of 1 scene is", 5
    ),
    "snu-film": Layout(
        lambda root, sliding: snu_film(root, "test", pictures(sliding)),
        {split: [f"{split} one/000002.png"] * 2 for split in ("easy", "medium", "hard", "extreme")},
        "test/GOPRO_test/one/000003.png", "2 of 2 scenes are",
    ),
    "xiph": Layout(
        make_xiph,
        {s: [f"{s} {clip}-{i:03d}" for clip in videos.XIPH_CLIPS for i in (2, 4)] for s in ("2k", "4k")},
        "Crosswalk-003.png", "4 of 32 scenes are",
    ),
    "ucf101": Layout(
        of_folders("ucf101_interp_ours/1", files=("frame_00.png", "frame_01_gt.png", "frame_02.png")),
        {"": ["ucf101_interp_ours/1"]}, "ucf101_interp_ours/1/frame_01_gt.png", "1 of 1 scene is",
    ),
    "hd": Layout(
        make_hd,
        {s: [f"{s} {name}-{i:03d}" for name in names for i in (1, 3)] for s, (_, _, _, names) in videos.HD.items()},
        "HD_dataset/HD720p_GT/parkrun_1280x720_50.yuv", "50 of 70 scenes are",
    ),
    "atd-12k": Layout(
        make_atd, {"all": ["Disney_a", "Japan_b", "Japan_c"]}, "test_2k_540p/Japan_b/frame2.jpg", "1 of 3 scenes is"
    ),
    "x4k1000fps": Layout(
        make_x4k, {"": ["Type1/TEST01_003_f0433", "Type2/TEST06_001_f0273"]}, "test/Type2/TEST06_001_f0273/0008.png",
        "1 of 2 clips", 7,
    ),
    "gopro": Layout(
        lambda root, sliding: numbered(root, "test/GOPR0384_11_00", 20, sliding),
        {"": ["GOPR0384_11_00/000001", "GOPR0384_11_00/000009"]}, "test/GOPR0384_11_00/000005.png", "1 of 1 clip", 7,
    ),
    "adobe240": Layout(
        lambda root, sliding: numbered(root, "test_frames/720p_240fps_1", 9, sliding, "{}.png", 0),
        {"": ["720p_240fps_1/0"]}, "test_frames/720p_240fps_1/8.png", "1 of 1 clip", 7,
    ),
    "davis-7": Layout(
        lambda root, sliding: numbered(root, "JPEGImages/480p/bear", 11, sliding, "{:05d}.jpg", 0),
        {"": ["bear/00000"]}, "JPEGImages/480p/bear/00003.jpg", "1 of 1 clip", 7,
    ),
    **{
        name: Layout(
            lambda root, sliding: numbered(root, "one", 26, sliding, "{}.png"), {"": ["one"]}, "one/13.png",
            "1 of 1 clip", between,
        )
        for name, between in (("fcvg", 23), ("pixels", 23), ("clips", 7))
    },
}  # fmt: skip
