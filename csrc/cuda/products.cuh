// Products of a block: sums[m][n] += sum over k of left[k][m] right[k][n], both factors in shared memory. On the tensor
// cores for half, bfloat16 and tf32 factors, with float32 sums; by fused multiply-adds for float32 and float64.
//
// WarpTiles is all that knows of tensor cores. Elsewhere (the tests' emulation, older devices) its second definition
// computes the same: factors are rounded before they get here.
#pragma once

#include "cuda/launch.cuh"

#ifndef VFI_CUDA_EMULATION
#include <mma.h>
#endif

namespace vfi::cuda {

// A float32 factor with the 10 bits of mantissa that tensor cores multiply.
struct Tf32 {
  float value;
};
template <class A>
__device__ __forceinline__ A widen(Tf32 x) {
  return static_cast<A>(x.value);
}
__device__ __forceinline__ void narrow(float x, Tf32& to) {  // to nearest, ties away from 0
  const unsigned bits = __float_as_uint(x);
  // A NaN keeps a bit that is not cut off: without one it would be an infinity.
  to.value = finite(x) ? __uint_as_float((bits + 0x1000u) & 0xffffe000u) : x == x ? x : __uint_as_float(bits | 0x400000u);
}

template <class F>
struct SumOf {
  using Type = float;
};
template <>
struct SumOf<double> {
  using Type = double;
};
template <class F>
using Sum = typename SumOf<F>::Type;  // of products of factors F

// An element as a factor, rounded if it is wider.
template <class F, class T>
__device__ __forceinline__ F factor_of(T x) {
  if constexpr (std::is_same_v<T, F>) {
    return x;
  } else {
    F factor;
    narrow(widen<Sum<F>>(x), factor);
    return factor;
  }
}

constexpr int kTile = 64;   // n: pixels, or input channels for the gradient of the weight
constexpr int kDepth = 32;  // largest k between two barriers
constexpr int kSumStep = kTile + 4;
// From one k to the next. The padding spreads rows over the banks; 16 bytes keep every row aligned.
template <class F>
constexpr int kRightStep = kTile + 16 / static_cast<int>(sizeof(F));
template <class F, int M>
constexpr int kLeftStep = M + 16 / static_cast<int>(sizeof(F));

template <class F>
constexpr bool kTensorCores = std::is_same_v<F, Half> || std::is_same_v<F, BFloat16> || std::is_same_v<F, Tf32>;
template <class F>
constexpr int kTensorDepth = std::is_same_v<F, Tf32> ? 8 : 16;  // k of one instruction

// The sums of a warp: 16 rows, kCount times 16 columns.
#if defined(VFI_CUDA_EMULATION) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
template <class F, int kCount>
class WarpTiles {
  float sums_[kCount][8];
  static __device__ int row(int i) { return (static_cast<int>(threadIdx.x) % 32 + 32 * i) / 16; }
  static __device__ int column() { return static_cast<int>(threadIdx.x) % 16; }

 public:
  __device__ void clear() {
    for (auto& tile : sums_) {
      for (float& sum : tile) sum = 0;
    }
  }
  __device__ void multiply_add(const F* left, int left_step, const F* right, int right_step) {
    for (int n = 0; n < kCount; ++n) {
      for (int i = 0; i < 8; ++i) {
        for (int k = 0; k < kTensorDepth<F>; ++k) {
          sums_[n][i] += widen<float>(left[k * left_step + row(i)]) *
                         widen<float>(right[k * right_step + 16 * n + column()]);
        }
      }
    }
  }
  __device__ void store(float* to, int step) const {
    for (int n = 0; n < kCount; ++n) {
      for (int i = 0; i < 8; ++i) to[row(i) * step + 16 * n + column()] = sums_[n][i];
    }
  }
};
#else
template <class F>
struct WarpFactor;
template <>
struct WarpFactor<Half> {
  using Type = __half;
  using Memory = __half;
};
template <>
struct WarpFactor<BFloat16> {
  using Type = __nv_bfloat16;
  using Memory = __nv_bfloat16;
};
template <>
struct WarpFactor<Tf32> {
  using Type = nvcuda::wmma::precision::tf32;
  using Memory = float;
};

template <class F, int kCount>
class WarpTiles {
  using Type = typename WarpFactor<F>::Type;
  using Memory = typename WarpFactor<F>::Memory;
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, kTensorDepth<F>, float> sums_[kCount];

 public:
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (auto& tile : sums_) nvcuda::wmma::fill_fragment(tile, 0.0f);
  }
  __device__ __forceinline__ void multiply_add(const F* left, int left_step, const F* right, int right_step) {
    using namespace nvcuda::wmma;
    fragment<matrix_a, 16, 16, kTensorDepth<F>, Type, col_major> a;
    load_matrix_sync(a, reinterpret_cast<const Memory*>(left), left_step);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      fragment<matrix_b, 16, 16, kTensorDepth<F>, Type, row_major> b;
      load_matrix_sync(b, reinterpret_cast<const Memory*>(right + 16 * n), right_step);
      mma_sync(sums_[n], a, b, sums_[n]);
    }
  }
  __device__ __forceinline__ void store(float* to, int step) const {
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      nvcuda::wmma::store_matrix_sync(to + 16 * n, sums_[n], step, nvcuda::wmma::mem_row_major);
    }
  }
};
#endif

