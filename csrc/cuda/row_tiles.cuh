// Products of a warp, 16 kDown rows by 32 columns: sums[m][n] += sum over k of left[m][k] right[n][k], where both factors
// have k inside, so that pixels with neighbouring channels are multiplied as they lie.
//
// Lines of the left factor may lie anywhere in shared memory. Those of the right one lie one after another, column n in
// line row_line(n): a lane then has eight neighbouring columns of a row, which it stores at once.
#pragma once

#include "cuda/products.cuh"

namespace vfi::cuda {

constexpr int kRowColumns = 32;
// From one line to the next in bytes, for `bytes` of k, 32 or 64: the padding spreads lines over the banks.
VFI_HOST_DEVICE constexpr int32_t row_pitch(int32_t bytes) { return bytes + 16; }
// Its own inverse.
VFI_HOST_DEVICE constexpr int32_t row_line(int32_t n) { return n % 8 / 2 * 8 + n / 8 * 2 + n % 2; }

#ifdef VFI_TENSOR_CORES
template <class F>
constexpr bool kRowsOnTensorCores = kTensorCores<F>;
#else
template <class F>
constexpr bool kRowsOnTensorCores = false;
#endif

// What both kinds have: the sums of a lane. Row i of its 2 kDown ones is row 8 i + lane / 4 of the warp's.
template <class F, int kDown>
struct RowSums {
  static constexpr int kRows = 2 * kDown, kColumns = 8;
  Sum<F> sums[kRows][kColumns];

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ __forceinline__ int row(int i) { return 8 * i + lane() / 4; }
  static __device__ __forceinline__ int column() { return lane() % 4 * kColumns; }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kRows * kColumns; ++i) sums[i / kColumns][i % kColumns] = Sum<F>(0);
  }
};

// kBytes of k at a time.
template <class F, int kDown, int kBytes, bool kTensor = kRowsOnTensorCores<F>>
class RowTiles : public RowSums<F, kDown> {
  using Base = RowSums<F, kDown>;
  int32_t places_[Base::kRows];

 public:
  // Row m of the left factor begins places(m) bytes after what multiply_add is given; below 0: anywhere.
  template <class Places>
  __device__ __forceinline__ void find(const Places& places) {
#pragma unroll
    for (int i = 0; i < Base::kRows; ++i) places_[i] = max(places(Base::row(i)), 0);
  }
  // `bytes` of k are not all 0, from the first on.
  __device__ __forceinline__ void multiply_add(const unsigned char* left, const unsigned char* right, int32_t bytes) {
    constexpr int N = 16 / static_cast<int>(sizeof(F));
    const unsigned char* const lines = right + Base::lane() % 4 * 2 * row_pitch(kBytes);
#pragma unroll 1
    for (int32_t k = 0; k < min(bytes, kBytes); k += 16) {
      Pack<F, N> a[Base::kRows];
#pragma unroll
      for (int i = 0; i < Base::kRows; ++i) a[i] = load_pack<F, N>(reinterpret_cast<const F*>(left + places_[i] + k));
#pragma unroll
      for (int n = 0; n < Base::kColumns; ++n) {
        const int32_t line = n / 2 * 8 + n % 2;
        const Pack<F, N> b = load_pack<F, N>(reinterpret_cast<const F*>(lines + line * row_pitch(kBytes) + k));
#pragma unroll
        for (int i = 0; i < Base::kRows; ++i) {
#pragma unroll
          for (int e = 0; e < N; ++e) Base::sums[i][n] += widen<Sum<F>>(a[i].at[e]) * widen<Sum<F>>(b.at[e]);
        }
      }
    }
  }
};

// The same where row m of the left factor begins m row_pitch(kBytes) after row 0, and factors are in two places by turns:
// addresses are made once for all products.
template <class F, int kDown, int kBytes, bool kTensor = kRowsOnTensorCores<F>>
class EvenTiles : public RowTiles<F, kDown, kBytes> {
  const unsigned char *left_, *right_;
  int32_t step_;

 public:
  // Row 0 and the line of column 0 of the warp; the other place is `step` bytes further.
  __device__ __forceinline__ void find(const unsigned char* left, const unsigned char* right, int32_t step) {
    left_ = left, right_ = right, step_ = step;
    RowTiles<F, kDown, kBytes>::find([](int row) { return row * row_pitch(kBytes); });
  }
  // Of the place whose turn it is.
  __device__ __forceinline__ void multiply_add() {
    RowTiles<F, kDown, kBytes>::multiply_add(left_, right_, kBytes);
    left_ += step_, right_ += step_, step_ = -step_;
  }
};

