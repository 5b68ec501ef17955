// correlation on the CPU: tensors in, tensors out. The kernels, for every dtype, are in *_simd.cpp.
#include <cstring>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "cpu/scratch.h"
#include "ops/correlation/correlation_checks.h"

namespace vfi {
namespace {

using TileKernel = void(const CorrelationArgs&, int64_t, int64_t);

void for_all_tiles(const CorrelationArgs& a, TileKernel* kernel) {
  const int64_t work = CorrelationTiles::kRows * CorrelationTiles::kColumns * a.v.count * a.h.count * (a.C + 1);
  const int64_t grain = 1 + (int64_t{1} << 20) * a.groups / work;  // enough work to be worth a thread
  parallel_for(0, CorrelationTiles(a).count, grain, [&](int64_t begin, int64_t end) {
    kernel(a, begin, end);
  });
}

CorrelationArgs args_of(const Tensor& first, const CorrelationPlan& plan) {
  CorrelationArgs a{};
  a.B = first.size(0), a.C = first.size(1), a.v = plan.v, a.h = plan.h;
  a.type = check_dtype("correlation", "first", first);
  a.cost = plan.cost, a.divisor = plan.divisor, a.groups = 1;
  return a;
}

// Where the map has too few tiles for the threads, the displacements along y are divided, too, if that is worth the rows that
// several groups copy.
void divide_few_tiles(CorrelationArgs& a) {
  constexpr int64_t kWorthwhile = int64_t{1} << 24;  // for a thread
  const int64_t tiles = std::max<int64_t>(CorrelationTiles(a).count, 1);
  const int64_t products = a.B * a.v.points * a.h.points * a.v.count * a.h.count * a.C;
  const int64_t threads = std::min(thread_count(), products / kWorthwhile);
  // As good as even: two for each thread.
  if (threads > 1) a.groups = std::clamp<int64_t>((2 * threads + tiles - 1) / tiles, 1, a.v.count);
}

// A few rows of displacements at a time: their sums stay in the cache for the windows that add them.
void add_windows(CorrelationArgs& a, const CorrelationPlan& plan, const Tensor& out) {
  constexpr int64_t kBytes = int64_t{4} << 20;
  const int64_t row = a.B * a.h.count * a.v.points * a.h.points * (a.type == Dtype::kFloat64 ? 8 : 4);
  const int64_t rows = std::clamp<int64_t>(kBytes / row, 1, plan.v.count);
  const Scratch sums(rows * row);
  a.out = sums.data(), a.wide = true, a.divisor = 1;
  CorrelationWindows w{};
  w.sums = sums.data(), w.out = out.mutable_data_ptr(), w.all_planes = plan.displacements();
  w.v = a.v, w.h = a.h, w.divisor = plan.divisor, w.type = a.type;
  for (int64_t k = 0; k < plan.v.count; k += rows) {
    a.v.start = plan.v.displacement(k), a.v.count = std::min(rows, plan.v.count - k);
    for_all_tiles(a, VFI_CPU_KERNEL(correlation_tiles));
    w.plane = k * a.h.count, w.planes = a.v.count * a.h.count;
    const int64_t grain = 1 + (int64_t{1} << 16) / (a.h.outputs * a.v.window * a.h.window);
    parallel_for(0, a.B * w.planes * a.v.outputs, grain, [&](int64_t begin, int64_t end) {
      VFI_CPU_KERNEL(correlation_windows)(w, begin, end);
    });
  }
}

Tensor correlation(const Tensor& first, const Tensor& second, const Integers& sides, bool normalize, int64_t cost) {
  const CorrelationPlan plan = check_correlation(first, second, correlation_options(sides, normalize, cost));
  CorrelationArgs a = args_of(first, plan);
  const Tensor out =
      result(first, {a.B, plan.displacements(), plan.v.outputs, plan.h.outputs}, first.scalar_type());
  const Tensor p = with_layout(first, MemoryFormat::Contiguous), q = with_layout(second, MemoryFormat::Contiguous);
  a.first = p.const_data_ptr(), a.second = q.const_data_ptr(), a.out = out.mutable_data_ptr();
  if (out.numel() > 0) {
    if (plan.windows) {
      add_windows(a, plan, out);
    } else {
      divide_few_tiles(a);
      for_all_tiles(a, VFI_CPU_KERNEL(correlation_tiles));
    }
  }
  return with_layout(out, layout_of(first));
}

// The gradient of `owner` out of the other map.
Tensor gradient(const Tensor& grad_out, const Tensor& owner, const Tensor& other, const CorrelationPlan& plan,
                bool mirrored) {
  CorrelationArgs a = args_of(owner, plan);
  const Tensor grad = empty(owner, {a.B, a.C, a.v.size, a.h.size}, owner.scalar_type());
  const Tensor p = plan.cost == Cost::kL1 ? with_layout(owner, MemoryFormat::Contiguous) : owner;
  const Tensor q = with_layout(other, MemoryFormat::Contiguous);
  a.first = p.const_data_ptr(), a.second = q.const_data_ptr(), a.grad_out = grad_out.const_data_ptr();
  a.out = grad.mutable_data_ptr(), a.mirrored = mirrored;
  const auto covers = [](const CorrelationAxis<>& axis) {
    return axis.stride == 1 && axis.points >= axis.padding + axis.size;
  };
  if (grad.numel() > 0) {
    if (!mirrored && !(covers(a.v) && covers(a.h))) std::memset(a.out, 0, grad.numel() * grad.element_size());
    for_all_tiles(a, VFI_CPU_KERNEL(correlation_grad_tiles));
  }
  return with_layout(grad, layout_of(owner));
}

std::tuple<Tensor, Tensor> correlation_grad(const Tensor& grad_out, const Tensor& first, const Tensor& second,
                                            const Integers& sides, bool normalize, int64_t cost, bool need_first,
                                            bool need_second) {
  const CorrelationPlan plan = check_correlation(first, second, correlation_options(sides, normalize, cost));
  check_correlation_grad(grad_out, first, plan);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  return {need_first ? gradient(g, first, second, plan, false) : nothing(first, first.scalar_type()),
          need_second ? gradient(g, second, first, plan, true) : nothing(second, second.scalar_type())};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("correlation", TORCH_BOX(&vfi::correlation));
  m.impl("correlation_grad", TORCH_BOX(&vfi::correlation_grad));
}
