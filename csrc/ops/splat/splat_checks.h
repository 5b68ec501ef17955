// The argument checks of splat, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include <algorithm>
#include <vector>

#include "splatting/splat_tensors.h"

namespace vfi {

inline SplatRules check_splat(const std::vector<Tensor>& inputs, const Tensor& flow,
                              const std::optional<Tensor>& metric, int64_t mode, int64_t eps) {
  constexpr const char* kOp = "splat";
  const SplatRules m = check_splat_rules(kOp, mode, eps);
  if (inputs.empty()) fail(kOp, ": expected at least one image, got 0");
  const Tensor& first = inputs[0];
  for (const Tensor& x : inputs) {
    check_image(kOp, "image", x);
    if (x.size(0) != first.size(0) || x.size(2) != first.size(2) || x.size(3) != first.size(3)) {
      fail(kOp, ": expected images of one batch size, height and width ", shape_text(first), ", got ", shape_text(x));
    }
    check_device(kOp, "image", x, "the first image", first);
  }
  check_planes(kOp, "flow", flow, 2, first, "image");
  check_size(kOp, "flow", flow, first, "image");
  check_metric(kOp, m, metric, first);
  return m;
}

// Whether positions and sums are float64.
inline bool needs_float64(const std::vector<Tensor>& inputs, const Tensor& flow, const std::optional<Tensor>& metric) {
  const auto is_double = [](const Tensor& t) { return t.scalar_type() == ScalarType::Double; };
  return std::any_of(inputs.begin(), inputs.end(), is_double) || is_double(flow) || (metric && is_double(*metric));
}

}  // namespace vfi
