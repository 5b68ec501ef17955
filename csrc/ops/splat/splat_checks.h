// The argument checks of splat, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include <vector>

#include "splatting/splat_tensors.h"

namespace vfi {

inline SplatRules check_splat(const std::vector<Tensor>& inputs, const Tensor& flow,
                              const std::optional<Tensor>& metric, int64_t mode, int64_t holes) {
  constexpr const char* kOp = "splat";
  const SplatRules m = check_splat_rules(kOp, mode, holes);
  const Tensor& first = check_images(kOp, inputs);
  check_planes(kOp, "flow", flow, 2, first, "image");
  check_size(kOp, "flow", flow, first, "image");
  check_metric(kOp, m, metric, first);
  return m;
}

}  // namespace vfi
