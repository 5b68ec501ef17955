// The ops on patches on the CPU: tensors in, tensors out. The kernels are in patches_simd.cpp.
#include <algorithm>
#include <memory>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "ops/patches/patches_checks.h"
#include "ops/patches/patches_cpu.h"

namespace vfi {
namespace {

constexpr int64_t kWork = 32768;  // elements that are worth a thread

Tensor dense(const Tensor& indices) { return torch::stable::contiguous(indices); }

MemoryFormat format(bool channels_last) { return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous; }

void for_rows(const PatchArgs& a, int64_t rows, void (*kernel)(const PatchArgs&, int64_t, int64_t)) {
  const int64_t grain = 1 + kWork / std::max(a.C * a.side(), int64_t{1});
  parallel_for(0, a.P * rows, grain, [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

std::tuple<Tensor, Tensor> patch_indices(const Tensor& route, std::optional<int64_t> capacity) {
  check_route(route, capacity);
  const Tensor cells = torch::stable::contiguous(route);
  const bool* const active = static_cast<const bool*>(cells.const_data_ptr());
  const int64_t total = route.numel(), rows = route.size(1), columns = route.size(2);
  const int64_t active_count = std::count(active, active + total, true), listed = capacity.value_or(active_count);
  const Tensor indices = result(route, {listed, 3}, ScalarType::Int), count = empty(route, {}, ScalarType::Long);
  *static_cast<int64_t*>(count.mutable_data_ptr()) = active_count;
  int32_t* row = static_cast<int32_t*>(indices.mutable_data_ptr());
  std::fill(row, row + 3 * listed, -1);
  for (int64_t n = 0, k = 0; n < total && k < listed; ++n) {
    if (!active[n]) continue;
    const int64_t cell[3] = {n / (rows * columns), n / columns % rows, n % columns};
    row = std::copy(cell, cell + 3, row);
    ++k;
  }
  return {indices, count};
}

Tensor gather(const Tensor& x, const Tensor& indices, int64_t patch, int64_t halo, bool channels_last,
              const PatchGrid& grid) {
  const Tensor list = dense(indices);
  PatchArgs a = patch_args(x, list, patch, halo, grid);
  const Tensor out = result(x, {a.P, a.C, a.side(), a.side()}, x.scalar_type(), format(channels_last));
  if (out.numel() == 0) return out;
  a.image = x.const_data_ptr(), a.image_strides = strides_of(x);
  a.patches = out.mutable_data_ptr(), a.patch_strides = strides_of(out);
  for_rows(a, a.side(), VFI_CPU_KERNEL(patch_gather_rows));
  return out;
}

Tensor patch_gather(const Tensor& x, const Tensor& indices, int64_t patch, int64_t halo,
                    std::optional<bool> channels_last) {
  const PatchGrid grid = check_patch_gather(x, indices, patch, halo);
  const bool last = channels_last.value_or(layout_of(x) == MemoryFormat::ChannelsLast);
  return gather(x, indices, patch, halo, last, grid);
}

// Which row of the list names each cell.
std::vector<int32_t> listed_cells(const PatchArgs& a) {
  std::vector<int32_t> listed(a.grid.B * a.grid.rows * a.grid.columns, -1);
  for (int64_t k = 0; k < a.P; ++k) {
    const Patch p = patch_at(a.indices, k, a.grid);
    if (p.used) listed[(p.b * a.grid.rows + p.row) * a.grid.columns + p.column] = static_cast<int32_t>(k);
  }
  return listed;
}

Tensor patch_gather_grad(const Tensor& grad_out, const Tensor& indices, std::vector<int64_t> size, int64_t patch,
                         int64_t halo, bool channels_last) {
  constexpr const char* kOp = "patch_gather_grad";
  if (size.size() != 4) fail(kOp, ": expected size of four integers, got ", shape_text(size));
  const Tensor grad = empty(grad_out, {size[0], size[1], size[2], size[3]}, grad_out.scalar_type(), format(channels_last));
  const Tensor list = dense(indices);
  PatchArgs a = patch_args(grad, list, patch, halo, check_patch_gather(grad, indices, patch, halo));
  const std::vector<int64_t> expected = {a.P, a.C, a.side(), a.side()};
  check_shape(shape_text(grad_out) == shape_text(expected), kOp, "grad_out", shape_text(expected), grad_out);
  if (grad.numel() == 0) return grad;
  const std::vector<int32_t> listed = listed_cells(a);
  a.patches = const_cast<void*>(grad_out.const_data_ptr()), a.patch_strides = strides_of(grad_out);
  a.result = grad.mutable_data_ptr(), a.result_strides = strides_of(grad);
  a.listed = listed.data();
  const int64_t cell = patch * patch * a.C;
  parallel_for(0, listed.size(), 1 + kWork / std::max(cell, int64_t{1}), [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(patch_gather_grad_cells)(a, begin, end);
  });
  return grad;
}

// The listed patches of `result` become `patches`, or 0 where there are none.
void scatter(const Tensor* patches, const Tensor& indices, int64_t patch, const PatchGrid& grid, const Tensor& result) {
  const Tensor list = dense(indices);
  PatchArgs a = patch_args(result, list, patch, 0, grid);
  if (result.numel() == 0) return;
  if (patches != nullptr) a.patches = const_cast<void*>(patches->const_data_ptr()), a.patch_strides = strides_of(*patches);
  a.result = result.mutable_data_ptr(), a.result_strides = strides_of(result);
  for_rows(a, a.patch, VFI_CPU_KERNEL(patch_scatter_rows));
}

// What `base`, or zeros, is outside of the listed patches, which hold nothing yet.
Tensor rest(const Tensor* base, const Tensor& out, const Tensor& indices, int64_t patch, const PatchGrid& grid) {
  if (out.numel() == 0) return out;
  const Tensor list = dense(indices), from = base == nullptr ? out : with_layout(*base, layout_of(out));
  PatchArgs a = patch_args(out, list, patch, 0, grid);
  a.image = base == nullptr ? nullptr : from.const_data_ptr();
  a.result = out.mutable_data_ptr(), a.by_pixel = layout_of(out) == MemoryFormat::ChannelsLast;
  const std::vector<int32_t> listed = listed_cells(a);
  a.listed = listed.data();
  const int64_t rows = a.rest_rows(), grain = 1 + kWork / std::max(out.numel() / rows, int64_t{1});
  parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) { VFI_CPU_KERNEL(patch_rest_rows)(a, begin, end); });
  return out;
}

// The memory in which routed_conv2d begins. Arguments that it refuses get `like`, which it refuses with its own words.
Tensor patch_rest(const std::optional<Tensor>& base, const Tensor& like, std::vector<int64_t> size, const Tensor& indices,
                  int64_t patch) {
  const Tensor& owner = base ? *base : like;
  const bool fits = size.size() == 4 && patch > 0 && owner.dim() == 4 && size[2] % patch == 0 && size[3] % patch == 0 &&
                    (!base || shape_text(*base) == shape_text(size)) && indices.dim() == 2 && indices.size(1) == 3 &&
                    indices.scalar_type() == ScalarType::Int && indices.is_cpu();
  if (!fits) return owner;
  const PatchGrid grid{size[0], size[2] / patch, size[3] / patch};
  const Tensor out = result(owner, {size[0], size[1], size[2], size[3]}, owner.scalar_type(), layout_of(owner));
  return rest(base ? &*base : nullptr, out, indices, patch, grid);
}

void patch_scatter_(const Tensor& patches, const Tensor& indices, Tensor base) {
  const PatchGrid grid = check_patch_scatter(patches, indices, base);
  check_written("patch_scatter_", "base", base);
  scatter(&patches, indices, patches.size(2), grid, base);
}

Tensor patch_scatter(const Tensor& patches, const Tensor& indices, const Tensor& base) {
  const PatchGrid grid = check_patch_scatter(patches, indices, base);
  const Sizes size = {base.size(0), base.size(1), base.size(2), base.size(3)};
  const Tensor out = result(base, size, base.scalar_type(), layout_of(base));
  rest(&base, out, indices, patches.size(2), grid);
  scatter(&patches, indices, patches.size(2), grid, out);
  return out;
}

std::tuple<Tensor, Tensor> patch_scatter_grad(const Tensor& grad_out, const Tensor& indices, int64_t patch,
                                              bool channels_last, bool need_patches, bool need_base) {
  const PatchGrid grid = check_patch_gather(grad_out, indices, patch, 0);
  const ScalarType type = grad_out.scalar_type();
  const Tensor grad_patches =
      need_patches ? gather(grad_out, indices, patch, 0, channels_last, grid) : nothing(grad_out, type);
  const Tensor grad_base = need_base ? empty_like_layout(grad_out) : nothing(grad_out, type);
  if (need_base) rest(&grad_out, grad_base, indices, patch, grid);
  if (need_base) scatter(nullptr, indices, patch, grid, grad_base);
  return {grad_patches, grad_base};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("patch_indices", TORCH_BOX(&vfi::patch_indices));
  m.impl("patch_gather", TORCH_BOX(&vfi::patch_gather));
  m.impl("patch_gather_grad", TORCH_BOX(&vfi::patch_gather_grad));
  m.impl("patch_scatter", TORCH_BOX(&vfi::patch_scatter));
  m.impl("patch_scatter_", TORCH_BOX(&vfi::patch_scatter_));
  m.impl("patch_rest", TORCH_BOX(&vfi::patch_rest));
  m.impl("patch_scatter_grad", TORCH_BOX(&vfi::patch_scatter_grad));
}
