// Products of a warp whose left factor is in its registers, where its lanes have made it: sums[m][n] += sum over k of
// left[m][k] right[n][k], for 16 kDown rows and 32 kParts columns, 64 bytes of k at a time.
//
// A lane has 16 bytes of k of a row as they lie in memory. The instruction wants other k in that lane; but a sum over k has
// any order, so the right factor, whose lines have k inside, is read 16 bytes a lane as well. Lines of its columns lie in the
// order of row_line: then a lane has eight neighbouring columns of its rows.
#pragma once

#include "cuda/lines.cuh"

namespace vfi::cuda {

template <class F, int kDown, int kParts>
class HeldRows {
 public:
  static constexpr int kRows = 2 * kDown, kPack = 16 / static_cast<int>(sizeof(F)), kDepth = 4 * kPack;
  static constexpr int kLineBytes = 64, kPartBytes = kRowColumns * kLineBytes;
  // Of the lane: columns 32 part + 8 (lane % 4) and seven more of its row i.
  float sums[kParts][kRows][8];

  static __device__ __forceinline__ int lane() { return threadIdx.x % 32; }
  // The lane's row i in a tile of 16 kDown: those of a lane are neighbours.
  static __device__ __forceinline__ int row(int i) { return threadIdx.x % 32 / 4 * kRows + i; }
  static __device__ __forceinline__ int depth() { return threadIdx.x % 4 * kPack; }  // its first k
  static __device__ __forceinline__ int column() { return threadIdx.x % 4 * 8; }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kParts * kRows * 8; ++i) sums[i / 8 / kRows][i / 8 % kRows][i % 8] = 0;
  }
  // The lane's k of its row i.
  __device__ __forceinline__ void set(int i, const Pack<F, kPack>& factors) { rows_[i] = bits_as<Words>(factors); }
  // `columns` are wanted; each 32 of them have kPartBytes of shared memory.
  __device__ __forceinline__ void multiply_add(const unsigned char* right, int columns);

 private:
  using Words = Pack<uint32_t, 4>;
  Words rows_[kRows];
};

#ifndef VFI_TENSOR_CORES
template <class F, int kDown, int kParts>
__device__ void HeldRows<F, kDown, kParts>::multiply_add(const unsigned char* right, int columns) {
  for (int i = 0; i < kRows; ++i) {
    for (int other = 0; other < 4; ++other) {  // of the lanes that have the row
      Words words;
      for (int w = 0; w < 4; ++w) words.at[w] = __shfl_sync(kFullWarp, rows_[i].at[w], lane() / 4 * 4 + other);
      const auto left = bits_as<Pack<F, kPack>>(words);
      for (int n = 0; n < (columns + kRowColumns - 1) / kRowColumns * 8; ++n) {
        const unsigned char* line = right + n / 8 * kPartBytes + row_line(column() + n % 8) * kLineBytes + 16 * other;
        const auto factors = load_pack<F, kPack>(reinterpret_cast<const F*>(line));
        for (int e = 0; e < kPack; ++e) sums[n / 8][i][n % 8] += widen<float>(left.at[e]) * widen<float>(factors.at[e]);
      }
    }
  }
}
#else
template <class F, int kDown, int kParts>
__device__ __forceinline__ void HeldRows<F, kDown, kParts>::multiply_add(const unsigned char* right, int columns) {
  const unsigned char* const from = right + lane() * 16;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    if (part * kRowColumns >= columns) break;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const auto b = *reinterpret_cast<const Words*>(from + part * kPartBytes + n * (kPartBytes / 4));
#pragma unroll
      for (int m = 0; m < kRows; m += 2) {
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
          const unsigned a[4] = {rows_[m].at[half], rows_[m + 1].at[half], rows_[m].at[half + 1], rows_[m + 1].at[half + 1]};
          multiply_matrices<F>(sums[part][m] + 2 * n, sums[part][m + 1] + 2 * n, a, b.at[half], b.at[half + 1]);
        }
      }
    }
  }
}
#endif

}  // namespace vfi::cuda
