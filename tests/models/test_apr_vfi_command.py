"""APR-VFI by the `vfi` command, its checkpoints, and the pictures that explain it."""

import numpy as np
import pytest
import torch

from vfi.commands.main import main
from vfi.errors import UserError
from vfi.files.images import read_image, write_image
from vfi.models import apr_vfi
from vfi.models.apr_vfi import APRConfig

KEEP = (0.1, 0.4, 0.6, 0.9)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = apr_vfi.load(config=APRConfig.tiny())
    torch.nn.init.normal_(model.router.choice.weight)
    return model


@pytest.fixture
def weights(tmp_path, model):
    library = pytest.importorskip("safetensors.torch")
    library.save_file(model.state_dict(), tmp_path / "apr.safetensors")
    return tmp_path / "apr.safetensors"


@pytest.fixture
def pair(tmp_path, sliding):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, x in zip(paths, (20, 28), strict=True):
        write_image(path, sliding(x, width=75, height=61))
    return paths


@pytest.fixture
def run(pair, weights, tmp_path):
    def run(*options):
        command = ["interpolate", *pair, "-o", tmp_path / "m.png", "--overwrite", "--model", "apr-vfi"]
        assert main([str(word) for word in (*command, "--weights", weights, *options)]) == 0
        return read_image(tmp_path / "m.png").rgb

    return run


def frames_of(pair):
    """As the network takes them, BGR."""
    arrays = (read_image(path).rgb[..., ::-1] / np.float32(255) for path in pair)
    return [torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None] for array in arrays]


@pytest.mark.parametrize(
    ("options", "routing", "keep"),
    [
        ((), "apr", None),
        (("--routing", "static"), "static", None),
        pytest.param(("--routing", "patches"), "patches", None, marks=pytest.mark.nightly),
        pytest.param(("--routing", "ratio"), "ratio", None, marks=pytest.mark.nightly),
        pytest.param(("--keep", *KEEP), "apr", KEEP, marks=pytest.mark.nightly),
        (("--routing", "ratio", "--keep", 0, 0.5, 0.5, 1), "ratio", (0, 0.5, 0.5, 1)),
    ],
)
def test_options_choose_the_route(run, pair, model, options, routing, keep):
    expected = model.interpolate(*frames_of(pair), 0.3, routing, keep)[0].permute(1, 2, 0).numpy()[..., ::-1]
    assert np.abs(run("--t", 0.3, *options) - expected * 255).max() < 1
    chosen = {key: value for key, value in (("routing", routing), ("keep", keep)) if value is not None}
    usual = model.set_usual(**chosen).interpolate(*frames_of(pair), 0.3)[0].permute(1, 2, 0).numpy()[..., ::-1]
    np.testing.assert_array_equal(usual, expected)


def test_what_is_given_replaces_what_is_usual(model, pair):
    frames = frames_of(pair)
    static = model.interpolate(*frames, 0.5, "static")
    model.set_usual("ratio", KEEP)
    assert torch.equal(model.interpolate(*frames, 0.5, "static"), static)
    assert torch.equal(model.interpolate(*frames), model.interpolate(*frames, 0.5, "ratio", KEEP))
    none = (0, 0, 0, 0)
    assert torch.equal(model.interpolate(*frames, keep=none), model.interpolate(*frames, 0.5, "ratio", none))


def test_the_route_is_shown(run, pair, tmp_path, capsys):
    target = tmp_path / "route.png"
    run("--routing", "ratio", "--keep", 0, 0.5, 0.75, 1, "--show-route", target)
    titles = ", ".join(f"block {k}: {n}% of the patches" for k, n in zip((2, 3, 4, 5), (0, 50, 75, 100), strict=True))
    assert f"wrote {target} ({titles})" in capsys.readouterr().out
    picture = read_image(target).rgb.astype(int)
    greens = [
        (part[..., 1] - part[..., 0]).mean() for row in np.array_split(picture, 2) for part in np.array_split(row, 2, 1)
    ]
    assert sorted(greens) == greens and greens[3] > greens[0] + 20


