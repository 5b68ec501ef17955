// Sums of the gradient of modulated_deform_conv2d's input on CUDA, where taps of any pixels meet: by atomics, in one of two
// ways. They lie as in splatting/scatter.cuh: [B, C / 4, H, W, 4].
//
//   floating point   the order of the atomics is that of the moment.
//   fixed point      numbers scaled to 64-bit integers, whose sums have no order: the same result every time. The scale comes
//                    from bounds of all factors, found first, so that no sum can overflow. What is not finite is added to the
//                    floating point sums (of 0, infinity and NaN, sums have no order either) and wins. float64 has a second
//                    integer for what the first rounds off.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weights.cuh"

namespace vfi::cuda {

template <class A>
struct Bits;
template <>
struct Bits<float> {
  static constexpr int kMantissa = 23, kBias = 127, kLargest = 120, kParts = 1;
  static __device__ __forceinline__ int64_t of(float x) { return __float_as_uint(x); }
  static __device__ __forceinline__ float from(int64_t bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
};
template <>
struct Bits<double> {
  static constexpr int kMantissa = 52, kBias = 1023, kLargest = 1000, kParts = 2;
  static __device__ __forceinline__ int64_t of(double x) { return __double_as_longlong(x); }
  static __device__ __forceinline__ double from(int64_t bits) { return __longlong_as_double(bits); }
};

template <class A>
__device__ __forceinline__ A power_of_2(int exponent) {
  return Bits<A>::from(int64_t{exponent + Bits<A>::kBias} << Bits<A>::kMantissa);
}

// For finite |x| < 2^e: e, plus a number that makes it positive; 0 for 0 and what is not finite.
constexpr int kRangeBias = 2048;
template <class A>
__device__ __forceinline__ int range_of(A x) {
  if (!finite(x) || x == A(0)) return 0;
  const int64_t exponent = Bits<A>::of(x) >> Bits<A>::kMantissa & (2 * Bits<A>::kBias + 1);
  return static_cast<int>(exponent) - Bits<A>::kBias + 1 + kRangeBias;
}

// Of grad_out, of the mask, and of the sums of |weight| over the output channels: the largest range_of.
struct Ranges {
  int grad_out, mask, weight;
};

__device__ __forceinline__ void widen_range(int* to, int range) {
  int most = range;
  for (int step = 16; step > 0; step /= 2) most = max(most, __shfl_xor_sync(kFullWarp, most, step));
  if (threadIdx.x % 32 == 0 && most > 0) atomicMax(to, most);
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_ranges_kernel(const T* __restrict__ grad_out, const T* __restrict__ weight,
                                                                 Strides strides, DeformArgsGpu a, Ranges* __restrict__ to) {
  const DeformGeometry& g = a.g;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x, step = int64_t{gridDim.x} * kThreads;
  int range = 0;
  for (int64_t i = thread; i < a.out.elements(); i += step) range = max(range, range_of(widen<A>(grad_out[i])));
  widen_range(&to->grad_out, range);
  range = 0;
  const int64_t channels = g.offset_groups * a.taps;
  for (int64_t i = thread; i < g.B * channels * g.pixels() && a.mask.data != nullptr; i += step) {
    const int64_t pixel = i % g.pixels(), c = i / g.pixels() % channels, row = pixel / g.out_W;
    A mask[1];
    load(a.mask, i / g.pixels() / channels, c, static_cast<int32_t>(row), static_cast<int32_t>(pixel - row * g.out_W), mask);
    range = max(range, range_of(mask[0]));
  }
  widen_range(&to->mask, range);
  range = 0;
  for (int64_t i = thread; i < g.groups * a.group_in * a.taps; i += step) {
    const int64_t tap = i % a.taps, c = i / a.taps % a.group_in, group = i / a.taps / a.group_in;
    A sum = A(0);
    for (int64_t o = group * a.group_out; o < (group + 1) * a.group_out; ++o) {
      const A w = widen<A>(weight[weight_at(strides, g, o, c, tap)]);
      sum += finite(w) ? w < A(0) ? -w : w : A(0);
    }
    range = max(range, finite(sum) ? range_of(sum) : Bits<A>::kBias + 1 + kRangeBias);
  }
  widen_range(&to->weight, range);
}

// Where the sums go. `fixed` is null for sums in floating point.
struct InputSums {
  void* sums;  // null where they are not needed
  unsigned long long* fixed;
  int64_t elements;  // of either; float64's second integers follow the first
  const Ranges* ranges;
  int64_t four, sample;  // from four channels to the next four, and from one sample to the next
};

// The largest power of 2 for which no sum of m w_k G overflows: every tap of a pixel adds to a pixel once, with a weight up to
// 1. One bit is for the sign, one for the rounding of G.
template <class A>
__device__ __forceinline__ int scale_exponent(const InputSums& to, const DeformArgsGpu& a) {
  const auto bits = [](int range) { return range == 0 ? 0 : range - kRangeBias; };
  int64_t terms = int64_t{a.taps} * a.g.pixels();
  int exponent = 61 - bits(to.ranges->grad_out) - bits(to.ranges->weight) - (a.mask.data == nullptr ? 1 : bits(to.ranges->mask));
  for (; terms > 0; terms /= 2) --exponent;
  return min(max(exponent, -Bits<A>::kLargest), Bits<A>::kLargest);
}

template <class A>
__device__ __forceinline__ void add_fixed(const InputSums& to, int64_t element, A value, A scale) {
  if (!finite(value)) {
    atomicAdd(static_cast<A*>(to.sums) + element, value);
    return;
  }
  const A scaled = value * scale;
  const long long whole = std::llrint(scaled);
  atomicAdd(to.fixed + element, static_cast<unsigned long long>(whole));
  if constexpr (Bits<A>::kParts == 2) {
    const A rest = (scaled - static_cast<A>(whole)) * A(4294967296.0);
    atomicAdd(to.fixed + to.elements + element, static_cast<unsigned long long>(std::llrint(rest)));
  }
}

// Adds factor G of N channels to those from `element` on, which is that of a pixel and channel.
template <bool kFixed, int N, class A>
__device__ __forceinline__ void add_input_gradient(const InputSums& to, int64_t element, A factor, const A (&grad)[N], A scale) {
  constexpr int kWide = N % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int n = 0; n < N; n += kWide, element += to.four) {
    A v[kWide];
#pragma unroll
    for (int i = 0; i < kWide; ++i) v[i] = factor * grad[n + i];
    if constexpr (kFixed) {
#pragma unroll
      for (int i = 0; i < kWide; ++i) add_fixed(to, element + i, v[i], scale);
    } else if constexpr (kWide == 4) {
      atomic_add4(static_cast<A*>(to.sums) + element, v);
    } else {
      atomicAdd(static_cast<A*>(to.sums) + element, v[0]);
    }
  }
}

// The sums in fixed point become floating point, where nothing that is not finite has been added.
template <class A>
__global__ __launch_bounds__(kThreads) void deform_fixed_kernel(InputSums to, DeformArgsGpu a) {
  const int exponent = scale_exponent<A>(to, a);
  const A unit = power_of_2<A>(-exponent);
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < to.elements; i += int64_t{gridDim.x} * kThreads) {
    A* const sum = static_cast<A*>(to.sums) + i;
    if (*sum != A(0)) continue;
    A value = static_cast<A>(static_cast<long long>(to.fixed[i]));
    if constexpr (Bits<A>::kParts == 2) {
      value += static_cast<A>(static_cast<long long>(to.fixed[to.elements + i])) * A(1.0 / 4294967296.0);
    }
    *sum = value * unit;
  }
}

template <class T, class A>
void launch_deform_ranges(const T* grad_out, const T* weight, const Strides& strides, const DeformArgsGpu& a, Ranges* to,
                          cudaStream_t stream) {
  const int64_t blocks = grid_size(ceil_div(a.out.elements() + 1, 16 * kThreads));
  VFI_LAUNCH((deform_ranges_kernel<T, A>), blocks, kThreads, 0, stream, grad_out, weight, strides, a, to);
}

template <class A>
void launch_deform_fixed(const InputSums& to, const DeformArgsGpu& a, cudaStream_t stream) {
  if (to.elements == 0) return;
  VFI_LAUNCH((deform_fixed_kernel<A>), grid_size(ceil_div(to.elements, 8 * kThreads)), kThreads, 0, stream, to, a);
}

}  // namespace vfi::cuda
