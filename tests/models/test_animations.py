"""Animated WebP, AVIF, PNG and GIF: their times and alpha, in and out; images by a pattern with *."""

import numpy as np
import pytest
from PIL import Image as Pillow
from tiny_videos import make
from video_runs import refused, run

from vfi.files.images import write_image
from vfi.video.animation import AnimationReader, is_animation, moves

SIDE = 48
LENGTHS = [40, 40, 80, 40, 40]  # milliseconds


def picture(place, alpha=True):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(rows - 24, columns - 16 - place) < 12
    rgba = np.dstack([np.full((SIDE, SIDE), level, np.uint8) for level in (200, 120, 60)] + [inside * np.uint8(255)])
    if not alpha:
        rgba[~inside] = 20
    return rgba if alpha else np.ascontiguousarray(rgba[..., :3])


def animation(path, alpha=True, lengths=LENGTHS):
    frames = [Pillow.fromarray(picture(3 * n, alpha)) for n in range(len(lengths))]
    options = {"disposal": 2} if path.suffix == ".gif" else {}
    if path.suffix in (".webp", ".avif"):
        options = {"quality": 95}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=lengths, loop=0, **options)
    return path


def shown(path):
    """Milliseconds and pictures, RGBA, as Pillow reads them."""
    lengths, pictures = [], []
    with Pillow.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            file.load()
            lengths.append(float(file.info["duration"]))
            pictures.append(np.asarray(file.convert("RGBA")).astype(int))
    return lengths, pictures


def differ(a, b):
    """Of alpha, and of colours that are seen in both, borders aside."""
    solid = (a[..., 3] == 255) & (b[..., 3] == 255)
    solid[1:-1, 1:-1] &= solid[:-2, 1:-1] & solid[2:, 1:-1] & solid[1:-1, :-2] & solid[1:-1, 2:]
    return np.abs(a - b)[..., 3].mean(), np.abs(a - b)[solid][:, :3].mean()


@pytest.mark.parametrize("alpha", (True, False))
@pytest.mark.parametrize("target", (".webp", ".apng", ".gif", ".avif", ".webm"))
@pytest.mark.parametrize("source", (".webp", ".apng", ".gif", ".avif"))
@pytest.mark.in_turn
def test_times_and_alpha_stay(tmp_path, capsys, source, target, alpha):
    given, out = animation(tmp_path / f"in{source}", alpha), tmp_path / f"out{target}"
    assert run(given, "-o", out, "--scene-cuts", "off") == 0
    said = capsys.readouterr()
    assert "10 frames (5 interpolated" in said.out or "10 frames (4 interpolated, 1 repeated" in said.out
    assert ("the alpha channel is left out" in said.err) == (alpha and target == ".avif")
    if target == ".webm":
        return
    lengths, pictures = shown(out)
    # The last picture is repeated, which WebP makes one.
    assert lengths[:8] == [20, 20, 20, 20, 40, 40, 20, 20] and len(lengths) == (9 if target == ".webp" else 10)
    # libwebp takes the mean of the others for the last one.
    assert abs(sum(lengths) - 240) <= (4 if target == ".webp" else 0)
    if target == ".avif" and alpha:
        return
    for number in range(5):
        a, b = differ(
            np.asarray(Pillow.fromarray(picture(3 * number, alpha)).convert("RGBA")).astype(int), pictures[2 * number]
        )
        assert a < 4 and b < 8, (number, a, b)
    between = pictures[1][..., 3] if alpha else (pictures[1][..., 0] > 110) * 255
    assert np.abs(between - picture(1.5)[..., 3].astype(int)).mean() < 12


def test_what_is_an_animation(tmp_path):
    assert is_animation(animation(tmp_path / "a.webp")) and is_animation(animation(tmp_path / "a.avif"))
    assert not is_animation(animation(tmp_path / "b.avif", alpha=False)), "FFmpeg reads it, with all its bits"
    write_image(tmp_path / "still.webp", picture(0))
    (tmp_path / "text.webp").write_bytes(b"no image")
    assert not any(is_animation(tmp_path / name) for name in ("still.webp", "text.webp", "none.webp", "a.png"))
    reader = AnimationReader(tmp_path / "a.webp", tmp_path / "x.mp4")
    assert [float(frame.duration) for frame in reader.frames()] == [0.04, 0.04, 0.08, 0.04, 0.04]
    assert reader.info.rate == 25 and not reader.info.even and reader.info.alpha and reader.decoded == 5


