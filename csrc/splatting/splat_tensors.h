// The splat of every mode on tensors, for the ops that splat along a flow and along trajectories; defined in
// ops/splat/splat_cpu.cpp, formulas in ops/splat/splat.h.
#pragma once

#include <algorithm>
#include <vector>

#include "torch/checks.h"
#include "splatting/scatter.h"

namespace vfi {

inline SplatRules check_splat_rules(const char* op, int64_t mode, int64_t holes) {
  return splat_rules(check_option<Mode>(op, mode), check_option<Holes>(op, holes));
}

// The first of the images that share a flow: all have its batch size, height, width and device.
inline const Tensor& check_images(const char* op, const std::vector<Tensor>& images) {
  if (images.empty()) fail(op, ": expected at least one image, got 0");
  const Tensor& first = images[0];
  for (const Tensor& x : images) {
    check_image(op, "image", x);
    if (x.size(0) != first.size(0) || x.size(2) != first.size(2) || x.size(3) != first.size(3)) {
      fail(op, ": expected images of one batch size, height and width ", shape_text(first), ", got ", shape_text(x));
    }
    check_device(op, "image", x, "the first image", first);
  }
  return first;
}

// Whether positions and sums are float64; `motion` is a flow, or keyframes.
inline bool needs_float64(const std::vector<Tensor>& images, const Tensor& motion, const std::optional<Tensor>& metric) {
  const auto is_double = [](const Tensor& t) { return t.scalar_type() == ScalarType::Double; };
  return std::any_of(images.begin(), images.end(), is_double) || is_double(motion) || (metric && is_double(*metric));
}

inline bool has_half(const std::vector<Tensor>& images) {
  return std::any_of(images.begin(), images.end(), [](const Tensor& t) { return t.element_size() == 2; });
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
