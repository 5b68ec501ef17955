// simd_pairs.h by AMX, or an emulation of it, and AVX512-BF16.
#pragma once

#include "simd/tile_product.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr bool kHasPairs = true, kHasTiles = true;
#define VFI_BF16_TARGET __attribute__((target("avx512bf16")))
VFI_INLINE bool rounds_bfloat16() { return __builtin_cpu_supports("avx512bf16"); }

template <HalfPrecision T>
bool uses_pairs(int64_t depth) {
  if (unit_of<T>() != TileUnit::kNone && depth % kTileDepth == 0) return true;
  return std::same_as<T, BFloat16> && depth % 2 == 0 && rounds_bfloat16();
}
template <HalfPrecision T>
bool turns_pairs(int64_t depth) {
  return unit_of<T>() != TileUnit::kNone && depth % kTileDepth == 0;
}

// The tiles of a thread are as multiply_add_tiles() wants them while one of these lives: 16 rows of 64 bytes each. They are left
// alone where nothing of half precision is multiplied.
class TileScope {
 public:
  explicit TileScope(bool multiplies_half) : used_(multiplies_half && unit_of<BFloat16>() == TileUnit::kAmx) {
    struct {
      uint8_t palette = 1, unused[15] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const shape;
    if (used_) __asm__ volatile("ldtilecfg %0" ::"m"(shape));
  }
  ~TileScope() {
    if (used_) __asm__ volatile("tilerelease");
  }
  TileScope(const TileScope&) = delete;

 private:
  bool used_;
};

template <HalfPrecision T>
VFI_INLINE void pair_rows(const T* first, const T* second, int64_t n, T* to) {
  const auto bits = [](const T* p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)); };
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512i pairs = _mm512_or_si512(bits(first + i), _mm512_slli_epi32(bits(second + i), 16));
    _mm512_storeu_si512(to + 2 * i, pairs);
  }
}

VFI_INLINE void load_apart(const BFloat16* p, F32& even, F32& odd) {
  const __m512i both = _mm512_loadu_si512(p);
  even = (F32)_mm512_slli_epi32(both, 16), odd = (F32)_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
}
VFI_BF16_TARGET VFI_INLINE void store_together(BFloat16* p, F32 even, F32 odd) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8,  24, 9,  25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), halves));
}
VFI_BF16_TARGET VFI_INLINE void store_rounded(BFloat16* p, F32 v, int64_t n) {
  store_halves(p, (__m256i)_mm512_cvtneps_pbh(v), n);
}

template <int kRows, int kVectors>
VFI_BF16_TARGET void multiply_pairs_block(const BFloat16* a, int64_t a_row, const BFloat16* b, int64_t depth, float* c,
                                          int64_t c_row) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_loadu_ps(c + r * c_row + v * kLanes);
  }
  for (int64_t k = 0; k < depth; k += 2, a += 2, b += 2 * kLanes * kVectors) {
    __m512bh column[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) column[v] = (__m512bh)_mm512_loadu_si512(b + v * 2 * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      int32_t pair;
      std::memcpy(&pair, a + r * a_row, sizeof pair);
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], factor, column[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + r * c_row + v * kLanes, sum[r][v]);
  }
}

// Terms first .. f.depth - 1 of every part.
VFI_INLINE void multiply_add_dots(const PairFactors<BFloat16>& f, int64_t first, int64_t rows, int64_t columns, float* c,
                                  int64_t c_row) {
  constexpr int kRows = kProductRows<F32>;
  for (int64_t n = 0; n < columns; n += kPanel<F32>) {
    const bool full = columns - n > kLanes;
    const int64_t width = full ? kPanel<F32> : kLanes;
    const auto multiply = full ? &multiply_pairs_block<kRows, 2> : &multiply_pairs_block<kRows, 1>;
    for (int64_t part = 0; part < f.parts; ++part) {
      for (int64_t k = first; k < f.depth; k += 2 * kProductDepth) {
        const BFloat16* const b = f.b + part * f.b_part + n * f.depth + k * width;
        for (int64_t r = 0; r < rows; r += kRows) {
          const BFloat16* const a = f.a + part * f.a_part + r * f.a_row + k;
          multiply(a, f.a_row, b, min(2 * kProductDepth, f.depth - k), c + r * c_row + n, c_row);
        }
      }
    }
  }
}

template <HalfPrecision T>
void multiply_add_pairs(const PairFactors<T>& f, int64_t rows, int64_t columns, float* c, int64_t c_row) {
  const TileUnit unit = f.depth < kTileDepth ? TileUnit::kNone : unit_of<T>();
  if (unit == TileUnit::kAmx) multiply_add_tiles<AmxUnit>(f, rows, columns, c, c_row);
  if (unit == TileUnit::kEmulated) multiply_add_tiles<EmulatedUnit>(f, rows, columns, c, c_row);
  const int64_t done = unit == TileUnit::kNone ? 0 : f.depth / kTileDepth * kTileDepth;
  if constexpr (std::same_as<T, BFloat16>) {
    if (done < f.depth) multiply_add_dots(f, done, rows, columns, c, c_row);
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
