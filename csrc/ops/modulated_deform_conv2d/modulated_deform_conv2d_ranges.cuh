// How large the factors of modulated_deform_conv2d's gradient of the input can be, and whether all are finite, for sums in
// fixed point on CUDA.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weights.cuh"

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

// Of grad_out, of the mask, and of the sums of |weight| over the output channels: for the largest finite |x| < 2^e, e plus a
// number that makes it positive; 0 for 0. `odd`: something is not finite.
struct Ranges {
  int grad_out, mask, weight, odd;
};
constexpr int kRangeBias = 2048;

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
  // All lanes of a warp have to call it.
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

// Blocks have rows.
template <class T, class A>
__device__ __forceinline__ void add_masks(const ConstView& mask, const DeformArgsGpu& a, Magnitude<A>& to) {
  const int32_t channels = static_cast<int32_t>(a.g.offset_groups) * a.taps;
  for (int64_t b = 0; b < a.g.B; ++b) {
    for (int32_t i = static_cast<int32_t>(blockIdx.x); i < a.g.out_H; i += static_cast<int32_t>(gridDim.x)) {
      for (int32_t j = static_cast<int32_t>(threadIdx.x); j < a.g.out_W; j += kThreads) {
        const T* at = static_cast<const T*>(mask.data) + pixel_element(mask.strides, b, i, j);
#pragma unroll 4
        for (int32_t c = channels; c > 0; --c, at += mask.strides.channel) to.add(widen<A>(*at));
      }
    }
  }
}

// `packed`: grad_out is aligned to 16 bytes.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_ranges_kernel(const T* __restrict__ grad_out, const T* __restrict__ weight,
                                                                 Strides strides, DeformArgsGpu a, bool packed,
                                                                 Ranges* __restrict__ to) {
  constexpr int N = 16 / static_cast<int>(sizeof(T));
  const DeformGeometry& g = a.g;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x, threads = int64_t{gridDim.x} * kThreads;
  const int64_t packs = packed ? a.out.elements() / N : 0;
  Magnitude<A> up, mask, sums;
#pragma unroll 1
  for (int64_t i = thread; i < packs; i += threads) {
    const Pack<T, N> values = load_pack<T, N>(grad_out + i * N);
#pragma unroll
    for (int n = 0; n < N; ++n) up.add(widen<A>(values.at[n]));
  }
#pragma unroll 1
  for (int64_t i = packs * N + thread; i < a.out.elements(); i += threads) up.add(widen<A>(grad_out[i]));
  up.widen(&to->grad_out, &to->odd);
  if (a.mask.data != nullptr) {
    switch (a.mask.dtype) {
      case Dtype::kFloat64: add_masks<double>(a.mask, a, mask); break;
      case Dtype::kFloat32: add_masks<float>(a.mask, a, mask); break;
      case Dtype::kFloat16: add_masks<Half>(a.mask, a, mask); break;
      default: add_masks<BFloat16>(a.mask, a, mask);
    }
    mask.widen(&to->mask, &to->odd);
  }
#pragma unroll 1
  for (int64_t i = thread; i < g.C * a.taps; i += threads) {
    const int32_t line = static_cast<int32_t>(i), channel = line / a.taps, tap = line - channel * a.taps;
    const int32_t group = channel / a.group_in, c = channel - group * a.group_in;
    const T* w = weight + strides.offset(int64_t{group} * a.group_out, c, tap / g.KW, tap % g.KW);
    A sum = A(0);
    for (int32_t o = a.group_out; o > 0; --o, w += strides.batch) sum += sums.add(widen<A>(*w));
    sums.add(min(sum, Bits<A>::from(Magnitude<A>::kInfinity - 1)));
  }
  sums.widen(&to->weight, &to->odd);
}

template <class T, class A>
void launch_deform_ranges(const T* grad_out, const T* weight, const Strides& strides, const DeformArgsGpu& a, Ranges* to,
                          cudaStream_t stream) {
  const int64_t blocks = grid_size(ceil_div(a.out.elements() + 1, 32 * kThreads));
  VFI_LAUNCH((deform_ranges_kernel<T, A>), blocks, kThreads, 0, stream, grad_out, weight, strides, a,
             reinterpret_cast<uintptr_t>(grad_out) % 16 == 0, to);
}

}  // namespace vfi::cuda
