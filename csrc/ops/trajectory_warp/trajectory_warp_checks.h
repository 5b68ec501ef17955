// The argument checks of trajectory_warp, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "trajectories/trajectory_checks.h"

namespace vfi {

struct TrajectoryWarpRules {
  Curve curve;
  Padding padding;
};

inline TrajectoryWarpRules check_trajectory_warp(const Tensor& image, const Tensor& keyframes, const Tensor& taus,
                                                 double first, double step, double a, int64_t boundary,
                                                 bool extrapolate, int64_t padding) {
  constexpr const char* kOp = "trajectory_warp";
  check_image(kOp, "image", image);
  const int64_t height = image.size(2), width = image.size(3);
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  check_batch(kOp, keyframes, "image", image);
  return {curve, check_option<Padding>(kOp, padding)};
}

}  // namespace vfi
