"""Modules that own the weights of ops, with the parameter names of the libraries whose checkpoints they load."""

from vfi_kernels.nn._deform import ModulatedDeformConv2d, ModulatedDeformConv2dPack
from vfi_kernels.nn._routed_block import RoutedBlock
from vfi_kernels.nn._routed_conv import RoutedConv2d

__all__ = ["ModulatedDeformConv2d", "ModulatedDeformConv2dPack", "RoutedBlock", "RoutedConv2d"]
