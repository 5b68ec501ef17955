// What the forward and the gradient kernel of warp_blend know about a tile of output pixels. For *_simd.cpp only.
#pragma once

#include "simd/simd_elements.h"
#include "sampling/simd_gradient.h"
#include "ops/warp_blend/warp_blend.h"

namespace vfi {
namespace VFI_LEVEL {

// sigmoid(x); sigmoid(-x) is 1 - sigmoid(x) without cancellation.
VFI_INLINE F32 sigmoid(F32 x) { return 1.0f / (1.0f + exp(-x)); }

// The shares of the two frames in each block of a tile.
VFI_INLINE void load_shares(const BlendArgs& a, const Tile& tile, F32* share0, F32* share1) {
  const Sampling& s = a.sampling[0];
  for (int32_t y = 0, i = 0; y < tile.rows; ++y) {
    const int64_t row = (tile.b * s.out_H + tile.y + y) * s.out_W + tile.x;
    for (int32_t x = 0; x < tile.columns; x += kLanes, ++i) {
      const F32 logit = load_as(a.mask, a.mask_type, row + x, tile.columns - x);
      share0[i] = sigmoid(logit);
      share1[i] = sigmoid(-logit);
    }
  }
}

// A tile of contiguous frames.
struct BlendTile {
  Block blocks[2][kTileBlocks];
  F32 share[2][kTileBlocks];

  VFI_INLINE void set(const BlendArgs& a, const Tile& tile) {
    set(a, tile, [](int, int, const PairAxis&, const PairAxis&) {});
  }
  // The same, and more(n, i, x, y) for every block i of frame n.
  template <class More>
  VFI_INLINE void set(const BlendArgs& a, const Tile& tile, const More& more) {
    load_shares(a, tile, share[0], share[1]);
    for (int n = 0; n < 2; ++n) {
      for_each_block(a.sampling[n], tile, [&](int i, const PairAxis& x, const PairAxis& y) {
        blocks[n][i] = make_block(x, y, a.sampling[n].W);
        more(n, i, x, y);
      });
    }
  }
};

// A tile of channels_last frames, pixel by pixel.
struct BlendPositions {
  Positions at[2];
  alignas(64) float share[2][kTilePixels];

  VFI_INLINE void set(const BlendArgs& a, const Tile& tile) {
    F32 blocks[2][kTileBlocks];
    load_shares(a, tile, blocks[0], blocks[1]);
    for (int n = 0; n < 2; ++n) {
      for (int i = 0; i < tile.rows * tile.blocks_per_row(); ++i) store(share[n] + i * kLanes, blocks[n][i]);
      for_each_block(a.sampling[n], tile,
                     [&](int i, const PairAxis& x, const PairAxis& y) { at[n].set(i, x, y, a.sampling[n].W); });
    }
  }
  template <class T>
  VFI_INLINE PixelCorners<T> corners(int n, int i, const T* frame, int64_t C, int64_t row) const {
    PixelCorners<T> k;
    k.set(frame + at[n].at[i] * C, C, row, at[n].x0[i], at[n].x1[i], at[n].y0[i], at[n].y1[i]);
    return k;
  }
};

}  // namespace VFI_LEVEL
}  // namespace vfi
