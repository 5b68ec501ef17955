// Products of matrices of half precision with float32 sums, two terms of the depth at a time: on tiles where the CPU has a
// matrix unit for the type, bfloat16 also by the dot products of AVX512-BF16. The order of a sum is that of the parts and
// within one that of the depth, but terms past the last whole step of the tiles come after all others. kHasPairs says whether
// this instruction set has any of it. For *_simd.cpp only.
#pragma once

#include "cpu/tile_unit.h"
#include "simd/simd_product.h"
#include "simd/tile_product.h"

namespace vfi {
namespace VFI_LEVEL {

template <class T>
concept HalfPrecision = std::same_as<T, Half> || std::same_as<T, BFloat16>;

template <HalfPrecision T>
TileUnit unit_of() {
  return tile_unit(std::same_as<T, Half> ? Dtype::kFloat16 : Dtype::kBFloat16);
}

#if defined(__AVX512F__)
constexpr bool kHasPairs = true;
#define VFI_BF16_TARGET __attribute__((target("avx512bf16")))

// Whether factors of T with `depth` terms a part are multiplied as pairs; else as float32.
template <HalfPrecision T>
bool uses_pairs(int64_t depth) {
  if (unit_of<T>() != TileUnit::kNone && depth % kTileDepth == 0) return true;
  return std::same_as<T, BFloat16> && depth % 2 == 0 && __builtin_cpu_supports("avx512bf16");
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

// n elements of two rows, beside each other; n is a multiple of kLanes.
template <HalfPrecision T>
VFI_INLINE void pair_rows(const T* first, const T* second, int64_t n, T* to) {
  const auto bits = [](const T* p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)); };
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512i pairs = _mm512_or_si512(bits(first + i), _mm512_slli_epi32(bits(second + i), 16));
    _mm512_storeu_si512(to + 2 * i, pairs);
  }
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

// Of factors for which uses_pairs(depth), with B packed but for whole steps of tiles, inside a TileScope. A and C have
// kTileSide rows more.
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
#else
constexpr bool kHasPairs = false;

struct TileScope {
  VFI_INLINE explicit TileScope(bool) {}
};
#endif

}  // namespace VFI_LEVEL
}  // namespace vfi
