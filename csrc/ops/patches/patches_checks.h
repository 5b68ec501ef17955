// The argument checks of the ops on patches, for their CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "patch_lists/patch_checks.h"
#include "ops/patches/patches.h"

namespace vfi {

inline void check_route(const Tensor& route, const std::optional<int64_t>& capacity) {
  constexpr const char* kOp = "patch_indices";
  check_shape(route.dim() == 3, kOp, "route", "(B, rows, columns)", route);
  if (route.scalar_type() != ScalarType::Bool) {
    fail(kOp, ": expected route of dtype bool, got ", dtype_text(route.scalar_type()));
  }
  if (capacity && *capacity < 0) fail(kOp, ": expected capacity of at least 0, got ", std::to_string(*capacity));
}

// What both directions share; `image` is the tensor that the patches are of. `indices` must be contiguous.
inline PatchArgs patch_args(const Tensor& image, const Tensor& indices, int64_t patch, int64_t halo, const PatchGrid& grid) {
  PatchArgs a{};
  a.indices = static_cast<const int32_t*>(indices.const_data_ptr());
  a.P = indices.size(0), a.grid = grid, a.C = image.size(1);
  a.H = image.size(2), a.W = image.size(3), a.patch = patch, a.halo = halo;
  a.type = check_dtype("patches", "input", image);
  return a;
}

inline PatchGrid check_patch_gather(const Tensor& x, const Tensor& indices, int64_t patch, int64_t halo) {
  constexpr const char* kOp = "patch_gather";
  check_image(kOp, "input", x);
  check_indices(kOp, indices, x, "input");
  const PatchGrid grid = check_patch(kOp, patch, x, "input");
  if (halo < 0) fail(kOp, ": expected halo of at least 0, got ", std::to_string(halo));
  return grid;
}

inline PatchGrid check_patch_scatter(const Tensor& patches, const Tensor& indices, const Tensor& base) {
  constexpr const char* kOp = "patch_scatter";
  check_image(kOp, "base", base);
  const std::string channels = std::to_string(base.size(1));
  const bool square = patches.dim() == 4 && patches.size(1) == base.size(1) && patches.size(2) == patches.size(3);
  check_shape(square, kOp, "patches", "(P, " + channels + ", patch, patch) for a base of " + channels + " channels", patches);
  check_like(kOp, "patches", patches, "base", base);
  check_indices(kOp, indices, base, "base");
  const PatchGrid grid = check_patch(kOp, patches.size(2), base, "base");
  if (indices.size(0) != patches.size(0)) {
    const std::string patch_count = std::to_string(patches.size(0));
    fail(kOp, ": expected indices of shape (", patch_count, ", 3) for ", patch_count, " patches, got ", shape_text(indices));
  }
  return grid;
}

}  // namespace vfi
