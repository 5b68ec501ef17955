// The gradient of adacof's image on CUDA; see adacof_kernels.cuh. Sums are packs of channels, [B, groups, in_H, in_W], as those
// of a splat (splatting/scatter.cuh), which finish_sums() makes the gradient of.
//
//   adacof_grad_scatter_kernel   a thread has one pixel, and adds by atomics: the order of a sum is not fixed
//   adacof_grad_ordered_kernel   a block owns a group of channels of a band of rows, a thread every kThreads-th column of it; all
//                                taps of all pixels go by, in order: for torch.use_deterministic_algorithms(True)
#pragma once

#include "ops/adacof/adacof_kernels.cuh"

namespace vfi::cuda {

// What goes to a corner of that weight.
template <class A>
__device__ __forceinline__ void add_share(AdacofPack<A>* to, A weight, const A (&g)[kAdacofGroup]) {
  A shares[kAdacofGroup];
#pragma unroll
  for (int n = 0; n < kAdacofGroup; ++n) shares[n] = weight * g[n];
  atomic_add4(to->at, shares);
}

// Adds what one tap gives: g is the tap's weight times grad_out. A corner of weight 0 gets nothing.
template <class A>
__device__ __forceinline__ void scatter_tap(AdacofPack<A>* sums, const A (&g)[kAdacofGroup], const AdacofArgsGpu& a,
                                            QuickTap<A>& tap) {
  constexpr A kLeast = A(1e-15);  // the square of which is a float32
  const bool inside = tap.inside();
  if (!inside) tap.clip(a);
  AdacofPack<A>*const upper = sums + corner_of(a, tap), *const lower = upper + a.in_width;
  const A weights[4] = {tap.y.r * tap.x.r, tap.y.r * tap.x.l, tap.y.l * tap.x.r, tap.y.l * tap.x.l};
  if (inside && std::abs(tap.x.l) > kLeast && std::abs(tap.y.l) > kLeast) {
    add_share(upper, weights[0], g);
    add_share(upper + 1, weights[1], g);
    add_share(lower, weights[2], g);
    add_share(lower + 1, weights[3], g);
  } else if (finite(tap.x.l) && finite(tap.y.l)) {
    if (weights[0] != A(0)) add_share(upper, weights[0], g);
    if (weights[1] != A(0)) add_share(upper + 1, weights[1], g);
    if (weights[2] != A(0)) add_share(lower, weights[2], g);
    if (weights[3] != A(0)) add_share(lower + 1, weights[3], g);
  }
}

// sums: cleared.
template <class T, class A, class W>
__global__ __launch_bounds__(kThreads, kAdacofResident<A>) void adacof_grad_scatter_kernel(const T* __restrict__ grad_out,
                                                                                           AdacofPack<A>* __restrict__ sums,
                                                                                           AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.groups(), at)) return;
  sums += (at.b * a.groups() + at.part) * a.in_plane();
  A upstream[kAdacofGroup];
  load_upstream(upstream, grad_out + at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x, a, at.part);
  for_each_tap<W>(a, at, [&](const AdacofTaps<W>& taps, int32_t y, int32_t x) {
    QuickTap<A> tap(a, taps, y, x);
    A g[kAdacofGroup];
#pragma unroll
    for (int n = 0; n < kAdacofGroup; ++n) g[n] = tap.weight * upstream[n];
    scatter_tap(sums, g, a, tap);
  });
}

// The taps of kThreads pixels.
template <class A>
struct AdacofShared {
  A weight[4][kThreads], g[kAdacofGroup][kThreads];  // of the corners, times the tap's; 0 where a corner is not used
  int32_t y[kThreads], x[kThreads];
  bool lands[kThreads];
};

struct AdacofBandsGpu {
  int32_t rows, down;
};

