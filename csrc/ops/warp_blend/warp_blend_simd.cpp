// Two backward warps and their blend on the CPU, compiled once per instruction set; formulas in warp_blend.h.
//
// Work: as in backward_warp_simd.cpp, by tiles of output rows whose positions and shares are computed once for all
// channels. The two warped values of a pixel meet in registers and are never written to memory.
#include "ops/warp_blend/warp_blend_tile.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class T>
VFI_INLINE void prefetch_next(const T* image, const Block& b, int64_t plane, int64_t width) {
  if (b.rows != 0) prefetch(image + plane + b.base + width);
}

// Block i of a tile in one channel, `width` pixels wide; the next channel's are asked for.
template <class T>
VFI_INLINE F32 blend_block(const BlendTile& t, int i, const T* frame0, const T* frame1, int64_t width, int64_t plane,
                           bool last) {
  const Block &b0 = t.blocks[0][i], &b1 = t.blocks[1][i];
  if (!last) prefetch_next(frame0, b0, plane, width), prefetch_next(frame1, b1, plane, width);
  return fma(t.share[1][i], sample(frame1, b1, width), t.share[0][i] * sample(frame0, b0, width));
}

template <class T>
void blend_planes(const BlendArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling[0];
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W, width = s.W;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * a.C * out_plane, s.out_W);
  BlendTile t;
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    t.set(a, tile);
    const T* frame0 = static_cast<const T*>(a.frame[0]) + tile.b * a.C * plane;
    const T* frame1 = static_cast<const T*>(a.frame[1]) + tile.b * a.C * plane;
    T* out = static_cast<T*>(a.out) + tile.b * a.C * out_plane + int64_t{tile.y} * s.out_W + tile.x;
    for (int64_t c = 0; c < a.C; ++c, frame0 += plane, frame1 += plane, out += out_plane) {
      for (int32_t y = 0, i = 0; y < tile.rows; ++y) {
        for (int32_t x = 0; x < tile.columns; x += kLanes, ++i) {
          const F32 value = blend_block(t, i, frame0, frame1, width, plane, c + 1 == a.C);
          put(out + int64_t{y} * s.out_W + x, value, tile.columns - x, streams);
        }
      }
    }
  });
  if (streams) stream_fence();
}

template <class T>
void blend_pixels(const BlendArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling[0];
  const int64_t size = int64_t{s.H} * s.W * a.C, row_size = s.W * a.C;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * s.out_H * s.out_W * a.C, a.C);
  BlendPositions t;
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    t.set(a, tile);
    const T* frame0 = static_cast<const T*>(a.frame[0]) + tile.b * size;
    const T* frame1 = static_cast<const T*>(a.frame[1]) + tile.b * size;
    for (int32_t y = 0; y < tile.rows; ++y) {
      T* out = static_cast<T*>(a.out) + ((tile.b * s.out_H + tile.y + y) * s.out_W + tile.x) * a.C;
      for (int32_t x = 0; x < tile.columns; ++x, out += a.C) {
        const int i = y * tile.blocks_per_row() * kLanes + x;
        const auto k0 = t.corners(0, i, frame0, a.C, row_size), k1 = t.corners(1, i, frame1, a.C, row_size);
        const float share0 = t.share[0][i], share1 = t.share[1][i];
        const auto write_group = [&](int64_t c, int64_t n) VFI_INLINE_LAMBDA {
          put(out + c, fma(broadcast<F32>(share1), k1.sum(c, n), share0 * k0.sum(c, n)), n, streams);
        };
        if (a.C > 4) {
          for_each_group(a.C, write_group);
          continue;
        }
        const Quad value =
            fma(broadcast_quad(share1), k1.quad_sum(a.C, frame1 + size), share0 * k0.quad_sum(a.C, frame0 + size));
        // What spills into the next pixels is overwritten by them.
        x + 4 <= tile.columns ? store_quad(out, value) : store_quad(out, value, a.C);
      }
    }
  });
  if (streams) stream_fence();
}

template <class T>
void blend(const BlendArgs& a, int64_t begin, int64_t end) {
  if (a.channels_last) return blend_pixels<T>(a, begin, end);
  blend_planes<T>(a, begin, end);
}

}  // namespace

void blend_rows(const BlendArgs& a, int64_t begin, int64_t end) {
  if (a.type == Dtype::kFloat32) return blend<float>(a, begin, end);
  if (a.type == Dtype::kFloat16) return blend<Half>(a, begin, end);
  blend<BFloat16>(a, begin, end);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
