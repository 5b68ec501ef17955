// The CPU kernels of gather and scatter.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "ops/patches/patches.h"

namespace vfi {

// Rows begin .. end - 1 of the patches, counted through all of them, from `image` into `patches`.
VFI_DECLARE_CPU_KERNEL(patch_gather_rows, const PatchArgs& args, int64_t begin, int64_t end);
// The same rows from `patches` into `result`, zeros where `patches` is null.
VFI_DECLARE_CPU_KERNEL(patch_scatter_rows, const PatchArgs& args, int64_t begin, int64_t end);
// Cells begin .. end - 1 of the grid of `result`: the sum of the patches that hold each pixel.
VFI_DECLARE_CPU_KERNEL(patch_gather_grad_cells, const PatchArgs& args, int64_t begin, int64_t end);

// Rows begin .. end - 1 of cells: those of `result` that are not listed become those of `image`, of the same dense layout, or
// zeros where `image` is null.
VFI_DECLARE_CPU_KERNEL(patch_rest_rows, const PatchArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
