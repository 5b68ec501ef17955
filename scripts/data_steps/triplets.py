"""Triplets of real clips: crops of three frames that follow each other, where something moves and nothing is cut."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from data_steps.samples import SIZE, Sample
from vfi.files.atomic import written_whole
from vfi.files.opencv import opencv

STRIDES = (1, 2)
SMALLEST_CHANGE = 0.006  # mean absolute difference of the outer frames, of 1
LARGEST_CHANGE = 0.25
CUT = 0.15  # the share of the whole change that lies on one side of the middle frame, below which it is a cut or a copy
TRIES = 6
MOST = 150  # crops of a clip
TRAINED_ON = 0.87  # of a clip's frames; the others are held out


def read(clip: Path) -> Iterator[np.ndarray]:
    """RGB frames of a video file or of a folder of pictures, (H, W, 3) uint8."""
    if clip.is_dir():
        for file in sorted(clip.iterdir()):
            yield np.ascontiguousarray(opencv().imread(str(file), opencv().IMREAD_COLOR)[..., ::-1])
        return
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_count = 1
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def length(clip: Path) -> int:
    """How many frames it has, or a few more."""
    if clip.is_dir():
        return sum(1 for _ in clip.iterdir())
    with av.open(str(clip)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def cut_clips(clips: Path, folder: Path) -> None:
    """Writes the crops of every clip in the folder `clips`, unless they are there: those of its end are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in sorted(path for path in clips.iterdir() if not path.name.startswith(".")):
        if not (folder / f"{clip.stem}-train.npy").exists():
            print(f"triplets of {clip.stem}", flush=True)
            found = cut_clip(clip)
            for part in ("held", "train"):
                crops = np.stack(found[part]) if found[part] else np.empty((0, 3, SIZE, SIZE, 3), np.uint8)
                with written_whole(folder / f"{clip.stem}-{part}.npy") as partial:
                    np.save(partial, crops)


def cut_clip(clip: Path) -> dict[str, list[np.ndarray]]:
    """Crops (3, SIZE, SIZE, 3) of each part; the same every time."""
    rng = np.random.default_rng(zlib.crc32(clip.stem.encode()))
    last, found, window = length(clip), {"train": [], "held": []}, []
    for number, frame in enumerate(read(clip)):
        window = [*window[-2 * STRIDES[-1] :], frame]
        span = 2 * STRIDES[-1]
        # What reaches across the border is of neither part.
        part = "train" if number < TRAINED_ON * last else "held" if number - span >= TRAINED_ON * last else None
        wanted = MOST / last * min(1, min(frame.shape[:2]) / SIZE)
        if len(window) <= span or part is None:
            continue
        for _ in range(int(min(wanted, 4) + rng.random())):
            stride = int(rng.choice(STRIDES))
            fitting = crop(rng, window[: 2 * stride + 1 : stride])
            if fitting is not None:
                found[part].append(fitting)
    return found


def crop(rng: np.random.Generator, frames: list[np.ndarray]) -> np.ndarray | None:
    """At a random scale and place; none if after some tries nothing fits."""
    for _ in range(TRIES):
        found = window(rng, frames)
        if moves(found):
            return found
    return None


def window(rng: np.random.Generator, frames: list[np.ndarray]) -> np.ndarray:
    """Frames of at least twice the size are often reduced; smaller ones than it are mirrored at the right and below."""
    cv2 = opencv()
    height, width = frames[0].shape[:2]
    most = min(height, width) / SIZE
    scale = 1 / rng.uniform(1, most) if most > 1.2 and rng.random() < 0.6 else 1.0
    spans = [min(n, round(SIZE / scale)) for n in (height, width)]
    top, left = (int(rng.integers(n - span + 1)) for n, span in zip((height, width), spans))
    cut = [frame[top : top + spans[0], left : left + spans[1]] for frame in frames]
    if scale < 1:
        cut = [cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for part in cut]
    missing = [SIZE - n for n in cut[0].shape[:2]]
    return np.stack([cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT) for part in cut])


def moves(frames: np.ndarray) -> bool:
    """Whether the outer frames differ, not by a cut, and the middle one is no copy of either."""
    first, middle, last = (opencv().resize(frame, (64, 64), interpolation=opencv().INTER_AREA).astype(np.float32) / 255
                           for frame in frames)  # fmt: skip
    change = float(np.abs(first - last).mean())
    if not SMALLEST_CHANGE <= change <= LARGEST_CHANGE:
        return False
    sides = float(np.abs(first - middle).mean()), float(np.abs(middle - last).mean())
    return min(sides) > CUT * change


class Triplets:
    """Samples of all clips, shuffled."""

    def __init__(self, crops: Sequence[np.ndarray], seed: int) -> None:
        self.crops = crops
        places = [(clip, row) for clip, found in enumerate(crops) for row in range(len(found))]
        self.places = [places[i] for i in np.random.default_rng(seed).permutation(len(places))]

    @classmethod
    def of(cls, folder: Path, held_out: bool, seed: int) -> "Triplets":
        files = sorted(folder.glob(f"*-{'held' if held_out else 'train'}.npy"))
        return cls([np.load(file, mmap_mode="r") for file in files], seed)

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, number: int) -> Sample:
        """Nothing is known of the flow."""
        clip, row = self.places[number]
        frames = np.array(self.crops[clip][row])
        height, width = frames.shape[1:3]
        unknown = np.full((4, height, width), np.nan, np.float16)
        return Sample(frames, 0.5, unknown, np.zeros((2, height, width), np.uint8))
