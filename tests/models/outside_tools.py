"""Stand-ins of VBench and pyiqa for scripts/outside_scores.py."""

import os
import subprocess
import sys
from pathlib import Path

from scripts_of_the_tree import SCRIPTS

# As the tools are called and what they answer; a score is the mean level of a file's frames.
VBENCH = """
import json, pathlib
import cv2

def level(path):
    video, levels = cv2.VideoCapture(path), []
    while (read := video.read())[0]:
        levels.append(read[1].mean())
    return sum(levels) / len(levels)

class VBench:
    def __init__(self, device, info, output):
        self.output = output

    def evaluate(self, videos_path, name, prompt_list, dimension_list, mode):
        assert mode == "custom_input"
        files = sorted(pathlib.Path(videos_path).glob("*.mp4"))
        assert all(prompt_list[file.name] == f"video {int(file.name[:5]) // 2}" for file in files if prompt_list)
        rows = [{"video_path": str(file), "video_results": level(str(file))} for file in files]
        found = {dimension: [0.5, rows] for dimension in dimension_list}
        pathlib.Path(self.output, f"{name}_eval_results.json").write_text(json.dumps(found))
"""
PYIQA = """
def create_metric(name, device):
    assert name == "musiq-spaq"
    return lambda picture: 100 * picture.mean() if max(picture.shape) <= 512 else None
"""


def make_tools(folder: Path) -> Path:
    """A folder of Python's packages that has both."""
    for name, text, version in (("vbench", VBENCH, "0.1.5"), ("pyiqa", PYIQA, "0.1.16")):
        (folder / f"{name}-{version}.dist-info").mkdir(parents=True)
        (folder / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (folder / f"{name}.py").write_text(text)
    return folder


def scored(tools: Path, *words: object) -> str:
    """What the script prints, or its complaint."""
    command = [sys.executable, str(SCRIPTS / "outside_scores.py"), *map(str, words), "--device", "cpu"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tools)}, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else done.stderr
