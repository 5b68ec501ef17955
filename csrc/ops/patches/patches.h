// Reading and writing lists of patches, s pixels square. With (b, row, column) = indices[k], h the halo:
//
//   gather    out[k, c, i, j] = x[b, c, row s - h + i, column s - h + j], 0 outside x
//             grad_x[b, c, y, x] = sum over the k and (i, j) that read this pixel of grad_out[k, c, i, j]
//   scatter   out[b, c, row s + i, column s + j] = patches[k, c, i, j], base elsewhere
//             grad_patches = gather of grad_out with h = 0          grad_base = grad_out, 0 in listed patches
//
// No patch is listed twice, so that a pixel is written once and a cell of the grid has at most one patch.
// Derived in docs/derivations.md#patches.
#pragma once

#include "base/indexing.h"
#include "patch_lists/patches.h"

namespace vfi {

struct PatchArgs {
  const int32_t* indices;  // [P, 3]
  int64_t P;
  PatchGrid grid;
  int64_t C, H, W, patch, halo;
  Dtype type;
  const void* image;  // [B, C, H, W], x or grad_out
  Strides image_strides;
  void* patches;  // [P, C, patch + 2 halo, patch + 2 halo], or null for zeros
  Strides patch_strides;
  void* result;  // [B, C, H, W], what is scattered into, or the gradient of x
  Strides result_strides;
  const int32_t* listed;  // [B, rows, columns], the row of `indices` that names a cell, or -1; for grad_x and the rest
  bool by_pixel;          // the layout of the rest: channels_last

  VFI_HOST_DEVICE int64_t side() const { return patch + 2 * halo; }
  // Rows of cells of the samples, or of their planes.
  VFI_HOST_DEVICE int64_t rest_rows() const { return grid.B * (by_pixel ? 1 : C) * grid.rows; }
};

}  // namespace vfi
