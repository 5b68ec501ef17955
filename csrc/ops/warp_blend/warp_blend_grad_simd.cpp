// The gradients of warp_blend with respect to flow and mask on the CPU, compiled once per instruction set; formulas in
// warp_blend.h.
//
// Work: by tiles of output rows. A tile's sums run over the channels in order and belong to one thread, so they are the
// same for every number of threads. Both gradients come from one pass over the frames.
#include "ops/warp_blend/warp_blend_tile.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// The gradients of one tile of contiguous frames: sums over the channels.
struct BlendGradTile : BlendTile {
  Slopes slopes[2][kTileBlocks];
  Differences sums[2][kTileBlocks];
  F32 change[kTileBlocks];  // sum of g (w0 - w1)

  VFI_INLINE void set(const BlendArgs& a, const Tile& tile) {
    BlendTile::set(a, tile, [&](int n, int i, const PairAxis& x, const PairAxis& y) {
      slopes[n][i] = {x.d0, x.d1, y.d0, y.d1};
      sums[n][i] = Differences{};
      change[i] = F32{};
    });
  }
  // Adds g times the differences in frame n; returns the warped value.
  template <class T>
  VFI_INLINE F32 add(int n, int i, const T* frame, F32 g, int64_t width) {
    const Block& b = blocks[n][i];
    const CornerValues v = read_corners(frame, b, width);
    if (b.careful) {
      add_corners<true>(sums[n][i], slopes[n][i], v, g);
      return pair_sum<true>(b.y0, pair_sum<true>(b.x0, v.v00, b.x1, v.v01), b.y1,
                            pair_sum<true>(b.x0, v.v10, b.x1, v.v11));
    }
    add_corners<false>(sums[n][i], slopes[n][i], v, g);
    return pair_sum<false>(b.y0, pair_sum<false>(b.x0, v.v00, b.x1, v.v01), b.y1,
                           pair_sum<false>(b.x0, v.v10, b.x1, v.v11));
  }
};

// Writes the gradients of kLanes pixels, of which n exist, from pixel `at` of sample b on.
VFI_INLINE void store_gradients(const BlendArgs& a, int64_t b, int64_t at, const F32* flow, F32 mask, int64_t n) {
  const int64_t plane = int64_t{a.sampling[0].out_H} * a.sampling[0].out_W;
  for (int k = 0; k < 4; ++k) store_as(a.grad_flow, a.sampling[0].flow_type, (b * 4 + k) * plane + at, flow[k], n);
  store_as(a.grad_mask, a.mask_type, b * plane + at, mask, n);
}

template <class T>
void grad_planes(const BlendArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling[0];
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  BlendGradTile t;
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    t.set(a, tile);
    const int64_t at = int64_t{tile.y} * s.out_W + tile.x;
    for (int64_t c = 0; c < a.C; ++c) {
      const T* frame0 = static_cast<const T*>(a.frame[0]) + (tile.b * a.C + c) * plane;
      const T* frame1 = static_cast<const T*>(a.frame[1]) + (tile.b * a.C + c) * plane;
      const T* g = static_cast<const T*>(a.grad_out) + (tile.b * a.C + c) * out_plane + at;
      for (int32_t y = 0, i = 0; y < tile.rows; ++y, g += s.out_W) {
        for (int32_t x = 0; x < tile.columns; x += kLanes, ++i) {
          const F32 share = load<F32>(g + x, tile.columns - x);
          const F32 value0 = t.add(0, i, frame0, share, s.W);
          t.change[i] = fma(share, value0 - t.add(1, i, frame1, share, s.W), t.change[i]);
        }
      }
    }
    for (int32_t y = 0, i = 0; y < tile.rows; ++y) {
      for (int32_t x = 0; x < tile.columns; x += kLanes, ++i) {
        F32 flow[4];
        for (int n = 0; n < 2; ++n) {
          flow[2 * n] = t.share[n][i] * gradient_x(t.blocks[n][i], t.slopes[n][i], t.sums[n][i]);
          flow[2 * n + 1] = t.share[n][i] * gradient_y(t.blocks[n][i], t.slopes[n][i], t.sums[n][i]);
        }
        const F32 mask = t.change[i] * (t.share[0][i] * t.share[1][i]);
        store_gradients(a, tile.b, at + int64_t{y} * s.out_W + x, flow, mask, tile.columns - x);
      }
    }
  });
}

template <class T>
void grad_pixels(const BlendArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling[0];
  const int64_t size = int64_t{s.H} * s.W * a.C, row_size = s.W * a.C, width = s.out_W;
  BlendPositions t;
  Coefficients slope[2];
  alignas(64) float flow[4][kTilePixels], mask[kTilePixels];
  for_each_tile(s, begin, end, [&](const Tile& tile) {
    t.set(a, tile);
    for (int n = 0; n < 2; ++n) {
      for_each_block(a.sampling[n], tile,
                     [&](int i, const PairAxis& x, const PairAxis& y) { slope[n].set(i, x.d0, x.d1, y.d0, y.d1); });
    }
    const T* frame[2] = {static_cast<const T*>(a.frame[0]) + tile.b * size,
                         static_cast<const T*>(a.frame[1]) + tile.b * size};
    for (int32_t y = 0; y < tile.rows; ++y) {
      const int64_t row = int64_t{tile.y + y} * width + tile.x;
      const T* g = static_cast<const T*>(a.grad_out) + (tile.b * s.out_H * width + row) * a.C;
      const int first = y * tile.blocks_per_row() * kLanes;
      for (int i = first; i < first + tile.columns; ++i, g += a.C) {
        PixelCorners<T> value[2];
        for (int n = 0; n < 2; ++n) {
          const Positions& at = t.at[n];
          const T *p = frame[n] + at.at[i] * a.C, *image_end = frame[n] + size;
          PixelCorners<T> k;
          k.set(p, a.C, row_size, slope[n].x0[i], slope[n].x1[i], at.y0[i], at.y1[i]);
          flow[2 * n][i] = t.share[n][i] * weighted_dot(k, g, a.C, image_end);
          k.set(p, a.C, row_size, at.x0[i], at.x1[i], slope[n].y0[i], slope[n].y1[i]);
          flow[2 * n + 1][i] = t.share[n][i] * weighted_dot(k, g, a.C, image_end);
          value[n] = t.corners(n, i, frame[n], a.C, row_size);
        }
        const float change = dot_channels(
            g, a.C, [&](int64_t c, int64_t n) VFI_INLINE_LAMBDA { return value[0].sum(c, n) - value[1].sum(c, n); },
            [&] { return value[0].quad_sum(a.C, frame[0] + size) - value[1].quad_sum(a.C, frame[1] + size); });
        mask[i] = change * (t.share[0][i] * t.share[1][i]);
      }
      for (int32_t x = 0; x < tile.columns; x += kLanes) {
        F32 pixels[4];
        for (int k = 0; k < 4; ++k) pixels[k] = load<F32>(flow[k] + first + x);
        store_gradients(a, tile.b, row + x, pixels, load<F32>(mask + first + x), tile.columns - x);
      }
    }
  });
}

template <class T>
void grad(const BlendArgs& a, int64_t begin, int64_t end) {
  if (a.channels_last) return grad_pixels<T>(a, begin, end);
  grad_planes<T>(a, begin, end);
}

}  // namespace

void blend_grad_rows(const BlendArgs& a, int64_t begin, int64_t end) {
  if (a.type == Dtype::kFloat32) return grad<float>(a, begin, end);
  if (a.type == Dtype::kFloat16) return grad<Half>(a, begin, end);
  grad<BFloat16>(a, begin, end);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
