// The gradient of adacof's image on CUDA; see adacof_kernels.cuh. A thread has one pixel, and adds by atomics, in one of two
// ways. Sums are packs of channels, [B, groups, in_H, in_W], as those of a splat (splatting/scatter.cuh), which finish_sums()
// makes the gradient of.
//
//   floating point   the order of the atomics is that of the moment.
//   fixed point      the same result every time (cuda/fixed_point.cuh), for torch.use_deterministic_algorithms(True). What is
//                    not finite is added in floating point (of infinity and NaN, sums have no order either) and wins.
#pragma once

#include "cuda/fixed_point.cuh"
#include "ops/adacof/adacof_kernels.cuh"

namespace vfi::cuda {

// `odd`: something is not finite.
struct AdacofRanges {
  int grad_out, weight, odd;
};

template <class A>
struct AdacofSums {
  AdacofPack<A>* sums;
  AdacofPack<unsigned long long>* fixed;  // null for sums in floating point
  int64_t packs;                          // of either; float64's second integers follow the first
  const AdacofRanges* ranges;
  int terms;  // 2^terms is more than how many numbers a sum has, times the largest weight of a corner

  // Of the largest product of a weight and a gradient.
  __device__ __forceinline__ int bits() const { return bits_of_range(ranges->weight) + bits_of_range(ranges->grad_out); }
  __device__ __forceinline__ int exponent() const { return exponent_of_scale<A>(terms, 0, bits()); }
  __device__ __forceinline__ bool finite() const { return ranges->odd == 0 && bits() < Bits<A>::kBias; }
};

// Calls add(to, weight) for the corners of a tap; one of weight 0 gets nothing.
template <class E, class A, class Add>
__device__ __forceinline__ void scatter_tap(E* sums, const AdacofArgsGpu& a, QuickTap<A>& tap, Add&& add) {
  constexpr A kLeast = A(1e-15);  // the square of which is a float32
  const bool inside = tap.inside();
  if (!inside) tap.clip(a);
  E *const upper = sums + corner_of(a, tap), *const lower = upper + a.in_width;
  const A weights[4] = {tap.y.r * tap.x.r, tap.y.r * tap.x.l, tap.y.l * tap.x.r, tap.y.l * tap.x.l};
  if (inside && std::abs(tap.x.l) > kLeast && std::abs(tap.y.l) > kLeast) {
    add(upper, weights[0]);
    add(upper + 1, weights[1]);
    add(lower, weights[2]);
    add(lower + 1, weights[3]);
  } else if (finite(tap.x.l) && finite(tap.y.l)) {
    if (weights[0] != A(0)) add(upper, weights[0]);
    if (weights[1] != A(0)) add(upper + 1, weights[1]);
    if (weights[2] != A(0)) add(lower, weights[2]);
    if (weights[3] != A(0)) add(lower + 1, weights[3]);
  }
}

// All memory of sums is cleared.
template <class T, class A, class W>
__global__ __launch_bounds__(kThreads, kAdacofResident<A>) void adacof_grad_scatter_kernel(const T* __restrict__ grad_out,
                                                                                           AdacofSums<A> to,
                                                                                           AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.groups(), at)) return;
  AdacofPack<A>* const sums = to.sums + (at.b * a.groups() + at.part) * a.in_plane();
  A upstream[kAdacofGroup];
  load_upstream(upstream, grad_out + at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x, a, at.part);
  for_each_tap<W>(a, at, [&](const AdacofTaps<W>& taps, int32_t y, int32_t x) {
    QuickTap<A> tap(a, taps, y, x);
    A g[kAdacofGroup];
#pragma unroll
    for (int n = 0; n < kAdacofGroup; ++n) g[n] = tap.weight * upstream[n];
    scatter_tap(sums, a, tap, [&](AdacofPack<A>* corner, A weight) {
      A shares[kAdacofGroup];
#pragma unroll
      for (int n = 0; n < kAdacofGroup; ++n) shares[n] = weight * g[n];
      atomic_add4(corner->at, shares);
    });
  });
}

// The same of the first kChannels channels of the group in fixed point; those that the image has not are 0. kFinite: so are all
// numbers.
template <bool kFinite, int kChannels, class W, class A>
__device__ __forceinline__ void scatter_fixed(const AdacofSums<A>& to, const AdacofArgsGpu& a, const AdacofPlace& at,
                                              const A (&upstream)[kAdacofGroup]) {
  using Packs = AdacofPack<unsigned long long>;
  const int64_t first = (at.b * a.groups() + at.part) * a.in_plane(), second = kAdacofGroup * to.packs;
  Packs* const fixed = to.fixed + first;
  const A scale = power_of_2<A>(to.exponent());
  for_each_tap<W>(a, at, [&](const AdacofTaps<W>& taps, int32_t y, int32_t x) {
    QuickTap<A> tap(a, taps, y, x);
    A g[kChannels];
#pragma unroll
    for (int n = 0; n < kChannels; ++n) g[n] = tap.weight * upstream[n] * scale;
    scatter_tap(fixed, a, tap, [&](Packs* corner, A weight) {
#pragma unroll
      for (int n = 0; n < kChannels; ++n) {
        const A share = weight * g[n];
        if (kFinite || finite(share)) add_fixed(corner->at + n, second, share);
        else atomicAdd(to.sums[corner - to.fixed].at + n, share);
      }
    });
  });
}

