// The tiles of sums that a warp multiplies on tensor cores, and where their factors lie in shared memory.
//
// WarpTiles is all that knows of tensor cores. Elsewhere (the tests' emulation, older devices) its second definition
// computes the same: factors are rounded before they get here.
#pragma once

#include <type_traits>
#include <utility>

#include "cuda/tensor_cores.cuh"

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
constexpr bool kTensorCores = std::is_same_v<F, Half> || std::is_same_v<F, BFloat16> || std::is_same_v<F, Tf32>;

// Which index of a factor has neighbours side by side: the row of the product (its column, of the right factor), or k.
enum class Inner { kRow, kDepth };

// Where a factor of kRows rows (or columns) and kMost k lies. Tensor cores load tf32 with k inside only; without them
// the row is. The padding spreads what is loaded together over the banks; 16 bytes keep every line aligned.
template <class F, int kRows_, Inner kInner = Inner::kRow, int kMost_ = 32>
struct Panel {
  static constexpr int kRows = kRows_, kMost = kMost_, kPack = 16 / static_cast<int>(sizeof(F));
  static constexpr bool kDepthInside = std::is_same_v<F, Tf32> || (kTensorCores<F> && kInner == Inner::kDepth);
  static constexpr int kStep = (kDepthInside ? kMost : kRows) + kPack;
  static constexpr int kElements = (kDepthInside ? kRows : kMost) * kStep;
  static constexpr __device__ __forceinline__ int at(int row, int k) { return kDepthInside ? row * kStep + k : k * kStep + row; }
};

// The sums of a warp: kDown times 16 rows, kAcross times 16 columns, of factors that lie as Left and Right say.
#ifndef VFI_TENSOR_CORES
template <class F, class Left, class Right, int kDown, int kAcross>
class WarpTiles {
  float sums_[kDown][kAcross][8];
  static __device__ int row(int i) { return (static_cast<int>(threadIdx.x) % 32 + 32 * i) / 16; }
  static __device__ int column() { return static_cast<int>(threadIdx.x) % 16; }
  template <class Do>
  __device__ void for_each(const Do& run) {
    for (int m = 0; m < kDown; ++m) {
      for (int n = 0; n < kAcross; ++n) {
        for (int i = 0; i < 8; ++i) run(sums_[m][n][i], 16 * m + row(i), 16 * n + column());
      }
    }
  }

 public:
  static constexpr int kStep = 16;  // k is a multiple of it

  __device__ void clear() {
    for_each([](float& sum, int, int) { sum = 0; });
  }
  __device__ void multiply_add(const F* left, const F* right, int depth) {
    for_each([&](float& sum, int m, int n) {
      for (int k = 0; k < depth; ++k) sum += widen<float>(left[Left::at(m, k)]) * widen<float>(right[Right::at(n, k)]);
    });
  }
  template <class To>
  __device__ void store(float* to) {
    for_each([&](float& sum, int m, int n) { to[To::at(m, n)] = sum; });
  }
};
#else
// ldmatrix brings 8 x 8 elements of 16 bits, or 8 x 4 of 32, to the registers where mma.sync m16n8k16 (k8 for tf32) wants
// them; transposed where the row of the product is inside.
template <class F, class Left, class Right, int kDown, int kAcross>
class WarpTiles {
  float sums_[kDown][kAcross][8];
  static constexpr int kSteps = std::is_same_v<F, Tf32> ? 2 : 1, kHalf = 16 / static_cast<int>(sizeof(F));  // half of an mma's k

  // kElement: how far from the address, known beforehand.
  template <class P, int kElement>
  static __device__ __forceinline__ void load4(unsigned (&r)[4], unsigned address) {
    load_matrices<!P::kDepthInside, kElement * static_cast<int>(sizeof(F))>(r, address);
  }
  // Lanes 8 q .. 8 q + 7 say where the lines of matrix q are. Left: q & 1 is the lower half, q & 2 the later k; right: q & 2
  // the right half, q & 1 the later k.
  static __device__ __forceinline__ int place_of_left() {
    const unsigned lane = threadIdx.x % 32, line = lane % 8, down = lane & 8, later = lane / 16;
    return Left::kDepthInside ? Left::at(line + down, later * kHalf) : Left::at(down, line + later * 8);
  }
  static __device__ __forceinline__ int place_of_right() {
    const unsigned lane = threadIdx.x % 32, line = lane % 8, later = lane / 8 % 2, across = lane / 16 * 8;
    return Right::kDepthInside ? Right::at(line + across, later * kHalf) : Right::at(across, line + later * 8);
  }

  template <int k, int... m>
  static __device__ __forceinline__ void load_left(unsigned (&a)[kDown][4], unsigned from, std::integer_sequence<int, m...>) {
    (load4<Left, Left::at(16 * m, 2 * kHalf * k)>(a[m], from), ...);
  }
  template <int k, int n>
  __device__ __forceinline__ void column(const unsigned (&a)[kDown][4], unsigned from) {
    unsigned b[4];
    load4<Right, Right::at(16 * n, 2 * kHalf * k)>(b, from);
#pragma unroll
    for (int m = 0; m < kDown; ++m) {
      multiply_matrices<F>(sums_[m][n], sums_[m][n] + 2, a[m], b[0], b[1]);
      multiply_matrices<F>(sums_[m][n] + 4, sums_[m][n] + 6, a[m], b[2], b[3]);
    }
  }
  template <int k, int... n>
  __device__ __forceinline__ void one(unsigned from_left, unsigned from_right, std::integer_sequence<int, n...>) {
    unsigned a[kDown][4];
    load_left<k>(a, from_left, std::make_integer_sequence<int, kDown>());
    (column<k, n>(a, from_right), ...);
  }
  template <int... k>
  __device__ __forceinline__ void step(unsigned from_left, unsigned from_right, std::integer_sequence<int, k...>) {
    (one<k>(from_left, from_right, std::make_integer_sequence<int, kAcross>()), ...);
  }

 public:
  static constexpr int kStep = 16;

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kDown * kAcross * 8; ++i) sums_[i / 8 / kAcross][i / 8 % kAcross][i % 8] = 0;
  }
  __device__ __forceinline__ void multiply_add(const F* left, const F* right, int depth) {
    constexpr unsigned kLeftBytes = Left::at(0, kStep) * sizeof(F), kRightBytes = Right::at(0, kStep) * sizeof(F);
    unsigned from_left = static_cast<unsigned>(__cvta_generic_to_shared(left + place_of_left()));
    unsigned from_right = static_cast<unsigned>(__cvta_generic_to_shared(right + place_of_right()));
#pragma unroll 2
    for (int k = 0; k < depth; k += kStep) {
      step(from_left, from_right, std::make_integer_sequence<int, kSteps>());
      from_left += kLeftBytes;
      from_right += kRightBytes;
    }
  }
  template <class To>
  __device__ __forceinline__ void store(float* to) const {
    const unsigned lane = threadIdx.x % 32;
    to += To::at(lane / 4, lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < kDown * kAcross * 4; ++i) {
      const float* sum = sums_[i / 4 / kAcross][i / 4 % kAcross] + i % 4 * 2;
      float* const first = to + To::at(i / 4 / kAcross * 16 + i % 2 * 8, i / 4 % kAcross * 16 + i / 2 % 2 * 8);
      if constexpr (To::kColumnInside) {
        store_pack(first, Pack<float, 2>{{sum[0], sum[1]}});
      } else {
        first[0] = sum[0];
        first[To::at(0, 1)] = sum[1];
      }
    }
  }
};
#endif

}  // namespace vfi::cuda
