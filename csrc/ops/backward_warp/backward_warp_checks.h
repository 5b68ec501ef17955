// The argument checks of backward_warp, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"

namespace vfi {

inline Padding check_backward_warp(const Tensor& image, const Tensor& flow, int64_t padding) {
  constexpr const char* kOp = "backward_warp";
  check_image(kOp, "image", image);
  check_planes(kOp, "flow", flow, 2, image, "image");
  const Padding rule = check_option<Padding>(kOp, padding);
  check_has_pixels(kOp, "image", image, flow);
  return rule;
}

}  // namespace vfi
