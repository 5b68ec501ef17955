// The argument checks of sepconv, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"

namespace vfi {

inline void check_sepconv(const Tensor& image, const Tensor& vertical, const Tensor& horizontal) {
  constexpr const char* kOp = "sepconv";
  check_image(kOp, "image", image);
  const int64_t b = image.size(0);
  const auto check_kernel = [&](const char* name, const char* taps, const Tensor& t) {
    const std::string text = std::string("(B, ") + taps + ", H, W) with B = " + std::to_string(b) +
                             " as image has and " + taps + " at least 1";
    check_shape(t.dim() == 4 && t.size(0) == b && t.size(1) > 0, kOp, name, text, t);
    check_dtype(kOp, name, t);
    check_device(kOp, name, t, "image", image);
  };
  check_kernel("vertical", "Fv", vertical);
  check_kernel("horizontal", "Fh", horizontal);
  check_size(kOp, "horizontal", horizontal, vertical, "vertical");
  const int64_t height = vertical.size(2) + vertical.size(1) - 1, width = vertical.size(3) + horizontal.size(1) - 1;
  if (image.size(2) != height || image.size(3) != width) {
    fail(kOp, ": expected image of height and width (H + Fv - 1, W + Fh - 1) = ", shape_text({height, width}),
         ", got ", shape_text(image));
  }
}

}  // namespace vfi
