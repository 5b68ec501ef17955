// Where an op reads an image: one position per output pixel. Plain data for the kernels that sample.
#pragma once

#include "sampling/bilinear.h"

namespace vfi {

struct Sampling {
  const void* flow;    // [B, 2, out_H, out_W], contiguous within a sample
  int64_t flow_batch;  // elements from one sample's flow to the next
  Dtype flow_type;
  int64_t B;
  int32_t H, W, out_H, out_W;  // of the image, of the output
  Padding padding;
};

// What the vector kernels can do: pairs of pixels exist along both axes, and 32 bits hold every offset in a plane.
inline bool fits_vectors(const Sampling& s) { return s.H > 1 && s.W > 1 && int64_t{s.H} * s.W < int64_t{1} << 31; }

}  // namespace vfi