#ifdef VFI_TENSOR_CORES
// Addresses in shared memory, of the lines that a lane says to ldmatrix.
template <int kBytes>
struct RowLines {
  static __device__ __forceinline__ unsigned right(const unsigned char* lines) {
    const int lane = static_cast<int>(threadIdx.x) % 32, line = lane % 8 + lane / 16 * 8;
    return static_cast<unsigned>(__cvta_generic_to_shared(lines)) + line * row_pitch(kBytes) + lane / 8 % 2 * 16;
  }
  // Rows are lane % 16.
  static __device__ __forceinline__ int left() { return static_cast<int>(threadIdx.x) % 32 / 16 * 16; }
};

// Of 32 bytes of k from kBehind on, with the left factor in registers.
template <class F, int kDown, int kBytes, int kBehind>
__device__ __forceinline__ void multiply_rows(RowSums<F, kDown>& to, const unsigned (&a)[kDown][4], unsigned right) {
  unsigned b[2][4];
  load_matrices<false, kBehind>(b[0], right);
  load_matrices<false, kBehind + 16 * row_pitch(kBytes)>(b[1], right);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      multiply_matrices<F>(to.sums[2 * i] + 2 * j, to.sums[2 * i + 1] + 2 * j, a[i], b[j / 2][j % 2 * 2],
                           b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

template <class F, int kDown, int kBytes>
class RowTiles<F, kDown, kBytes, true> : public RowSums<F, kDown> {
  using Base = RowSums<F, kDown>;
  int32_t places_[kDown];

  template <int kBehind>
  __device__ __forceinline__ void step(const unsigned (&left)[kDown], unsigned right) {
    unsigned a[kDown][4];
#pragma unroll
    for (int i = 0; i < kDown; ++i) load_matrices<false, kBehind>(a[i], left[i]);
    multiply_rows<F, kDown, kBytes, kBehind>(*this, a, right);
  }

 public:
  template <class Places>
  __device__ __forceinline__ void find(const Places& places) {
#pragma unroll
    for (int i = 0; i < kDown; ++i) places_[i] = max(places(16 * i + Base::lane() % 16), 0) + RowLines<kBytes>::left();
  }
  __device__ __forceinline__ void multiply_add(const unsigned char* left, const unsigned char* right, int32_t bytes) {
    const unsigned lines = RowLines<kBytes>::right(right);
    unsigned from[kDown];
#pragma unroll
    for (int i = 0; i < kDown; ++i) from[i] = static_cast<unsigned>(__cvta_generic_to_shared(left)) + places_[i];
    step<0>(from, lines);
    if constexpr (kBytes > 32) {
      if (bytes > 32) step<32>(from, lines);
    }
  }
};

template <class F, int kDown, int kBytes>
class EvenTiles<F, kDown, kBytes, true> : public RowSums<F, kDown> {
  using Base = RowSums<F, kDown>;
  unsigned left_, right_, both_left_, both_right_;  // both: the sum of the addresses of both places

  template <int kBehind, int... i>
  __device__ __forceinline__ void step(unsigned left, unsigned right, std::integer_sequence<int, i...>) {
    unsigned a[kDown][4];
    (load_matrices<false, kBehind + 16 * i * row_pitch(kBytes)>(a[i], left), ...);
    multiply_rows<F, kDown, kBytes, kBehind>(*this, a, right);
  }

 public:
  __device__ __forceinline__ void find(const unsigned char* left, const unsigned char* right, int32_t step) {
    const unsigned char* const own = left + Base::lane() % 16 * row_pitch(kBytes) + RowLines<kBytes>::left();
    left_ = static_cast<unsigned>(__cvta_generic_to_shared(own));
    right_ = RowLines<kBytes>::right(right);
    both_left_ = 2 * left_ + step, both_right_ = 2 * right_ + step;
  }
  __device__ __forceinline__ void multiply_add() {
    using Down = std::make_integer_sequence<int, kDown>;
    step<0>(left_, right_, Down());
    if constexpr (kBytes > 32) step<32>(left_, right_, Down());
    left_ = both_left_ - left_, right_ = both_right_ - right_;
  }
};
#endif

}  // namespace vfi::cuda
