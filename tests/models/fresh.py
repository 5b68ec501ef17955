"""Every model of the registry, small and of fresh weights."""

import torch

import vfi
from vfi.models import apr_vfi, ebme, rife, sg_rife, vfi_s
from vfi.models.vfi_s.network import TINY


def diffusion(name, seed=0):
    from vfi.models import rdvfi, semfi
    from vfi.models.rdvfi.interpolator import RDVFID, RDVFIU
    from vfi.models.semfi.interpolator import PromptedSemFi

    if name == "semfi":
        return PromptedSemFi(semfi.tiny(seed), steps=1, size=(16, 16))
    return {"d": RDVFID, "u": RDVFIU}[name[-1]](rdvfi.tiny(name[-1], seed=seed), seed)


NETWORKS = {
    "vfi-s": lambda: vfi_s.VFIS(vfi_s.Network(TINY)),
    "ebme-splat": lambda: ebme.EBMESplat(ebme.BiFlowNet()),
    "apr-vfi": lambda: apr_vfi.APRVFI(apr_vfi.APRConfig.tiny()),
    "rife": lambda: rife.RIFE(rife.config.TINY),
    "sg-rife": lambda: sg_rife.SGRIFE(None, sg_rife.config.TINY),
    **{name: lambda name=name: diffusion(name) for name in ("rdvfi-d", "rdvfi-u", "semfi")},
}


def fresh(name):
    """The model called `name`, ready to interpolate; a new one that has weights needs a line above."""
    if vfi.MODELS[name].weights is None:
        return vfi.load_model(name)
    torch.manual_seed(0)
    model = NETWORKS[name]()
    return model.eval() if isinstance(model, torch.nn.Module) else model
