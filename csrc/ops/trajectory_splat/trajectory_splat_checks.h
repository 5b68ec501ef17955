// The argument checks of trajectory_splat, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "splatting/splat_tensors.h"
#include "trajectories/trajectory_checks.h"

namespace vfi {

struct TrajectorySplatRules {
  Curve curve;
  SplatRules splat;
};

inline TrajectorySplatRules check_trajectory_splat(const Tensor& input, const Tensor& keyframes, const Tensor& taus,
                                                   const std::optional<Tensor>& metric, double first, double step,
                                                   double a, int64_t boundary, bool extrapolate,
                                                   int64_t mode, int64_t eps) {
  constexpr const char* kOp = "trajectory_splat";
  const SplatRules m = check_splat_rules(kOp, mode, eps);
  check_image(kOp, "image", input);
  const int64_t height = input.size(2), width = input.size(3);
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  check_batch(kOp, keyframes, "image", input);
  check_metric(kOp, m, metric, input);
  return {curve, m};
}

}  // namespace vfi
