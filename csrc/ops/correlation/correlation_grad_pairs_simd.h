// Correlation's gradients in half precision on tiles (simd/simd_pairs.h): for 16 columns of the owner, the channels of one row
// of the other map times what g is there. Row k of that factor is column k of the other map within reach, and not zero only in
// the band where a displacement leads from one to the other. For *_simd.cpp only.
#pragma once

#include "simd/simd_pairs.h"
#include "ops/correlation/correlation_grad_simd.h"

namespace vfi {
namespace VFI_LEVEL {

// What is multiplied at a time: for kRows rows of the owner, kBlocks blocks of 16 columns. The other map's rows within reach
// take turns in `slots`, [slots, kBlocks, channels, 32 columns]; a block's bands are [rows of the other map, 16 pairs, kWidth, 2]
// and its sums [channels, kWidth].
struct BandShape {
  static constexpr int64_t kRows = 2, kBlocks = CorrelationTiles::kColumns / kTileSide, kWidth = kRows * kTileSide;
  static constexpr int64_t kBand = kTileDepth * kWidth;
  static constexpr int64_t kMostDisplacements = kTileDepth - kTileSide + 1, kMostChannels = 256;
  int64_t channels, slots;

  VFI_INLINE explicit BandShape(const CorrelationArgs& a)
      : channels(ceil_quotient(min(a.C, kMostChannels), kTileSide) * kTileSide), slots(a.v.count + kRows - 1) {}
  VFI_INLINE int64_t row_size() const { return kBlocks * channels * kTileDepth; }
};

// Whether gradients of a map of T are taken on tiles: neighbouring points and displacements, windows of one pixel, for which
// g is of type T, and enough channels to pay.
template <HalfPrecision T>
VFI_INLINE bool grad_takes_tiles(const CorrelationArgs& a) {
  const bool neighbours = way_of(a) == Way::kNeighbours && a.v.step == 1 && a.v.stride == 1;
  const bool single = a.v.window * a.h.window == 1;
  return unit_of<T>() != TileUnit::kNone && neighbours && single &&
         max(a.v.count, a.h.count) <= BandShape::kMostDisplacements && a.C > kTileSide;
}

// Of one thread. `inside` has a bit for every column of a block that is inside the other map; `counts`, for every
// block and displacement, one for every column whose point counts.
struct GradMemory : CorrelationGradMemory<F32> {
  uint16_t *reach, *bands, *counts;
  uint32_t* inside;
  float* totals;

