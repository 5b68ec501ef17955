// Bilinear scatter-add, and its normalisation: the splat of every mode, and the image gradient of the warps.
//
//   N[b, c, y0 + j, x0 + i] += w e values[b, c, y, x]      for the corners (i, j) that bilinear.h uses, w = wx_i wy_j
//   D[b, y0 + j, x0 + i]    += w e                         with (x0, wx), (y0, wy) the split of (x, y) + flow[b, :, y, x]
//   target = N,  or N / q(D) by the rule `division`
//
// where the factor e of a source pixel is 1, m, sigmoid(m), 1 - sigmoid(m) or exp(m - shift), m = metric[b, 0, y, x].
// With kLinear and kSoftmax a pixel whose m is not finite is skipped. Padding::kBorder clips positions to the target,
// kReflection mirrors them into it; kZeros drops corners outside it. Sums are float32, or float64 where `float64` says so,
// for every element type.
//
// This is what other ops may ask for; the scatter itself is the splat's forward, in ops/splat.
#pragma once

#include "splatting/splat_rules.h"
#include "trajectories/trajectory.h"

namespace vfi {

// [B, C, H, W] of any element type and dense layout: element (b, c, p) is at b * batch + c * channel + p * pixel, where
// p = y W + x. A slice of channels is a pointer moved by c * channel elements.
struct Planes {
  void* data;
  Dtype type;
  int64_t batch, channel, pixel;
};

struct ScatterArgs {
  Planes values;  // [B, C, H, W]
  Planes flow;    // [B, 2, H, W]; not looked at where there is a path
  Planes metric;  // [B, 1, H, W]; not looked at where factor is kOne
  Planes target;  // [B, C, target_H, target_W]; every element is written
  int64_t B, C, H, W, target_H, target_W;
  Padding padding;
  Factor factor;
  bool float64;
  // Null, or where the flow comes from: sample b is then tau b % T of sample b / T of the path, values and metric.
  const Trajectory* path;
  // The rest is for splatting: zero for a plain sum. A = double or float, as float64 says.
  Division division;
  void* weight;                // A [B, 1, target_H, target_W]: receives D; may be null where weight_ready is false
  bool weight_ready;           // `weight` holds D already (another input with the same flow put it there)
  const double* sample_shift;  // [B], kSoftmax: one shift for the whole sample; NaN: a shift per target
  void* target_shift;          // A [B, 1, target_H, target_W], kSoftmax where some sample_shift is NaN
};

// The whole op, on all threads.
void scatter(const ScatterArgs& s);

}  // namespace vfi
