// adacof on CUDA; the formulas are in adacof.h. Images are contiguous; they are packed first, kAdacofGroup channels of a pixel
// side by side, in the compute type: there are many taps, and few bytes in an image beside theirs. A thread has one pixel and
// the sums of a group of channels, through all taps. Taps read four corners without asking for their weights; a pixel
// with a sum that is not finite is taken again, exactly.
#pragma once

#include "ops/adacof/adacof_taps.cuh"

namespace vfi::cuda {

// What a thread has: `part` of the work of output pixel (y, x).
struct AdacofPlace {
  int64_t b;
  int32_t y, x, part;
};

// Parts go slowest: neighbouring threads have neighbouring pixels of one part.
__device__ __forceinline__ bool adacof_place(const AdacofArgsGpu& a, int32_t parts, AdacofPlace& at) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= a.batch * parts * a.plane()) return false;
  const int64_t row = i / a.width, plane = row / a.height;
  at = {plane / parts, static_cast<int32_t>(row - plane * a.height), static_cast<int32_t>(i - row * a.width),
        static_cast<int32_t>(plane % parts)};
  return true;
}

inline Grid adacof_grid(const AdacofArgsGpu& a, int64_t parts) {
  return ceil_div(a.batch * parts * a.plane(), kThreads);
}

// Where the first corner of a tap is in its plane, of which 2^32 pixels are more than memory holds.
template <class Tap>
__device__ __forceinline__ uint32_t corner_of(const AdacofArgsGpu& a, const Tap& tap) {
  return static_cast<uint32_t>(tap.y.at) * static_cast<uint32_t>(a.in_width) + static_cast<uint32_t>(tap.x.at);
}

template <class A>
using AdacofPack = Pack<A, kAdacofGroup>;  // channels of a pixel; 0 beyond the last

// The image as packs [B, groups, in_H, in_W]: a tap reads a corner of all channels of a group at once.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_pack_kernel(const T* __restrict__ image, AdacofPack<A>* __restrict__ packs,
                                                               AdacofArgsGpu a) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, plane = i / a.in_plane();
  if (plane >= a.batch * a.groups()) return;
  const int64_t b = plane / a.groups(), c = (plane - b * a.groups()) * kAdacofGroup;
  image += (b * a.channels + c) * a.in_plane() + (i - plane * a.in_plane());
  AdacofPack<A> pack;
#pragma unroll
  for (int k = 0; k < kAdacofGroup; ++k) pack.at[k] = c + k < a.channels ? widen<A>(image[k * a.in_plane()]) : A(0);
  packs[i] = pack;
}

// Adds one tap's samples, exactly: a corner of weight 0 is not read.
template <class A>
__device__ __forceinline__ void add_exactly(A (&sums)[kAdacofGroup], const AdacofPack<A>* packs, const AdacofArgsGpu& a,
                                            const AdacofTap<A>& tap) {
  const Corners<A> corner = corners(tap.x, tap.y);
  if (!corner.any()) return;
  AdacofPack<A> v[4];
  packs += corner_of(a, tap);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    v[k] = AdacofPack<A>{};
    if (corner.used[k]) v[k] = packs[(k >> 1) * a.in_width + (k & 1)];
  }
#pragma unroll
  for (int n = 0; n < kAdacofGroup; ++n) sums[n] += tap.weight * interpolate(corner, v, n);
}

// The same of a tap that has all four corners: a weight of 0 meets what it may.
template <class A>
__device__ __forceinline__ void add_quickly(A (&sums)[kAdacofGroup], const AdacofPack<A>* packs, const AdacofArgsGpu& a,
                                            const QuickTap<A>& tap) {
  const A up = tap.weight * tap.y.r, down = tap.weight * tap.y.l;
  const A weights[4] = {up * tap.x.r, up * tap.x.l, down * tap.x.r, down * tap.x.l};
  const AdacofPack<A>*const upper = packs + corner_of(a, tap), *const lower = upper + a.in_width;
  const AdacofPack<A> v[4] = {upper[0], upper[1], lower[0], lower[1]};
#pragma unroll
  for (int i = 0; i < 4 * kAdacofGroup; ++i) {
    sums[i % kAdacofGroup] += weights[i / kAdacofGroup] * v[i / kAdacofGroup].at[i % kAdacofGroup];
  }
}

