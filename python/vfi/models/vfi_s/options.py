"""What a user of vfi-s's training may choose."""

from dataclasses import dataclass
from typing import ClassVar

from vfi.options import TrainingOptions


@dataclass(frozen=True)
class VFISTraining(TrainingOptions):
    data: ClassVar[str] = f"{TrainingOptions.data}, or shards:FOLDER of scripts/training_data.py"
