"""The pictures that layers are cut from: prepared once, read through memory maps, drawn at random."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vfi.data.synthetic.textures import texture
from vfi.files.opencv import opencv

LONGEST = 1600  # px of a prepared picture
SMALLEST = 200
HELD_OUT = 10  # one picture in so many
PROCEDURAL = 0.08


class Pictures:
    """Photographs (h, w, 3) and cut-out objects (h, w, 4), uint8 RGB."""

    def __init__(self, photographs: Sequence[np.ndarray], objects: Sequence[np.ndarray] = ()) -> None:
        self.photographs, self.objects = photographs, objects

    @classmethod
    def of(cls, folder: Path, held_out: bool) -> "Pictures":
        """Those that `prepare` wrote; the held-out ones, or all others."""
        lists = []
        for kind in ("photographs", "objects"):
            files = sorted(folder.glob(f"*/{kind}/*.npy"))
            lists.append([np.load(file, mmap_mode="r") for file in files if is_held_out(file) == held_out])
        return cls(*lists)

    def texture(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A piece of a photograph, or seldom something drawn, (height, width, 3) float32 in [0, 1]."""
        if not self.photographs or rng.random() < PROCEDURAL:
            return texture(rng, height, width, photographs=False)
        return piece(rng, self.photographs[rng.integers(len(self.photographs))], height, width)

    def object(self, rng: np.random.Generator, longest: float) -> np.ndarray:
        """A cut-out object, its longer side of about `longest` texels, (h, w, 4) float32."""
        chosen = np.asarray(self.objects[rng.integers(len(self.objects))])
        scale = min(1.5, longest / max(chosen.shape[:2]))
        # Colours count by their opacity, or the edge would show what was behind it when it was cut.
        scaled = chosen.astype(np.float32) / 255
        scaled[..., :3] *= scaled[..., 3:]
        scaled = resized(scaled, [max(8, round(n * scale)) for n in chosen.shape[:2]])
        scaled[..., :3] /= np.maximum(scaled[..., 3:], 1 / 255)
        return scaled[:, ::-1] if rng.random() < 0.5 else scaled


def is_held_out(file: Path) -> bool:
    """By its name, so that one more album moves no other picture."""
    return zlib.crc32("/".join(file.parts[-3:]).encode()) % HELD_OUT == 0


def piece(rng: np.random.Generator, picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A random window at a random scale, mostly reduced, which makes it sharp; mirrored, turned and tinted."""
    if rng.random() < 0.15:
        return np.ascontiguousarray(np.rot90(piece(rng, picture, width, height), rng.choice((-1, 1))))
    fitting = max(height / picture.shape[0], width / picture.shape[1])
    scale = max(fitting, min(1.2, np.exp(rng.uniform(np.log(0.3), np.log(1.2)))))
    spans = [min(n, max(1, round(wanted / scale))) for wanted, n in zip((height, width), picture.shape)]
    # There is more to see in the roughest of some windows; a clear sky is at times what is seen, too.
    windows = [cut(rng, picture, spans) for _ in range(rng.choice((1, 3)))]
    result = resized(max(windows, key=roughness), (height, width)).astype(np.float32) / 255
    if rng.random() < 0.5:
        result = result[:, ::-1]
    tint = rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
    return np.clip(result ** np.float32(rng.uniform(0.75, 1.35)) * tint.astype(np.float32), 0, 1)


def cut(rng: np.random.Generator, picture: np.ndarray, spans: Sequence[int]) -> np.ndarray:
    top, left = (int(rng.integers(n - span + 1)) for n, span in zip(picture.shape, spans))
    return np.asarray(picture[top : top + spans[0], left : left + spans[1]])


def roughness(window: np.ndarray) -> float:
    """How much neighbours differ."""
    some = window[::5, ::2, 1].astype(np.float32)
    return float(np.abs(np.diff(some)).mean()) if some.shape[1] > 1 else 0.0


def resized(picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    cv2 = opencv()
    shrinks = size[0] < picture.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    made = cv2.resize(np.ascontiguousarray(picture), (size[1], size[0]), interpolation=method)
    return np.clip(made, 0, 1) if made.dtype == np.float32 else made


def prepare(files: Sequence[Path], folder: Path) -> None:
    """Writes them, reduced, as arrays below `folder`: pictures that show through in places are objects.

    The name of an array is the number of its file. Small pictures are left out.
    """
    for kind in ("photographs", "objects"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        image = ImageOps.exif_transpose(Image.open(file))
        array = np.asarray(image.convert("RGBA"))
        through = (array[..., 3] < 128).mean()
        kind = "objects" if 0.05 < through < 0.95 else "photographs"
        if min(array.shape[:2]) < (64 if kind == "objects" else SMALLEST):
            continue
        array = array if kind == "objects" else array[..., :3]
        scale = LONGEST / max(array.shape[:2])
        if scale < 1:
            array = resized(array, [round(n * scale) for n in array.shape[:2]])
        np.save(folder / kind / f"{number:04d}.npy", np.ascontiguousarray(array))
