// Splat (forward warp), N and D as in splatting/scatter.h:
//
//   N[t] = sum over source pixels of w e x,   D[t] = sum of w e,   out = N (sum) or N / q(D)
//   e = 1 (sum, average), m (linear), exp(m - shift) (softmax)
//   q(D) = D, and out = 0 where |D| < kHole (holes zero);  D + 1e-7 (add);  max(D, 1e-7) (clip)
//
// shift is the largest metric: of all pixels of the sample that are not skipped while these span at most kWideSpan, else of
// the pixels that contribute to the target; 0 where there is none. It is a constant for the gradients. With
// g = grad_out, h = grad_weight:
//
//   gN[t, c] = g / q,   gD[t] = -(sum over inputs and channels of g out) / q dq/dD + h   (sum: gN = g, gD = 0)
//   grad_x[c] = e sum over corners k of w_k gN[t_k, c]
//   s_k = sum over inputs and channels of gN[t_k, c] x[c], + gD[t_k]
//   grad_flow = e sum over k of dw_k s_k          grad_metric = de/dm sum over k of w_k s_k
//
// where of s_k without h, which is sum g (x - dq/dD out) / q, what is only rounding counts as 0, and so does a gradient of
// flow or metric that may be rounding for the most part: see splatting/splat_rules.h.
//
// Source: Niklaus and Liu, Softmax Splatting for Video Frame Interpolation, CVPR 2020, eq. 3 to 7.
// Derived in docs/derivations.md#splat.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "sampling/sampling.h"
#include "splatting/splat_rules.h"

namespace vfi {

// One of the inputs, dense in its own layout.
struct SplatGradInput {
  const void* x;         // [B, C, H, W]
  const void* grad_out;  // [B, C, H, W]
  const void* out;       // [B, C, H, W]; null in mode sum
  void* grad_x;          // [B, C, H, W]; null if not needed
  int64_t C;
  Dtype type;
  bool channels_last;
};

// A is float, or double in the scalar kernels. Planes [B, 1, H, W] and [B, 2, H, W] are contiguous.
struct SplatGradArgs {
  Sampling sampling;  // of the targets by the flow
  const SplatGradInput* inputs;
  int64_t input_count;
  Factor factor;
  Division division;
  const void* metric;  // [B, 1, H, W]
  Dtype metric_type;
  const void* weight;       // A [B, 1, H, W]: D; null in mode sum
  const void* shift;        // A [B, 1, H, W]; softmax only
  const void* grad_weight;  // A [B, 1, H, W]; may be null
  // Between the two kernels, A [B, 1, H, W]: sum over inputs and channels of g out dq/dD, and what is rounding in it.
  void* dots;
  void* noise;
  int most, doubt;          // times noise that is rounding, at most, and of a nearly lone pixel: splat_rules.h
  void* grad_flow;          // [B, 2, H, W]; null if not needed
  void* grad_metric;        // [B, 1, H, W]; null if not needed
};

// Rows begin <= b H + y < end: first of the targets, then of the source. For images that fits_vectors() accepts, in
// float32.
VFI_DECLARE_CPU_KERNEL(splat_grad_dots, const SplatGradArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(splat_grad_rows, const SplatGradArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
