// Sums in fixed point: numbers are scaled to 64-bit integers, whose sums have no order: the same result every time. float64 has
// a second integer for what the first rounds off. The scale comes from how large the factors of all numbers get, which a
// kernel finds first, so that no sum can overflow.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

template <class A>
struct Bits;
template <>
struct Bits<float> {
  using Unsigned = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127, kLargest = 120, kParts = 1;
  static __device__ __forceinline__ uint32_t of(float x) { return __float_as_uint(x); }
  static __device__ __forceinline__ float from(uint32_t bits) { return __uint_as_float(bits); }
};
template <>
struct Bits<double> {
  using Unsigned = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kLargest = 1000, kParts = 2;
  static __device__ __forceinline__ uint64_t of(double x) { return static_cast<uint64_t>(__double_as_longlong(x)); }
  static __device__ __forceinline__ double from(uint64_t bits) { return __longlong_as_double(static_cast<int64_t>(bits)); }
};

template <class A>
__device__ __forceinline__ A power_of_2(int exponent) {
  using U = typename Bits<A>::Unsigned;
  return Bits<A>::from(static_cast<U>(exponent + Bits<A>::kBias) << Bits<A>::kMantissa);
}

// How large numbers get: for the largest finite |x| < 2^e, e plus a number that makes it positive; 0 where all are 0.
constexpr int kRangeBias = 2048;
__device__ __forceinline__ int bits_of_range(int range) { return range == 0 ? 0 : range - kRangeBias; }

// The largest magnitudes among numbers, as bits, which have the same order.
template <class A>
struct Magnitude {
  using U = typename Bits<A>::Unsigned;
  static constexpr U kInfinity = U{2 * Bits<A>::kBias + 1} << Bits<A>::kMantissa;
  U finite = 0, any = 0;

  // |x| if that is finite, else 0.
  __device__ __forceinline__ A add(A x) {
    const U bits = Bits<A>::of(x) & (kInfinity | (kInfinity - 1)), kept = bits < kInfinity ? bits : U{0};
    any = max(any, bits);
    finite = max(finite, kept);
    return Bits<A>::from(kept);
  }
  // `odd`: something is not finite. All lanes of a warp have to call it.
  __device__ __forceinline__ void widen(int* range, int* odd) const {
    int most = finite == 0 ? 0 : static_cast<int>(finite >> Bits<A>::kMantissa) - Bits<A>::kBias + 1 + kRangeBias;
    int infinite = any >= kInfinity;
    for (int step = 16; step > 0; step /= 2) {
      most = max(most, __shfl_xor_sync(kFullWarp, most, step));
      infinite = max(infinite, __shfl_xor_sync(kFullWarp, infinite, step));
    }
    if (threadIdx.x % 32 != 0) return;
    if (most > 0) atomicMax(range, most);
    if (infinite > 0) atomicMax(odd, 1);
  }
};

// All elements of dense memory go by, in blocks of kThreads; `packed`: it is aligned to 16 bytes.
template <class T, class A>
__device__ __forceinline__ void add_elements(const T* __restrict__ values, int64_t count, bool packed, Magnitude<A>& to) {
  constexpr int N = 16 / static_cast<int>(sizeof(T));
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x, threads = int64_t{gridDim.x} * kThreads;
  const int64_t packs = packed ? count / N : 0;
#pragma unroll 1
  for (int64_t i = thread; i < packs; i += threads) {
    const Pack<T, N> pack = load_pack<T, N>(values + i * N);
#pragma unroll
    for (int n = 0; n < N; ++n) to.add(widen<A>(pack.at[n]));
  }
#pragma unroll 1
  for (int64_t i = packs * N + thread; i < count; i += threads) to.add(widen<A>(values[i]));
}

// Numbers [batch, channels, height, width] that may have any strides. Blocks have rows.
struct PlaneSizes {
  int64_t batch;
  int32_t channels, height, width;
};
template <class T, class A>
__device__ __forceinline__ void add_planes_as(const ConstView& view, const PlaneSizes& sizes, Magnitude<A>& to) {
  if (sizes.height == 0) return;
  // Rows of all samples in turn, without a division for each.
  const int32_t blocks = static_cast<int32_t>(gridDim.x), first = static_cast<int32_t>(blockIdx.x);
  const int32_t samples = blocks / sizes.height, rows = blocks - samples * sizes.height;
  int64_t b = first / sizes.height;
  for (int32_t i = first % sizes.height; b < sizes.batch; i += rows, b += samples) {
    if (i >= sizes.height) i -= sizes.height, ++b;
    if (b >= sizes.batch) break;
    for (int32_t j = static_cast<int32_t>(threadIdx.x); j < sizes.width; j += kThreads) {
      const T* at = static_cast<const T*>(view.data) + view.strides.offset(b, 0, i, j);
#pragma unroll 4
      for (int32_t c = sizes.channels; c > 0; --c, at += view.strides.channel) to.add(widen<A>(*at));
    }
  }
}
template <class A>
__device__ __forceinline__ void add_planes(const ConstView& view, const PlaneSizes& sizes, Magnitude<A>& to) {
  switch (view.dtype) {
    case Dtype::kFloat64: return add_planes_as<double>(view, sizes, to);
    case Dtype::kFloat32: return add_planes_as<float>(view, sizes, to);
    case Dtype::kFloat16: return add_planes_as<Half>(view, sizes, to);
    default: add_planes_as<BFloat16>(view, sizes, to);
  }
}

// The largest power of 2 for which no sum of less than 2^terms products overflows, one factor of which is less than 2^first and
// the others less than 2^rest. One bit is for the sign, one for rounding. It does not overflow times the first factor either.
template <class A>
__device__ __forceinline__ int exponent_of_scale(int terms, int first, int rest) {
  const int exponent = min(61 - terms - rest - first, Bits<A>::kLargest - max(first, 0));
  return max(exponent, -Bits<A>::kLargest);
}

// `second`: from a first integer to its second.
template <class A>
__device__ __forceinline__ void add_fixed(unsigned long long* at, int64_t second, A scaled) {
  const long long whole = std::llrint(scaled);
  atomicAdd(at, static_cast<unsigned long long>(whole));
  if constexpr (Bits<A>::kParts == 2) {
    const A rest = (scaled - static_cast<A>(whole)) * A(4294967296.0);
    atomicAdd(at + second, static_cast<unsigned long long>(std::llrint(rest)));
  }
}

// N sums, not yet divided by the scale.
template <class A, int N>
__device__ __forceinline__ Pack<A, N> fixed_sums(const unsigned long long* at, int64_t second) {
  using Two = Pack<long long, 2>;
  Pack<A, N> sums;
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    const Two whole = *reinterpret_cast<const Two*>(at + n);
    Two rest{};
    if constexpr (Bits<A>::kParts == 2) rest = *reinterpret_cast<const Two*>(at + second + n);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      sums.at[n + m] = static_cast<A>(whole.at[m]);
      if constexpr (Bits<A>::kParts == 2) sums.at[n + m] += static_cast<A>(rest.at[m]) * A(1.0 / 4294967296.0);
    }
  }
  return sums;
}

}  // namespace vfi::cuda