@pytest.mark.parametrize("kind", (".webp", ".avif", ".apng"))
@pytest.mark.parametrize("called", (".webp", ".avif", ".png"))
@pytest.mark.parametrize("alpha", (True, False))
def test_an_animation_is_one_by_what_is_in_it(tmp_path, capsys, kind, called, alpha):
    """Whatever it is called: alone a video, no still one of a sequence or a pair, a video of its own in a folder."""
    (tmp_path / "f").mkdir()
    (tmp_path / "o").mkdir()
    moving = animation(tmp_path / f"in{kind}", alpha).rename(tmp_path / f"f/x_1{called}")
    still = tmp_path / f"f/x_2{called}"
    write_image(still, picture(0, alpha))
    assert moves(moving) and not moves(still)
    assert run(moving, "-o", tmp_path / "out.mkv", "--factor", 1, "--scene-cuts", "off") == 0
    said = capsys.readouterr()
    assert "from 5 frames of" in said.out and "alpha" not in said.err
    if called == ".png":
        write_image(tmp_path / "f/x_3.png", picture(0, alpha))
    for given in ([tmp_path / "f"], [tmp_path / f"f/x_%d{called}"], [moving, still]):
        message = refused(capsys, *given, "-o", tmp_path / "one.mkv")
        assert "is a video of its own: give it alone, or a folder that exists as --output" in message
    assert run(tmp_path / "f", "-o", tmp_path / "o", "--factor", 1, "--scene-cuts", "off") == 0
    said = capsys.readouterr()
    stills = 2 if called == ".png" else 1
    assert (
        f"note: {stills} image{'s' if stills > 1 else ''} in {tmp_path / 'f'}, such as x_2{called}, left out"
        in said.err
    )
    assert len(list((tmp_path / "o").iterdir())) == 1


def test_pictures_that_do_not_move(tmp_path):
    animation(tmp_path / "one.apng", lengths=[40])
    animation(tmp_path / "one.webp", lengths=[40])
    write_image(tmp_path / "deep.png", picture(0).astype(np.uint16) * 257)
    for number, head in enumerate((b"", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"\0\0\0\x20ftypavis")):
        (tmp_path / f"{number}.png").write_bytes(head)
    assert not any(map(moves, [*tmp_path.iterdir(), tmp_path / "none.png", tmp_path]))


def test_damaged_animations(tmp_path, capsys):
    whole = animation(tmp_path / "in.webp").read_bytes()
    (tmp_path / "in.webp").write_bytes(whole[: len(whole) * 2 // 3])
    message = refused(capsys, tmp_path / "in.webp", "-o", tmp_path / "out.mp4")
    assert "cannot read" in message and "in.webp" in message


def test_single_names_are_animations_and_numbered_ones_images(tmp_path):
    source = make(tmp_path / "in.mp4", 4)
    for suffix in (".webp", ".avif"):
        assert run(source, "-o", tmp_path / f"one{suffix}") == 0
        assert len(shown(tmp_path / f"one{suffix}")[0]) == (7 if suffix == ".webp" else 8)
        assert run(source, "-o", tmp_path / f"n_%d{suffix}") == 0
        assert len(list(tmp_path.glob(f"n_*{suffix}"))) == 8
    assert run(tmp_path / "n_?.webp", "-o", tmp_path / "again.mkv", "--factor", 1) == 0


@pytest.mark.parametrize("pattern, count", [("f_*.png", 12), ("f_?.png", 9), ("f_[13].png", 2)])
def test_a_pattern_that_no_shell_has_expanded(tmp_path, capsys, pattern, count):
    for number in range(1, 13):
        write_image(tmp_path / f"f_{number}.png", picture(number, alpha=False))
    (tmp_path / "f_x.txt").write_text("no image")
    code = run(tmp_path / pattern, "-o", tmp_path / "out.mkv", "--factor", 1, "--scene-cuts", "off")
    assert code == 0 and f"from {count} frames of" in capsys.readouterr().out
    assert "no image is called" in refused(capsys, tmp_path / "z*.png", "-o", tmp_path / "out2.mkv")
