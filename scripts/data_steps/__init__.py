"""The parts of scripts/training_data.py. They share with benchmarks/ how clips are listed and fetched."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
