// What the CPU kernels of modulated_deform_conv2d take: plain data.
//
// They read the input pixel by pixel, all channels together. An input in channels_last is read where it is. Of any other
// one a window of rows is copied into that order, as it fits a fixed budget: mostly the whole sample, else the rows around
// those of the output that are computed next. A position outside the window is read from the planes, one by one.
#pragma once

#include "common/cpu_dispatch.h"
#include "modulated_deform_conv2d/modulated_deform_conv2d.h"

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
VFI_DECLARE_CPU_KERNEL(deform_forward_tiles, const DeformArgs& args, void* scratch, int64_t begin, int64_t end);

// At most, for any instruction set; in elements of the sums' type.
VFI_INLINE int64_t deform_padded(int64_t columns) { return (columns + 15) / 16 * 16; }
VFI_INLINE int64_t deform_packed_size(const DeformGeometry& g) {
  return g.taps() * g.groups * g.group_in() * deform_padded(g.group_out());
}
VFI_INLINE int64_t deform_scratch_size(const DeformGeometry& g) {
  return kDeformRows * (g.C + g.groups * deform_padded(g.group_out())) + 2 * g.C + 64;
}

}  // namespace vfi
