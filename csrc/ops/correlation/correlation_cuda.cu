// Local correlation on CUDA: tensors and registration. The kernels are in correlation_*_kernels.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/correlation/correlation_checks.h"
#include "ops/correlation/correlation_launch.cuh"

namespace vfi::cuda {
namespace {

CorrelationAxis<int32_t> narrow_axis(const CorrelationAxis<>& a) {
  const auto i = [](int64_t n) { return static_cast<int32_t>(n); };
  return {i(a.size),  i(a.points),  i(a.stride), i(a.padding), i(a.count), i(a.start),
          i(a.step), i(a.outputs), i(a.window), i(a.spacing), i(a.jump)};
}

CorrelationArgsGpu correlation_args(const Tensor& first, const CorrelationPlan& plan) {
  CorrelationArgsGpu a{};
  a.batch = first.size(0), a.channels = static_cast<int32_t>(first.size(1));
  a.v = narrow_axis(plan.v), a.h = narrow_axis(plan.h), a.divisor = plan.divisor, a.cost = plan.cost;
  return a;
}

// Some rows of displacements at a time, so that their sums need little memory.
void add_windows(const OnDevice& device, const Tensor& first, const Tensor& second, const CorrelationPlan& plan,
                 const Tensor& out) {
  constexpr int64_t kBytes = int64_t{64} << 20;
  CorrelationArgsGpu a = correlation_args(first, plan);
  const bool is_double = dtype_of(first) == Dtype::kFloat64;
  const ScalarType type = is_double ? ScalarType::Double : ScalarType::Float;
  const int64_t row = a.batch * a.h.count * a.points() * (is_double ? 8 : 4);
  const int64_t rows = std::clamp<int64_t>(kBytes / row, 1, plan.v.count);
  const Tensor sums = empty(first, {a.batch, rows * a.h.count, plan.v.points, plan.h.points}, type);
  a.wide = true, a.divisor = 1;
  for (int64_t k = 0; k < plan.v.count; k += rows) {
    a.v.start = static_cast<int32_t>(plan.v.displacement(k));
    a.v.count = static_cast<int32_t>(std::min(rows, plan.v.count - k));
    launch_correlation(first.const_data_ptr(), second.const_data_ptr(), sums.mutable_data_ptr(), dtype_of(first), a,
                       device.stream);
    launch_correlation_windows(sums.const_data_ptr(), out.mutable_data_ptr(), dtype_of(first), a, k * a.h.count,
                               plan.displacements(), plan.divisor, device.stream);
  }
}

Tensor correlation(Tensor first, Tensor second, Integers sides, bool normalize, int64_t cost) {
  const CorrelationPlan plan = check_correlation(first, second, correlation_options(sides, normalize, cost));
  const OnDevice device(first);
  const Tensor p = with_layout(first, MemoryFormat::Contiguous), q = with_layout(second, MemoryFormat::Contiguous);
  const Tensor out = result(first, {first.size(0), plan.displacements(), plan.v.outputs, plan.h.outputs},
                            first.scalar_type());
  if (plan.windows && out.numel() > 0) {
    add_windows(device, p, q, plan, out);
  } else {
    launch_correlation(p.const_data_ptr(), q.const_data_ptr(), out.mutable_data_ptr(), dtype_of(first),
                       correlation_args(first, plan), device.stream);
  }
  device.check_launches();
  return with_layout(out, layout_of(first));
}

// The gradient of `owner` out of the other map.
Tensor gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& owner, const Tensor& other,
                const CorrelationPlan& plan, bool mirrored) {
  CorrelationArgsGpu args = correlation_args(owner, plan);
  args.mirrored = mirrored;
  const Tensor p = plan.cost == Cost::kL1 ? with_layout(owner, MemoryFormat::Contiguous) : owner;
  const Tensor q = with_layout(other, MemoryFormat::Contiguous);
  const Tensor grad =
      empty(owner, {owner.size(0), owner.size(1), owner.size(2), owner.size(3)}, owner.scalar_type());
  launch_correlation_grad(grad_out.const_data_ptr(), p.const_data_ptr(), q.const_data_ptr(), grad.mutable_data_ptr(),
                          dtype_of(owner), args, device.stream);
  device.check_launches();
  return with_layout(grad, layout_of(owner));
}

std::tuple<Tensor, Tensor> correlation_grad(Tensor grad_out, Tensor first, Tensor second,
                                            Integers sides, bool normalize, int64_t cost, bool need_first,
                                            bool need_second) {
  const CorrelationPlan plan = check_correlation(first, second, correlation_options(sides, normalize, cost));
  check_correlation_grad(grad_out, first, plan);
  const OnDevice device(first);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  return {need_first ? gradient(device, g, first, second, plan, false) : nothing(first, first.scalar_type()),
          need_second ? gradient(device, g, second, first, plan, true) : nothing(second, second.scalar_type())};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("correlation", TORCH_BOX(&vfi::cuda::correlation));
  m.impl("correlation_grad", TORCH_BOX(&vfi::cuda::correlation_grad));
}
