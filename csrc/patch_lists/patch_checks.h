// The argument checks that ops on lists of patches share, for their CPU and CUDA registration; the same sentences as
// vfi_kernels/ops/_shared/reference_math/patches.py.
#pragma once

#include "torch/checks.h"
#include "base/indexing.h"
#include "patch_lists/patches.h"

namespace vfi {

inline void check_indices(const char* op, const Tensor& indices, const Tensor& x, const char* owner) {
  check_shape(indices.dim() == 2 && indices.size(1) == 3, op, "indices", "(P, 3)", indices);
  if (indices.scalar_type() != ScalarType::Int) {
    fail(op, ": expected indices of dtype int32, got ", dtype_text(indices.scalar_type()));
  }
  check_device(op, "indices", indices, owner, x);
}

// The patches that an image consists of.
inline PatchGrid check_patch(const char* op, int64_t patch, const Tensor& x, const char* owner) {
  if (patch < 1) fail(op, ": expected patch of at least one pixel, got ", std::to_string(patch));
  if (x.size(2) % patch != 0 || x.size(3) % patch != 0) {
    fail(op, ": expected ", owner, " whose height and width are multiples of the patch of ", std::to_string(patch),
         " pixels, got ", shape_text(x));
  }
  return {x.size(0), x.size(2) / patch, x.size(3) / patch};
}

inline Strides strides_of(const Tensor& t) { return {t.stride(0), t.stride(1), t.stride(2), t.stride(3)}; }

}  // namespace vfi
