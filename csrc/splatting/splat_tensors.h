// The splat of every mode on tensors, for the ops that splat along a flow and along trajectories; formulas in
// splat/splat.h.
#pragma once

#include <vector>

#include "torch/checks.h"
#include "splatting/scatter.h"

namespace vfi {

// exp(-60) is still a normal float32.
constexpr double kWideSpan = 60.0;

struct SplatMode {
  Mode mode;
  Eps eps;
  Factor factor;
  Divide divide;
};

inline SplatMode check_splat_mode(const char* op, int64_t mode, int64_t eps) {
  SplatMode m{check_option<Mode>(op, mode), check_option<Eps>(op, eps), Factor::kOne, Divide::kNot};
  if (m.mode == Mode::kLinear) m.factor = Factor::kValue;
  if (m.mode == Mode::kSoftmax) m.factor = Factor::kExp;
  if (m.mode != Mode::kSum) {
    m.divide = m.eps == Eps::kZero ? Divide::kZero : m.eps == Eps::kAdd ? Divide::kAdd : Divide::kClip;
  }
  return m;
}

// The metric of a mode that takes one, beside the input `first`.
inline void check_metric(const char* op, const SplatMode& m, const std::optional<Tensor>& metric, const Tensor& first) {
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