@torch.no_grad()
def test_green_patches_are_those_of_the_route(model, pair):
    frames = frames_of(pair)
    explanation = model.set_usual("ratio", (0, 0.5, 0.5, 1)).explain(*frames, 0.5)
    assert explanation.flow.shape == (1, 2, 61, 75) and explanation.share0.shape == (1, 1, 61, 75)
    gray = np.full((61, 75, 3), 60_000, np.uint16)
    panels = explanation.route_panels(gray)
    for panel, route in zip(panels, explanation.route[0].unbind(-1), strict=True):
        assert panel.rgb.dtype == np.uint8 and panel.rgb.shape == (61, 75, 3)
        for y in range(61):
            for x in range(75):
                assert (panel.rgb[y, x, 1] > panel.rgb[y, x, 0]) == route[y // 16, x // 16]
    motion, blend, counts = explanation.panels()
    assert "motion" in motion.title and blend.title == "blended from" and counts.title == "blocks that saw it"
    colours = dict(counts.legend)
    for y in range(0, 61, 16):
        for x in range(0, 75, 16):
            expected = colours[str(1 + int(explanation.route[0, y // 16, x // 16].sum()))]
            assert tuple(counts.rgb[y, x]) == tuple(counts.rgb[min(y + 15, 60), min(x + 15, 74)]) == expected


@pytest.mark.parametrize("t", [0, 0.5, 1])
def test_a_static_network_explains_itself_at_any_time(model, pair, t):
    *_, counts = model.set_usual("static").explain(*frames_of(pair), t).panels()
    assert len(np.unique(counts.rgb.reshape(-1, 3), axis=0)) == 1


def test_a_strip_has_its_panels(run, tmp_path, capsys):
    run("--strip", tmp_path / "strip.png", "--t", 0)
    assert "blended from, blocks that saw it" in capsys.readouterr().out


def test_videos(make_video, sliding, weights, tmp_path):
    import av

    source = make_video([sliding(4 * x) for x in range(3)])
    command = ["interpolate", source, "-o", tmp_path / "out.mp4", "--model", "apr-vfi", "--weights", weights]
    assert main([str(word) for word in (*command, "--routing", "ratio", "--quiet")]) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


def refused(capsys, *words):
    assert main(["interpolate", *map(str, words)]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("vfi: ") and len(message.splitlines()) == 1
    return message


def test_wrong_requests(pair, weights, tmp_path, capsys):
    out, route = tmp_path / "m.png", tmp_path / "route.png"
    for words, sentence in (
        (("--routing", "apr"), "--routing is not for the model flow-splat"),
        (("--keep", *KEEP), "--keep is not for the model flow-splat"),
        (("--show-route", route), "--show-route is not for the model flow-splat"),
    ):
        assert sentence in refused(capsys, *pair, "-o", out, *words)
    ours = ("--model", "apr-vfi", "--weights", weights)
    for words, sentence in (
        (("--routing", "all"), "expected --routing apr, static, patches, ratio, got all"),
        (("--keep", 0.5), "expected 4 arguments"),
        (("--keep", 0.5, 0.5, 0.5, 1.5), "expected --keep to be shares in [0, 1], got 0.5 0.5 0.5 1.5"),
        (("--keep", *KEEP, "--routing", "static"), "--keep is for --routing apr and ratio only, got static"),
        (
            ("--show-route", route, "--routing", "static"),
            "--show-route is not for the model apr-vfi with --routing static",
        ),
        (("--show-route", out), "is also the name of a result"),
        (("--show-route", route, "--strip", route), "is also the name of a result"),
        (("--show-route", pair[0], "--overwrite"), "also an input"),
        (("--scale", 0.5), "--scale is not for the model apr-vfi"),
    ):
        assert sentence in refused(capsys, *pair, "-o", out, *ours, *words)
    assert "for image output only" in refused(capsys, *pair, "-o", tmp_path / "m.mp4", *ours, "--show-route", route)
    assert "for two images only" in refused(capsys, pair[0], "-o", tmp_path / "m.mp4", *ours, "--show-route", route)
    assert "needs --weights, such as weights.safetensors" in refused(capsys, *pair, "-o", out, "--model", "apr-vfi")
    assert not out.exists() and not route.exists()


def test_sizes_are_those_of_the_checkpoint(model, tmp_path):
    config = APRConfig(width=12, middle=20, patch=32)
    torch.save(apr_vfi.load(config=config).state_dict(), tmp_path / "other.pth")
    loaded = apr_vfi.load(tmp_path / "other.pth")
    assert loaded.config == config and not loaded.training
    torch.save(model.state_dict(), tmp_path / "apr.pth")
    loaded = apr_vfi.load(tmp_path / "apr.pth")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    with pytest.raises(UserError, match="does not fit apr-vfi:"):
        apr_vfi.load(tmp_path / "apr.pth", config=APRConfig())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"patch": torch.tensor([10])},
            "can be used: APRConfig: expected patch to be a multiple of 4, got 10",
        ),
        ({"patch": torch.tensor([64, 64])}, "is no checkpoint of APR-VFI: expected .* one patch"),
        ({"context.0.0.0.weight": None}, "is no checkpoint of APR-VFI"),
        ({"router.choice.bias": None}, "1 keys missing: router.choice.bias"),
    ],
)
def test_other_checkpoints_are_refused(model, tmp_path, change, sentence):
    state = {key: value for key, value in {**model.state_dict(), **change}.items() if value is not None}
    torch.save(state, tmp_path / "apr.pth")
    with pytest.raises(UserError, match=sentence):
        apr_vfi.load(tmp_path / "apr.pth")


@torch.no_grad()
def test_4k_is_filled_up_for_patches_and_for_flow(monkeypatch):
    """2160 rows: 2176 in patches of 64; 2304 where flow starts at 1/64 of a quarter. On no device: shapes only."""
    model = apr_vfi.load().to("meta")
    sizes = []
    original = model.flow.at_level

    def at_level(frames, *rest):
        sizes.append(tuple(frames.shape[2:]))
        return original(frames, *rest)

    monkeypatch.setattr(model.flow, "at_level", at_level)
    frame = torch.empty(1, 3, 2160, 3840, device="meta")
    result = model.interpolate(frame, frame, 0.5, "apr", KEEP)
    assert result.shape == frame.shape and sizes == [(2304, 3840)] * 7


def test_features_are_let_go_after_their_last_time(model, pair):
    frames = [torch.rand(1, 3, 64, 80) for _ in range(2)]
    with torch.no_grad():
        motion = model.motion(*frames)
        first = model.between(motion, *frames, 0.5, "patches").frame
        assert all(len(features) == 5 for features in motion.contexts)
        assert torch.equal(model.between(motion, *frames, 0.5, "patches", again=False).frame, first)
        assert motion.contexts == ([], [])
