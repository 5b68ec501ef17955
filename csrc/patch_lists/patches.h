// Lists of square patches: a row (b, row, column) of three int32 names the pixels row s.. and column s.. of sample b, s
// the patch's size. A row that names no patch of the image, as the -1 that fill a list, is ignored by every op.
#pragma once

#include "base/host_device.h"

namespace vfi {

struct PatchGrid {
  int64_t B, rows, columns;  // rows and columns of patches of one sample
};

// The patch that row k of `indices` names.
struct Patch {
  int64_t b, row, column;
  bool used;
};

VFI_HOST_DEVICE Patch patch_at(const int32_t* indices, int64_t k, const PatchGrid& grid) {
  const int64_t b = indices[3 * k], row = indices[3 * k + 1], column = indices[3 * k + 2];
  const bool used = b >= 0 && b < grid.B && row >= 0 && row < grid.rows && column >= 0 && column < grid.columns;
  return {b, row, column, used};
}

}  // namespace vfi
