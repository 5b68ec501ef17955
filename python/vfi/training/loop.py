"""The loop that trains an objective: batches, precision, rates, several processes, saving and going on."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from vfi.errors import ArgumentError, UserError, require
from vfi.files.interrupts import stopping
from vfi.training import state
from vfi.training.job import PRECISIONS, Job, check, chosen_stage, rate_at
from vfi.training.losses import decibels, psnr
from vfi.training.meter import Meter
from vfi.training.objective import Objective, Stage
from vfi.training.order import check_order
from vfi.training.parts import Parts
from vfi.training.world import World, joined

SAVE_SECONDS = 600  # also between the ends of epochs
WATCHED = 32  # held-out triplets at most
Batch = tuple[Tensor, object] | UserError  # frames, and times or what else an objective has beside them
Found = tuple[Tensor, dict[str, Tensor], Tensor]  # loss, terms, mean squared error


def train(objective: Objective, job: Job) -> None:
    """Trains one stage, and leaves state, weights and a log in the job's folder.

    Raises:
        UserError: if the job does not fit, a file cannot be read, or the gradient is not finite any more.
        KeyboardInterrupt: after SIGINT or SIGTERM, when the step under way is done and saved.
    """
    stage = chosen_stage(objective, job)
    with joined(job.device) as world:
        check(job, stage, world.size, objective.multiple)
        remark = check_order(job.model, job.stage, objective.begins_with)
        training = Training(objective, job, stage, world)
        training.remarks = [*objective.remarks, *([remark] if remark else [])]
        alone = state.prepared(job.output, job.resume, job.overwrite) if world.leads else nullcontext()
        with alone, stopping() as stopped:
            world.any(False)  # the others wait until the folder is ready
            if job.resume:
                training.go_on()
            training.run(stopped)


class Training:
    """One stage under way."""

    def __init__(self, objective: Objective, job: Job, stage: Stage, world: World):
        self.job, self.stage, self.world = job, stage, world
        self.objective = objective.to(world.device)
        self.network: Any = objective.network
        self.data = objective.data(job.data, stage, job.seed, job.augment, self.say)
        self.epoch_steps, self.held_out = self.data.epoch_steps, self.data.held_out
        self.steps = self.epoch_steps * (stage.epochs or 0) if stage.steps is None else stage.steps
        self.last = min(self.steps, job.stop_after or self.steps)
        self.first = objective.first_step
        self.batches = self.data.batches(self.first, self.last, world.rank, world.size)
        groups = objective.begin(job.stage)
        self.factors = [group.factor for group in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": group.parameters} for group in groups], stage.learning_rate, weight_decay=stage.weight_decay
        )
        self.trained = [parameter for group in groups for parameter in group.parameters]
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=job.precision == "float16")
        self.average: Any = None
        if job.ema is not None:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(job.ema))
        self.step, self.saved = self.first, 0
        self.meter, self.remarks = Meter(), list(objective.remarks)
        self.settings = {
            "model": job.model, "stage": job.stage, "triplets": None if self.data.grows else self.data.count,
            "seed": job.seed, "ema": job.ema, "precision": job.precision, "augmentation": job.augment, **asdict(stage),
        }  # fmt: skip

    def go_on(self) -> None:
        """From the state in the folder."""
        saved = state.read(self.job.output, self.settings)
        path = self.job.output / state.STATE
        try:
            if state.shapes(saved["network"]) != state.shapes(self.network.state_dict()):
                raise ValueError("another network")
            self.optimizer.load_state_dict(saved["optimizer"])
            if not all(fits(parameter, kept) for parameter, kept in self.optimizer.state.items()):
                raise ValueError("moments of another network")
            self.scaler.load_state_dict(saved["scaler"])
            if self.average is not None:
                self.average.load_state_dict(saved["ema"])
            self.meter = Meter(**saved["meter"])
            self.step = self.saved = self.batches.start = int(saved["step"])
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{path} is {state.DAMAGED}") from error
        self.network.load_state_dict(saved["network"])
        if self.world.leads:
            state.cut_log(self.job.output, self.step)

    def run(self, stopped: Callable[[], bool]) -> None:
        job, world = self.job, self.world
        if self.step >= self.last:
            self.say(f"{job.output} is trained already: step {self.step} of {self.last}")
            return
        loader: Any = DataLoader(
            self.data.samples, batch_sampler=Parts(self.batches, job.accumulate), collate_fn=self.data.collate,
            num_workers=job.workers, pin_memory=world.device.type == "cuda",
        )  # fmt: skip
        self.say("\n".join((self.described(), *self.remarks)))
        if self.step == self.first and world.leads and self.objective.compares_frames:
            self.write_down({"step": self.step, "epoch": self.step / self.epoch_steps}, "at the start")
        self.learn(loader, stopped)
        if world.leads and not stopped():
            self.say(f"wrote {job.output / state.WEIGHTS}")

    def described(self) -> str:
        count = sum(p.numel() for p in self.trained)
        whole = sum(p.numel() for p in self.network.parameters())
        return (
            f"{self.job.model}, stage {self.job.stage}: {self.stage.summary}\n"
            f"{count:,} of {whole:,} parameters are trained on {self.data.count:,} {self.data.kind}, "
            f"steps {self.step + 1:,} to {self.last:,}, batches of {self.stage.batch}, "
            f"{self.data.size} each"
        )

    def learn(self, loader: Any, stopped: Callable[[], bool]) -> None:
        """All steps; saves now and then, at the end, and when it is stopped."""
        model: nn.Module = self.objective
        if self.world.size > 1:
            model = DistributedDataParallel(model, find_unused_parameters=self.objective.trains_some)
        bar = require("tqdm").tqdm(
            total=self.last, initial=self.step, unit="step", disable=self.job.quiet or not self.world.leads, leave=False
        )
        saved = time.monotonic()
        limit = math.inf if self.job.minutes is None else saved + 60 * self.job.minutes
        try:
            parts = iter(loader)
            while self.step < self.last:
                self.meter.add(self.learn_from(model, islice(parts, self.job.accumulate)))
                self.step += 1
                bar.update()
                halted, late = self.world.any(stopped()), self.world.any(time.monotonic() > limit)
                at_end = self.step % self.epoch_steps == 0 or self.step == self.steps
                if at_end:
                    self.report(self.meter.taken(), bar)
                if at_end or halted or late or self.step == self.last or time.monotonic() - saved > SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if halted or (late and self.step < self.last):
                    self.say(f"saved step {self.step} of {self.steps}, to be resumed")
                if halted:
                    raise KeyboardInterrupt
                if late:
                    break
        finally:
            bar.close()

    def learn_from(self, model: nn.Module, batches: Iterator[Batch]) -> dict[str, float]:
        """One step; what is worth knowing of it."""
        world, rate = self.world, rate_at(self.step, self.steps, self.stage, self.first)
        for group, factor in zip(self.optimizer.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        self.objective.progress = self.step / self.steps
        self.optimizer.zero_grad(set_to_none=True)
        measures = self.gradients(model, batches)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trained, self.stage.gradient_norm or math.inf)
        if not self.scaler.is_enabled() and not norm.isfinite():
            kept = f"{state.STATE} holds step {self.saved}" if self.saved else "nothing was saved yet"
            raise ArgumentError(
                f"the gradient is not finite at step {self.step + 1}; {kept}: try a smaller `learning_rate`, or "
                "`precision` float32"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        measures = {"loss": measures.pop("loss"), "gradient": norm, **measures}
        values = world.mean(torch.stack([value.float() for value in measures.values()]))
        numbers = dict(zip(measures, values.tolist()))
        error = values[list(measures).index("psnr")]
        numbers["psnr"] = decibels(error).item()  # of the mean over all parts and processes
        if not self.objective.compares_frames:
            del numbers["psnr"]
        return numbers

    def gradients(self, model: nn.Module, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Adds up the gradients of the parts of a step; means over them of loss, terms and squared error."""
        count, parts = self.job.accumulate, []
        for part, batch in enumerate(batches):
            if isinstance(batch, UserError):
                raise batch
            alone = isinstance(model, DistributedDataParallel) and part < count - 1
            with cast(DistributedDataParallel, model).no_sync() if alone else nullcontext():
                loss, terms, error = self.result(model, part, *batch)
                self.scaler.scale(loss / count).backward()
            parts.append({"loss": loss.detach(), **terms, "psnr": error})
        return {name: torch.stack([each[name].float() for each in parts]).mean() for name in parts[0]}

    def result(self, model: nn.Module, part: int, frames: Tensor, times: object) -> Found:
        """Of a part of a step."""
        device, dtype = self.world.device, PRECISIONS[self.job.precision]
        pictures = self.ordered(frames.to(device, non_blocking=True).float() / 255)
        beside = times.to(device, torch.float32) if isinstance(times, Tensor) else times
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), self.own_chance(part):
            found: Found = model(pictures, beside)
        return found

    @contextmanager
    def own_chance(self, part: int) -> Iterator[None]:
        """Inside, what is drawn at random depends on the seed, the step and the part of the batch alone: the parts of
        one process are those of as many processes."""
        device, number = self.world.device, self.world.rank * self.job.accumulate + part
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
            chosen = np.random.SeedSequence([self.job.seed, self.step, number])
            torch.manual_seed(int(chosen.generate_state(1, np.uint64)[0]))
            yield

    def ordered(self, rgb: Tensor) -> Tensor:
        """RGB frames in the network's order of channels, which are the third from last dimension."""
        return rgb.flip(-3) if self.network.channel_order == "bgr" else rgb

    def report(self, means: dict[str, float], bar: Any) -> None:
        """A line of an epoch, and in the log."""
        if not self.world.leads:
            return
        epoch = self.step / self.epoch_steps
        rate = self.optimizer.param_groups[0]["lr"]
        bar.clear()
        line = f"step {self.step} of {self.steps}: loss {means['loss']:.4f}"
        if self.objective.compares_frames:
            line += f", PSNR {means['psnr']:.2f} dB"
        self.write_down({"step": self.step, "epoch": epoch, "rate": rate, **means}, line)

    def write_down(self, record: dict[str, object], line: str) -> None:
        """To the log and to the user, with the quality of what is held out."""
        watched = self.watch()
        if not watched:
            lacking = self.step == self.first and self.objective.compares_frames
            line += f", nothing is held out: too few {self.data.kind}" if lacking else ""
        for sort, quality in watched.items():
            record, line = record | {f"held_out_psnr{sort}": quality}, f"{line}, held out{sort} {quality:.2f} dB"
        state.log(self.job.output, record)
        self.say(line)

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """Mean PSNR of whole frames that are not trained on, by "", of all, and by their sorts; nothing if there are
        none."""
        if self.held_out is None:
            return {}
        network: Any = self.network if self.average is None else self.average.module
        places = torch.linspace(0, len(self.held_out) - 1, min(len(self.held_out), WATCHED)).round().int().tolist()
        mode, found = network.training, []
        network.eval()
        for index in places:
            frames, moment = self.held_out.read(index, self.stage.crop)
            pictures = torch.from_numpy(frames).to(self.world.device).permute(0, 3, 1, 2).float() / 255
            clip = self.ordered(pictures)[None]
            truth = clip[:, clip.shape[1] // 2]
            sort = "" if self.data.sorts is None else f" {self.data.sorts[index]}"
            found.append((sort, psnr(self.objective.watched(network, clip, moment), truth).item()))
        network.train(mode)
        means = {"": sum(quality for _, quality in found) / len(found)}
        for sort in dict.fromkeys(sort for sort, _ in found if sort):
            values = [quality for each, quality in found if each == sort]
            means[sort] = sum(values) / len(values)
        return means

    def save(self) -> None:
        if not self.world.leads:
            return
        weights = self.network if self.average is None else self.average.module
        whole = {
            "settings": self.settings, "step": self.step, "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
            "ema": {} if self.average is None else self.average.state_dict(), "meter": asdict(self.meter),
        }  # fmt: skip
        notes = {"model": self.job.model, "stage": str(self.job.stage), **self.objective.notes(self.step)}
        state.write(self.job.output, whole, weights.state_dict(), notes)
        self.saved = self.step

    def say(self, text: str) -> None:
        if self.world.leads and not self.job.quiet:
            print(text, flush=True)


def fits(parameter: Tensor, kept: dict[str, Tensor]) -> bool:
    """Whether what AdamW keeps is of this parameter."""
    moments = (kept["exp_avg"], kept["exp_avg_sq"])
    return kept["step"].numel() == 1 and all(moment.shape == parameter.shape for moment in moments)
