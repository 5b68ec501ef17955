"""Two images in, frames out, through the `vfi` command."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vfi.commands.interpolate_images import numbered_outputs, times_from
from vfi.commands.main import main
from vfi.drawing.flow_colours import colour_wheel, flow_colours
from vfi.drawing.panels import Panel, flow_panel, holes_panel, strip
from vfi.evaluation.metrics import compare
from vfi.files.images import read_image, to_array, to_tensor, write_image


@pytest.fixture
def pair(tmp_path, sliding):
    """Two frames of a slide by 8 pixels and the true middle, as files."""
    paths = [tmp_path / name for name in ("a.png", "b.png", "truth.png")]
    for path, x in zip(paths, (20, 28, 24), strict=True):
        write_image(path, sliding(x))
    return paths


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 49)])
def test_arrays_are_tensors_and_back(dtype, channels, size):
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, most + 1, (*size, channels)).astype(dtype)
    planes = to_tensor(pixels)
    assert planes.shape == (1, channels, *size)
    assert torch.equal(planes[0], torch.from_numpy(pixels.astype(np.float32) / np.float32(most)).permute(2, 0, 1))
    np.testing.assert_array_equal(to_array(planes, dtype), pixels)
    halves = torch.arange(2 * most, dtype=torch.float64).add(0.5).div(most).sub(0.25).float()  # ties go to the even
    expected = halves.mul(most).round().clamp(0, most).numpy().astype(dtype)
    np.testing.assert_array_equal(to_array(halves.reshape(1, 1, 1, -1), dtype)[0, :, 0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("value", "share"),
    [(float("nan"), 0), (float("inf"), 1), (-float("inf"), 0), (3e38, 1), (-3e38, 0), (1e9, 1), (2, 1)],
)
def test_values_outside_are_clamped(dtype, value, share):
    planes = torch.full((1, 3, 5, 7), 0.2)
    planes[0, 1, 2, 3] = value
    pixels = to_array(planes, dtype)
    assert pixels[2, 3, 1] == share * np.iinfo(dtype).max
    assert pixels[0, 0, 0] == round(0.2 * np.iinfo(dtype).max)


def run(*arguments: object) -> int:
    return main(["interpolate", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    """Runs a command that must fail with exit code 2 and returns its one sentence."""
    code = run(*arguments)
    message = capsys.readouterr().err.strip()
    assert code == 2 and message and "Traceback" not in message
    return message.splitlines()[-1]


def test_the_middle_frame_is_written_and_measured(pair, tmp_path, capsys):
    output = tmp_path / "mid.png"
    assert run(*pair[:2], "-o", output, "--ground-truth", pair[2]) == 0
    printed = capsys.readouterr().out
    quality = compare(read_image(output).rgb, read_image(pair[2]).rgb)
    assert quality.psnr > 30
    assert f"PSNR {quality.psnr:.2f} dB, SSIM {quality.ssim:.4f}" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "mid.png", "truth.png"]


def test_several_times_give_numbered_images_in_order(pair, tmp_path):
    assert run(*pair[:2], "-o", tmp_path / "m.png", "--t", 0, 0.5, 1) == 0
    frames = [read_image(tmp_path / f"m_{i}.png").rgb for i in (1, 2, 3)]
    assert np.array_equal(frames[0], read_image(pair[0]).rgb) and np.array_equal(frames[2], read_image(pair[1]).rgb)
    assert run(*pair[:2], "-o", tmp_path / "f_%02d.png", "--factor", 3) == 0
    assert (
        (tmp_path / "f_01.png").exists() and (tmp_path / "f_02.png").exists() and not (tmp_path / "f_03.png").exists()
    )


def test_the_given_frames_are_written_too(pair, tmp_path):
    first, second, truth = pair
    run(first, second, "-o", tmp_path / "f.png", "--factor", 4, "--ends")
    names = [f"f_{number}.png" for number in range(1, 6)]
    assert sorted(path.name for path in tmp_path.glob("f_*")) == names
    for name, path in ((names[0], first), (names[-1], second)):
        np.testing.assert_array_equal(read_image(tmp_path / name).rgb, read_image(path).rgb)
    run(first, second, "-o", tmp_path / "g.png", "--ends", "--ground-truth", truth)
    assert (tmp_path / "g_2.png").read_bytes() == (tmp_path / "f_3.png").read_bytes()


def test_names_and_times():
    assert numbered_outputs(Path("x/m.png"), 1) == [Path("x/m.png")]
    assert numbered_outputs(Path("x/m.png"), 10)[::9] == [Path("x/m_01.png"), Path("x/m_10.png")]
    assert numbered_outputs(Path("m_%03d.png"), 1) == [Path("m_001.png")]
    assert numbered_outputs(Path("100%_%d.png"), 2) == [Path("100%_1.png"), Path("100%_2.png")]
    assert numbered_outputs(Path("50%.png"), 2) == [Path("50%_1.png"), Path("50%_2.png")]
    assert times_from(None, None) == (0.5,) and times_from(None, 4) == (0.25, 0.5, 0.75)


@pytest.mark.parametrize("shape", ["gray", "gray16", "rgb16", "rgba", "gray_alpha_16"])
def test_depths_gray_and_alpha(tmp_path, sliding, shape, capsys):
    """The output is gray if both inputs are, has 16 bits if they do, and alpha, but in a file that holds none."""
    for name, x in (("a.png", 20), ("b.png", 28)):
        bgr = sliding(x)[..., ::-1]
        pixels = {
            "gray": bgr[..., 1],
            "gray16": bgr[..., 1].astype(np.uint16) * 257,
            "rgb16": bgr.astype(np.uint16) * 257,
            "rgba": np.dstack((bgr, bgr[..., 0])),
            "gray_alpha_16": np.dstack((bgr, bgr[..., 0])).astype(np.uint16) * 257,
        }[shape]
        cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(pixels))
    assert run(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "m.png") == 0
    assert capsys.readouterr().err == ""
    result = cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED)
    assert result.dtype == (np.uint16 if "16" in shape else np.uint8)
    assert result.ndim == (2 if shape in ("gray", "gray16") else 3)
    truth = sliding(24)[..., ::-1]
    reduced = (result / (257 if "16" in shape else 1)).round()
    if shape in ("rgba", "gray_alpha_16"):
        truth = np.dstack((truth, truth[..., 0]))
    assert np.abs(reduced - (truth[..., 1] if result.ndim == 2 else truth))[8:-8, 12:-12].mean() < 2
    assert run(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "m.bmp") == 0
    assert ("alpha channel" in capsys.readouterr().err) == (result.ndim == 3 and result.shape[2] == 4)


def test_sixteen_bits_survive_a_round_trip(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    assert np.array_equal(to_array(to_tensor(rgb), np.uint16), rgb)
    write_image(tmp_path / "x.png", rgb)
    assert np.array_equal(read_image(tmp_path / "x.png").rgb, rgb)


def test_a_strip_shows_all_panels(pair, tmp_path):
    target = tmp_path / "strip.png"
    assert run(*pair[:2], "-o", tmp_path / "m.png", "--strip", target) == 0
    picture = read_image(target).rgb
    # Three columns and two rows of pictures four times as large as the input.
    assert picture.shape[1] > 3 * 4 * 96 and picture.shape[0] > 2 * 4 * 64
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_flow_colours_tell_direction_and_length():
    """By Middlebury's wheel: right is red, the length its saturation, and what is longer than the limit darker."""
    flow = np.array([[[0, 0], [5, 0], [-5, 0], [0, 5], [2.5, 0], [10, 0], [np.nan, 0]]], dtype=np.float32)
    still, right, left, down, slower, longer, unknown = (tuple(colour) for colour in flow_colours(flow, 5)[0].tolist())
    assert still == unknown == (255, 255, 255)
    assert right == (255, 0, 0) and slower == (255, 127, 127) and longer == (191, 0, 0)
    assert left == (0, 209, 255) and down == (255, 229, 0)  # places 27 and 13.5 of the wheel, from 0 to 54


