// The argument checks of correlation, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"

namespace vfi {

inline void check_correlation(const Tensor& first, const Tensor& second, int64_t radius) {
  constexpr const char* kOp = "correlation";
  constexpr int64_t kLargestRadius = 9;
  check_image(kOp, "first", first);
  check_shape(shape_text(second) == shape_text(first), kOp, "second", shape_text(first) + " as first has", second);
  check_like(kOp, "second", second, "first", first);
  if (radius < 1 || radius > kLargestRadius) {
    fail(kOp, ": expected radius from 1 to ", std::to_string(kLargestRadius), ", got ", std::to_string(radius));
  }
}

// The gradient of the output, beside arguments that check_correlation has passed.
inline void check_correlation_grad(const Tensor& grad_out, const Tensor& first, int64_t radius) {
  constexpr const char* kOp = "correlation_grad";
  const int64_t side = 2 * radius + 1;
  const std::string expected = shape_text({first.size(0), side * side, first.size(2), first.size(3)});
  check_shape(shape_text(grad_out) == expected, kOp, "grad_out", expected, grad_out);
  check_like(kOp, "grad_out", grad_out, "first", first);
}

}  // namespace vfi