  VFI_INLINE int64_t lay_out(const CorrelationArgs& a, void* memory) {
    const int64_t before = CorrelationGradMemory<F32>::lay_out(a, memory);
    const BandShape shape(a);
    Layout layout(memory == nullptr ? nullptr : static_cast<char*>(memory) + before);
    reach = layout.take<uint16_t>(shape.slots * shape.row_size());
    bands = layout.take<uint16_t>(shape.slots * BandShape::kBand);
    counts = layout.take<uint16_t>(BandShape::kBlocks * a.h.count);
    inside = layout.take<uint32_t>(BandShape::kBlocks);
    totals = layout.take<float>((shape.channels + kTileSide) * BandShape::kWidth);
    return before + layout.bytes();
  }
};

#if defined(__AVX512F__)
// Bits begin ... end - 1 of 32.
VFI_INLINE uint32_t bits_between(int64_t begin, int64_t end) {
  const auto below = [](int64_t n) { return (uint64_t{1} << max(int64_t{0}, min(n, int64_t{32}))) - 1; };
  return static_cast<uint32_t>(below(end) & ~below(begin));
}

// `count` channels of one row of the other map, whose first column within reach is row[0], for every block. Whether all that
// is inside is finite. The row below, `width` further, is asked for meanwhile.
template <class T>
bool copy_reach(const T* row, int64_t plane, int64_t width, int64_t count, int64_t blocks, const uint32_t* inside,
                const BandShape& shape, T* to) {
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  const __m512i infinite = _mm512_set1_epi16(std::same_as<T, Half> ? 0x7c00 : 0x7f80);
  __m512i largest = _mm512_setzero_si512();
  for (int64_t c = 0; c < count; ++c, row += plane) {
    for (int64_t i = 0; i < blocks; ++i) {
      if (i % 2 == 0) prefetch(row + width + i * kTileSide);
      const __m512i values = _mm512_maskz_loadu_epi16(inside[i], row + i * kTileSide);
      largest = _mm512_max_epu16(largest, _mm512_and_si512(values, magnitude));
      _mm512_store_si512(to + (i * shape.channels + c) * kTileDepth, values);
    }
  }
  return _mm512_cmplt_epu16_mask(largest, infinite) == 0xffffffffu;
}

// 16 values, each twice; 0 where no bit is set.
template <class T>
VFI_INLINE __m512i load_twice(const T* p, uint16_t where) {
  const I32 lanes = to_int(lane_numbers<F32>());
  const __m256i values = _mm256_maskz_loadu_epi16(where, p);
  return _mm512_permutexvar_epi16((__m512i)(lanes | lanes << 16), _mm512_castsi256_si512(values));
}

VFI_INLINE void store_pairs(void* band, int64_t j, __m512i pairs) {
  _mm512_store_si512(static_cast<uint16_t*>(band) + 2 * j * BandShape::kWidth, pairs);
}

// Pair j of a band is, in column n, what g is of displacements 2 j - n and 2 j - n + 1. g(d) is that of displacement d in all
// columns, each twice, for d from 0 to count - 1. First every column begins at pair 0 (an odd one half a pair later), then
// columns 2 m and 2 m + 1 move down by m pairs.
template <class G>
VFI_INLINE void write_band(int64_t count, const G& g, void* to) {
  __m512i pairs[kTileSide], before = _mm512_setzero_si512();
  const auto next = [&](int64_t d) { return d < count ? g(d) : _mm512_setzero_si512(); };
#pragma GCC unroll 16
  for (int64_t j = 0; j < kTileSide; ++j) {
    pairs[j] = _mm512_setzero_si512();
    if (j > kTileSide / 2 || 2 * j > count) continue;
    const __m512i even = next(2 * j), odd = next(2 * j + 1);
    pairs[j] = _mm512_mask_mov_epi16(_mm512_mask_mov_epi16(even, 0x22222222u, odd), 0x44444444u, before);
    before = odd;
  }
  const auto move = [&]<int kPairs>(Count<kPairs>, __mmask8 columns) VFI_INLINE_LAMBDA {
#pragma GCC unroll 16
    for (int64_t j = kTileSide - 1; j >= 0; --j) {
      const __m512i above = j < kPairs ? _mm512_setzero_si512() : pairs[max(j - kPairs, int64_t{0})];
      pairs[j] = _mm512_mask_mov_epi64(pairs[j], columns, above);
    }
  };
  move(Count<1>(), 0xaa), move(Count<2>(), 0xcc), move(Count<4>(), 0xf0);
#pragma GCC unroll 16
  for (int64_t j = 0; j < kTileSide; ++j) store_pairs(to, j, pairs[j]);
}

VFI_INLINE void clear_band(void* to) {
  for (int64_t j = 0; j < kTileSide; ++j) store_pairs(to, j, _mm512_setzero_si512());
}

// totals [channels, kWidth] of `rows` rows of the owner: the sums over rows others.begin ... others.end - 1 of the other map.
template <class T>
void multiply_bands(const T* reach, const T* bands, CorrelationSpan<> others, int64_t channels, int64_t rows,
                    const BandShape& shape, float* totals) {
  std::memset(totals, 0, channels * BandShape::kWidth * sizeof(float));
  for (int64_t from = others.begin, count = 0; from < others.end; from += count, bands += count * BandShape::kBand) {
    const int64_t slot = from % shape.slots;
    count = min(others.end - from, shape.slots - slot);
    const PairFactors<T> factors = {reach + slot * shape.row_size(), kTileDepth, shape.row_size(), bands,
                                    2 * BandShape::kWidth, BandShape::kBand, count, kTileDepth};
    multiply_add_pairs(factors, channels, rows * kTileSide, totals, BandShape::kWidth);
  }
}

// The gradient of a tile. Most of a band is zero, which times infinity is no number: where the other map is not finite, it gives
// up.
template <class T>
struct GradOnTiles {
  const CorrelationArgs& a;
  const CorrelationTile& t;
  const GradMemory& memory;
  const BandShape shape{a};
  const Columns columns = memory.columns;
  const int64_t plane = a.v.size * a.h.size, outputs = a.v.outputs * a.h.outputs, blocks = blocks_of();
  const T* const other = static_cast<const T*>(a.second) + t.b * a.C * plane + columns.window + t.x0;
  const T* const grad_out = static_cast<const T*>(a.grad_out) + t.b * a.v.count * a.h.count * outputs;
  T* const out = static_cast<T*>(a.out) + t.b * a.C * plane;
  T* const reach = reinterpret_cast<T*>(memory.reach);
  T* const bands = reinterpret_cast<T*>(memory.bands);

