// simd_pairs.h by FEAT_BF16 of ARM: BFMMLA adds the products of two rows and two columns, of four terms, to 2 by 2 sums.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

constexpr bool kHasPairs = true, kHasTiles = false;
#define VFI_BF16_TARGET
constexpr bool rounds_bfloat16() { return true; }
constexpr int64_t kSquareDepth = 4;  // terms of a sum in one step

template <HalfPrecision T>
bool uses_pairs(int64_t depth) {
  return std::same_as<T, BFloat16> && depth % kSquareDepth == 0;
}
template <HalfPrecision T>
bool turns_pairs(int64_t depth) {
  return uses_pairs<T>(depth);
}

struct TileScope {
  VFI_INLINE explicit TileScope(bool) {}
};

template <HalfPrecision T>
VFI_INLINE void pair_rows(const T* first, const T* second, int64_t n, T* to) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const uint16x4x2_t rows = {{vld1_u16(halves(first + i)), vld1_u16(halves(second + i))}};
    vst2_u16(halves(to + 2 * i), rows);
  }
}

VFI_INLINE void load_apart(const BFloat16* p, F32& even, F32& odd) {
  const uint32x4_t both = vreinterpretq_u32_u16(vld1q_u16(halves(p)));
  even = (F32)vshlq_n_u32(both, 16), odd = (F32)vandq_u32(both, vdupq_n_u32(0xffff0000u));
}
VFI_INLINE void store_together(BFloat16* p, F32 even, F32 odd) {
  const uint16x4x2_t both = {{pack(even, BFloat16()), pack(odd, BFloat16())}};
  vst2_u16(halves(p), both);
}
VFI_INLINE void store_rounded(BFloat16* p, F32 v, int64_t n) { store(p, v, n); }

VFI_INLINE F32 first_halves(F32 a, F32 b) { return (F32)vzip1q_f64((float64x2_t)a, (float64x2_t)b); }
VFI_INLINE F32 second_halves(F32 a, F32 b) { return (F32)vzip2q_f64((float64x2_t)a, (float64x2_t)b); }

// sum [2][2] += rows [2][4] columns [2][4], transposed
VFI_INLINE F32 add_squares(F32 sum, F32 rows, F32 columns) {
  return (F32)vbfmmlaq_f32((float32x4_t)sum, (bfloat16x8_t)rows, (bfloat16x8_t)columns);
}

// 2 kPairs rows, kVectors vectors of columns; a and b are theirs in the first part.
template <int kPairs, int kVectors>
VFI_INLINE void multiply_squares(const PairFactors<BFloat16>& f, const BFloat16* a, const BFloat16* b, float* c, int64_t c_row) {
  const int64_t b_row = f.b_row != 0 ? f.b_row : 2 * kVectors * kLanes;
  F32 sum[kPairs][2 * kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kPairs; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const float* const from = c + 2 * r * c_row + v * kLanes;
      const F32 upper = load<F32>(from), lower = load<F32>(from + c_row);
      sum[r][2 * v] = first_halves(upper, lower), sum[r][2 * v + 1] = second_halves(upper, lower);
    }
  }
  for (int64_t part = 0; part < f.parts; ++part) {
    const BFloat16 *row = a + part * f.a_part, *panel = b + part * f.b_part;
    for (int64_t k = 0; k < f.depth; k += kSquareDepth, row += kSquareDepth, panel += 2 * b_row) {
      F32 columns[2 * kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const uint32x4_t first = vreinterpretq_u32_u16(vld1q_u16(halves(panel + v * 2 * kLanes)));
        const uint32x4_t second = vreinterpretq_u32_u16(vld1q_u16(halves(panel + b_row + v * 2 * kLanes)));
        columns[2 * v] = (F32)vzip1q_u32(first, second), columns[2 * v + 1] = (F32)vzip2q_u32(first, second);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kPairs; ++r) {
        const BFloat16* const two = row + 2 * r * f.a_row;
        const F32 rows = (F32)vcombine_u16(vld1_u16(halves(two)), vld1_u16(halves(two + f.a_row)));
#pragma GCC unroll 4
        for (int v = 0; v < 2 * kVectors; ++v) sum[r][v] = add_squares(sum[r][v], rows, columns[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kPairs; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* const to = c + 2 * r * c_row + v * kLanes;
      store(to, first_halves(sum[r][2 * v], sum[r][2 * v + 1]));
      store(to + c_row, second_halves(sum[r][2 * v], sum[r][2 * v + 1]));
    }
  }
}

template <HalfPrecision T>
void multiply_add_pairs(const PairFactors<T>& f, int64_t rows, int64_t columns, float* c, int64_t c_row) {
  constexpr int kPairs = kProductRows<F32> / 2;
  if constexpr (std::same_as<T, BFloat16>) {
    for (int64_t n = 0; n < columns; n += kPanel<F32>) {
      const BFloat16* const b = f.b + n * (f.b_row != 0 ? 2 : f.depth);
      const auto multiply = columns - n > kLanes ? &multiply_squares<kPairs, 2> : &multiply_squares<kPairs, 1>;
      for (int64_t r = 0; r < rows; r += 2 * kPairs) multiply(f, f.a + r * f.a_row, b, c + r * c_row + n, c_row);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