// The sums of a block, M rows and kTile columns, in registers. Warps share the tiles of 16 x 16.
template <class F, int M, bool kTensor = kTensorCores<F>>
class Sums {
  static constexpr int kCount = M / 32;  // tiles of a warp, side by side
  WarpTiles<F, kCount> tiles_;
  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x) / 32 * kCount / 4 * 16; }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x) / 32 * kCount % 4 * 16; }

 public:
  static constexpr int kStep = kTensorDepth<F>;  // k is a multiple of it

  __device__ __forceinline__ void clear() { tiles_.clear(); }
  // `rows` of the M are wanted.
  __device__ __forceinline__ void multiply_add(const F* left, const F* right, int depth, int rows) {
    if (row() >= rows) return;
#pragma unroll 1
    for (int k = 0; k < depth; k += kStep) {
      tiles_.multiply_add(left + k * kLeftStep<F, M> + row(), kLeftStep<F, M>,
                          right + k * kRightStep<F> + column(), kRightStep<F>);
    }
  }
  __device__ __forceinline__ void store(float* to) const {
    tiles_.store(to + row() * kSumStep + column(), kSumStep);
  }
};

// A thread has M / 16 rows and four columns.
template <class F, int M>
class Sums<F, M, false> {
  static constexpr int kRows = M / 16, kColumns = kTile / 16;
  static constexpr int kWide = 16 / static_cast<int>(sizeof(F)), kPack = kRows < kWide ? kRows : kWide;
  F sums_[kRows][kColumns];
  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x) / 16 * kRows; }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x) % 16 * kColumns; }

 public:
  static constexpr int kStep = 1;

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kRows * kColumns; ++i) sums_[i / kColumns][i % kColumns] = F(0);
  }
  __device__ __forceinline__ void multiply_add(const F* left, const F* right, int depth, int rows) {
    if (row() >= rows) return;
#pragma unroll 1
    for (int k = 0; k < depth; ++k) {
      Pack<F, kPack> a[kRows / kPack];
      Pack<F, kWide> b[kColumns / kWide];
#pragma unroll
      for (int i = 0; i < kRows / kPack; ++i) {
        a[i] = load_pack<F, kPack>(left + k * kLeftStep<F, M> + row() + i * kPack);
      }
#pragma unroll
      for (int i = 0; i < kColumns / kWide; ++i) {
        b[i] = load_pack<F, kWide>(right + k * kRightStep<F> + column() + i * kWide);
      }
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          sums_[m][n] += a[m / kPack].at[m % kPack] * b[n / kWide].at[n % kWide];
        }
      }
    }
  }
  __device__ __forceinline__ void store(F* to) const {
#pragma unroll
    for (int i = 0; i < kRows * kColumns; ++i) {
      to[(row() + i / kColumns) * kSumStep + column() + i % kColumns] = sums_[i / kColumns][i % kColumns];
    }
  }
};

template <class F, int M>
struct Factors {
  F right[kDepth * kRightStep<F>];
  F left[kDepth * kLeftStep<F, M>];
};

// `count` rows of packed weights, M columns each, as the left factor.
template <int M, class F>
__device__ __forceinline__ void load_left(F* left, const F* __restrict__ rows, int64_t row_length, int count,
                                          bool aligned) {
  constexpr int N = 16 / static_cast<int>(sizeof(F));
  if (aligned) {
    for (int e = threadIdx.x; e < count * (M / N); e += kThreads) {
      const int k = e / (M / N), m = e % (M / N) * N;
      store_pack(left + k * kLeftStep<F, M> + m, load_pack<F, N>(rows + k * row_length + m));
    }
  } else {
    for (int e = threadIdx.x; e < count * M; e += kThreads) {
      left[e / M * kLeftStep<F, M> + e % M] = rows[e / M * row_length + e % M];
    }
  }
}

// What the last step of a product may read beyond `count` rows.
template <int kStep, class F>
__device__ __forceinline__ int clear_tail(F* rows, int row_step, int count) {
  const int depth = (count + kStep - 1) / kStep * kStep;
  for (int e = threadIdx.x; e < (depth - count) * row_step; e += kThreads) rows[count * row_step + e] = F{};
  return depth;
}

// What a launch may ask for without another word to the device.
template <class Shared>
constexpr size_t shared_bytes() {
  static_assert(sizeof(Shared) <= 48 * 1024);
  return sizeof(Shared);
}

// Calls run(T(), F()) with the element type of the tensors and the type of the factors.
template <class Run>
void with_factors(Dtype dtype, bool any_float64, bool allow_tf32, Run&& run) {
  dispatch(dtype, any_float64, [&](auto element, auto compute) {
    using T = decltype(element);
    if constexpr (std::is_same_v<decltype(compute), double>) {
      run(T(), double());
    } else if constexpr (std::is_same_v<T, float>) {
      if (allow_tf32) return run(T(), Tf32());
      run(T(), float());
    } else {
      run(T(), T());
    }
  });
}

}  // namespace vfi::cuda
