// Backward warp on the CPU, compiled once per instruction set; formulas in backward_warp.h.
//
// Work: a thread owns output rows and cuts them into tiles. The positions of a tile are computed once into an array
// that stays in cache and serves every channel. Each output value is one sum in a fixed order, so the result does not
// depend on how rows are distributed over threads.
#include "ops/backward_warp/backward_warp.h"
#include "sampling/simd_warp.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

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

// channels_last: a pixel's channels are consecutive.
template <class T>
void warp_pixels(const WarpArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t size = int64_t{s.H} * s.W * a.C;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * s.out_H * s.out_W * a.C, a.C);
  Positions at;
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    for_each_block(s, tile, [&](int i, const PairAxis& x, const PairAxis& y) { at.set(i, x, y, s.W); });
    const T* image = static_cast<const T*>(a.image) + tile.b * size;
    for (int32_t y = 0; y < tile.rows; ++y) {
      T* out = static_cast<T*>(a.out) + ((tile.b * s.out_H + tile.y + y) * s.out_W + tile.x) * a.C;
      const int first = y * tile.blocks_per_row() * kLanes;
      warp_pixel_row(image, image + size, out, at, first, s.W, a.C, tile.columns, streams);
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
