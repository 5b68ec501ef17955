"""Whole numbers that public functions take: too small ones, bools, fractions and words are one sentence."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh import fresh

import vfi
from vfi.data import synthetic
from vfi.evaluation.macs import count_macs
from vfi.models import apr_vfi, ebme, rife, sg_rife
from vfi.models.rife4.family import NETWORKS
from vfi.models.rife4.model import RIFE4
from vfi.options import whole
from vfi.training import Job, Stage
from vfi.training.job import check, chosen_stage

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/models.md"
F = torch.rand(1, 3, 32, 32)
SMALL_RIFE4 = NETWORKS["4.6"].smaller()
JOB = Job("rife", 1, "synthetic", Path("out"))


class Trained:
    stages = (Stage("all", 1, 2, 64, 1e-3, 1e-4),)


def of_job(**options):
    job = dataclasses.replace(JOB, **options)
    check(job, chosen_stage(Trained, job), 1, 32)


def diffusion():
    """The same of what needs diffusers."""
    from vfi.models import rdvfi, semfi
    from vfi.networks.wan import empty_prompt, image_encoder, transformer

    pipe, rdvfi_d = semfi.tiny(), rdvfi.tiny()
    trajectory = rdvfi_d.trajectory(F, F)
    mixture = semfi.MixtureLinear(4, 4, 2, 2)
    return {
        "RDVFI.keyframes": (lambda n: rdvfi.RDVFI(**rdvfi_d.components, keyframes=n), 1),
        "RDVFI.low_size": (lambda n: rdvfi.RDVFI(**rdvfi_d.components, low_size=(n, 16)), 1),
        "Trajectory.flow.size": (lambda n: trajectory.flow(0.5, size=(n, 4)), 1),
        "TrajectoryEstimator.latent_channels": (lambda n: rdvfi.TrajectoryEstimator(latent_channels=n), 1),
        "TrajectoryEstimator.width": (lambda n: rdvfi.TrajectoryEstimator(width=n), 1),
        "TrajectoryEstimator.radius": (lambda n: rdvfi.TrajectoryEstimator(radius=n), 1),
        "FrameSynthesis.latent_channels": (lambda n: rdvfi.FrameSynthesis(latent_channels=n), 1),
        "FrameSynthesis.width": (lambda n: rdvfi.FrameSynthesis(width=n), 1),
        "rdvfi.tiny.seed": (lambda n: rdvfi.tiny(seed=n), 0),
        "semfi.tiny.seed": (lambda n: semfi.tiny(n), 0),
        "SemFi.generate.steps": (lambda n: pipe.generate(F, F, steps=n), 1),
        "SemFi.generate.seed": (lambda n: pipe.generate(F, F, steps=1, seed=n), 0),
        "SemFi.generate.size": (lambda n: pipe.generate(F, F, size=(n, 16)), 1),
        "SemFiTransformer.set_frames.frames": (pipe.transformer.set_frames, 1),
        "MixtureLinear.inputs": (lambda n: semfi.MixtureLinear(n, 4, 2, 2), 1),
        "MixtureLinear.outputs": (lambda n: semfi.MixtureLinear(4, n, 2, 2), 1),
        "MixtureLinear.experts": (lambda n: semfi.MixtureLinear(4, 4, n, 2), 1),
        "MixtureLinear.rank": (lambda n: semfi.MixtureLinear(4, 4, 2, n), 1),
        "MixtureLinear.choose.expert": (lambda n: mixture.choose(n, "fused"), 1),
        "expert_for.frames": (semfi.expert_for, 1),
        "with_adapters.rank": (lambda n: semfi.with_adapters(pipe.transformer, n), 1),
        "with_adapters.frame_counts": (lambda n: semfi.with_adapters(pipe.transformer, 2, (n,)), 1),
        "transformer.heads": (lambda n: transformer("nowhere", heads=n), 1),
        "image_encoder.heads": (lambda n: image_encoder("nowhere", heads=n), 1),
        "empty_prompt.length": (lambda n: empty_prompt(pipe.text_encoder, n), 1),
    }


# A call with the number, and the least that is allowed.
CALLS = {
    "BiFlowNet.at_level.level": (lambda n: ebme.BiFlowNet().at_level(torch.cat((F, F)), n, None), 0),
    "BiFlowNet.forward.levels": (lambda n: ebme.BiFlowNet()(F, F, n), 1),
    "levels_for.side": (ebme.levels_for, 1),
    "APRVFI.forward.levels": (lambda n: fresh("apr-vfi")(F, F, levels=n), 1),
    "APRVFI.motion.levels": (lambda n: fresh("apr-vfi").motion(F, F, n), 1),
    "APRConfig.width": (lambda n: apr_vfi.APRConfig(width=n), 1),
    "APRConfig.middle": (lambda n: apr_vfi.APRConfig(middle=n), 1),
    "APRConfig.patch": (lambda n: apr_vfi.APRConfig(patch=n), 4),
    "APRConfig.halo": (lambda n: apr_vfi.APRConfig(halo=n), 0),
    "misalignment.patch": (lambda n: apr_vfi.misalignment(F, F, F[:, :1] > 0, n), 4),
    "count_macs.size": (lambda n: count_macs(fresh("rife"), (n, 32)), 1),
    "load_model.max_memory": (lambda n: vfi.load_model("flow-splat", max_memory=n), 1),
    "RIFE.interpolate.tile": (lambda n: fresh("rife").interpolate(F, F, 0.5, tile=n), 64),
    "RIFE.set_usual.tile": (lambda n: fresh("rife").set_usual(tile=n), 64),
    "RIFE4.interpolate.tile": (lambda n: RIFE4(SMALL_RIFE4).interpolate(F, F, 0.5, tile=n), 64),
    "RIFE4.set_usual.tile": (lambda n: RIFE4(SMALL_RIFE4).set_usual(tile=n), 64),
    "SGRIFE.interpolate.tile": (lambda n: fresh("sg-rife").interpolate(F, F, 0.5, tile=n), 64),
    "SGRIFE.set_usual.tile": (lambda n: fresh("sg-rife").set_usual(tile=n), 64),
    "Config.flow": (lambda n: rife.Config(flow=(24, n, 12)), 2),
    "Config.teacher": (lambda n: rife.Config(teacher=n), 2),
    "Config.width": (lambda n: rife.Config(width=n), 1),
    "GuidedConfig.flow": (lambda n: sg_rife.GuidedConfig(flow=(24, n, 12)), 2),
    "GuidedConfig.teacher": (lambda n: sg_rife.GuidedConfig(teacher=n), 2),
    "GuidedConfig.width": (lambda n: sg_rife.GuidedConfig(width=n), 1),
    "GuidedConfig.dino": (lambda n: sg_rife.GuidedConfig(dino=n), 1),
    "GuidedConfig.compressed": (lambda n: sg_rife.GuidedConfig(compressed=n), 1),
    "GuidedConfig.groups": (lambda n: sg_rife.GuidedConfig(groups=(4, n)), 1),
    "sg_rife.load.dino_max_side": (lambda n: sg_rife.load(dino="nowhere", dino_max_side=n), 16),
    "Dino.max_side": (lambda n: sg_rife.dino.Dino(torch.nn.Identity(), n), 16),
    "Dino.blocks": (lambda n: sg_rife.dino.Dino(torch.nn.Identity(), None, (n,)), 0),
    "dino.load.max_side": (lambda n: sg_rife.dino.load("nowhere", n), 16),
    "triplet.seed": (lambda n: synthetic.triplet(n), 0),
    "triplet.size": (lambda n: synthetic.triplet(0, (n, 16)), 16),
    "triplet.layers": (lambda n: synthetic.triplet(0, layers=n), 1),
    "clip.seed": (lambda n: synthetic.clip(n), 0),
    "clip.size": (lambda n: synthetic.clip(0, (n, 16)), 16),
    "clip.times": (lambda n: synthetic.clip(0, times=n), 2),
    "clip.layers": (lambda n: synthetic.clip(0, layers=n), 1),
    "random_scene.seed": (lambda n: synthetic.random_scene(n), 0),
    "random_scene.size": (lambda n: synthetic.random_scene(0, (n, 16)), 16),
    "random_scene.layers": (lambda n: synthetic.random_scene(0, layers=n), 1),
    "Job.stage": (lambda n: of_job(stage=n), 1),
    **{f"Job.{name}": (lambda n, name=name: of_job(**{name: n}), 1)
       for name in ("epochs", "steps", "batch", "crop", "accumulate", "stop_after")},
    **{f"Job.{name}": (lambda n, name=name: of_job(**{name: n}), 0) for name in ("seed", "workers")},
}  # fmt: skip

# What is checked elsewhere (`generate`, `whole_frames`: test_refused_arguments; `Stage`: by the job;
# `why_not_exported`: by vfi.export), what the package makes and no user, and what diffusers' own class has.
NOT_HERE = r"(\w+\.)?(generate\.num_frames|whole_frames\.count|Macs\.\w+|Stage\.\w+|Objective\.\w+\.\w+|Scene\.size)|"
NOT_HERE += r"\w+\.why_not_exported\.size|SemFiTransformer\.[a-z_]+|SemFi\.generate\.callback|expert_for\.counts|"
NOT_HERE += r"Result\.\w+|(frames|interpolate)\.progress"


def numbers_of_the_page():
    """function.parameter of all whole numbers in docs/reference/models.md."""
    for module, members in re.findall(r"^::: (\S+)\n.*?members:\s*\[(.*?)\]", PAGE.read_text(), flags=re.M | re.S):
        for name in re.findall(r"\w+", members):
            told = getattr(importlib.import_module(module), name)
            if inspect.isclass(told) and issubclass(told, Exception):
                continue
            short = f"{module.split('.')[-1]}.{name}" if name in ("load", "tiny") else name
            functions = {short: told}
            if inspect.isclass(told):
                own = inspect.getmembers(told, inspect.isfunction)
                functions |= {f"{name}.{key}": f for key, f in own if key[0] != "_" and f.__module__.startswith("vfi")}
            for place, function in functions.items():
                for parameter in inspect.signature(function).parameters.values():
                    if re.search(r"\bint\b", str(parameter.annotation)):
                        yield f"{place}.{parameter.name}"


@pytest.fixture(scope="module")
def calls():
    pytest.importorskip("diffusers")
    return CALLS | diffusion()


def test_every_number_of_the_page_is_here(calls):
    numbers = {number for number in numbers_of_the_page() if not re.fullmatch(NOT_HERE, number)}
    assert numbers == {*calls} and len(numbers) > 60


def test_wrong_numbers_are_one_sentence(calls):
    for number, (call, least) in calls.items():
        for wrong in (least - 1, -1, True, False, least + 0.5, float("nan"), "3", None):
            if wrong is None and re.search(r"heads|tile|max_memory|levels|max_side|Job|\.size", number):
                continue  # where it says that nothing is chosen
            with pytest.raises(vfi.ArgumentError, match=r"^[^\n]*expected [^\n]+, got [^\n]+$"):
                print(f"{number} takes {wrong!r}:", call(wrong))  # if it does


def test_whole_numbers_are_whole_numbers():
    assert whole("n", np.int64(3), 1) == 3 and type(whole("n", np.int64(3), 1)) is int
    assert whole("n", 2**70, 0) == 2**70
