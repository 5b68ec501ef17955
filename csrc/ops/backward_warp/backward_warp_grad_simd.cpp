// The flow's gradient of the backward warp on the CPU, compiled once per instruction set; formulas in backward_warp.h.
//
// Work: like the forward pass, by tiles of output rows. The differences between the corners are summed over the
// channels in order and weighted once at the end, so the sums are the same for every distribution over threads.
#include "ops/backward_warp/backward_warp.h"
#include "simd/simd_elements.h"
#include "sampling/simd_gradient.h"
#include "sampling/simd_tiles.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// What the flow's gradient of one tile is made from.
struct WarpGradTile {
  Block blocks[kTileBlocks];
  Slopes slopes[kTileBlocks];
  Differences sums[kTileBlocks];
};

// Adds one channel: image is its plane, g its part of grad_out from the tile's first pixel on. `more`: another follows.
template <class T>
VFI_INLINE void add_channel(const Sampling& s, const Tile& tile, WarpGradTile& t, const T* image, const T* g,
                            bool more) {
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  for (int32_t y = 0, i = 0; y < tile.rows; ++y, g += s.out_W) {
    for (int64_t x = 0; x < tile.columns; x += kLanes, ++i) {
      const Block& b = t.blocks[i];
      if (more) {
        prefetch(g + out_plane + x);
        if (b.rows != 0) prefetch(image + plane + b.base + s.W);
      }
      const CornerValues v = read_corners(image, b, s.W);
      const F32 share = load<F32>(g + x, tile.columns - x);
      if (b.careful) {
        add_corners<true>(t.sums[i], t.slopes[i], v, share);
      } else {
        add_corners<false>(t.sums[i], t.slopes[i], v, share);
      }
    }
  }
}

void store_tile(const WarpArgs& a, const Tile& tile, const WarpGradTile& t) {
  const int64_t width = a.sampling.out_W, plane = a.sampling.out_H * width;
  const Dtype type = a.sampling.flow_type;
  for (int32_t y = 0, i = 0; y < tile.rows; ++y) {
    for (int64_t x = 0; x < tile.columns; x += kLanes, ++i) {
      const int64_t at = tile.b * 2 * plane + (tile.y + y) * width + tile.x + x, n = tile.columns - x;
      store_as(a.out, type, at, gradient_x(t.blocks[i], t.slopes[i], t.sums[i]), n);
      store_as(a.out, type, at + plane, gradient_y(t.blocks[i], t.slopes[i], t.sums[i]), n);
    }
  }
}

template <class T>
void grad_planes(const WarpArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  WarpGradTile t;
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    for_each_block(s, tile, [&](int i, const PairAxis& x, const PairAxis& y) {
      t.blocks[i] = make_block(x, y, s.W);
      t.slopes[i] = {x.d0, x.d1, y.d0, y.d1};
      t.sums[i] = Differences{};
    });
    const T* image = static_cast<const T*>(a.image) + tile.b * a.C * plane;
    const T* g = static_cast<const T*>(a.grad_out) + tile.b * a.C * out_plane + int64_t{tile.y} * s.out_W + tile.x;
    for (int64_t c = 0; c < a.C; ++c) add_channel(s, tile, t, image + c * plane, g + c * out_plane, c + 1 < a.C);
    store_tile(a, tile, t);
  });
}

template <class T>
void grad_pixels(const WarpArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t size = int64_t{s.H} * s.W * a.C, row_size = s.W * a.C, width = s.out_W;
  Positions at;
  Coefficients slope;
  alignas(64) float gx[kTilePixels], gy[kTilePixels];
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    for_each_block(s, tile, [&](int i, const PairAxis& x, const PairAxis& y) {
      at.set(i, x, y, s.W);
      slope.set(i, x.d0, x.d1, y.d0, y.d1);
    });
    const T* image = static_cast<const T*>(a.image) + tile.b * size;
    for (int32_t y = 0; y < tile.rows; ++y) {
      const int64_t row = (tile.b * s.out_H + tile.y + y) * width + tile.x;
      const T* g = static_cast<const T*>(a.grad_out) + row * a.C;
      const int first = y * tile.blocks_per_row() * kLanes;
      for (int i = first; i < first + tile.columns; ++i, g += a.C) {
        const T* p = image + at.at[i] * a.C;
        PixelCorners<T> k;
        k.set(p, a.C, row_size, slope.x0[i], slope.x1[i], at.y0[i], at.y1[i]);
        gx[i] = weighted_dot(k, g, a.C, image + size);
        k.set(p, a.C, row_size, at.x0[i], at.x1[i], slope.y0[i], slope.y1[i]);
        gy[i] = weighted_dot(k, g, a.C, image + size);
      }
      const int64_t to = row + tile.b * s.out_H * width;  // grad_flow has two planes per sample
      for (int32_t x = 0; x < tile.columns; x += kLanes) {
        store_as(a.out, s.flow_type, to + x, load<F32>(gx + first + x), tile.columns - x);
        store_as(a.out, s.flow_type, to + x + s.out_H * width, load<F32>(gy + first + x), tile.columns - x);
      }
    }
  });
}

template <class T>
void grad(const WarpArgs& a, int64_t begin, int64_t end) {
  if (a.channels_last) return grad_pixels<T>(a, begin, end);
  grad_planes<T>(a, begin, end);
}

}  // namespace

void warp_grad_flow_rows(const WarpArgs& a, int64_t begin, int64_t end) {
  if (a.type == Dtype::kFloat32) return grad<float>(a, begin, end);
  if (a.type == Dtype::kFloat16) return grad<Half>(a, begin, end);
  grad<BFloat16>(a, begin, end);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