// Calls run(taps, y, x) for each tap of a pixel, whose place without an offset is (y, x).
template <class W, class Run>
__device__ __forceinline__ void for_each_tap(const AdacofArgsGpu& a, const AdacofPlace& at, Run&& run) {
  AdacofTaps<W> taps(a, at.b, 0, at.y, at.x);
#pragma unroll 1
  for (int32_t i = 0, y = at.y; i < a.side; ++i, y += a.dilation) {
#pragma unroll 1
    for (int32_t j = 0, x = at.x; j < a.side; ++j, x += a.dilation, taps.advance()) run(taps, y, x);
  }
}

// The sums of some channels of a pixel over all taps.
template <bool kExact, class W, class A>
__device__ __forceinline__ void sum_taps(A (&sums)[kAdacofGroup], const AdacofPack<A>* packs, const AdacofArgsGpu& a,
                                         const AdacofPlace& at) {
#pragma unroll
  for (A& sum : sums) sum = A(0);
  for_each_tap<W>(a, at, [&](const AdacofTaps<W>& taps, int32_t y, int32_t x) {
    if constexpr (kExact) {
      add_exactly(sums, packs, a, adacof_tap<A>(a, taps, y, x));
    } else {
      QuickTap<A> tap(a, taps, y, x);
      if (!tap.inside()) tap.clip(a);
      add_quickly(sums, packs, a, tap);
    }
  });
}

template <class T, class A, class W>
__global__ __launch_bounds__(kThreads, kAdacofResident<A>) void adacof_kernel(const AdacofPack<A>* __restrict__ packs,
                                                                              T* __restrict__ out, AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.groups(), at)) return;
  packs += (at.b * a.groups() + at.part) * a.in_plane();
  A sums[kAdacofGroup];
  bool done = false;
  if (a.has_pairs()) {
    sum_taps<false, W>(sums, packs, a, at);
    done = true;  // what is not finite stays so in a sum
#pragma unroll
    for (const A sum : sums) done = done && finite(sum);
  }
  if (!done) sum_taps<true, W>(sums, packs, a, at);
  const int32_t c = at.part * kAdacofGroup;
  out += (at.b * a.channels + c) * a.plane() + int64_t{at.y} * a.width + at.x;
#pragma unroll
  for (int k = 0; k < kAdacofGroup; ++k) {
    if (c + k < a.channels) out[k * a.plane()] = narrow_to<T>(sums[k]);
  }
}

// grad_out of the channels of group `part` of a pixel, 0 beyond the last.
template <class T, class A>
__device__ __forceinline__ void load_upstream(A (&g)[kAdacofGroup], const T* __restrict__ grad_out, const AdacofArgsGpu& a,
                                              int32_t part) {
#pragma unroll
  for (int k = 0; k < kAdacofGroup; ++k) {
    const int32_t c = part * kAdacofGroup + k;
    g[k] = c < a.channels ? widen<A>(grad_out[c * a.plane()]) : A(0);
  }
}

// Calls run(W()) with a pointer to the type of weights and offsets where all are of the image's, else to void.
template <class T, class A, class Run>
void with_tap_type(Dtype dtype, const AdacofArgsGpu& a, Run&& run) {
  const bool same = a.weights.dtype == dtype && a.vertical.dtype == dtype && a.horizontal.dtype == dtype;
  if constexpr (sizeof(A) == 4) {
    if (same) return run(static_cast<T*>(nullptr));
  }
  run(static_cast<void*>(nullptr));
}

// `packs` has room for groups of kAdacofGroup numbers of the compute type for every pixel of the image.
inline void launch_adacof_pack(const void* image, void* packs, Dtype dtype, const AdacofArgsGpu& a, cudaStream_t stream) {
  const int64_t count = a.batch * a.groups() * a.in_plane();
  if (count == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((adacof_pack_kernel<T, A>), Grid(ceil_div(count, kThreads)), kThreads, 0, stream,
               static_cast<const T*>(image), static_cast<AdacofPack<A>*>(packs), a);
  });
}

inline void launch_adacof(const void* packs, void* out, Dtype dtype, const AdacofArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.channels * a.plane() == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_tap_type<T, A>(dtype, a, [&](auto* type) {
      using W = std::remove_pointer_t<decltype(type)>;
      VFI_LAUNCH((adacof_kernel<T, A, W>), adacof_grid(a, a.groups()), kThreads, 0, stream,
                 static_cast<const AdacofPack<A>*>(packs), static_cast<T*>(out), a);
    });
  });
}

}  // namespace vfi::cuda
