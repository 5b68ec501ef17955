// Products of matrices of half precision on tiles of 16 by 16 float32 sums, as the matrix units of x86 CPUs (AMX) hold them.
// The walk over the matrices is one text; a unit does the arithmetic. For *_simd.cpp only.
//
//   Unit::load<n>(p, row_bytes)   Unit::store<n>(p, row_bytes)   tile n, of 0 to 7: 16 rows of 64 bytes
//   Unit::multiply_add<T, c, a, b>()   tile c [m][n] += sum over k < 32 of tile a [m][k] tile b [k / 2][n][k % 2]
#pragma once

#include <cstring>

#include "base/half.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr int64_t kTileSide = 16;   // rows of the result, and columns
constexpr int64_t kTileDepth = 32;  // terms of a sum in one step

// The factors of C [rows, columns] += sum over parts of A_part [rows, depth] B_part [depth, columns]; depth is even. B is
// [depth / 2, columns, 2] with b_row elements from one pair of its rows to the next; or packed where b_row is 0: panels of 32
// columns (the last of 16, if no more are left) one after another, each [depth / 2, its columns, 2].
template <class T>
struct PairFactors {
  const T* a;
  int64_t a_row, a_part;  // elements from one row, one part to the next
  const T* b;
  int64_t b_row, b_part, parts, depth;
};

#if defined(__x86_64__)
// The CPU's. Instructions of the product as bytes: assemblers know those of float16 only since 2023.
struct AmxUnit {
  template <int n>
  static VFI_INLINE void load(const void* p, int64_t row_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(row_bytes), "n"(n) : "memory");
  }
  template <int n>
  static VFI_INLINE void store(void* p, int64_t row_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(row_bytes), "n"(n) : "memory");
  }
  template <class T, int c, int a, int b>  // tdpbf16ps, tdpfp16ps
  static VFI_INLINE void multiply_add() {
    constexpr int kPrefix = ((~b & 15) << 3) | (std::same_as<T, Half> ? 3 : 2);
    __asm__ volatile(".byte 0xc4, 0xe2, %c0, 0x5c, %c1" ::"n"(kPrefix), "n"(0xc0 | c << 3 | a));
  }
};
#endif

// The same in plain C++, for tests on CPUs without the unit.
struct EmulatedUnit {
  static inline thread_local uint16_t tiles[8][16][32];

  template <int n>
  static void load(const void* p, int64_t row_bytes) {
    for (int i = 0; i < 16; ++i) std::memcpy(tiles[n][i], static_cast<const char*>(p) + i * row_bytes, 64);
  }
  template <int n>
  static void store(void* p, int64_t row_bytes) {
    for (int i = 0; i < 16; ++i) std::memcpy(static_cast<char*>(p) + i * row_bytes, tiles[n][i], 64);
  }
  template <class T, int c, int a, int b>
  static void multiply_add() {
    for (int m = 0; m < 16; ++m) {
      float sums[16];
      std::memcpy(sums, tiles[c][m], sizeof sums);
      for (int k = 0; k < kTileDepth; ++k) {
        for (int n = 0; n < 16; ++n) {
          sums[n] += to_float(T{tiles[a][m][k]}) * to_float(T{tiles[b][k / 2][2 * n + k % 2]});
        }
      }
      std::memcpy(tiles[c][m], sums, sizeof sums);
    }
  }
};

// kRows by kColumns tiles of the result.
template <class Unit, class T, int kRows, int kColumns>
void multiply_tiles(const PairFactors<T>& f, const T* a, const T* b, float* c, int64_t c_row) {
  const int64_t b_row = f.b_row != 0 ? f.b_row : 2 * kColumns * kTileSide, b_bytes = b_row * int64_t{sizeof(T)};
  const int64_t sum_bytes = c_row * int64_t{sizeof(float)}, row_bytes = f.a_row * int64_t{sizeof(T)};
  float* const lower = c + kTileSide * c_row;
  Unit::template load<0>(c, sum_bytes);
  if constexpr (kColumns > 1) Unit::template load<1>(c + kTileSide, sum_bytes);
  if constexpr (kRows > 1) Unit::template load<2>(lower, sum_bytes);
  if constexpr (kRows > 1 && kColumns > 1) Unit::template load<3>(lower + kTileSide, sum_bytes);
  for (int64_t part = 0; part < f.parts; ++part, a += f.a_part, b += f.b_part) {
    for (int64_t k = 0; k + kTileDepth <= f.depth; k += kTileDepth) {
      const T* const panel = b + k / 2 * b_row;
      Unit::template load<6>(panel, b_bytes);
      Unit::template load<4>(a + k, row_bytes);
      Unit::template multiply_add<T, 0, 4, 6>();
      if constexpr (kColumns > 1) {
        Unit::template load<7>(panel + 2 * kTileSide, b_bytes);
        Unit::template multiply_add<T, 1, 4, 7>();
      }
      if constexpr (kRows > 1) {
        Unit::template load<5>(a + kTileSide * f.a_row + k, row_bytes);
        Unit::template multiply_add<T, 2, 5, 6>();
      }
      if constexpr (kRows > 1 && kColumns > 1) Unit::template multiply_add<T, 3, 5, 7>();
    }
  }
  Unit::template store<0>(c, sum_bytes);
  if constexpr (kColumns > 1) Unit::template store<1>(c + kTileSide, sum_bytes);
  if constexpr (kRows > 1) Unit::template store<2>(lower, sum_bytes);
  if constexpr (kRows > 1 && kColumns > 1) Unit::template store<3>(lower + kTileSide, sum_bytes);
}

// The whole product but for the last depth % kTileDepth terms of every part. A and C have rows up to a multiple of 16.
template <class Unit, class T>
void multiply_add_tiles(const PairFactors<T>& f, int64_t rows, int64_t columns, float* c, int64_t c_row) {
  for (int64_t n = 0; n < columns; n += 2 * kTileSide) {
    const bool wide = columns - n > kTileSide;
    const T* const b = f.b + n * (f.b_row != 0 ? 2 : f.depth);
    for (int64_t r = 0; r < rows; r += 2 * kTileSide) {
      const bool tall = rows - r > kTileSide;
      const auto multiply = tall ? (wide ? &multiply_tiles<Unit, T, 2, 2> : &multiply_tiles<Unit, T, 2, 1>)
                                 : (wide ? &multiply_tiles<Unit, T, 1, 2> : &multiply_tiles<Unit, T, 1, 1>);
      multiply(f, f.a + r * f.a_row, b, c + r * c_row + n, c_row);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
