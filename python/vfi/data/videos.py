"""Where the scenes of data sets of videos are, with one frame between or several. Only heads of files are read."""

from pathlib import Path
from typing import TYPE_CHECKING

from vfi.data.lists import clip_folders, gapless
from vfi.data.planes import PlaneFile, PlaneFrame, y4m
from vfi.data.truth import Frame, TrueScene, windows
from vfi.errors import UserError
from vfi.files.opencv import opencv
from vfi.video.av_common import counted

if TYPE_CHECKING:
    import numpy as np

XIPH_CLIPS = (
    "BoxingPractice",
    "Crosswalk",
    "DrivingPOV",
    "FoodMarket",
    "FoodMarket2",
    "RitualDance",
    "SquareAndTimelapse",
    "Tango",
)
XIPH_MIDDLES = range(2, 99, 2)
# By the resolution: folder, height, width, files.
HD = {
    "544p": ("HD544p_GT", 544, 1280, ("Sintel_Alley2_1280x544", "Sintel_Market5_1280x544", "Sintel_Temple1_1280x544",
                                      "Sintel_Temple2_1280x544")),
    "720p": ("HD720p_GT", 720, 1280, ("parkrun_1280x720_50", "shields_1280x720_60", "stockholm_1280x720_60")),
    "1080p": ("HD1080p_GT", 1080, 1920, ("BlueSky", "Kimono1_1920x1080_24", "ParkScene_1920x1080_24",
                                         "sunflower_1080p25")),
}  # fmt: skip
HD_FRAMES = 101  # at most, of each
X4K_FRAMES, X4K_STEP = 33, 4
SIZE_4K = 2160, 4096


def xiph(root: Path, split: str) -> list[TrueScene]:
    """Even frames from their neighbours: of PNG files 001 to 099, or of the published y4m."""
    scenes = []
    for clip in XIPH_CLIPS:
        film = root / f"Netflix_{clip}_4096x2160_60fps_10bit_420.y4m"
        stored = y4m(film) if film.is_file() and not (root / f"{clip}-001.png").is_file() else None
        for middle in XIPH_MIDDLES:
            names = range(middle - 1, middle + 2)
            paths: list[Frame] = (
                [PlaneFrame(stored, name - 1) for name in names] if stored is not None
                else [root / f"{clip}-{name:03d}.png" for name in names]
            )  # fmt: skip
            prepare = _xiph_2k if split == "2k" else _xiph_4k
            scenes.append(TrueScene(f"{split} {clip}-{middle:03d}", split, tuple(paths), prepare, SIZE_4K))
    return scenes


def _xiph_2k(frame: "np.ndarray") -> "np.ndarray":
    cv2 = opencv()
    result: np.ndarray = cv2.resize(frame, (2048, 1080), interpolation=cv2.INTER_AREA)
    return result


def _xiph_4k(frame: "np.ndarray") -> "np.ndarray":
    """The middle, 2048x1080, at full resolution."""
    return frame[540:-540, 1024:-1024]


def hd(root: Path, split: str) -> list[TrueScene]:
    """Odd frames from their neighbours, up to frame 100, of raw files of 4:2:0."""
    folder, height, width, names = HD[split]
    base = root / "HD_dataset" if (root / "HD_dataset").is_dir() else root
    scenes = []
    for name in names:
        film = PlaneFile(base / folder / f"{name}.yuv", width, height, "yuv420p", "skimage")
        count = min(film.count, HD_FRAMES) if film.path.is_file() else HD_FRAMES
        triplets = windows([PlaneFrame(film, number) for number in range(max(count, 3))], 3)
        scenes += [TrueScene(f"{split} {name}-{2 * i + 1:03d}", split, paths) for i, paths in enumerate(triplets)]
    return scenes


def x4k1000fps(root: Path, split: str) -> list[TrueScene]:
    """X-TEST: of 33 frames the first and the last, and every fourth between."""
    base = root / "test" if (root / "test").is_dir() else root
    folders = [frames for frames in clip_folders(base, X4K_FRAMES) if frames[0].parent.parent.name.startswith("Type")]
    if not folders:
        raise UserError(f"no clip found: expected folders such as Type1/TEST01_003_f0433 below {base}")
    wrong = [frames for frames in folders if len(frames) != X4K_FRAMES]
    if wrong:
        first = f"expected {X4K_FRAMES} frames in {wrong[0][0].parent}, got {len(wrong[0])}"
        raise UserError(f"{len(wrong)} of {counted(len(folders), 'clip')} have too many frames: {first}")
    gapless(folders)
    return [
        TrueScene(name_of(frames[0].parent, base), split, tuple(frames[::X4K_STEP]), size=SIZE_4K) for frames in folders
    ]


def gopro(root: Path, split: str) -> list[TrueScene]:
    """Of GOPRO_Large_all; the sharp frames of GOPRO_Large do not follow one another."""
    scenes = _windows_below(root, root / "test", 9)
    for scene in scenes:
        if {"sharp", "blur", "blur_gamma"} & set(Path(scene.name).parts):
            raise UserError(f"{root} is GOPRO_Large, whose sharp frames are not consecutive: expected GOPRO_Large_all")
    return scenes


def adobe240(root: Path, split: str) -> list[TrueScene]:
    return _windows_below(root, root / "test_frames", 9)


def davis(root: Path, split: str) -> list[TrueScene]:
    return _windows_below(root, root / "JPEGImages" / "480p", 9)


def clips(root: Path, count: int) -> list[TrueScene]:
    """The first `count` images of every folder."""
    folders = clip_folders(root, count)
    gapless(folders)
    return [TrueScene(name_of(frames[0].parent, root), "", tuple(frames[:count])) for frames in folders]


def _windows_below(root: Path, usual: Path, count: int) -> list[TrueScene]:
    """Runs of `count` frames of each folder below `usual`, if it is there, or `root`; each begins where the one before
    ends, and what is left at an end is not used."""
    base = usual if usual.is_dir() else root
    folders = clip_folders(base, count)
    gapless(folders)
    return [
        TrueScene(f"{name_of(frames[0].parent, base)}/{frames[first].stem}", "", paths)
        for frames in folders
        for first, paths in zip(range(0, len(frames), count - 1), windows(frames, count))
    ]


def name_of(folder: Path, root: Path) -> str:
    """Relative to the root; of the root its own name."""
    return folder.relative_to(root).as_posix() if folder != root else folder.name
