"""Prints what public code measures, as JSON: `tests/models/measured.py` writes the frames and the weights.

    .environments/measures/bin/python tests/public_measures.py FOLDER [--flolpips FOLDER] [--rife FOLDER]

Runs in the environment `measures`, without this tree's packages. FloLPIPS (danier97/flolpips, MIT) and `ssim_matlab`
(hzwer/ECCV2022-RIFE, MIT) are in no package index: their folders, if they are to be compared.
"""

import argparse
import importlib.util
import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

# torchvision describes the shapes of its operators, which only its own build of torch could load.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def by_skimage(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    from skimage.color import rgb2yuv
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return {
        "psnr": peak_signal_noise_ratio(second, first),
        "psnr_y": peak_signal_noise_ratio(*(rgb2yuv(p)[..., 0] for p in (second, first)), data_range=1),
        "ssim_gaussian": structural_similarity(first, second, channel_axis=2, data_range=255, **gaussian),
        "ssim_uniform": structural_similarity(first, second, channel_axis=2, data_range=255),
    }


def by_lpips(folder: Path, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """As it is meant; and of pictures in [-1, 1] that it is asked to normalise again, as some rows in print."""
    import lpips

    network = lpips.LPIPS(net="alex", pnet_rand=True, model_path=str(folder / "heads.pth"), verbose=False)
    load_alexnet(network.net, folder)
    pictures, twice = [tensor(first), tensor(second)], [2 * tensor(first) - 1, 2 * tensor(second) - 1]
    names = {"lpips": pictures, "lpips of a wrong range": twice}
    return {name: float(network(*given, normalize=True)) for name, given in names.items()}


def load_alexnet(network: torch.nn.Module, folder: Path) -> None:
    """Its slices keep the numbers of torchvision's layers."""
    state = torch.load(folder / "alexnet.pth")
    layers = dict(layer for part in network.children() for layer in part.named_children())
    for name, value in state.items():
        _, number, kind = name.split(".")
        getattr(layers[number], kind).data.copy_(value)


def by_stlpips(folder: Path, first: np.ndarray, second: np.ndarray) -> float:
    for name in ("IPython", "torchsummary"):  # for debugging
        sys.modules[name] = types.SimpleNamespace(embed=None, summary=None)
    from stlpips_pytorch import stlpips

    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", pretrained=False, verbose=False)
    state = torch.load(folder / "stlpips.pth")
    network.load_state_dict({k: v for k, v in state.items() if not k.endswith(".filt")}, strict=False)
    return float(network(tensor(first), tensor(second), normalize=True))


def by_pytorch_fid(folder: Path, truth: np.ndarray, made: np.ndarray) -> float:
    from pytorch_fid import fid_score, inception

    inception.load_state_dict_from_url = lambda *arguments, **settings: torch.load(folder / "inception.pth")
    network = inception.InceptionV3([3]).eval()
    moments = []
    for videos in (truth, made):
        frames = [tensor(frame) for video in videos for frame in video[1:-1]]
        features = np.concatenate([network(frame)[0][:, :, 0, 0].numpy() for frame in frames]).astype(np.float64)
        moments += [features.mean(0), np.cov(features, rowvar=False)]
    return float(fid_score.calculate_frechet_distance(*moments))


def by_cd_fvd(folder: Path, truth: np.ndarray, made: np.ndarray) -> float:
    from cdfvd import fvd

    measure = fvd.cdfvd("i3d", ckpt_path=str(folder / "i3d.pt"), device="cpu")
    return float(measure.compute_fvd(truth, made))


def by_flolpips(code: Path, folder: Path, made: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """Its cost volume is in CuPy, for a GPU: here in torch."""

    def volume(tenFirst: torch.Tensor, tenSecond: torch.Tensor) -> torch.Tensor:
        height, width = tenFirst.shape[2:]
        around = F.pad(tenSecond, (4, 4, 4, 4))
        places = [around[:, :, y : y + height, x : x + width] for y in range(9) for x in range(9)]
        return torch.stack([(tenFirst * place).mean(1) for place in places], 1)

    module = types.SimpleNamespace(correlation=types.SimpleNamespace(FunctionCorrelation=volume))
    sys.modules["correlation"] = module
    sys.modules.setdefault("cv2", types.ModuleType("cv2"))
    torch.Tensor.cuda = lambda self, *arguments: self
    torch.hub.load_state_dict_from_url = lambda *arguments, **settings: torch.load(folder / "pwc_net.pth")
    import torchvision.models

    plain = torchvision.models.alexnet
    torchvision.models.alexnet = lambda **settings: plain()
    sys.path.insert(0, str(code))
    import flolpips

    whole = flolpips.Flolpips().eval()
    whole.loss_fn.load_state_dict(torch.load(folder / "heads.pth"), strict=False)
    load_alexnet(whole.loss_fn.net, folder)
    return float(whole(*(tensor(picture) for picture in (truth[0], truth[2], made[1], truth[1]))))


def by_rife(code: Path, first: np.ndarray, second: np.ndarray) -> float:
    spec = importlib.util.spec_from_file_location("ssim", code / "model/pytorch_msssim/__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return float(module.ssim_matlab(tensor(first), tensor(second)))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flolpips", type=Path)
    parser.add_argument("--rife", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    truth, made = np.load(options.folder / "videos.npz").values()
    first, second = made[0, 4], truth[0, 4]
    found = by_skimage(first, second)
    import pytorch_msssim

    found["ssim_gaussian by pytorch-msssim"] = float(pytorch_msssim.ssim(tensor(first), tensor(second), data_range=1))
    found |= by_lpips(options.folder, first, second)
    found["stlpips"] = by_stlpips(options.folder, first, second)
    found["fid"] = by_pytorch_fid(options.folder, truth, made)
    output, sys.stdout = sys.stdout, sys.stderr  # it talks
    found["fvd"] = by_cd_fvd(options.folder, truth, made)
    sys.stdout = output
    if options.rife is not None:
        found["ssim_volume"] = by_rife(options.rife, first, second)
    if options.flolpips is not None:
        triplets = ([video[0, i] for i in (0, 4, 8)] for video in (made, truth))
        found["flolpips"] = by_flolpips(options.flolpips, options.folder, *triplets)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
