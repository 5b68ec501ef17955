"""What vfi-s is bad at, as a picture (docs/vfi_s_bad.jpg): python scripts/draw_vfi_s.py

Each row is the mean of two frames, what flow-splat and vfi-s make between, and the true frame. The scene is the one of
`make demo`, photographs of scikit-image in CC0: further apart than DIS follows, and with a part that turns.
"""

from pathlib import Path

import numpy as np

from vfi.commands import demo_clip
from vfi.commands.moving_photographs import true_frame
from vfi.drawing.panels import Panel, strip
from vfi.evaluation import metrics
from vfi.files.images import write_image
from vfi.files.opencv import opencv
from vfi.models.pictures import Pictures
from vfi.models.registry import load_model

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "vfi_s_bad.jpg"
MODELS = ("flow-splat", "vfi-s")
Triplet = tuple[np.ndarray, np.ndarray, np.ndarray]


def far() -> Triplet:
    """The cut-out moves by 120 px."""
    return true_frame(0), true_frame(4), true_frame(8)


def turning() -> Triplet:
    """The middle of the picture turns by 70 degrees about itself."""
    cv2, picture = opencv(), true_frame(0)
    height, width = picture.shape[:2]
    centre = (0.34 * width, 0.56 * height)
    y, x = np.mgrid[:height, :width]
    inside = ((np.hypot(x - centre[0], y - centre[1]) < 0.3 * height)[..., None]).astype(np.float32)
    frames = []
    for angle in (0, 35, 70):
        matrix = cv2.getRotationMatrix2D(centre, angle, 1)
        turned = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        frames.append(np.rint(inside * turned + (1 - inside) * picture).astype(np.uint8))
    first, middle, last = frames
    return first, middle, last


def main() -> None:
    ways = {name: Pictures(load_model(name, device="cpu"), "cpu") for name in MODELS}
    panels = []
    for first, truth, second in (far(), turning()):
        made = {"mean of both": demo_clip.average(first, second)}
        made |= {name: next(iter(way.between(first, second, [0.5]))) for name, way in ways.items()}
        for name, frame in made.items():
            quality = f"{name}, {metrics.compare(frame, truth).psnr:.1f} dB"
            print(quality)
            panels.append(Panel(quality, frame))
        panels.append(Panel("true frame", truth))
    write_image(PICTURE, strip(panels, columns=4, panel_width=320))
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