def test_the_colour_wheel_is_middleburys():
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    named = {0: (255, 0, 0), 15: (255, 255, 0), 21: (0, 255, 0), 25: (0, 255, 255), 36: (0, 0, 255), 49: (255, 0, 255)}
    assert {place: tuple(wheel[place].tolist()) for place in named} == named
    assert tuple(wheel[54].tolist()) == (255, 0, 43) and tuple(wheel[14].tolist()) == (255, 238, 0)


def test_hole_colours_differ_and_panels_of_any_size_are_drawn():
    seen = np.zeros((4, 4), dtype=bool)
    seen0, seen1 = seen.copy(), seen.copy()
    seen0[:2], seen1[:, :2] = True, True
    panel = holes_panel(seen0, seen1)
    assert len(np.unique(panel.rgb.reshape(-1, 3), axis=0)) == 4
    for size in ((1, 1), (3, 200), (700, 40)):
        image = np.zeros((*size, 3), dtype=np.uint16)
        assert strip([Panel("a title that is much longer than its picture is wide", image)] * 4).ndim == 3
        assert flow_panel(np.zeros((*size, 2))).rgb.shape == (*size, 3)


def test_equal_pictures_have_infinite_psnr():
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert compare(rgb, rgb).psnr == float("inf") and compare(rgb, rgb).ssim == pytest.approx(1)
    assert compare(np.zeros_like(rgb), np.full_like(rgb, 255)).psnr == 0


def test_an_existing_output_is_replaced_on_request_only(pair, tmp_path, capsys):
    output = tmp_path / "m.png"
    output.write_bytes(b"precious")
    assert "exists already; add --overwrite" in refused(capsys, *pair[:2], "-o", output)
    assert output.read_bytes() == b"precious"
    assert run(*pair[:2], "-o", output, "--overwrite") == 0
    assert read_image(output).rgb.shape == (64, 96, 3)


def test_an_input_is_never_overwritten(pair, capsys):
    before = pair[0].read_bytes()
    assert "also an input" in refused(capsys, *pair[:2], "-o", pair[0], "--overwrite")
    assert pair[0].read_bytes() == before


