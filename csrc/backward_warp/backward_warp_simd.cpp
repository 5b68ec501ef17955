// Backward warp on the CPU, compiled once per instruction set; formulas in backward_warp.h.
//
// Work: a thread owns output rows and cuts them into tiles. The positions of a tile are computed once into an array
// that stays in cache and serves every channel. Each output value is one sum in a fixed order, so the result does not
// depend on how rows are distributed over threads.
#include "backward_warp/backward_warp.h"
#include "common/simd_tiles.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// One row of a tile in one plane. `next` is the same plane of the next channel, fetched ahead; null after the last.
template <class T>
VFI_INLINE void warp_row(const T* image, const T* next, T* out, const Block* block, int64_t width, int64_t n,
                         bool streams) {
  for (int64_t x = 0; x < n; x += kLanes, ++block) {
    if (next != nullptr && block->rows != 0) prefetch(next + block->base + width);
    put(out + x, sample(image, *block, width), n - x, streams);
  }
}

template <class T>
void warp_planes(const WarpArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * a.C * out_plane, s.out_W);
  Block blocks[kTileBlocks];
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    for_each_block(s, tile, [&](int i, const PairAxis& x, const PairAxis& y) { blocks[i] = make_block(x, y, s.W); });
    const T* image = static_cast<const T*>(a.image) + tile.b * a.C * plane;
    T* out = static_cast<T*>(a.out) + tile.b * a.C * out_plane + int64_t{tile.y} * s.out_W + tile.x;
    for (int64_t c = 0; c < a.C; ++c, image += plane, out += out_plane) {
      const T* next = c + 1 < a.C ? image + plane : nullptr;
      const Block* block = blocks;
      for (int32_t y = 0; y < tile.rows; ++y, block += tile.blocks_per_row()) {
        warp_row(image, next, out + int64_t{y} * s.out_W, block, s.W, tile.columns, streams);
      }
    }
  });
  if (streams) stream_fence();
}

// channels_last: a pixel's channels are consecutive, so vectors run over channels.
template <class T>
void warp_pixels(const WarpArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t size = int64_t{s.H} * s.W * a.C, row_size = s.W * a.C;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * s.out_H * s.out_W * a.C, a.C);
  Positions at;
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    for_each_block(s, tile, [&](int i, const PairAxis& x, const PairAxis& y) { at.set(i, x, y, s.W); });
    const T* image = static_cast<const T*>(a.image) + tile.b * size;
    for (int32_t y = 0; y < tile.rows; ++y) {
      T* out = static_cast<T*>(a.out) + ((tile.b * s.out_H + tile.y + y) * s.out_W + tile.x) * a.C;
      for (int32_t x = 0; x < tile.columns; ++x, out += a.C) {
        const int i = y * tile.blocks_per_row() * kLanes + x;
        PixelCorners<T> k;
        k.set(image + at.at[i] * a.C, a.C, row_size, at.x0[i], at.x1[i], at.y0[i], at.y1[i]);
        if (a.C > 4) {
          for_each_group(a.C, [&](int64_t c, int64_t n) VFI_INLINE_LAMBDA { put(out + c, k.sum(c, n), n, streams); });
        } else if (x + 4 <= tile.columns) {  // what spills into the next pixels is overwritten by them
          store_quad(out, k.quad_sum(a.C, image + size));
        } else {
          store_quad(out, k.quad_sum(a.C, image + size), a.C);
        }
      }
    }
  });
  if (streams) stream_fence();
}

template <class T>
void warp(const WarpArgs& a, int64_t begin, int64_t end) {
  if (a.channels_last) return warp_pixels<T>(a, begin, end);
  warp_planes<T>(a, begin, end);
}

}  // namespace

void warp_rows(const WarpArgs& a, int64_t begin, int64_t end) {
  if (a.type == Dtype::kFloat32) return warp<float>(a, begin, end);
  if (a.type == Dtype::kFloat16) return warp<Half>(a, begin, end);
  warp<BFloat16>(a, begin, end);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
