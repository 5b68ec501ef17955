// Output pixels in cache-sized rectangles, and the positions that they read. For *_simd.cpp only.
#pragma once

#include "sampling/sampling.h"
#include "simd/simd_elements.h"
#include "simd/simd_quad.h"
#include "sampling/simd_sampling.h"

namespace vfi {
namespace VFI_LEVEL {

// Wide enough for long runs of reads and writes, high enough that rows read by several output rows are still in cache.
constexpr int kTileBlocks = 128, kTileRows = 8;
constexpr int kTilePixels = kTileBlocks * kLanes;

// Output pixels of one sample, row by row in blocks of kLanes; the last block of a row may be partly filled.
struct Tile {
  int64_t b;
  int32_t y, x, rows, columns;
  VFI_INLINE int blocks_per_row() const { return (columns + kLanes - 1) / kLanes; }
};

// Cuts the output rows begin <= b out_H + y < end into tiles of at most kBlocks blocks: use(tile).
template <int kBlocks = kTileBlocks, class Use>
VFI_INLINE void for_each_tile(const Sampling& s, int64_t begin, int64_t end, Use&& use) {
  constexpr int32_t kColumns = (kBlocks < kTileBlocks / kTileRows ? kBlocks : kTileBlocks / kTileRows) * kLanes;
  const int32_t columns = s.out_W < kColumns ? s.out_W : kColumns;
  const int64_t rows = kBlocks / ((columns + kLanes - 1) / kLanes);
  for (int64_t row = begin; row < end;) {
    const int64_t y = row % s.out_H;
    const int64_t count = min(min(rows, end - row), s.out_H - y);
    for (int32_t x = 0; x < s.out_W; x += columns) {
      const int32_t width = s.out_W - x < columns ? s.out_W - x : columns;
      use(Tile{row / s.out_H, static_cast<int32_t>(y), x, static_cast<int32_t>(count), width});
    }
    row += count;
  }
}

VFI_INLINE PairAxis padded_pair(Padding padding, F32 f, I32 x, int32_t size) {
  if (padding == Padding::kBorder) return pair_axis<Padding::kBorder>(f, x, size);
  if (padding == Padding::kZeros) return pair_axis<Padding::kZeros>(f, x, size);
  return pair_axis<Padding::kReflection>(f, x, size);
}

// Calls use(block number, x axis, y axis) for every block of the tile. The type of the flow and the padding are asked for
// block by block: a branch that is always taken the same way costs less than a copy of `use` for each of them.
template <class Use>
VFI_INLINE void for_each_block(const Sampling& s, const Tile& tile, Use&& use) {
  constexpr int64_t kAhead = 512;  // each row of a flow plane is a new page for the hardware's prefetcher
  const int64_t plane = int64_t{s.out_H} * s.out_W;
  const auto fetch = [&](int64_t at) { prefetch(static_cast<const char*>(s.flow) + at * size_of(s.flow_type)); };
  const I32 lanes = to_int(lane_numbers<F32>());
  int block = 0;
  for (int32_t y = tile.y; y < tile.y + tile.rows; ++y) {
    for (int32_t x = tile.x; x < tile.x + tile.columns; x += kLanes) {
      const int64_t at = tile.b * s.flow_batch + int64_t{y} * s.out_W + x, n = tile.x + tile.columns - x;
      fetch(at + kAhead);
      fetch(at + plane + kAhead);
      const F32 flow_x = load_as(s.flow, s.flow_type, at, n), flow_y = load_as(s.flow, s.flow_type, at + plane, n);
      const PairAxis ax = padded_pair(s.padding, flow_x, lanes + x, s.W);
      const PairAxis ay = padded_pair(s.padding, flow_y, I32{} + y, s.H);
      use(block++, ax, ay);
    }
  }
}

// Stores that bypass the cache pay off for results that it cannot hold, and need aligned groups of kLanes elements.
template <class T>
VFI_INLINE bool can_stream(const T* out, int64_t elements, int64_t row_length) {
  constexpr int64_t kLarge = int64_t{4} << 20;
  const bool aligned = reinterpret_cast<uintptr_t>(out) % (kLanes * sizeof(T)) == 0 && row_length % kLanes == 0;
  return aligned && elements * static_cast<int64_t>(sizeof(T)) >= kLarge;
}

template <class T>
VFI_INLINE void put(T* out, F32 value, int64_t n, bool streams) {
  if (streams && n >= kLanes) return stream(out, value);
  store(out, value, n);
}

// The coefficients of the pairs along x and y, pixel by pixel: for channels_last images.
struct Coefficients {
  alignas(64) float x0[kTilePixels], x1[kTilePixels], y0[kTilePixels], y1[kTilePixels];

