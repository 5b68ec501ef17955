// Dot products of correlation in half precision on tiles (simd/simd_pairs.h): for a vector of 16 points, the channels of their
// rows times those of all columns within reach are one product of matrices, of which a band is kept. For *_simd.cpp only.
#pragma once

#include "simd/simd_pairs.h"
#include "ops/correlation/correlation_simd.h"

namespace vfi {
namespace VFI_LEVEL {

// What a tile of points is multiplied with: `depth` channels, with zeros past the last. Points are kept in blocks of 16 columns,
// [blocks, rows, 16, depth]; of the other map one row within reach, [depth / 2, columns, 2]. Displacement d of point i of a
// block is column i + d of `band`.
struct PairShape {
  static constexpr int64_t kBlocks = CorrelationTiles::kColumns / kTileSide, kBlock = CorrelationTiles::kRows * kTileSide;
  int64_t depth, band, columns;

  VFI_INLINE explicit PairShape(const CorrelationArgs& a)
      : depth((a.C + kTileDepth - 1) / kTileDepth * kTileDepth),
        band((kTileSide + a.h.count - 1 + kTileSide - 1) / kTileSide * kTileSide),
        columns(CorrelationTiles::kColumns - kTileSide + band) {}
  VFI_INLINE int64_t points_size() const { return kBlocks * kBlock * depth; }
  VFI_INLINE int64_t reach_size() const { return depth * columns; }
  VFI_INLINE int64_t sums_size() const { return kBlock * band; }
};

// Whether the costs of a map of T are taken on tiles: neighbouring points and displacements, and enough channels to pay.
template <class T, class F>
VFI_INLINE bool takes_tiles([[maybe_unused]] const CorrelationArgs& a) {
  if constexpr (kHasTiles && HalfPrecision<T> && std::same_as<F, F32>) {
    return unit_of<T>() != TileUnit::kNone && way_of(a) == Way::kNeighbours && a.C > kTileDepth;
  }
  return false;
}

#if defined(__AVX512F__)
// Channels c and c + 1 of columns x .. x + 15, beside each other: 16 pairs. 0 outside the map, and past the last channel.
template <class T>
VFI_INLINE F32 load_pairs(const T* row, int64_t plane, int64_t c, int64_t C, int64_t x, int64_t W) {
  const auto bits = [&](int64_t channel) {
    const T* const from = row + channel * plane;
    if (channel < C && x >= 0 && x + kLanes <= W) {
      return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(from + x)));
    }
    alignas(64) uint16_t values[kLanes] = {};
    for (int64_t i = 0; i < kLanes && channel < C; ++i) {
      if (x + i >= 0 && x + i < W) values[i] = from[x + i].bits;
    }
    return _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i*)values));
  };
  return (F32)_mm512_or_si512(bits(c), _mm512_slli_epi32(bits(c + 1), 16));
}

// One row of a block of points: [16, depth].
template <class T>
void copy_points(const T* row, int64_t plane, int64_t C, int64_t x, int64_t W, const PairShape& shape, T* to) {
  for (int64_t c = 0; c < shape.depth; c += kTileDepth) {
    F32 pairs[kLanes] = {};
    for (int64_t k = 0; k < kLanes && row != nullptr; ++k) {
      prefetch(row + (c + 2 * k) * plane + W + x), prefetch(row + (c + 2 * k + 1) * plane + W + x);
      pairs[k] = load_pairs(row, plane, c + 2 * k, C, x, W);
    }
    transpose(pairs);
    for (int64_t k = 0; k < kLanes; ++k) std::memcpy(to + k * shape.depth + c, pairs + k, sizeof pairs[k]);
  }
}

// One row of the other map from column x on. The row below is asked for meanwhile.
template <class T>
void copy_reach(const T* row, int64_t plane, int64_t C, int64_t x, int64_t W, const PairShape& shape, T* to) {
  for (int64_t c = 0; c < shape.depth; c += 2) {
    for (int64_t n = 0; n < shape.columns; n += kLanes, to += 2 * kLanes) {
      prefetch(row + c * plane + W + x + n), prefetch(row + (c + 1) * plane + W + x + n);
      const F32 pairs = load_pairs(row, plane, c, C, x + n, W);
      std::memcpy(to, &pairs, sizeof pairs);
    }
  }
}

// sums [rows 16, band] = points [rows 16, depth] times the columns of `reach` from the first on.
template <class T>
void multiply_reach(const T* points, const T* reach, int64_t rows, const PairShape& shape, float* sums) {
  std::memset(sums, 0, rows * kTileSide * shape.band * sizeof(float));
  const PairFactors<T> factors = {points, shape.depth, 0, reach, 2 * shape.columns, 0, 1, shape.depth};
  multiply_add_pairs(factors, rows * kTileSide, shape.band, sums, shape.band);
}
#endif

}  // namespace VFI_LEVEL
}  // namespace vfi
