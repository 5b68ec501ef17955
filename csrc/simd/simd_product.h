// Products of small matrices that stay in registers: C += A B, where B is packed into panels of two vectors of columns.
//
// The order of every sum is that of the depth, whatever the tile: results do not depend on how the work is cut.
#pragma once

#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

// Whether a lane of one vector times another vector is one instruction: a vector of A then serves as many terms.
template <class F>
concept HasLaneProducts = requires(F v) { Lanes<F>::template fma_lane<0>(v, v, v); };

// One block of the result: as many rows as registers allow beside two vectors of B and one of A, or one of each row of A.
template <class F>
constexpr int kProductRows = Lanes<F>::kCount == 16 ? 14 : HasLaneProducts<F> ? 8 : 6;
template <class F>
constexpr int kPanel = 2 * Lanes<F>::kCount;  // columns of a full panel; the last may have half as many
constexpr int64_t kProductDepth = 128;        // of B held in the first-level cache at a time

// Columns as stored: whole vectors.
template <class F>
VFI_INLINE int64_t padded_columns(int64_t columns) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  return (columns + kCount - 1) / kCount * kCount;
}

// sum[r] += the sum over lanes k from kLane on of factor[r][k] b[k], b one row after another.
template <int kLane, class F, int kRows, int kVectors>
VFI_INLINE void add_lanes(const F* factor, const typename Lanes<F>::Scalar* b, int64_t b_row, F (*sum)[kVectors]) {
  if constexpr (kLane < Lanes<F>::kCount) {
    F column[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) column[v] = load<F>(b + v * Lanes<F>::kCount);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Lanes<F>::template fma_lane<kLane>(factor[r], column[v], sum[r][v]);
    }
    add_lanes<kLane + 1, F, kRows, kVectors>(factor, b + b_row, b_row, sum);
  }
}

// c[r, n] += sum over k < depth of a[r a_row + k a_step] b[k, n]. b has kVectors vectors a row, one row after another.
template <class F, int kRows, int kVectors>
VFI_INLINE void multiply_block(const typename Lanes<F>::Scalar* a, int64_t a_row, int64_t a_step,
                               const typename Lanes<F>::Scalar* b, int64_t b_row, int64_t depth,
                               typename Lanes<F>::Scalar* c, int64_t c_row) {
  constexpr int kCount = Lanes<F>::kCount;
  F sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load<F>(c + r * c_row + v * kCount);
  }
  int64_t k = 0;
  if constexpr (HasLaneProducts<F>) {
    for (; a_step == 1 && k + kCount <= depth; k += kCount, a += kCount, b += kCount * b_row) {
      F factor[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) factor[r] = load<F>(a + r * a_row);
      add_lanes<0, F, kRows, kVectors>(factor, b, b_row, sum);
    }
  }
  for (; k < depth; ++k, a += a_step, b += b_row) {
    F column[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) column[v] = load<F>(b + v * kCount);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const F factor = broadcast<F>(a[r * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(factor, column[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(c + r * c_row + v * kCount, sum[r][v]);
  }
}

// Packs B [depth, columns] for multiply_add, or for simd_pairs.h where Column is BFloat16: at(k, n) is its element.
template <class F, class Column, class At>
void pack_factor(int64_t depth, int64_t columns, Column* to, const At& at) {
  constexpr int64_t kTogether = std::same_as<Column, typename Lanes<F>::Scalar> ? 1 : 2;  // terms of the depth
  for (int64_t first = 0; first < columns; first += kPanel<F>) {
    const int64_t width = columns - first > Lanes<F>::kCount ? kPanel<F> : Lanes<F>::kCount;
    for (int64_t k = 0; k < depth; ++k) {
      Column* const row = to + k / kTogether * kTogether * width + k % kTogether;
      for (int64_t n = 0; n < width; ++n) {
        row[n * kTogether] = first + n < columns ? Element<Column>::from(to_float(at(k, first + n))) : Column{};
      }
    }
    to += depth * width;
  }
}

// Rows that a product of `rows` rows may touch in A and C.
template <class F>
constexpr int64_t kProductSlack = kProductRows<F>;

template <class F, int kRows>
VFI_INLINE void multiply_rows(const typename Lanes<F>::Scalar* a, int64_t a_row, int64_t a_step,
                              const typename Lanes<F>::Scalar* b, int64_t b_row, bool full, int64_t depth,
                              typename Lanes<F>::Scalar* c, int64_t c_row) {
  if (full) return multiply_block<F, kRows, 2>(a, a_row, a_step, b, b_row, depth, c, c_row);
  multiply_block<F, kRows, 1>(a, a_row, a_step, b, b_row, depth, c, c_row);
}

// C [rows, columns] += A [rows, depth] B [depth, columns], each block of rows as a whole: A and C have kProductSlack rows
// more. b_row is the distance of B's rows; 0 says that B is packed: panels one after another, each [depth, its columns].
template <class F>
void multiply_add(const typename Lanes<F>::Scalar* a, int64_t a_row, int64_t a_step, int64_t rows,
                  const typename Lanes<F>::Scalar* b, int64_t b_row, int64_t depth, int64_t columns,
                  typename Lanes<F>::Scalar* c, int64_t c_row) {
  constexpr int kRows = kProductRows<F>, kFew = 4, kSome = kRows > 8 ? 8 : kFew;
  for (int64_t n = 0; n < columns; n += kPanel<F>) {
    const bool full = columns - n > Lanes<F>::kCount;
    const auto* const panel = b_row == 0 ? b + n * depth : b + n;
    const int64_t step = b_row != 0 ? b_row : full ? kPanel<F> : Lanes<F>::kCount;
    for (int64_t k = 0; k < depth; k += kProductDepth) {
      const int64_t part = min(kProductDepth, depth - k);
      for (int64_t r = 0; r < rows; r += kRows) {
        const auto* from = a + r * a_row + k * a_step;
        auto* to = c + r * c_row + n;
        if (rows - r <= kFew) {
          multiply_rows<F, kFew>(from, a_row, a_step, panel + k * step, step, full, part, to, c_row);
        } else if (rows - r <= kSome) {
          multiply_rows<F, kSome>(from, a_row, a_step, panel + k * step, step, full, part, to, c_row);
        } else {
          multiply_rows<F, kRows>(from, a_row, a_step, panel + k * step, step, full, part, to, c_row);
        }
      }
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
