// One run of output pixels read from an image at positions that are known: what the warps share. For *_simd.cpp only.
#pragma once

#include "sampling/simd_tiles.h"

namespace vfi {
namespace VFI_LEVEL {

// n pixels in one plane. `next` is the same plane of the next channel, fetched ahead; null after the last.
template <class T>
VFI_INLINE void warp_row(const T* image, const T* next, T* out, const Block* block, int64_t width, int64_t n,
                         bool streams) {
  for (int64_t x = 0; x < n; x += kLanes, ++block) {
    if (next != nullptr && block->rows != 0) prefetch(next + block->base + width);
    put(out + x, sample(image, *block, width), n - x, streams);
  }
}

// n pixels of a channels_last image, whose pixels are C elements apart and which ends at `end`; the first position is
// number `first`. Vectors run over channels.
template <class T>
VFI_INLINE void warp_pixel_row(const T* image, const T* end, T* out, const Positions& at, int first, int64_t width,
                               int64_t C, int64_t n, bool streams) {
  for (int64_t x = 0; x < n; ++x, out += C) {
    const int64_t i = first + x;
    PixelCorners<T> k;
    k.set(image + at.at[i] * C, C, width * C, at.x0[i], at.x1[i], at.y0[i], at.y1[i]);
    if (C > 4) {
      for_each_group(C, [&](int64_t c, int64_t count) VFI_INLINE_LAMBDA { put(out + c, k.sum(c, count), count, streams); });
    } else if (x + 4 <= n) {  // what spills into the next pixels is overwritten by them
      store_quad(out, k.quad_sum(C, end));
    } else {
      store_quad(out, k.quad_sum(C, end), C);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
