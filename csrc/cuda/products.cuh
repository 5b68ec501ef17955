// Products of a block: sums[m][n] += sum over k of left[m][k] right[n][k], both factors in shared memory. On the tensor
// cores for half, bfloat16 and tf32 factors, with float32 sums; by fused multiply-adds for float32 and float64.
#pragma once

#include "cuda/warp_tiles.cuh"

namespace vfi::cuda {

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

// Where the sums of a block lie in shared memory; `kColumnInside`: the columns of a row side by side, else the rows of a
// column.
template <int M, int N = kTile, bool kColumnInside_ = true>
struct SumPanel {
  static constexpr int kRows = M, kColumns = N;
  static constexpr bool kColumnInside = kColumnInside_;
  static constexpr int kStep = (kColumnInside ? N : M) + 4, kElements = (kColumnInside ? M : N) * kStep;
  static __device__ __forceinline__ int at(int m, int n) { return kColumnInside ? m * kStep + n : n * kStep + m; }
};

// The sums of a block in registers: a row for every row of Left, a column for every one of Right. Warps share the tiles.
template <class F, class Left, class Right, bool kTensor = kTensorCores<F>>
class SumsOf {
  static constexpr int M = Left::kRows, N = Right::kRows, kTiles = M * N / 256 / (kThreads / 32);  // of a warp
  static constexpr int kDown = kTiles > 1 && M > 16 ? 2 : 1, kAcross = kTiles / kDown;
  static_assert(kTiles >= 1 && kAcross * kDown == kTiles);
  WarpTiles<F, Left, Right, kDown, kAcross> tiles_;
  static __device__ __forceinline__ unsigned warp() { return threadIdx.x / 32; }
  static __device__ __forceinline__ int row() { return warp() % (M / 16 / kDown) * 16 * kDown; }
  static __device__ __forceinline__ int column() { return warp() / (M / 16 / kDown) * 16 * kAcross; }

 public:
  static constexpr int kStep = WarpTiles<F, Left, Right, kDown, kAcross>::kStep;  // k is a multiple of it

  __device__ __forceinline__ void clear() { tiles_.clear(); }
  // `rows` of the M are wanted.
  __device__ __forceinline__ void multiply_add(const F* left, const F* right, int depth, int rows) {
    if (row() >= rows) return;
    tiles_.multiply_add(left + Left::at(row(), 0), right + Right::at(column(), 0), depth);
  }
  template <class To = SumPanel<M, N>>
  __device__ __forceinline__ void store(float* to) {
    tiles_.template store<To>(to + To::at(row(), column()));
  }
};

// A thread has M / 16 rows and N / 16 columns.
template <class F, class Left, class Right>
class SumsOf<F, Left, Right, false> {
  static constexpr int M = Left::kRows, N = Right::kRows, kRows = M / 16, kColumns = N / 16;
  static constexpr int kWide = 16 / static_cast<int>(sizeof(F)), kPack = kRows < kWide ? kRows : kWide;
  F sums_[kRows][kColumns];
  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x / 16) * kRows; }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x % 16) * kColumns; }

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
      for (int i = 0; i < kRows / kPack; ++i) a[i] = load_pack<F, kPack>(left + Left::at(row() + i * kPack, k));
#pragma unroll
      for (int i = 0; i < kColumns / kWide; ++i) b[i] = load_pack<F, kWide>(right + Right::at(column() + i * kWide, k));
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          sums_[m][n] += a[m / kPack].at[m % kPack] * b[n / kWide].at[n % kWide];
        }
      }
    }
  }
  template <class To = SumPanel<M, N>>
  __device__ __forceinline__ void store(F* to) {
#pragma unroll
    for (int i = 0; i < kRows * kColumns; ++i) {
      to[To::at(row() + i / kColumns, column() + i % kColumns)] = sums_[i / kColumns][i % kColumns];
    }
  }
};

// The usual factors of a block: M rows, kTile columns, kDepth k.
template <class F, int M>
using LeftPanel = Panel<F, M, Inner::kRow, kDepth>;
template <class F>
using RightPanel = Panel<F, kTile, Inner::kRow, kDepth>;
template <class F, int M>
using Sums = SumsOf<F, LeftPanel<F, M>, RightPanel<F>>;

template <class F, class Left, class Right>
struct FactorsOf {
  F right[Right::kElements];
  F left[Left::kElements];
};
template <class F, int M>
using Factors = FactorsOf<F, LeftPanel<F, M>, RightPanel<F>>;

// `count` lines of k of packed weights, M columns each, as the left factor. Neighbouring threads store side by side.
template <int M, class F>
__device__ __forceinline__ void load_left(F* left, const F* __restrict__ lines, int64_t line_length, int count) {
  using Left = LeftPanel<F, M>;
  constexpr int N = Left::kPack;
  for (unsigned e = threadIdx.x; e < kDepth * (M / N); e += kThreads) {
    const int k = Left::kDepthInside ? e % kDepth : e / (M / N), m = (Left::kDepthInside ? e / kDepth : e % (M / N)) * N;
    if (k >= count) continue;
    const Pack<F, N> pack = load_pack<F, N>(lines + k * line_length + m);
    if constexpr (Left::kDepthInside) {
#pragma unroll
      for (int n = 0; n < N; ++n) left[Left::at(m + n, k)] = pack.at[n];
    } else {
      store_pack(left + Left::at(m, k), pack);
    }
  }
}

// What the last step of a product may read beyond `count` k.
template <int kStep, class P, class F>
__device__ __forceinline__ int clear_tail(F* factor, int count) {
  const int depth = (count + kStep - 1) / kStep * kStep;
  for (int e = threadIdx.x; e < (depth - count) * P::kRows; e += kThreads) {
    factor[P::at(e % P::kRows, count + e / P::kRows)] = F{};
  }
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
