// The argument checks of correlation, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include <numeric>

#include "torch/checks.h"
#include "ops/correlation/correlation.h"

namespace vfi {

// (vertical, horizontal) pairs, which one list of the schema has in this order.
struct CorrelationOptions {
  int64_t radius[2], kernel_size[2], stride[2], padding[2], dilation[2], patch_dilation[2];
  bool normalize;
  int64_t cost;
};

using Integers = std::vector<int64_t>;

inline CorrelationOptions correlation_options(const Integers& sides, bool normalize, int64_t cost) {
  if (sides.size() != 12) fail("correlation: expected 12 integers, got ", std::to_string(sides.size()));
  const int64_t* s = sides.data();
  return {{s[0], s[1]}, {s[2], s[3]}, {s[4], s[5]}, {s[6], s[7]}, {s[8], s[9]}, {s[10], s[11]}, normalize, cost};
}

// A checked call.
struct CorrelationPlan {
  CorrelationAxis<> v, h;
  double divisor;
  Cost cost;
  bool windows;  // of more than one pixel

  int64_t displacements() const { return v.count * h.count; }
};

constexpr int64_t kLargestCorrelationOption = (int64_t{1} << 15) - 1;

inline void check_correlation_pair(const char* name, const int64_t (&pair)[2], int64_t least) {
  const auto right = [&](int64_t i) { return i >= least && i <= kLargestCorrelationOption; };
  if (right(pair[0]) && right(pair[1])) return;
  fail("correlation: expected ", name, " from ", std::to_string(least), " to ",
       std::to_string(kLargestCorrelationOption), ", got ", shape_text({pair[0], pair[1]}));
}

// An empty map has no outputs where the kernel does not fit. E is taken on the grid of all windows' pixels: `stride` apart
// where a window is one pixel, else as far as stride and dilation allow.
inline CorrelationAxis<> correlation_axis(int64_t size, const CorrelationOptions& o, int side) {
  const int64_t window = o.kernel_size[side], reach = (window - 1) * o.dilation[side] + 1;
  const int64_t room = size + 2 * o.padding[side];
  if (room < reach && size > 0) {
    fail("correlation: expected a kernel no larger than the padded maps, got one of ", std::to_string(reach),
         " pixels for ", std::to_string(room));
  }
  CorrelationAxis<> a{};
  a.size = size, a.padding = o.padding[side];
  a.count = 2 * o.radius[side] + 1, a.step = o.patch_dilation[side], a.start = -o.radius[side] * a.step;
  a.outputs = room < reach ? 0 : (room - reach) / o.stride[side] + 1;
  a.window = window;
  a.stride = window == 1 ? o.stride[side] : std::gcd(o.stride[side], o.dilation[side]);
  a.spacing = window == 1 ? 1 : o.dilation[side] / a.stride;
  a.jump = o.stride[side] / a.stride;
  a.points = a.outputs == 0 ? 0 : (a.outputs - 1) * a.jump + (window - 1) * a.spacing + 1;
  return a;
}

inline CorrelationPlan check_correlation(const Tensor& first, const Tensor& second, const CorrelationOptions& o) {
  constexpr const char* kOp = "correlation";
  check_image(kOp, "first", first);
  check_shape(shape_text(second) == shape_text(first), kOp, "second", shape_text(first) + " as first has", second);
  check_like(kOp, "second", second, "first", first);
  check_correlation_pair("radius", o.radius, 0);
  check_correlation_pair("kernel_size", o.kernel_size, 1);
  check_correlation_pair("stride", o.stride, 1);
  check_correlation_pair("padding", o.padding, 0);
  check_correlation_pair("dilation", o.dilation, 1);
  check_correlation_pair("patch_dilation", o.patch_dilation, 1);
  CorrelationPlan plan{};
  plan.cost = check_option<Cost>(kOp, o.cost);
  plan.v = correlation_axis(first.size(2), o, 0);
  plan.h = correlation_axis(first.size(3), o, 1);
  const int64_t window = plan.v.window * plan.h.window;
  plan.windows = window > 1;
  plan.divisor = o.normalize ? static_cast<double>(std::max<int64_t>(first.size(1), 1) * window) : 1;
  return plan;
}

// The gradient of the output, beside arguments that check_correlation has passed.
inline void check_correlation_grad(const Tensor& grad_out, const Tensor& first, const CorrelationPlan& plan) {
  constexpr const char* kOp = "correlation_grad";
  const std::string expected = shape_text({first.size(0), plan.displacements(), plan.v.outputs, plan.h.outputs});
  check_shape(shape_text(grad_out) == expected, kOp, "grad_out", expected, grad_out);
  check_like(kOp, "grad_out", grad_out, "first", first);
}

}  // namespace vfi