  int64_t blocks_of() const { return ceil_quotient(min(t.x1, a.columns()) - t.x0, kTileSide); }

  void place_columns() const {
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t x = t.x0 + i * kTileSide, first = columns.window + x;
      memory.inside[i] = bits_between(-first, a.h.size - first);
      for (int64_t d = 0; d < columns.count; ++d) {
        const int64_t at = x + columns.shift[d];
        const CorrelationSpan<> meeting = columns.meeting[d];
        memory.counts[i * columns.count + d] = static_cast<uint16_t>(bits_between(meeting.begin - at, meeting.end - at));
      }
    }
  }

  // What g is in block i of row y of the owner, of the displacements between it and row `from` of the other map.
  void fill_band(int64_t y, int64_t from, int64_t i, T* to) const {
    const int64_t k = (a.mirrored ? y + a.v.padding - from : from - a.v.pixel(y)) - a.v.start, point = a.mirrored ? from : y;
    if (k < 0 || k >= a.v.count || !memory.rows[k].holds(point)) return clear_band(to);
    const T* const row = grad_out + k * a.h.count * outputs + point * a.h.outputs + t.x0 + i * kTileSide;
    const uint16_t* const counts = memory.counts + i * columns.count;
    const auto g = [&](int64_t d) VFI_INLINE_LAMBDA {
      const T* const values = row + columns.number[d] * outputs + columns.shift[d];
      prefetch(values + BandShape::kRows * a.h.outputs);
      return load_twice(values, counts[d]);
    };
    write_band(columns.count, g, to);
  }

  // Channels c ... c + count - 1 of block i, in the rows of `part`.
  void add_block(const CorrelationTile& part, CorrelationSpan<> others, int64_t i, int64_t c, int64_t count) const {
    const int64_t rows = part.y1 - part.y0, x = t.x0 + i * kTileSide;
    for (int64_t from = others.begin; from < others.end; ++from) {
      T* const band = bands + (from - others.begin) * BandShape::kBand;
      for (int64_t r = 0; r < rows; ++r) fill_band(part.y0 + r, from, i, band + 2 * r * kTileSide);
    }
    const T* const block = reach + i * shape.channels * kTileDepth;
    multiply_bands(block, bands, others, ceil_quotient(count, kTileSide) * kTileSide, rows, shape, memory.totals);
    const F32 inverse = broadcast<F32>(static_cast<float>(1 / a.divisor));
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t row = a.mirrored ? part.y0 + r : a.v.pixel(part.y0 + r);
        if (!a.v.is_inside(row)) continue;
        const F32 total = load<F32>(memory.totals + n * BandShape::kWidth + r * kTileSide);
        store_steps(out + ((c + n) * a.v.size + row) * a.h.size, columns.first + x, 1, a.columns() - x, a.h.size,
                    total * inverse);
      }
    }
  }

  // Whether everything is done.
  bool run() const {
    place_columns();
    for (int64_t c = 0; c < a.C; c += BandShape::kMostChannels) {
      const int64_t count = min(BandShape::kMostChannels, a.C - c);
      int64_t copied = 0;
      for (int64_t y = t.y0; y < t.y1; y += BandShape::kRows) {
        CorrelationTile part = t;
        part.y0 = y, part.y1 = min(y + BandShape::kRows, t.y1);
        const CorrelationSpan<> others = others_of(a, part);
        for (copied = max(copied, others.begin); copied < others.end; ++copied) {
          const T* const row = other + c * plane + (a.mirrored ? a.v.pixel(copied) : copied) * a.h.size;
          T* const to = reach + copied % shape.slots * shape.row_size();
          if (!copy_reach(row, plane, a.h.size, count, blocks, memory.inside, shape, to)) return false;
        }
        for (int64_t i = 0; i < blocks; ++i) add_block(part, others, i, c, count);
      }
    }
    return true;
  }
};
#endif

}  // namespace VFI_LEVEL
}  // namespace vfi
