"""The engine of `vfi-kernels bench`: driven by the cases of vfi_kernels.testing, it knows no op by name."""
