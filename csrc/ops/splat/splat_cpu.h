// What the CPU kernels of splat take, besides the ScatterArgs of splatting/scatter.h: plain data.
//
// A thread owns a band of target rows and reads every source row that reaches it, in order. Its accumulators are a ring of
// target rows, of cells: the channels of one pixel.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "cpu/scratch.h"
#include "splatting/scatter.h"

namespace vfi {

// Target rows that a row of source pixels reaches (first > last: none), and the extremes of m of the pixels that are not
// skipped (high < low: none).
struct RowReach {
  int32_t first, last;
  double low, high;
};

// A band of target rows, owned by one thread, and up to 16 channels.
struct SplatBand {
  int64_t b, c;
  int32_t channels, begin, end;
  int32_t ring_rows;          // accumulators for that many target rows are kept at a time
  const RowReach* reach;      // [H]
  const int32_t* still_open;  // [H]: the first target row in the band that source rows from y on reach
  void* memory;               // of a SplatRing
  enum class Weight {
    kNone,
    kLane,
    kPlane,
    kReady
  } weight;  // D: unused; in the ring's spare lane; beside the ring; known
};

// Source rows begin <= b H + y < end.
VFI_DECLARE_CPU_KERNEL(splat_reach, const ScatterArgs& s, RowReach* reach, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(splat_band, const ScatterArgs& s, const SplatBand& band);
// Writes s.target_shift for the target rows begin <= y < end of sample b: the largest m of each target's contributors, 0
// where there is none. `reach` is that of the sample's rows.
VFI_DECLARE_CPU_KERNEL(splat_shift, const ScatterArgs& s, const RowReach* reach, int64_t b, int32_t begin, int32_t end);

// Widths of the two kinds of cells.
constexpr int32_t kNarrowCell = 4, kWideCell = 16;

namespace VFI_LEVEL {
// The sample of values and metric that sample b of the flow moves.
VFI_INLINE int64_t owner_of(const ScatterArgs& s, int64_t b) { return s.path == nullptr ? b : b / s.path->T; }
VFI_INLINE int32_t cell_width(int32_t channels) { return channels <= kNarrowCell ? kNarrowCell : kWideCell; }
// A ring row has one cell more at either end, and room for whole vectors.
VFI_INLINE int64_t ring_columns(const ScatterArgs& s) { return (s.target_W + 15) / 16 * 16 + 2; }
// The accumulators of a band, A [ring_rows + 1, columns, cell_width()]; and the weights beside them, A [ring_rows + 1, columns],
// where the band has them there.
template <class A>
struct SplatRing {
  A *cells, *weights;
  int64_t cell_count, weight_count;

  VFI_INLINE int64_t lay_out(const ScatterArgs& s, const SplatBand& band, void* memory) {
    const int64_t places = (band.ring_rows + int64_t{1}) * ring_columns(s);
    cell_count = places * cell_width(band.channels);
    weight_count = band.weight == SplatBand::Weight::kPlane ? places : 0;
    Layout layout(memory);
    cells = layout.take<A>(cell_count), weights = layout.take<A>(weight_count);
    return layout.bytes();
  }
};
}  // namespace VFI_LEVEL

}  // namespace vfi
