// Local correlation on CUDA: tensors and registration. The kernels are in correlation_kernels.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/correlation/correlation_checks.h"
#include "ops/correlation/correlation_kernels.cuh"

namespace vfi::cuda {
namespace {

CorrelationArgsGpu correlation_args(const Tensor& first, int64_t radius) {
  return {first.size(0),
          static_cast<int32_t>(first.size(1)),
          static_cast<int32_t>(first.size(2)),
          static_cast<int32_t>(first.size(3)),
          static_cast<int32_t>(radius),
          false};
}

Tensor correlation(Tensor first, Tensor second, int64_t radius) {
  check_correlation(first, second, radius);
  const OnDevice device(first);
  const CorrelationArgsGpu args = correlation_args(first, radius);
  const Tensor p = with_layout(first, MemoryFormat::Contiguous), q = with_layout(second, MemoryFormat::Contiguous);
  const Tensor out =
      result(first, {first.size(0), args.side() * args.side(), first.size(2), first.size(3)}, first.scalar_type());
  launch_correlation(p.const_data_ptr(), q.const_data_ptr(), out.mutable_data_ptr(), dtype_of(first), args,
                     device.stream);
  device.check_launches();
  return with_layout(out, layout_of(first));
}

// The gradient of `owner` out of the other map.
Tensor gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& owner, const Tensor& other,
                int64_t radius, bool mirrored) {
  CorrelationArgsGpu args = correlation_args(owner, radius);
  args.mirrored = mirrored;
  const Tensor q = with_layout(other, MemoryFormat::Contiguous);
  const Tensor grad =
      empty(owner, {owner.size(0), owner.size(1), owner.size(2), owner.size(3)}, owner.scalar_type());
  launch_correlation_grad(grad_out.const_data_ptr(), q.const_data_ptr(), grad.mutable_data_ptr(), dtype_of(owner),
                          args, device.stream);
  device.check_launches();
  return with_layout(grad, layout_of(owner));
}

std::tuple<Tensor, Tensor> correlation_grad(Tensor grad_out, Tensor first, Tensor second, int64_t radius,
                                            bool need_first, bool need_second) {
  check_correlation(first, second, radius);
  check_correlation_grad(grad_out, first, radius);
  const OnDevice device(first);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  return {need_first ? gradient(device, g, first, second, radius, false) : nothing(first, first.scalar_type()),
          need_second ? gradient(device, g, second, first, radius, true) : nothing(second, second.scalar_type())};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("correlation", TORCH_BOX(&vfi::cuda::correlation));
  m.impl("correlation_grad", TORCH_BOX(&vfi::cuda::correlation_grad));
}
