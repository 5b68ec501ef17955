"""Measures against public code, on the same frames with the same weights.

The public figures are a record that `tests/public_measures.py` has made, and that it makes again by night.
"""

import json
import os

import environments
import measured
import pytest

WITHIN = 1e-5  # of the value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    measured.write(folder)
    return folder


def test_pictures(folder):
    ours, public = measured.of_pictures(folder), measured.recorded()
    assert ours == pytest.approx({name: public[name] for name in ours}, rel=WITHIN)
    assert ours["ssim_gaussian"] == pytest.approx(public["ssim_gaussian by pytorch-msssim"], rel=WITHIN)
    assert abs(public["lpips of a wrong range"] / ours["lpips"] - 1) > 0.1
    assert abs(ours["flolpips"] / ours["lpips"] - 1) > 1e-2, "its weights count"


@pytest.mark.slow
def test_distances_of_videos(folder):
    ours, public = measured.of_videos(folder), measured.recorded()
    assert ours == pytest.approx({name: public[name] for name in ours}, rel=WITHIN) and set(ours) == {"fid", "fvd"}


@pytest.mark.nightly
def test_the_record_is_what_public_code_says(folder):
    """VFI_FLOLPIPS and VFI_RIFE: folders of danier97/flolpips and hzwer/ECCV2022-RIFE, of which there is no package."""
    given = [(f"--{name}", os.environ.get(f"VFI_{name.upper()}")) for name in ("flolpips", "rife")]
    words = [word for option, place in given if place is not None for word in (option, place)]
    done = environments.run("measures", "tests/public_measures.py", str(folder), *words)
    assert done.returncode == 0, done.stderr[-3000:]
    public, record = json.loads(done.stdout), measured.recorded()
    assert public == pytest.approx({name: record[name] for name in public}, rel=WITHIN)
    assert {*record} - {*public} <= {"flolpips", "ssim_volume"}
