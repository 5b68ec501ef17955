// The argument checks of correlation_lookup, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"
#include "ops/correlation_lookup/correlation_lookup.h"

namespace vfi {

inline void check_lookup(const Tensor& first, const Tensor& second, const Tensor& positions, int64_t radius,
                         int64_t levels) {
  static constexpr const char* kOp = "correlation_lookup";
  check_image(kOp, "first", first);
  check_image(kOp, "second", second);
  const int64_t b = first.size(0), c = first.size(1);
  const std::string expected = "(B, C, H, W) with B, C = " + std::to_string(b) + ", " + std::to_string(c);
  check_shape(second.size(0) == b && second.size(1) == c, kOp, "second", expected + " as first has", second);
  check_like(kOp, "second", second, "first", first);
  check_planes(kOp, "positions", positions, 2, first, "first");
  check_size(kOp, "positions", positions, first, "first");
  const auto within = [](const char* name, int64_t value, int64_t least, int64_t most) {
    if (value >= least && value <= most) return;
    fail(kOp, ": expected ", name, " from ", std::to_string(least), " to ", std::to_string(most), ", got ",
         std::to_string(value));
  };
  within("radius", radius, 0, kLargestRadius);
  within("levels", levels, 1, kMostLevels);
}

// The gradient of the output, beside arguments that check_lookup has passed.
inline void check_lookup_grad(const Tensor& grad_out, const Tensor& first, int64_t radius, int64_t levels) {
  constexpr const char* kOp = "correlation_lookup_grad";
  const int64_t side = 2 * radius + 1;
  const std::string expected = shape_text({first.size(0), levels * side * side, first.size(2), first.size(3)});
  check_shape(shape_text(grad_out) == expected, kOp, "grad_out", expected, grad_out);
  check_like(kOp, "grad_out", grad_out, "first", first);
}

// Whether sums are float64.
inline bool lookup_is_wide(const Tensor& first, const Tensor& positions) {
  return first.scalar_type() == ScalarType::Double || positions.scalar_type() == ScalarType::Double;
}

}  // namespace vfi
