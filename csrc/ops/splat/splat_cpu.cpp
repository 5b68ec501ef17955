// Splat on the CPU: tensors in, tensors out. The sums are those of splatting/scatter.h.
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "splatting/tensor_planes.h"
#include "ops/splat/splat.h"
#include "ops/splat/splat_checks.h"

namespace vfi {
namespace {

using Metric = std::optional<Tensor>;

std::tuple<std::vector<Tensor>, Tensor, Tensor> splat(const std::vector<Tensor>& inputs, const Tensor& flow,
                                                      const Metric& metric, int64_t mode,
                                                      int64_t eps, bool keep_weight, bool) {
  const SplatMode m = check_splat(inputs, flow, metric, mode, eps);
  ScatterArgs s{};
  s.float64 = needs_float64(inputs, flow, metric);
  const Tensor& first = inputs[0];
  const Tensor dense_flow = with_layout(flow, layout_of(flow));
  const Metric dense_metric = metric ? Metric(with_layout(*metric, layout_of(*metric))) : std::nullopt;
  s.B = first.size(0), s.H = s.target_H = first.size(2), s.W = s.target_W = first.size(3);
  s.flow = planes_of(dense_flow), s.padding = Padding::kZeros, s.factor = m.factor, s.divide = m.divide;
  if (dense_metric) s.factor_of = planes_of(*dense_metric);

  const Splatted result = splat_tensors(s, inputs, keep_weight);
  return {result.outs, result.weight, result.shift};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) { m.impl("splat", TORCH_BOX(&vfi::splat)); }
