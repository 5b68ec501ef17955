// The argument checks of adacof, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include <cmath>

#include "torch/checks.h"

namespace vfi {

// Returns F.
inline int64_t check_adacof(const Tensor& image, const Tensor& weights, const Tensor& offsets_vertical,
                            const Tensor& offsets_horizontal, int64_t dilation) {
  constexpr const char* kOp = "adacof";
  check_image(kOp, "image", image);
  if (dilation < 1 || dilation > 2147483647) {
    fail(kOp, ": expected dilation from 1 to 2147483647, got ", std::to_string(dilation));
  }
  const int64_t b = image.size(0), taps = weights.dim() == 4 ? weights.size(1) : 0;
  const int64_t side = std::llround(std::sqrt(static_cast<double>(taps)));
  check_shape(side > 0 && side * side == taps && weights.size(0) == b, kOp, "weights",
              "(B, F^2, H, W) with B = " + std::to_string(b) + " as image has and F at least 1", weights);
  const std::string same = shape_text(weights);
  const auto named = {std::pair("offsets_vertical", &offsets_vertical), std::pair("offsets_horizontal", &offsets_horizontal)};
  for (const auto& [name, t] : named) check_shape(shape_text(*t) == same, kOp, name, same + " as weights has", *t);
  for (const auto& [name, t] : {std::pair("weights", &weights), *named.begin(), *(named.begin() + 1)}) {
    check_dtype(kOp, name, *t);
    check_device(kOp, name, *t, "image", image);
  }
  const int64_t border = dilation * (side - 1), height = weights.size(2) + border, width = weights.size(3) + border;
  if (image.size(2) != height || image.size(3) != width) {
    fail(kOp, ": expected image of height and width (H + dilation (F - 1), W + dilation (F - 1)) = ",
         shape_text({height, width}), ", got ", shape_text(image));
  }
  return side;
}

}  // namespace vfi
