// The flow's gradient of the backward warp on the CPU, compiled once per instruction set; formulas in backward_warp.h.
//
// Work: like the forward pass, by tiles of output rows. The differences between the corners are summed over the channels
// in order and weighted once at the end, so the sums are the same for every distribution over threads.
#include "backward_warp/backward_warp.h"
#include "common/simd_tiles.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Sums over the channels of g times the difference of two corners.
struct Differences {
  F32 upper, lower;  // along x, in the upper and lower row
  F32 left, right;   // along y, in the left and right column
};

// Derivatives of the pair's weights, -1, 0 or 1.
struct Slopes {
  F32 x0, x1, y0, y1;
};

template <bool kCareful>
VFI_INLINE void add_corners(Differences& d, const Slopes& e, const Corners& v, F32 g) {
  const auto difference = [](F32 e0, F32 v0, F32 e1, F32 v1) {
    return kCareful ? pair_sum<true>(e0, v0, e1, v1) : v1 - v0;
  };
  d.upper = fma(g, difference(e.x0, v.v00, e.x1, v.v01), d.upper);
  d.lower = fma(g, difference(e.x0, v.v10, e.x1, v.v11), d.lower);
  d.left = fma(g, difference(e.y0, v.v00, e.y1, v.v10), d.left);
  d.right = fma(g, difference(e.y0, v.v01, e.y1, v.v11), d.right);
}

template <class T>
VFI_INLINE void store_pair(const WarpArgs& a, int64_t at, F32 gx, F32 gy, int64_t n) {
  T* out = static_cast<T*>(a.out) + at;  // grad_flow [B, 2, out_H, out_W]
  store(out, gx, n);
  store(out + int64_t{a.sampling.out_H} * a.sampling.out_W, gy, n);
}

VFI_INLINE void store_pair(const WarpArgs& a, int64_t at, F32 gx, F32 gy, int64_t n) {
  if (a.sampling.flow_type == Dtype::kFloat32) return store_pair<float>(a, at, gx, gy, n);
  if (a.sampling.flow_type == Dtype::kFloat16) return store_pair<Half>(a, at, gx, gy, n);
  store_pair<BFloat16>(a, at, gx, gy, n);
}

// 0 where a coordinate does not move, whatever was summed.
VFI_INLINE F32 where_moving(F32 e0, F32 e1, F32 value) {
  const F32 zero = {};
  return select(not_equal(e0, zero) | not_equal(e1, zero), value, zero);
}

// What the flow's gradient of one tile is made from.
struct GradTile {
  Block blocks[kTileBlocks];
  Slopes slopes[kTileBlocks];
  Differences sums[kTileBlocks];
};

// Adds one channel: image is its plane, g its part of grad_out from the tile's first pixel on. `more`: another follows.
template <class T>
VFI_INLINE void add_channel(const Sampling& s, const Tile& tile, GradTile& t, const T* image, const T* g, bool more) {
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  for (int32_t y = 0, i = 0; y < tile.rows; ++y, g += s.out_W) {
    for (int64_t x = 0; x < tile.columns; x += kLanes, ++i) {
      const Block& b = t.blocks[i];
      if (more) {
        prefetch(g + out_plane + x);
        if (b.rows != 0) prefetch(image + plane + b.base + s.W);
      }
      const Corners v = read_corners(image, b, s.W);
      const F32 share = load<F32>(g + x, tile.columns - x);
      if (b.careful) {
        add_corners<true>(t.sums[i], t.slopes[i], v, share);
      } else {
        add_corners<false>(t.sums[i], t.slopes[i], v, share);
      }
    }
  }
}

void store_tile(const WarpArgs& a, const Tile& tile, const GradTile& t) {
  const int64_t width = a.sampling.out_W, plane = a.sampling.out_H * width;
  for (int32_t y = 0, i = 0; y < tile.rows; ++y) {
    for (int64_t x = 0; x < tile.columns; x += kLanes, ++i) {
      const Block& b = t.blocks[i];
      const Slopes& e = t.slopes[i];
      const F32 gx = pair_sum<true>(b.y0, t.sums[i].upper, b.y1, t.sums[i].lower);
      const F32 gy = pair_sum<true>(b.x0, t.sums[i].left, b.x1, t.sums[i].right);
      const int64_t at = tile.b * 2 * plane + (tile.y + y) * width + tile.x + x;
      store_pair(a, at, where_moving(e.x0, e.x1, gx), where_moving(e.y0, e.y1, gy), tile.columns - x);
    }
  }
}

template <class T>
void grad_planes(const WarpArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  GradTile t;
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

// sum over c of g[c] sum_k w_k p_k[c], for channels_last.
template <class T>
VFI_INLINE float weighted_dot(const PixelCorners<T>& k, const T* g, int64_t C, const T* end) {
  if (C > 4) {
    F32 total = {};
    for (int64_t c = 0; c < C; c += kLanes) total = fma(load<F32>(g + c, C - c), k.sum(c, C - c), total);
    return lane_sum(total);
  }
  const Quad values = k.quad_sum(C, end);
  float total = 0.0f;
  for (int64_t c = 0; c < C; ++c) total += to_float(g[c]) * values[c];
  return total;
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
        store_pair(a, to + x, load<F32>(gx + first + x), load<F32>(gy + first + x), tile.columns - x);
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