def test_wrong_requests(pair, tmp_path, capsys):
    a, b, truth = pair
    out = tmp_path / "m.png"
    assert "none.png does not exist" in refused(capsys, a, tmp_path / "none.png", "-o", out)
    assert "is a folder" in refused(capsys, a, tmp_path, "-o", out)
    assert "is a device" in refused(capsys, a, "/dev/zero", "-o", out)
    assert "--t must be in [0, 1], got 1.5" in refused(capsys, a, b, "-o", out, "--t", 1.5)
    assert "--t must be in [0, 1], got nan" in refused(capsys, a, b, "-o", out, "--t", "nan")
    assert "only one of --t, --factor and --num-frames" in refused(capsys, a, b, "-o", out, "--t", 0.5, "--factor", 4)
    assert "got 3 files" in refused(capsys, a, b, __file__, "-o", out)
    assert "unknown model 'magic'; known models: flow-splat" in refused(capsys, a, b, "-o", out, "--model", "magic")
    assert "has no weights" in refused(capsys, a, b, "-o", out, "--weights", "w.pth")
    assert "'warp9' cannot be used" in refused(capsys, a, b, "-o", out, "--device", "warp9")
    assert "one --t" in refused(capsys, a, b, "-o", out, "--t", 0.2, 0.4, "--ground-truth", truth)
    assert "--start is for video input only" in refused(capsys, a, b, "-o", out, "--start", 1)
    assert "--fps is for video output only" in refused(capsys, a, b, "-o", out, "--fps", 10)
    assert "does not exist" in refused(capsys, a, b, "-o", tmp_path / "nowhere" / "m.png")
    assert "it is a folder" in refused(capsys, a, b, "-o", tmp_path)
    assert "also the name of a result" in refused(capsys, a, b, "-o", out, "--strip", out)
    assert not out.exists()


def test_two_sizes(pair, tmp_path, capsys, sliding):
    write_image(tmp_path / "small.png", sliding(0, width=80))
    message = refused(capsys, pair[0], tmp_path / "small.png", "-o", tmp_path / "m.png")
    assert "differ in size" in message and "96x64" in message and "80x64" in message
    message = refused(capsys, *pair[:2], "-o", tmp_path / "m.png", "--ground-truth", tmp_path / "small.png")
    assert message == "vfi: the ground truth is 80x64, the images are 96x64"


def test_hostile_images(pair, tmp_path, capsys):
    whole = pair[0].read_bytes()
    bomb = bytearray(whole)
    # Width and height of the PNG header: 2^31 - 1 each.
    bomb[16:24] = b"\x7f\xff\xff\xff" * 2
    cases = {
        "empty.png": b"",
        "text.png": b"no image",
        "cut.png": whole[:60],
        "bomb.png": bytes(bomb),
        "noise": whole[9:],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        assert f"cannot read {tmp_path / name}" in refused(capsys, pair[0], tmp_path / name, "-o", tmp_path / "m.png")


def test_a_target_that_cannot_be_written(pair, tmp_path, capsys, monkeypatch):
    def no_space(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    message = refused(capsys, *pair[:2], "-o", tmp_path / "m.png")
    assert message == f"vfi: cannot write {tmp_path / 'm.png'}: No space left on device"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "truth.png"]


def test_evaluate_prints_scenes_and_mean(tmp_path, sliding, capsys):
    for scene, x in (("one", 0), ("two", 40)):
        (tmp_path / scene).mkdir()
        for name, shift in (("im1.png", 0), ("im2.png", 3), ("im3.png", 6)):
            write_image(tmp_path / scene / name, sliding(x + shift))
    assert main(["evaluate", "--dataset", "triplets", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["scene", "one", "two", "mean", "95", "95"]
    values = np.array([[float(value) for value in line.split()[1:]] for line in lines[1:4]])
    np.testing.assert_allclose(values[:2].mean(0), values[2], atol=0.011)
    assert main(["evaluate", "--dataset", "middlebury", str(tmp_path)]) == 2
    assert "expected folders with frame10.png, frame10i11.png, frame11.png" in capsys.readouterr().err


def test_help_is_quick_and_missing_packages_are_named():
    """Nothing heavy is imported for --help; without the extra, one sentence says what to install."""
    code = "import sys; from vfi.commands.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    heavy = "print(sorted({'torch', 'cv2', 'av', 'skimage', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True)
    assert "interpolate" in result.stdout and result.stdout.splitlines()[-1] == "[]"
    code = "import sys; sys.modules['cv2'] = None\nfrom vfi.commands.main import main\n"
    code += f"sys.exit(main(['interpolate', {__file__!r}, {__file__!r}, '-o', 'never.png']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert 'pip install "vfi-kernels[models]"' in result.stderr


def test_a_strip_must_be_an_image(pair, tmp_path, capsys):
    """Said before anything is computed or written."""
    for name in ("s", "s.foo", "s.mp4"):
        message = refused(capsys, *pair[:2], "-o", tmp_path / "out.png", "--strip", tmp_path / name)
        assert f"expected --strip to be the name of an image, such as s.png, got {tmp_path / name}" in message
    assert not (tmp_path / "out.png").exists()
