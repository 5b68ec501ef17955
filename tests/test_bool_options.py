"""Options that are True or False: nothing else is taken for one."""

import inspect

import pytest
import torch

import vfi_kernels as vk

IMAGE, FLOW, LIST = torch.rand(1, 4, 8, 8), torch.zeros(1, 2, 8, 8), torch.zeros(1, 3, dtype=torch.int32)
ROUTE, KEYS = torch.ones(1, 2, 2, dtype=torch.bool), torch.zeros(1, 2, 2, 8, 8)
WEIGHT = torch.rand(4, 4, 3, 3)
CALLS = {
    "correlation": lambda **o: vk.correlation(IMAGE, IMAGE, **o),
    "backward_warp": lambda **o: vk.backward_warp(IMAGE, FLOW, **o),
    "patch_indices": lambda **o: vk.patch_indices(ROUTE, **o),
    "routed_conv2d": lambda **o: vk.routed_conv2d(IMAGE, WEIGHT, None, LIST, 4, **o),
    "routed_conv2d_": lambda **o: vk.routed_conv2d_(IMAGE, WEIGHT, None, LIST, 4, base=IMAGE.clone(), **o),
    "sample_trajectory": lambda **o: vk.sample_trajectory(KEYS, [0.5], **o),
    "splat": lambda **o: vk.splat(IMAGE, FLOW, mode="average", **o),
    "trajectory_splat": lambda **o: vk.trajectory_splat(IMAGE, KEYS, [0.5], mode="average", **o),
    "trajectory_warp": lambda **o: vk.trajectory_warp(IMAGE, KEYS, [0.5], **o),
    "ModulatedDeformConv2d": lambda **o: vk.nn.ModulatedDeformConv2d(4, 4, 3, **o),
    "ModulatedDeformConv2dPack": lambda **o: vk.nn.ModulatedDeformConv2dPack(4, 4, 3, **o),
    "RoutedConv2d": lambda **o: (
        vk.nn.RoutedConv2d(4, 4, 3, 4)(IMAGE, ROUTE, IMAGE.clone(), **o)
        if "inplace" in o
        else vk.nn.RoutedConv2d(4, 4, 3, 4, **o)
    ),
    "RoutedBlock": lambda inplace: vk.nn.RoutedBlock(torch.nn.Identity(), 4)(
        IMAGE, ROUTE, IMAGE.clone(), inplace=inplace
    ),
}


def options():
    """(name, option) of every public function and module."""
    functions = [(name, getattr(vk, name)) for name in dir(vk)]
    modules = [getattr(vk.nn, name) for name in dir(vk.nn)]
    ours = [m for m in modules if inspect.isclass(m) and issubclass(m, torch.nn.Module)]
    functions += [(m.__name__, call) for m in ours for call in (m.__init__, m.forward)]
    for name, function in functions:
        if inspect.isfunction(function) and not name.startswith("_"):
            for key, parameter in inspect.signature(function).parameters.items():
                if isinstance(parameter.default, bool):
                    yield name, key


@pytest.mark.parametrize("name, key", options())
def test_only_booleans_are_booleans(name, key):
    for wrong in ("yes", "", 1, 0, None, 0.0, torch.tensor(True), []):
        with pytest.raises(RuntimeError, match=f"^{name}: expected {key} to be True or False, got [^\n]+$"):
            CALLS[name](**{key: wrong})


@pytest.mark.parametrize("taus", [True, [False, 0.5], [True]])
def test_a_boolean_is_no_time(taus):
    for call in (lambda: vk.trajectory_warp(IMAGE, KEYS, taus), lambda: vk.sample_trajectory(KEYS, taus)):
        with pytest.raises(RuntimeError, match=r"^\w+: expected taus to be a tensor or numbers, got "):
            call()