template <class T, class A, class W>
__global__ __launch_bounds__(kThreads, kAdacofResident<A>) void adacof_grad_fixed_kernel(const T* __restrict__ grad_out,
                                                                                         AdacofSums<A> to, AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.groups(), at)) return;
  A upstream[kAdacofGroup];
  load_upstream(upstream, grad_out + at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x, a, at.part);
  if (!to.finite()) scatter_fixed<false, kAdacofGroup, W>(to, a, at, upstream);
  else if (a.channels - at.part * kAdacofGroup < kAdacofGroup) scatter_fixed<true, kAdacofGroup - 1, W>(to, a, at, upstream);
  else scatter_fixed<true, kAdacofGroup, W>(to, a, at, upstream);
}

// How large the factors of all sums get. `packed`: grad_out is aligned to 16 bytes.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_ranges_kernel(const T* __restrict__ grad_out, AdacofArgsGpu a, bool packed,
                                                                 AdacofRanges* __restrict__ to) {
  Magnitude<A> up, weight;
  add_elements(grad_out, a.batch * a.channels * a.plane(), packed, up);
  up.widen(&to->grad_out, &to->odd);
  add_planes(a.weights, {a.batch, a.taps(), a.height, a.width}, weight);
  weight.widen(&to->weight, &to->odd);
}

// Sums in fixed point become sums in floating point.
template <class A>
__global__ __launch_bounds__(kThreads) void adacof_unfix_kernel(AdacofSums<A> to) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= to.packs) return;
  const A unit = power_of_2<A>(-to.exponent());
  const AdacofPack<A> fixed = fixed_sums<A, kAdacofGroup>(to.fixed[i].at, kAdacofGroup * to.packs);
  AdacofPack<A> sums = to.sums[i];
#pragma unroll
  for (int n = 0; n < kAdacofGroup; ++n) {
    if (sums.at[n] == A(0)) sums.at[n] = fixed.at[n] * unit;
  }
  to.sums[i] = sums;
}

// A pixel of the image gets one corner of each tap; fractions are less than 1, and their complements less than 2.
inline int adacof_terms(const AdacofArgsGpu& a) {
  int bits = 2;
  for (int64_t terms = a.taps() * a.plane(); terms > 0; terms /= 2) ++bits;
  return bits;
}

// Bytes that a deterministic gradient needs beside its sums.
inline int64_t adacof_fixed_bytes(const AdacofArgsGpu& a, bool wide) {
  return a.batch * a.groups() * a.in_plane() * (wide ? 2 : 1) * static_cast<int64_t>(sizeof(AdacofPack<unsigned long long>));
}

// All memory is cleared here. `fixed` null: the order of the sums is that of the moment.
inline void launch_adacof_grad_image(const void* grad_out, void* sums, void* fixed, AdacofRanges* ranges, Dtype dtype,
                                     const AdacofArgsGpu& a, cudaStream_t stream) {
  const int64_t packs = a.batch * a.groups() * a.in_plane();
  if (packs == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const T* const g = static_cast<const T*>(grad_out);
    const AdacofSums<A> to{static_cast<AdacofPack<A>*>(sums), static_cast<AdacofPack<unsigned long long>*>(fixed), packs,
                           ranges, adacof_terms(a)};
    clear(sums, packs * sizeof(AdacofPack<A>), stream);
    if (a.plane() == 0) return;
    if (fixed != nullptr) {
      clear(fixed, adacof_fixed_bytes(a, sizeof(A) == 8), stream);
      clear(ranges, sizeof(AdacofRanges), stream);
      const int64_t blocks = grid_size(ceil_div(a.batch * a.taps() * a.plane(), 32 * kThreads));
      VFI_LAUNCH((adacof_ranges_kernel<T, A>), blocks, kThreads, 0, stream, g, a, reinterpret_cast<uintptr_t>(g) % 16 == 0,
                 ranges);
    }
    with_tap_type<T, A>(dtype, a, [&](auto* type) {
      using W = std::remove_pointer_t<decltype(type)>;
      if (fixed == nullptr) {
        VFI_LAUNCH((adacof_grad_scatter_kernel<T, A, W>), adacof_grid(a, a.groups()), kThreads, 0, stream, g, to, a);
      } else {
        VFI_LAUNCH((adacof_grad_fixed_kernel<T, A, W>), adacof_grid(a, a.groups()), kThreads, 0, stream, g, to, a);
      }
    });
    if (fixed != nullptr) VFI_LAUNCH((adacof_unfix_kernel<A>), ceil_div(packs, kThreads), kThreads, 0, stream, to);
  });
}

}  // namespace vfi::cuda
