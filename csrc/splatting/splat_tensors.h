// The splat of every mode on tensors, for the ops that splat along a flow and along trajectories; defined in
// ops/splat/splat_cpu.cpp, formulas in ops/splat/splat.h.
#pragma once

#include <vector>

#include "torch/checks.h"
#include "splatting/scatter.h"

namespace vfi {

inline SplatRules check_splat_rules(const char* op, int64_t mode, int64_t eps) {
  return splat_rules(check_option<Mode>(op, mode), check_option<Eps>(op, eps));
}

// The metric of a mode that takes one, beside the input `first`.
inline void check_metric(const char* op, const SplatRules& m, const std::optional<Tensor>& metric,
                         const Tensor& first) {
  if (m.factor != Factor::kOne && !metric) {
    fail(op, ": expected a metric of shape (B, 1, H, W) in mode '", word(m.mode), "', got None");
  }
  if (m.factor == Factor::kOne && metric) fail(op, ": expected no metric in mode '", word(m.mode), "', got one");
  if (metric) {
    check_planes(op, "metric", *metric, 1, first, "image");
    check_size(op, "metric", *metric, first, "image");
  }
}

struct Splatted {
  std::vector<Tensor> outs;
  Tensor weight, shift;  // empty where not kept
};

// `s` has everything that does not depend on the input: sizes, flow or path, factor and division. The outputs, and weight
// and shift [B, 1, H, W] with keep_weight, have s.B samples.
Splatted splat_tensors(ScatterArgs s, const std::vector<Tensor>& inputs, bool keep_weight);

}  // namespace vfi
