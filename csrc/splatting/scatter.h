// Bilinear scatter-add, and its normalisation: the splat of every mode, and the image gradient of the warps.
//
//   N[b, c, y0 + j, x0 + i] += w e values[b, c, y, x]      for the corners (i, j) that bilinear.h uses, w = wx_i wy_j
//   D[b, y0 + j, x0 + i]    += w e                         with (x0, wx), (y0, wy) the split of (x, y) + flow[b, :, y, x]
//   target = N,  or N / q(D) by the rule `divide`
//
// where the factor e of a source pixel is 1, m, sigmoid(m), 1 - sigmoid(m) or exp(m - shift), m = factor_of[b, 0, y, x].
// With kValue and kExp a pixel whose m is not finite is skipped. Padding::kBorder clips positions to the target;
// kZeros drops corners outside it. Sums are float32, or float64 where `float64` says so, for every element type.
#pragma once

#include <functional>

#include "sampling/bilinear.h"
#include "cpu/cpu_dispatch.h"
#include "trajectories/trajectory.h"

namespace vfi {

// [B, C, H, W] of any element type and dense layout: element (b, c, p) is at b * batch + c * channel + p * pixel, where
// p = y W + x. A slice of channels is a pointer moved by c * channel elements.
struct Planes {
  void* data;
  Dtype type;
  int64_t batch, channel, pixel;
};

enum class Factor { kOne, kValue, kSigmoid, kOneMinusSigmoid, kExp };
enum class Divide { kNot, kZero, kAdd, kClip };  // D: kZero D, and 0 in holes; kAdd D + 1e-7; kClip max(D, 1e-7)
constexpr double kDivideEps = 1e-7;

struct ScatterArgs {
  Planes values;     // [B, C, H, W]
  Planes flow;       // [B, 2, H, W]; not looked at where there is a path
  Planes factor_of;  // [B, 1, H, W]; not looked at where factor is kOne
  Planes target;     // [B, C, target_H, target_W]; every element is written
  int64_t B, C, H, W, target_H, target_W;
  Padding padding;
  Factor factor;
  bool float64;
  // Null, or where the flow comes from: sample b is then tau b % T of sample b / T of the path, values and factor_of.
  const Trajectory* path;
  // The rest is for splatting: zero for a plain sum. A = double or float, as float64 says.
  Divide divide;
  void* weight;                // A [B, 1, target_H, target_W]: receives D; may be null where weight_ready is false
  bool weight_ready;           // `weight` holds D already (another input with the same flow put it there)
  const double* sample_shift;  // [B], kExp: one shift for the whole sample; NaN: a shift per target
  void* target_shift;          // A [B, 1, target_H, target_W], kExp where some sample_shift is NaN
};

// Target rows that a row of source pixels reaches (first > last: none), and the extremes of m of the pixels that are not
// skipped (high < low: none).
struct RowReach {
  int32_t first, last;
  double low, high;
};

// A band of target rows, owned by one thread, and up to 16 channels.
struct ScatterBand {
  int64_t b, c;
  int32_t channels, begin, end;
  int32_t ring_rows;          // accumulators for that many target rows are kept at a time
  const RowReach* reach;      // [H]
  const int32_t* still_open;  // [H]: the first target row in the band that source rows from y on reach
  void* memory;               // ring_bytes(), aligned to 64
  enum class Weight { kNone, kLane, kPlane, kReady } weight;  // D: unused; in the ring's spare lane; beside the ring; known
};

// Source rows begin <= b H + y < end.
VFI_DECLARE_CPU_KERNEL(scatter_reach, const ScatterArgs& s, RowReach* reach, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(scatter_band, const ScatterArgs& s, const ScatterBand& band);
// Writes s.target_shift for the target rows begin <= y < end of sample b: the largest m of each target's contributors, 0
// where there is none. `reach` is that of the sample's rows.
VFI_DECLARE_CPU_KERNEL(scatter_shift, const ScatterArgs& s, const RowReach* reach, int64_t b, int32_t begin, int32_t end);

// What a scatter needs to know about flow (and m) first. `reach` has B * H elements.
void measure_reach(const ScatterArgs& s, RowReach* reach);
// The whole op, on all threads.
void scatter(const ScatterArgs& s, const RowReach* reach);
void scatter(const ScatterArgs& s);
// The bands of target rows begin <= y < end of sample b, on all threads.
void for_each_band(const ScatterArgs& s, const std::function<void(int64_t b, int32_t begin, int32_t end)>& work);

// Widths of the two kinds of accumulators: channels_last cells of 4 or 16 channels.
constexpr int32_t kNarrowCell = 4, kWideCell = 16;

namespace VFI_LEVEL {
// The sample of values and factor_of that sample b of the flow moves.
VFI_INLINE int64_t owner_of(const ScatterArgs& s, int64_t b) { return s.path == nullptr ? b : b / s.path->T; }
VFI_INLINE int32_t cell_width(int32_t channels) { return channels <= kNarrowCell ? kNarrowCell : kWideCell; }
// A ring row has one cell more at either end, and room for whole vectors.
VFI_INLINE int64_t ring_columns(const ScatterArgs& s) { return (s.target_W + 15) / 16 * 16 + 2; }
}  // namespace VFI_LEVEL

}  // namespace vfi
