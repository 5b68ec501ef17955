"""The data sets of `vfi evaluate`: what is expected of their files, and their scenes, all there and of even sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vfi import errors
from vfi.data import lists, videos
from vfi.data.truth import TrueScene, complete
from vfi.errors import UserError
from vfi.options import whole


@dataclass(frozen=True)
class Dataset:
    """files: what is expected below the root, for help and refusals. scenes: root and split -> at least one scene.
    usual: the splits that are taken where none is asked for; empty: all. published: how many scenes there are, by
    split. frames: of each clip, both ends counted, where the first ones are used; more or fewer may be asked for."""

    files: str
    scenes: Callable[[Path, str], list[TrueScene]]
    splits: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    published: Mapping[str, int] = field(default_factory=dict)
    frames: int | None = None


def scenes(dataset: str, root: Path, split: str | None = None, frames: int | None = None) -> list[TrueScene]:
    """The scenes of a data set below `root`, of one split or of all.

    Args:
        frames: of a scene, both ends counted, for CLIPS.

    Raises:
        UserError: if the data set has no such split, or a list or frame is missing or lies outside `root`.
    """
    entry = DATASETS[dataset]
    if split is not None and split not in entry.splits:
        choices = f"expected {' or '.join(entry.splits)}" if entry.splits else "it has no splits"
        raise UserError(f"{dataset} has no split {split!r}: {choices}")
    if frames is not None:
        if entry.frames is None:
            raise errors.ArgumentError(f"`frames` is for {', '.join(CLIPS)} only")
        found = videos.clips(root, whole("frames", frames, 3))
    else:
        chosen = (split,) if split is not None else entry.usual or entry.splits or ("",)
        found = [scene for name in chosen for scene in entry.scenes(root, name)]
    if not found:
        raise UserError(f"no scene found in {root}: expected {entry.files}")
    complete([(scene.name, scene.paths) for scene in found], entry.files)
    return found


def fewer_than_published(dataset: str, found: list[TrueScene]) -> list[str]:
    """Of each split of which fewer or more scenes are there than the data set has, a sentence."""
    here: dict[str, int] = {}
    for scene in found:
        here[scene.split] = here.get(scene.split, 0) + 1
    published = DATASETS[dataset].published
    return [
        f"{dataset}{split and ' '}{split} has {published[split]} scenes as published, here are {count}"
        for split, count in here.items()
        if published.get(split, count) != count
    ]


def _clips(frames: int, files: str) -> Dataset:
    return Dataset(
        f"{files}, of which the first {frames} are used", lambda root, split: videos.clips(root, frames), frames=frames
    )


_RUNS = "frames are taken in runs of 9, each from where the one before ends"
DATASETS = {
    "middlebury": Dataset(
        "folders with frame10.png, frame10i11.png, frame11.png", lists.middlebury, published={"": 12}
    ),
    "triplets": Dataset("folders with im1.png, im2.png, im3.png", lists.triplets),
    "vimeo90k": Dataset("tri_testlist.txt, sequences/00001/0001/im1.png ...", lists.vimeo90k, published={"": 3782}),
    "vimeo90k-septuplet": Dataset(
        "sep_testlist.txt, sequences/00001/0001/im1.png ... im7.png", lists.vimeo90k_clips, published={"": 7824}
    ),
    "snu-film": Dataset(
        "test-easy.txt ... and the frames", lists.snu_film, ("easy", "medium", "hard", "extreme"),
        published=dict.fromkeys(("easy", "medium", "hard", "extreme"), 310),
    ),
    "xiph": Dataset(
        "frames 001 to 099 of BoxingPractice-001.png ..., or Netflix_BoxingPractice_4096x2160_60fps_10bit_420.y4m ...",
        videos.xiph, ("2k", "4k"), published={"2k": 392, "4k": 392},
    ),
    "ucf101": Dataset(
        "folders with frame_00.png, frame_01_gt.png, frame_02.png", lists.ucf101, published={"": 379}
    ),
    "hd": Dataset("HD544p_GT/Sintel_Alley2_1280x544.yuv ...", videos.hd, tuple(videos.HD)),
    "atd-12k": Dataset(
        "test_2k_540p/*/frame1.jpg, frame2.jpg, frame3.jpg; for a level test_2k_annotations", lists.atd12k,
        ("all", *lists.LEVELS), ("all",), {"all": 2000},
    ),
    "x4k1000fps": Dataset(
        "test/Type1/TEST01_003_f0433/0000.png ... 0032.png", videos.x4k1000fps, published={"": 15}
    ),
    "gopro": Dataset(f"test/GOPR0384_11_00/000001.png ...; {_RUNS}", videos.gopro),
    "adobe240": Dataset(f"test_frames, with a folder of frames for each video; {_RUNS}", videos.adobe240),
    "davis-7": Dataset(f"JPEGImages/480p/bear/00000.jpg ...; {_RUNS}", videos.davis),
    "fcvg": _clips(25, "a folder of frames for each clip"),
    "pixels": _clips(25, "a folder of frames for each clip"),
    "clips": _clips(9, "a folder of frames for each clip"),
}  # fmt: skip
CLIPS = tuple(name for name, entry in DATASETS.items() if entry.frames is not None)
