"""Video frame interpolation models on top of vfi_kernels, and the `vfi` command."""
