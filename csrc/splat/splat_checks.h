// The argument checks of splat, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include <algorithm>
#include <vector>

#include "common/checks.h"
#include "splat/splat.h"

namespace vfi {

struct SplatMode {
  Factor factor;
  Divide divide;
};

inline SplatMode check_splat_mode(const std::string& mode, const std::string& eps) {
  constexpr const char* kOp = "splat";
  if (mode != "sum" && mode != "average" && mode != "linear" && mode != "softmax") {
    fail(kOp, ": expected mode 'sum', 'average', 'linear' or 'softmax', got '", mode, "'");
  }
  if (eps != "zero" && eps != "add" && eps != "clip") {
    fail(kOp, ": expected eps 'zero', 'add' or 'clip', got '", eps, "'");
  }
  SplatMode m{};
  m.factor = mode == "linear" ? Factor::kValue : mode == "softmax" ? Factor::kExp : Factor::kOne;
  m.divide = eps == "zero" ? Divide::kZero : eps == "add" ? Divide::kAdd : Divide::kClip;
  if (mode == "sum") m.divide = Divide::kNot;
  return m;
}

inline SplatMode check_splat(const std::vector<Tensor>& inputs, const Tensor& flow, const std::optional<Tensor>& metric,
                             const std::string& mode, const std::string& eps) {
  constexpr const char* kOp = "splat";
  const SplatMode m = check_splat_mode(mode, eps);
  if (inputs.empty()) fail(kOp, ": expected at least one input, got 0");
  const Tensor& first = inputs[0];
  for (const Tensor& x : inputs) {
    check_image(kOp, "input", x);
    if (x.size(0) != first.size(0) || x.size(2) != first.size(2) || x.size(3) != first.size(3)) {
      fail(kOp, ": expected inputs of one batch size, height and width ", shape_text(first), ", got ", shape_text(x));
    }
    check_device(kOp, "input", x, "the first input", first);
  }
  check_planes(kOp, "flow", flow, 2, first, "input");
  check_size(kOp, "flow", flow, first, "input");
  if (m.factor != Factor::kOne && !metric) {
    fail(kOp, ": expected a metric of shape (B, 1, H, W) in mode '", mode, "', got None");
  }
  if (m.factor == Factor::kOne && metric) fail(kOp, ": expected no metric in mode '", mode, "', got one");
  if (metric) {
    check_planes(kOp, "metric", *metric, 1, first, "input");
    check_size(kOp, "metric", *metric, first, "input");
  }
  return m;
}

// Whether positions and sums are float64.
inline bool needs_float64(const std::vector<Tensor>& inputs, const Tensor& flow, const std::optional<Tensor>& metric) {
  const auto is_double = [](const Tensor& t) { return t.scalar_type() == ScalarType::Double; };
  return std::any_of(inputs.begin(), inputs.end(), is_double) || is_double(flow) || (metric && is_double(*metric));
}

}  // namespace vfi
