// The ops on patches on CUDA: tensors and registration. The kernels are in patches_kernels.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/patches/patches_checks.h"
#include "ops/patches/patches_kernels.cuh"

namespace vfi::cuda {
namespace {

MemoryFormat format(bool channels_last) { return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous; }

// The one thing that the host waits for.
int64_t read(const Tensor& count) {
  Tensor on_host = torch::stable::empty({}, ScalarType::Long, std::nullopt,
                                      torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt,
                                      MemoryFormat::Contiguous);
  torch::stable::copy_(on_host, count);
  return *static_cast<const int64_t*>(on_host.const_data_ptr());
}

std::tuple<Tensor, Tensor> patch_indices(Tensor route, std::optional<int64_t> capacity) {
  check_route(route, capacity);
  const OnDevice device(route);
  const Tensor cells = torch::stable::contiguous(route), count = empty(route, {}, ScalarType::Long);
  const PatchGrid grid{route.size(0), route.size(1), route.size(2)};
  const auto list = [&](int32_t* indices, int64_t rows) {
    launch_patch_indices(static_cast<const bool*>(cells.const_data_ptr()), grid, indices, rows,
                         static_cast<int64_t*>(count.mutable_data_ptr()), device.stream);
    device.check_launches();
  };
  if (!capacity) list(nullptr, 0);
  const int64_t rows = capacity ? *capacity : read(count);
  const Tensor indices = result(route, {rows, 3}, ScalarType::Int);
  if (capacity || rows > 0) list(static_cast<int32_t*>(indices.mutable_data_ptr()), rows);
  return {indices, count};
}

Tensor gather(const OnDevice& device, const Tensor& x, const Tensor& list, int64_t patch, int64_t halo,
              bool channels_last, const PatchGrid& grid) {
  PatchArgs a = patch_args(x, list, patch, halo, grid);
  const Tensor out = result(x, {a.P, a.C, a.side(), a.side()}, x.scalar_type(), format(channels_last));
  a.image = x.const_data_ptr(), a.image_strides = strides_of(x);
  a.patches = out.mutable_data_ptr(), a.patch_strides = strides_of(out);
  launch_patch_copy<false>(a, device.stream);
  device.check_launches();
  return out;
}

Tensor patch_gather(Tensor x, Tensor indices, int64_t patch, int64_t halo, std::optional<bool> channels_last) {
  const PatchGrid grid = check_patch_gather(x, indices, patch, halo);
  const OnDevice device(x);
  const bool last = channels_last.value_or(layout_of(x) == MemoryFormat::ChannelsLast);
  return gather(device, x, torch::stable::contiguous(indices), patch, halo, last, grid);
}

Tensor patch_gather_grad(Tensor grad_out, Tensor indices, std::vector<int64_t> size, int64_t patch, int64_t halo,
                         bool channels_last) {
  constexpr const char* kOp = "patch_gather_grad";
  if (size.size() != 4) fail(kOp, ": expected size of four integers, got ", shape_text(size));
  const OnDevice device(grad_out);
  const Tensor grad =
      empty(grad_out, {size[0], size[1], size[2], size[3]}, grad_out.scalar_type(), format(channels_last));
  const Tensor list = torch::stable::contiguous(indices);
  PatchArgs a = patch_args(grad, list, patch, halo, check_patch_gather(grad, indices, patch, halo));
  check_upstream(kOp, "grad_out", grad_out, {a.P, a.C, a.side(), a.side()}, grad);
  const Tensor listed = empty(grad, {a.grid.B * a.grid.rows * a.grid.columns}, ScalarType::Int);
  int32_t* const table = static_cast<int32_t*>(listed.mutable_data_ptr());
  launch_list_cells(a.indices, a.P, a.grid, table, device.stream);
  a.patches = const_cast<void*>(grad_out.const_data_ptr()), a.patch_strides = strides_of(grad_out);
  a.result = grad.mutable_data_ptr(), a.result_strides = strides_of(grad);
  a.listed = table;
  launch_patch_gather_grad(a, device.stream);
  device.check_launches();
  return grad;
}

// The listed patches of `result` become `patches`, or 0 where there are none.
void scatter(const OnDevice& device, const Tensor* patches, const Tensor& indices, int64_t patch, const PatchGrid& grid,
             const Tensor& result) {
  const Tensor list = torch::stable::contiguous(indices);
  PatchArgs a = patch_args(result, list, patch, 0, grid);
  if (result.numel() == 0) return;
  if (patches != nullptr) a.patches = const_cast<void*>(patches->const_data_ptr()), a.patch_strides = strides_of(*patches);
  a.result = result.mutable_data_ptr(), a.result_strides = strides_of(result);
  launch_patch_copy<true>(a, device.stream);
  device.check_launches();
}

Tensor copy_of(const Tensor& x) {
  Tensor copy = empty_for(x);
  return torch::stable::copy_(copy, x);
}

// As on the CPU; what is listed is copied, too.
Tensor patch_rest(std::optional<Tensor> base, Tensor like, std::vector<int64_t> size, Tensor /*indices*/, int64_t /*patch*/) {
  const Tensor& owner = base ? *base : like;
  if (size.size() != 4 || owner.dim() != 4 || (base && shape_text(*base) != shape_text(size))) return owner;
  const OnDevice device(owner);
  Tensor out = result(owner, {size[0], size[1], size[2], size[3]}, owner.scalar_type(), layout_of(owner));
  return base ? torch::stable::copy_(out, *base) : torch::stable::zero_(out);
}

void patch_scatter_(Tensor patches, Tensor indices, Tensor base) {
  const PatchGrid grid = check_patch_scatter(patches, indices, base);
  check_written("patch_scatter_", "base", base);
  scatter(OnDevice(base), &patches, indices, patches.size(2), grid, base);
}

Tensor patch_scatter(Tensor patches, Tensor indices, Tensor base) {
  const PatchGrid grid = check_patch_scatter(patches, indices, base);
  const OnDevice device(base);
  Tensor out = result(base, {base.size(0), base.size(1), base.size(2), base.size(3)}, base.scalar_type(), layout_of(base));
  torch::stable::copy_(out, base);
  scatter(device, &patches, indices, patches.size(2), grid, out);
  return out;
}

std::tuple<Tensor, Tensor> patch_scatter_grad(Tensor grad_out, Tensor indices, int64_t patch, bool channels_last,
                                              bool need_patches, bool need_base) {
  const PatchGrid grid = check_patch_gather(grad_out, indices, patch, 0);
  const OnDevice device(grad_out);
  const ScalarType type = grad_out.scalar_type();
  const Tensor list = torch::stable::contiguous(indices);
  const Tensor grad_patches =
      need_patches ? gather(device, grad_out, list, patch, 0, channels_last, grid) : nothing(grad_out, type);
  const Tensor grad_base = need_base ? copy_of(grad_out) : nothing(grad_out, type);
  if (need_base) scatter(device, nullptr, list, patch, grid, grad_base);
  return {grad_patches, grad_base};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("patch_indices", TORCH_BOX(&vfi::cuda::patch_indices));
  m.impl("patch_gather", TORCH_BOX(&vfi::cuda::patch_gather));
  m.impl("patch_gather_grad", TORCH_BOX(&vfi::cuda::patch_gather_grad));
  m.impl("patch_scatter", TORCH_BOX(&vfi::cuda::patch_scatter));
  m.impl("patch_scatter_", TORCH_BOX(&vfi::cuda::patch_scatter_));
  m.impl("patch_rest", TORCH_BOX(&vfi::cuda::patch_rest));
  m.impl("patch_scatter_grad", TORCH_BOX(&vfi::cuda::patch_scatter_grad));
}