  VFI_INLINE void set(int block, F32 u0, F32 u1, F32 v0, F32 v1) {
    const int i = block * kLanes;
    store(x0 + i, u0), store(x1 + i, u1), store(y0 + i, v0), store(y1 + i, v1);
  }
};

// Weights and upper left corners.
struct Positions : Coefficients {
  alignas(64) int32_t at[kTilePixels];  // pixel of the upper left corner in the image

  VFI_INLINE void set(int block, const PairAxis& x, const PairAxis& y, int32_t width) {
    Coefficients::set(block, x.w0, x.w1, y.w0, y.w1);
    const I32 offset = y.at * width + x.at;
    std::memcpy(at + block * kLanes, &offset, sizeof offset);
  }
};

// Channels in groups of kLanes, use(first, how many); all but the last are full, which the inlined body can rely on.
template <class Use>
VFI_INLINE void for_each_group(int64_t C, Use&& use) {
  int64_t c = 0;
  for (; c + kLanes <= C; c += kLanes) use(c, kLanes);
  if (c < C) use(c, C - c);
}

// The corners of one pixel that have a coefficient, at most four.
template <class T>
struct PixelCorners {
  const T* p[4];
  float w[4];
  int count = 0;

  // The four corners from upper left on, with coefficients x_i y_j, without those that are 0.
  VFI_INLINE void set(const T* p00, int64_t pixel, int64_t row, float x0, float x1, float y0, float y1) {
    if ((x0 * x1) * (y0 * y1) != 0.0f) {
      p[0] = p00, p[1] = p00 + pixel, p[2] = p00 + row, p[3] = p00 + row + pixel;
      w[0] = x0 * y0, w[1] = x1 * y0, w[2] = x0 * y1, w[3] = x1 * y1;
      count = 4;
      return;
    }
    const float x[2] = {x0, x1}, y[2] = {y0, y1};
    count = 0;
    for (int k = 0; k < 4; ++k) {
      const int i = k & 1, j = k >> 1;
      if (x[i] == 0.0f || y[j] == 0.0f) continue;
      p[count] = p00 + i * pixel + j * row;
      w[count++] = x[i] * y[j];
    }
  }
  // sum_k w_k p_k[c] for kLanes channels from c on, of which n exist.
  VFI_INLINE F32 sum(int64_t c, int64_t n) const {
    if (count == 0) return F32{};
    F32 total = w[0] * load<F32>(p[0] + c, n);
    if (count == 4) {
      for (int k = 1; k < 4; ++k) total = fma(broadcast<F32>(w[k]), load<F32>(p[k] + c, n), total);
    } else {
      for (int k = 1; k < count; ++k) total = fma(broadcast<F32>(w[k]), load<F32>(p[k] + c, n), total);
    }
    return total;
  }
  // The same for at most four channels C. A whole Quad is read where the image, which ends at `end`, allows it: its
  // last lanes are then of the next pixel.
  VFI_INLINE Quad quad_sum(int64_t C, const T* end) const {
    if (count == 4 && p[3] + 4 <= end) {
      Quad total = w[0] * load_quad(p[0]);
      for (int k = 1; k < 4; ++k) total = fma(broadcast_quad(w[k]), load_quad(p[k]), total);
      return total;
    }
    Quad total = {};
    for (int k = 0; k < count; ++k) {
      const Quad v = p[k] + 4 <= end ? load_quad(p[k]) : load_quad(p[k], C);
      total = k == 0 ? w[0] * v : fma(broadcast_quad(w[k]), v, total);
    }
    return total;
  }
};

}  // namespace VFI_LEVEL
}  // namespace vfi