// Adds what thread i of the block has to the columns x with x % kThreads == threadIdx.x.
template <class A>
__device__ __forceinline__ void add_in_order(const AdacofShared<A>& shared, AdacofPack<A>* __restrict__ sums,
                                             const AdacofArgsGpu& a, int i, int32_t low, int32_t high) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int32_t y = shared.y[i] + (k >> 1), x = shared.x[i] + (k & 1);
    const A weight = shared.weight[k][i];
    if (y < low || y >= high || x % kThreads != static_cast<int32_t>(threadIdx.x) || weight == A(0)) continue;
    A(&to)[kAdacofGroup] = sums[int64_t{y} * a.in_width + x].at;
#pragma unroll
    for (int n = 0; n < kAdacofGroup; ++n) to[n] += weight * shared.g[n][i];
  }
}

template <class T, class A>
__global__ __launch_bounds__(kThreads, 2) void adacof_grad_ordered_kernel(const T* __restrict__ grad_out,
                                                                          AdacofPack<A>* __restrict__ sums, AdacofArgsGpu a,
                                                                          AdacofBandsGpu bands) {
  __shared__ AdacofShared<A> shared;
  const int32_t band = blockIdx.x % bands.down, part = blockIdx.x / bands.down, group = part % a.groups();
  const int32_t low = band * bands.rows, high = min(low + bands.rows, a.in_height), me = threadIdx.x;
  const int64_t b = part / a.groups();
  grad_out += b * a.channels * a.plane();
  sums += part * a.in_plane();
  for (int64_t start = 0; start < a.plane() * a.taps(); start += kThreads) {
    const int64_t i = start + me, tap_plane = i / a.plane(), pixel = i - tap_plane * a.plane();
    bool lands = false;
    if (tap_plane < a.taps()) {
      const int32_t y = static_cast<int32_t>(pixel / a.width), x = static_cast<int32_t>(pixel % a.width);
      const int32_t n = static_cast<int32_t>(tap_plane), row = n / a.side, column = n - row * a.side;
      const AdacofTaps<void> taps(a, b, n, y, x);
      const AdacofTap<A> tap = adacof_tap<A>(a, taps, y + row * a.dilation, x + column * a.dilation);
      const Corners<A> corner = corners(tap.x, tap.y);
      lands = corner.any() && tap.y.at + 1 >= low && tap.y.at < high;
      shared.y[me] = tap.y.at, shared.x[me] = tap.x.at;
      for (int k = 0; k < 4; ++k) shared.weight[k][me] = corner.used[k] ? corner.weight[k] : A(0);
      A upstream[kAdacofGroup];
      load_upstream(upstream, grad_out + pixel, a, group);
      for (int k = 0; k < kAdacofGroup; ++k) shared.g[k][me] = tap.weight * upstream[k];
    }
    shared.lands[me] = lands;
    __syncthreads();
    for (int n = 0; n < kThreads; ++n) {
      if (shared.lands[n]) add_in_order(shared, sums, a, n, low, high);
    }
    __syncthreads();
  }
}

// `sums` is cleared here.
inline void launch_adacof_grad_image(const void* grad_out, void* sums, Dtype dtype, bool deterministic,
                                     const AdacofArgsGpu& a, cudaStream_t stream) {
  const int64_t packs = a.batch * a.groups() * a.in_plane();
  if (packs == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const T* const g = static_cast<const T*>(grad_out);
    AdacofPack<A>* const to = static_cast<AdacofPack<A>*>(sums);
    clear(sums, packs * sizeof(AdacofPack<A>), stream);
    if (a.plane() == 0) return;
    if (deterministic) {
      constexpr int64_t kRows = 8;
      const AdacofBandsGpu bands{kRows, static_cast<int32_t>(ceil_div(a.in_height, kRows))};
      VFI_LAUNCH((adacof_grad_ordered_kernel<T, A>), Grid(a.batch * a.groups() * bands.down), kThreads, 0, stream, g, to, a,
                 bands);
      return;
    }
    with_tap_type<T, A>(dtype, a, [&](auto* type) {
      VFI_LAUNCH((adacof_grad_scatter_kernel<T, A, std::remove_pointer_t<decltype(type)>>),
                 adacof_grid(a, a.groups()), kThreads, 0, stream, g, to, a);
    });
  });
}

}  // namespace vfi::cuda
