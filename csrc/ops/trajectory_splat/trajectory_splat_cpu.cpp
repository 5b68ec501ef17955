// Splat along a trajectory on the CPU: tensors in, tensors out. The kernels are those of ops/splat.
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "splatting/tensor_planes.h"
#include "trajectories/trajectory_tensors.h"
#include "ops/trajectory_splat/trajectory_splat.h"
#include "ops/trajectory_splat/trajectory_splat_checks.h"

namespace vfi {
namespace {

constexpr const char* kOp = "trajectory_splat";

std::tuple<std::vector<Tensor>, Tensor, Tensor> trajectory_splat(
    const std::vector<Tensor>& inputs, const Tensor& keyframes, const Tensor& taus, const std::optional<Tensor>& metric,
    double first, double step, double a, int64_t boundary, bool extrapolate, int64_t mode, int64_t holes,
    bool keep_weight, bool /*deterministic: always*/) {
  const auto [curve, m] = check_trajectory_splat(inputs, keyframes, taus, metric, first, step, a, boundary, extrapolate,
                                                 mode, holes);
  const Tensor& input = inputs[0];
  ScatterArgs s{};
  s.float64 = needs_float64(inputs, keyframes, metric) || taus.scalar_type() == ScalarType::Double;
  const TrajectoryTensors tensors(kOp, keyframes, taus, input.size(2), input.size(3), curve, 0, s.float64);
  const std::optional<Tensor> dense_metric =
      metric ? std::optional<Tensor>(with_layout(*metric, layout_of(*metric))) : std::nullopt;
  s.B = input.size(0) * taus.size(1), s.H = s.target_H = input.size(2), s.W = s.target_W = input.size(3);
  s.path = &tensors.path(), s.padding = Padding::kZeros, s.factor = m.factor, s.division = m.division;
  if (dense_metric) s.metric = planes_of(*dense_metric);
  const Splatted result = splat_tensors(s, inputs, keep_weight);
  return {result.outs, result.weight, result.shift};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) { m.impl("trajectory_splat", TORCH_BOX(&vfi::trajectory_splat)); }
