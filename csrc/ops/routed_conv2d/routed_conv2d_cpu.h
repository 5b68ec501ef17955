// What the CPU kernels of routed_conv2d take: plain data.
//
// The convolution and the gradient of its input are one routine: patches of `depth` channels in, patches of `columns` channels
// out, in the direct or the transposed form.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "ops/routed_conv2d/routed_conv2d.h"

namespace vfi {

// Either axis of a convolution of patches, in one of the two directions. Pixels are counted from the patch's first.
struct RoutedAxis {
  int64_t K, stride, padding;
  bool transposed;
  int64_t in_side, out_side;
  int64_t out_reach;  // output pixels around the patch that are computed too

  VFI_INLINE int64_t out_first() const { return -out_reach; }
  VFI_INLINE int64_t out_count() const { return out_side + 2 * out_reach; }
  // Output pixels of one phase read the same taps: all of them, or every stride-th.
  VFI_INLINE int64_t phases() const { return transposed ? stride : 1; }
  // The input pixels, and some that are not read, of output pixels o .. o + n - 1: first to last.
  VFI_INLINE int64_t first_read(int64_t o) const {
    return transposed ? (o + padding - K + 1 + K * stride) / stride - K : o * stride - padding;
  }
  VFI_INLINE int64_t last_read(int64_t o, int64_t n) const {
    return transposed ? (o + n - 1 + padding) / stride : (o + n - 1) * stride - padding + K - 1;
  }
};

// Patches where a list says in an image, or one after another.
struct RoutedPlace {
  void* data;
  Strides strides;
  bool in_image;  // else [P, channels, side, side]
  int64_t H, W;
};

struct RoutedArgs {
  RoutedAxis axis;
  PatchGrid grid;
  const int32_t* indices;  // [P, 3]
  const int64_t* chosen;   // [count], the rows of the list that are worked on
  int64_t count;
  int64_t depth, columns;
  RoutedPlace from, to;
  bool reads_neighbours;  // input pixels outside the patch are those of the image, else 0
  bool adds;              // to what is there
  const void* weight;     // element (c, n, u, v) is at c depth_step + n column_step + u K + v
  int64_t depth_step, column_step;
  const void* bias;    // [columns] or null
  const void* slopes;  // [columns] or [1], else null
  bool one_slope;
  double slope;  // where there are no slopes
  Activation activation;
  Dtype type;
  void* packed;   // the weights as the product wants them
  int64_t strip;  // output rows of a unit of work: a patch, a strip of it

  VFI_INLINE int64_t strips() const { return (axis.out_count() + strip - 1) / strip; }
};

// Sizes in elements of the sums' type, at most, for any instruction set.
VFI_INLINE int64_t routed_padded(int64_t columns) { return (columns + 15) / 16 * 16; }
constexpr int64_t kRoutedSlack = 16;  // rows that a product may touch past its last

// A row of taps of one phase: [taps, depth, columns].
VFI_INLINE int64_t routed_panel_size(const RoutedArgs& a) { return a.axis.K * a.depth * routed_padded(a.columns); }
VFI_INLINE int64_t routed_packed_size(const RoutedArgs& a) { return a.axis.K * a.axis.phases() * routed_panel_size(a); }
VFI_INLINE int64_t routed_tile_columns(const RoutedAxis& x) {
  return x.last_read(x.out_first(), x.out_count()) - x.first_read(x.out_first()) + 1;
}
// The input rows of a strip; the highest of these numbers, whatever the strip's first row.
VFI_INLINE int64_t routed_tile_rows(const RoutedAxis& x, int64_t strip) {
  return x.transposed ? (strip + x.K - 2) / x.stride + 2 : (strip - 1) * x.stride + x.K;
}
// Products may touch kRoutedSlack rows past the last.
VFI_INLINE int64_t routed_tile_size(const RoutedAxis& x, int64_t depth, int64_t strip) {
  return (routed_tile_rows(x, strip) * routed_tile_columns(x) + kRoutedSlack * x.stride + x.K) * depth;
}

// Packs rows of taps begin .. end - 1.
VFI_DECLARE_CPU_KERNEL(routed_pack_weights, const RoutedArgs& args, int64_t begin, int64_t end);
// Strips begin .. end - 1 of the chosen patches.
VFI_DECLARE_CPU_KERNEL(routed_strips, const RoutedArgs& args, int64_t begin, int64_t end);

// The gradient of weight and bias. The patches are cut into parts, each with sums of its own.
struct RoutedWeightArgs : RoutedArgs {
  RoutedPlace grad{};  // [P, columns, out_side, out_side]
  int64_t part_count = 0;
  void* parts = nullptr;       // [part_count, weights and bias]
  void* grad_weight = nullptr;  // strides as `weight`, or null
  void* grad_bias = nullptr;   // [columns], or null
};

VFI_INLINE int64_t routed_block_size(const RoutedArgs& a) {
  return (a.axis.K * a.depth + kRoutedSlack) * routed_padded(a.columns);
}
VFI_INLINE int64_t routed_part_size(const RoutedArgs& a) {
  return a.axis.K * a.axis.phases() * routed_block_size(a) + routed_padded(a.columns);
}
VFI_DECLARE_CPU_KERNEL(routed_weight_parts, const RoutedWeightArgs& args, int64_t begin, int64_t end);
// Adds the parts up, for rows of taps begin .. end - 1; the first also for the bias.
VFI_DECLARE_CPU_KERNEL(routed_weight_sum, const RoutedWeightArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
