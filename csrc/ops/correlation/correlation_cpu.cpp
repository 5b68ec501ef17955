// correlation on the CPU: tensors in, tensors out. The kernels, for every dtype, are in *_simd.cpp.
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "torch/checks.h"
#include "ops/correlation/correlation.h"
#include "ops/correlation/correlation_checks.h"

namespace vfi {
namespace {

using TileKernel = void(const CorrelationArgs&, int64_t, int64_t);

void for_all_tiles(const CorrelationArgs& a, TileKernel* kernel) {
  const int64_t work = CorrelationTiles::kRows * CorrelationTiles::kColumns * a.side() * a.side() * (a.C + 1);
  const int64_t grain = 1 + (int64_t{1} << 20) / work;  // enough work to be worth a thread
  parallel_for(0, CorrelationTiles(a).count, grain, [&](int64_t begin, int64_t end) {
    kernel(a, begin, end);
  });
}

CorrelationArgs args_of(const Tensor& first, int64_t radius) {
  CorrelationArgs a{};
  a.B = first.size(0), a.C = first.size(1), a.H = first.size(2), a.W = first.size(3);
  a.radius = radius;
  a.type = check_dtype("correlation", "first", first);
  return a;
}

Tensor correlation(const Tensor& first, const Tensor& second, int64_t radius) {
  check_correlation(first, second, radius);
  CorrelationArgs a = args_of(first, radius);
  const Tensor out = result(first, {a.B, a.side() * a.side(), a.H, a.W}, first.scalar_type());
  const Tensor p = with_layout(first, MemoryFormat::Contiguous), q = with_layout(second, MemoryFormat::Contiguous);
  a.first = p.const_data_ptr(), a.second = q.const_data_ptr(), a.out = out.mutable_data_ptr();
  if (out.numel() > 0) for_all_tiles(a, VFI_CPU_KERNEL(correlation_tiles));
  return with_layout(out, layout_of(first));
}

// The gradient of `owner` out of the other map.
Tensor gradient(const Tensor& grad_out, const Tensor& owner, const Tensor& other, int64_t radius, bool mirrored) {
  CorrelationArgs a = args_of(owner, radius);
  const Tensor grad = empty(owner, {a.B, a.C, a.H, a.W}, owner.scalar_type());
  const Tensor q = with_layout(other, MemoryFormat::Contiguous);
  a.second = q.const_data_ptr(), a.grad_out = grad_out.const_data_ptr(), a.out = grad.mutable_data_ptr();
  a.mirrored = mirrored;
  if (grad.numel() > 0) for_all_tiles(a, VFI_CPU_KERNEL(correlation_grad_tiles));
  return with_layout(grad, layout_of(owner));
}

std::tuple<Tensor, Tensor> correlation_grad(const Tensor& grad_out, const Tensor& first, const Tensor& second,
                                            int64_t radius, bool need_first, bool need_second) {
  check_correlation(first, second, radius);
  check_correlation_grad(grad_out, first, radius);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  return {need_first ? gradient(g, first, second, radius, false) : nothing(first, first.scalar_type()),
          need_second ? gradient(g, second, first, radius, true) : nothing(second, second.scalar_type())};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("correlation", TORCH_BOX(&vfi::correlation));
  m.impl("correlation_grad", TORCH_BOX(&vfi::correlation_grad));
}
