"""Runs scripts/outside_scores.py with the tools themselves, in environment `measures`: `FOLDER words of the script`.

MUSIQ's weights, which pyiqa would fetch, are drawn at random into FOLDER.
"""

import os
import runpy
import sys
from pathlib import Path

import public_measures  # noqa: F401  the names of torchvision's operators
import torch


def make_weights(folder: Path) -> None:
    """Where pyiqa looks for what it has fetched before."""
    os.environ["TORCH_HOME"] = str(folder)
    from pyiqa.archs.musiq_arch import MUSIQ, default_model_urls

    place = Path(torch.hub.get_dir(), "pyiqa", Path(default_model_urls["spaq"]).name)
    place.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(MUSIQ(pretrained=False).state_dict(), place)


if __name__ == "__main__":
    if "pyiqa" in sys.argv:
        make_weights(Path(sys.argv[1]))
    script = Path(__file__).resolve().parents[1] / "scripts" / "outside_scores.py"
    sys.argv = [str(script), *sys.argv[2:]]
    runpy.run_path(str(script), run_name="__main__")
