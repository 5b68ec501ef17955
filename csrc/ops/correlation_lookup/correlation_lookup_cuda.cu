// correlation_lookup on CUDA: tensors and registration. The kernels are in correlation_lookup_*kernels.cuh.
#include <tuple>
#include <vector>

#include "torch/cuda_tensors.h"
#include "ops/correlation_lookup/correlation_lookup_checks.h"
#include "ops/correlation_lookup/correlation_lookup_grad_level_kernels.cuh"
#include "ops/correlation_lookup/correlation_lookup_pool_kernels.cuh"

namespace vfi::cuda {
namespace {

// The arguments, and the tensors that they point into.
struct LookupGpu {
  LookupArgsGpu args{};
  std::vector<Tensor> tensors;
  bool wide;

  const void* keep(const Tensor& t) {
    tensors.push_back(t);
    return t.const_data_ptr();
  }
  Tensor empty_level(const Tensor& like, int32_t level) const {
    return empty(like, {args.batch, args.levels[level].height, args.levels[level].width, args.channels},
                 wide ? ScalarType::Double : ScalarType::Float);
  }

  LookupGpu(const OnDevice& device, const Tensor& first, const Tensor& second, const Tensor& positions, int64_t radius,
         int64_t levels)
      : wide(lookup_is_wide(first, positions)) {
    LookupArgsGpu& a = args;
    a.batch = first.size(0), a.channels = first.size(1);
    a.height = static_cast<int32_t>(first.size(2)), a.width = static_cast<int32_t>(first.size(3));
    a.count = static_cast<int32_t>(levels), a.radius = static_cast<int32_t>(radius);
    a.first = keep(with_layout(first, MemoryFormat::ChannelsLast));
    a.positions = view_of(positions);
    a.levels[0] = {keep(with_layout(second, MemoryFormat::ChannelsLast)), dtype_of(second), second.size(2), second.size(3),
                   1.0};
    const auto aligned = [&](const void* p) {
      return reinterpret_cast<uintptr_t>(p) % (kChannelPack * first.element_size()) == 0;
    };
    a.packs = a.channels % kChannelPack == 0 && aligned(a.first) && aligned(a.levels[0].data);
    for (int32_t l = 1; l < a.count; ++l) {
      a.levels[l] = {nullptr, wide ? Dtype::kFloat64 : Dtype::kFloat32, a.levels[l - 1].height / 2,
                     a.levels[l - 1].width / 2, a.levels[l - 1].unit / 2};
      const Tensor pooled = empty_level(first, l);
      a.levels[l].data = keep(pooled);
      launch_pool(a, l, pooled.mutable_data_ptr(), dtype_of(first), wide, device.stream);
    }
  }
};

Tensor correlation_lookup(Tensor first, Tensor second, Tensor positions, int64_t radius, int64_t levels) {
  check_lookup(first, second, positions, radius, levels);
  const OnDevice device(first);
  const LookupGpu lookup(device, first, second, positions, radius, levels);
  const MemoryFormat layout = layout_of(first);
  const Tensor out = result(first, {first.size(0), lookup.args.planes(), first.size(2), first.size(3)},
                            first.scalar_type(), layout);
  launch_lookup(lookup.args, out.mutable_data_ptr(), dtype_of(first), lookup.wide, layout == MemoryFormat::ChannelsLast,
                device.stream);
  device.check_launches();
  return out;
}

Tensor channels_last_like(const Tensor& t) {
  return empty(t, {t.size(0), t.size(1), t.size(2), t.size(3)}, t.scalar_type(), MemoryFormat::ChannelsLast);
}

Tensor grad_second(const OnDevice& device, LookupGpu& lookup, const Tensor& second) {
  const Tensor grad = channels_last_like(second);
  void* grads[kMostLevels] = {grad.mutable_data_ptr()};
  for (int32_t l = 1; l < lookup.args.count; ++l) {
    const Tensor level = lookup.empty_level(second, l);
    lookup.keep(level);
    grads[l] = level.mutable_data_ptr();
  }
  const Tensor reaches = scratch<int32_t>(second, 4 * lookup_reaches(lookup.args));
  launch_lookup_grad_levels(lookup.args, static_cast<LookupReach*>(reaches.mutable_data_ptr()), grads, dtype_of(second),
                            lookup.wide, device.stream);
  device.check_launches();
  return with_layout(grad, layout_of(second));
}

std::tuple<Tensor, Tensor, Tensor> correlation_lookup_grad(Tensor grad_out, Tensor first, Tensor second,
                                                           Tensor positions, int64_t radius, int64_t levels,
                                                           bool need_first, bool need_second, bool need_positions) {
  check_lookup(first, second, positions, radius, levels);
  check_lookup_grad(grad_out, first, radius, levels);
  const OnDevice device(first);
  LookupGpu lookup(device, first, second, positions, radius, levels);
  lookup.args.grad_out = lookup.keep(with_layout(grad_out, MemoryFormat::ChannelsLast));
  lookup.args.need_first = need_first, lookup.args.need_positions = need_positions;
  const Tensor grad_first = need_first ? channels_last_like(first) : nothing(first, first.scalar_type());
  const Tensor grad_positions = empty_for(positions, need_positions);
  if (need_positions) lookup.args.grad_positions = mutable_view_of(grad_positions);
  if (need_first || need_positions) {
    launch_lookup_grad(lookup.args, grad_first.mutable_data_ptr(), dtype_of(first), lookup.wide, device.stream);
    device.check_launches();
  }
  const Tensor of_second = need_second ? grad_second(device, lookup, second) : nothing(second, second.scalar_type());
  return {need_first ? with_layout(grad_first, layout_of(first)) : grad_first, of_second, grad_positions};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("correlation_lookup", TORCH_BOX(&vfi::cuda::correlation_lookup));
  m.impl("correlation_lookup_grad", TORCH_BOX(&vfi::cuda::correlation_lookup_grad));
}
