// Argument checks of the ops along trajectories, and their curve; the same sentences as vfi_kernels/ops/_shared/trajectories.py.
#pragma once

#include "torch/checks.h"
#include "trajectories/trajectory.h"

namespace vfi {

// Keyframes (B, 2 K, h, w); taus (B, T, 1, 1) or (B, T, height, width).
inline void check_keyframes(const char* op, const Tensor& keyframes, const Tensor& taus, int64_t height, int64_t width) {
  const bool pairs = keyframes.dim() == 4 && keyframes.size(1) >= 2 && keyframes.size(1) % 2 == 0;
  check_shape(pairs, op, "keyframe_flows", "(B, 2 K, H, W) with K >= 1", keyframes);
  check_dtype(op, "keyframe_flows", keyframes);
  bool fits = taus.dim() == 4 && taus.size(0) == keyframes.size(0);
  fits = fits && ((taus.size(2) == 1 && taus.size(3) == 1) || (taus.size(2) == height && taus.size(3) == width));
  check_shape(fits, op, "taus",
              "(B, T, 1, 1) or (B, T, " + std::to_string(height) + ", " + std::to_string(width) +
                  ") with B = " + std::to_string(keyframes.size(0)),
              taus);
  check_dtype(op, "taus", taus);
  check_device(op, "taus", taus, "keyframe_flows", keyframes);
  if (keyframes.size(2) * keyframes.size(3) == 0 && keyframes.size(0) * height * width > 0) {
    fail(op, ": expected keyframe_flows with at least one pixel where the output has any, got ",
         shape_text(keyframes));
  }
}

inline Curve check_trajectory(const char* op, const Tensor& keyframes, const Tensor& taus, int64_t height,
                              int64_t width, double first, double step, double a, int64_t boundary,
                              bool extrapolate) {
  check_keyframes(op, keyframes, taus, height, width);
  const Boundary rule = check_option<Boundary>(op, boundary);
  if (!(step > 0)) fail(op, ": expected knots that increase, got ", std::to_string(step));
  return {first, step, a, rule, extrapolate, static_cast<int32_t>(keyframes.size(1) / 2)};
}

// Keyframes of as many samples as `image`, which the caller's argument `owner` is.
inline void check_batch(const char* op, const Tensor& keyframes, const char* owner, const Tensor& image) {
  if (keyframes.size(0) != image.size(0)) {
    fail(op, ": expected keyframe_flows with B = ", std::to_string(image.size(0)), " as ", owner, " has, got ",
         shape_text(keyframes));
  }
  check_device(op, "keyframe_flows", keyframes, owner, image);
}

// The gradient of flows (B, 2 T, height, width), of the keyframes' dtype.
inline void check_flows(const char* op, const Tensor& grad_out, const Tensor& keyframes, const Tensor& taus,
                        int64_t height, int64_t width) {
  const std::vector<int64_t> expected = {keyframes.size(0), 2 * taus.size(1), height, width};
  if (shape_text(grad_out) != shape_text(expected)) {
    fail(op, ": expected grad_out of shape ", shape_text(expected), ", got ", shape_text(grad_out));
  }
  check_like(op, "grad_out", grad_out, "keyframe_flows", keyframes);
}

inline Resize resize_of(const Tensor& keyframes, int64_t height, int64_t width) {
  return {static_cast<int32_t>(keyframes.size(2)), static_cast<int32_t>(keyframes.size(3)),
          static_cast<int32_t>(height), static_cast<int32_t>(width)};
}

// One tau for all pixels of a sample, or one for each pixel.
inline bool taus_per_pixel(const Tensor& taus, int64_t height, int64_t width) {
  return (height != 1 || width != 1) && taus.size(2) == height && taus.size(3) == width;
}

}  // namespace vfi
