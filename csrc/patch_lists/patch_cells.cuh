// Which row of a list of patches names a cell of the grid, on CUDA: a table that is made on the device, so that what
// overlapping patches add up to can be gathered in a fixed order.
#pragma once

#include "cuda/launch.cuh"
#include "patch_lists/patches.h"

namespace vfi::cuda {

// listed[cell] = the row that names it; the table holds -1 before. No cell is listed twice.
static __global__ __launch_bounds__(kThreads) void list_cells_kernel(const int32_t* __restrict__ indices, int64_t P,
                                                                     PatchGrid grid, int32_t* __restrict__ listed) {
  for (int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x; k < P; k += int64_t{gridDim.x} * kThreads) {
    const Patch p = patch_at(indices, k, grid);
    if (p.used) listed[(p.b * grid.rows + p.row) * grid.columns + p.column] = static_cast<int32_t>(k);
  }
}

inline void launch_list_cells(const int32_t* indices, int64_t P, const PatchGrid& grid, int32_t* listed,
                              cudaStream_t stream) {
  constexpr int kAllBits = 0xff;  // of -1
  const size_t bytes = static_cast<size_t>(grid.B * grid.rows * grid.columns) * sizeof(int32_t);
  if (bytes == 0) return;
  if (cudaMemsetAsync(listed, kAllBits, bytes, stream) != cudaSuccess) {
    throw std::runtime_error("vfi_kernels: cudaMemsetAsync failed");
  }
  if (P == 0) return;
  VFI_LAUNCH(list_cells_kernel, grid_size(ceil_div(P, kThreads)), kThreads, 0, stream, indices, P, grid, listed);
}

}  // namespace vfi::cuda
