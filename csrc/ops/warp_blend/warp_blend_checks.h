// The argument checks of warp_blend, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"

namespace vfi {

inline void check_warp_blend(const Tensor& frame0, const Tensor& frame1, const Tensor& flow,
                             const Tensor& mask_logits) {
  constexpr const char* kOp = "warp_blend";
  check_image(kOp, "frame0", frame0);
  if (shape_text(frame1) != shape_text(frame0)) {
    fail(kOp, ": expected frame1 of shape ", shape_text(frame0), " as frame0 has, got ", shape_text(frame1));
  }
  check_like(kOp, "frame1", frame1, "frame0", frame0);
  check_planes(kOp, "flow", flow, 4, frame0, "frame0");
  check_planes(kOp, "mask_logits", mask_logits, 1, frame0, "frame0");
  check_size(kOp, "mask_logits", mask_logits, flow, "flow");
  check_has_pixels(kOp, "frame0", frame0, flow);
}

}  // namespace vfi
