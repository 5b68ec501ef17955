// What the CPU kernels of modulated_deform_conv2d take: plain data.
//
// They read the input pixel by pixel, all channels together. An input in channels_last is read where it is. Of any other
// one a window of rows is copied into that order, as it fits a fixed budget: mostly the whole sample, else the rows around
// those of the output that are computed next. A position outside the window is read from the planes, one by one.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d.h"

namespace vfi {

struct DeformArgs {
  DeformGeometry g;
  const void* input;   // [B, C, H, W], contiguous or channels_last
  const void* offset;  // [B, 2 G taps, out_H, out_W], contiguous
  const void* mask;    // [B, G taps, out_H, out_W], contiguous, or null
  const void* weight;  // [C_out, C / groups, taps], contiguous
  const void* bias;    // [C_out] or null
  const void* slopes;  // [C_out] or [1]
  const void* window;  // [window_rows, W, C]: rows window_first .. of sample b
  void* packed;        // the weights as the product wants them
  void* out;           // [B, C_out, out_H, out_W], contiguous or channels_last
  Dtype type, offset_type, mask_type;
  int64_t b;  // the sample, where the window is a copy; then work is counted within it
  int32_t window_first, window_rows;
  bool direct;             // the window is the input itself: all samples, all rows
  bool one_slope, out_channels_last, float64;
  Activation activation;
};

// Output pixels that are worked on together; the tiles are the same for any number of threads.
constexpr int64_t kDeformTile = 112;
constexpr int64_t kDeformRows = 128;  // in memory: whole blocks of the product, whole vectors

VFI_INLINE int64_t deform_tiles(const DeformGeometry& g) { return (g.pixels() + kDeformTile - 1) / kDeformTile; }

// Copies rows begin .. end - 1 of the window out of the planes of sample b.
VFI_DECLARE_CPU_KERNEL(deform_window_rows, const DeformArgs& args, int64_t begin, int64_t end);
// Packs the weights of taps begin .. end - 1.
VFI_DECLARE_CPU_KERNEL(deform_pack_weights, const DeformArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(deform_forward_tiles, const DeformArgs& args, int64_t begin, int64_t end);

// At most, for any instruction set; in elements of the sums' type.
VFI_INLINE int64_t deform_padded(int64_t columns) { return (columns + 15) / 16 * 16; }
VFI_INLINE int64_t deform_packed_size(const DeformGeometry& g) {
  return g.taps() * g.groups * g.group_in() * deform_padded(g.group_out());
}

// The gradients. The unit of work is a sample and a block of channels of one convolution group: it owns the gradient of these
// channels, their part of that of the weights, and those of offset and mask for whole offset groups, or a part of them where
// an offset group has more channels than a block. So nothing is added by two threads, and every sum has one order.
struct DeformBlock {
  int64_t first, count, group;
};

// The blocks first .. first + count - 1 have channels of one offset group.
struct DeformSpan {
  int64_t first, count;
};

struct DeformGradArgs : DeformArgs {
  const void* grad_out;  // [B, C_out, out_H, out_W], contiguous or channels_last
  void* grad_input;      // as input; or null, as all gradients
  void* grad_offset;     // as offset, or null
  void* grad_mask;       // as mask, or null
  void* grad_weight;     // as weight, or null
  void* grad_bias;       // [C_out], or null
  void* offset_parts;    // [parts, B G taps, 3, pixels] where an offset group has several blocks, else null
  void* weight_parts;    // [B, blocks, taps, C_out / groups, block]
  const DeformBlock* blocks;  // [block_count], in order
  const DeformSpan* spans;    // [offset_groups]
  int64_t block_count;
  int64_t block;  // channels at most
  bool grad_out_channels_last;
};

VFI_INLINE int64_t deform_segment_end(const DeformGeometry& g, int64_t channel) {
  const int64_t a = (channel / g.group_in() + 1) * g.group_in();
  const int64_t b = (channel / g.offset_group_channels() + 1) * g.offset_group_channels();
  return a < b ? a : b;
}

// Channels that share a convolution group and an offset group.
struct DeformSegment {
  int64_t first, count;
};

// Calls use(segment) for the channels from begin to end in order.
template <class Use>
VFI_INLINE void for_each_segment(const DeformGeometry& g, int64_t begin, int64_t end, Use&& use) {
  for (int64_t c = begin; c < end;) {
    const int64_t next = deform_segment_end(g, c) < end ? deform_segment_end(g, c) : end;
    use(DeformSegment{c, next - c});
    c = next;
  }
}

constexpr int64_t kDeformSlack = 16;  // rows more than needed, for whole blocks of the product

VFI_INLINE int64_t deform_weight_part_size(const DeformGradArgs& a) {  // of one unit
  return a.g.taps() * (a.g.group_out() + kDeformSlack) * deform_padded(a.block);
}

// Units begin .. end - 1 of B times the number of blocks.
VFI_DECLARE_CPU_KERNEL(deform_grad_units, const DeformGradArgs& args, int64_t begin, int64_t end);
// Adds the parts of offset and mask: rows begin .. end - 1 of B G taps.
VFI_DECLARE_CPU_KERNEL(deform_grad_offsets, const DeformGradArgs& args, int64_t begin, int64_t end);
// Adds the parts of the weights: blocks begin .. end - 1.
VFI_DECLARE_CPU_KERNEL(deform_grad_weights, const DeformGradArgs& args, int64_t begin, int64_t end);
// Sums grad_out for the output channels begin .. end - 1, counted in sixteens.
VFI_DECLARE_CPU_KERNEL(deform_grad_bias, const DeformGradArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
