// The argument checks of trajectory_splat, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "splatting/splat_tensors.h"
#include "trajectories/trajectory_checks.h"

namespace vfi {

struct TrajectorySplatRules {
  Curve curve;
  SplatRules splat;
};

inline TrajectorySplatRules check_trajectory_splat(const std::vector<Tensor>& inputs, const Tensor& keyframes, const Tensor& taus,
                                                   const std::optional<Tensor>& metric, double first, double step,
                                                   double a, int64_t boundary, bool extrapolate,
                                                   int64_t mode, int64_t holes) {
  constexpr const char* kOp = "trajectory_splat";
  const SplatRules m = check_splat_rules(kOp, mode, holes);
  const Tensor& first_input = check_images(kOp, inputs);
  const int64_t height = first_input.size(2), width = first_input.size(3);
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  check_batch(kOp, keyframes, "image", first_input);
  check_metric(kOp, m, metric, first_input);
  return {curve, m};
}

}  // namespace vfi
