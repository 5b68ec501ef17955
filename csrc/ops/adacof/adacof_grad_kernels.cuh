// The gradients of adacof on CUDA; see adacof_kernels.cuh.
//
//   adacof_grad_taps_kernel        a thread has one tap of one pixel, and its sums over the channels
//   adacof_grad_scatter_kernel     the same, and adds to the image's gradient by atomics: the order of a sum is not fixed
//   adacof_grad_ordered_kernel     a block owns some channels of a band of rows, a thread every kThreads-th column of it; all
//                             taps of all pixels go by, in order: for torch.use_deterministic_algorithms(True)
#pragma once

#include "ops/adacof/adacof_kernels.cuh"

namespace vfi::cuda {

// Where the data of a gradient is null it is not needed.
struct AdacofGradsGpu {
  MutableView weights, vertical, horizontal;
};

template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_grad_taps_kernel(const T* __restrict__ grad_out,
                                                                    const T* __restrict__ image, AdacofGradsGpu to,
                                                                    AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.taps(), at)) return;
  const AdacofTap<A> tap = adacof_tap<A>(a, at.b, at.part, at.y, at.x);
  const Corners<A> corner = corners(tap.x, tap.y);
  const CornerSlopes<A> slopes = corner_slopes(tap.x, tap.y);
  A value = A(0), along_x = A(0), along_y = A(0);
  bool wanted[4];
  for (int k = 0; k < 4; ++k) wanted[k] = corner.used[k] || slopes.reads[k];
  image += at.b * a.channels * a.in_plane() + corner_of(a, tap);
  grad_out += at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x;
  for (int32_t c = 0; corner.any() && c < a.channels; ++c) {
    Pack<T, 1> v[4];
    read_tap(image + c * a.in_plane(), a.in_width, wanted, v);
    const A g = widen<A>(grad_out[c * a.plane()]);
    value += g * interpolate(corner, v, 0);
    add_slopes(slopes, v, 0, g, along_x, along_y);
  }
  if (to.weights.data != nullptr) store(to.weights, at.b, at.part, at.y, at.x, value);
  if (to.vertical.data != nullptr) {
    store(to.vertical, at.b, at.part, at.y, at.x, corner.any() && tap.y.slope != A(0) ? tap.weight * along_y : A(0));
  }
  if (to.horizontal.data != nullptr) {
    store(to.horizontal, at.b, at.part, at.y, at.x, corner.any() && tap.x.slope != A(0) ? tap.weight * along_x : A(0));
  }
}

// sums: A [B, C, in_H, in_W], cleared.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_grad_scatter_kernel(const T* __restrict__ grad_out, A* __restrict__ sums,
                                                                  AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.taps(), at)) return;
  const AdacofTap<A> tap = adacof_tap<A>(a, at.b, at.part, at.y, at.x);
  const Corners<A> corner = corners(tap.x, tap.y);
  sums += at.b * a.channels * a.in_plane() + corner_of(a, tap);
  grad_out += at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x;
  for (int32_t c = 0; corner.any() && c < a.channels; ++c) {
    const A g = tap.weight * widen<A>(grad_out[c * a.plane()]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (!corner.used[k] || corner.weight[k] == A(0)) continue;
      atomicAdd(sums + c * a.in_plane() + (k >> 1) * a.in_width + (k & 1), corner.weight[k] * g);
    }
  }
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
__device__ __forceinline__ void add_in_order(const AdacofShared<A>& shared, A* __restrict__ sums,
                                             const AdacofArgsGpu& a, int i, int32_t low, int32_t high, int32_t channels) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int32_t y = shared.y[i] + (k >> 1), x = shared.x[i] + (k & 1);
    const A weight = shared.weight[k][i];
    if (y < low || y >= high || x % kThreads != static_cast<int32_t>(threadIdx.x) || weight == A(0)) continue;
    for (int32_t c = 0; c < channels; ++c) sums[c * a.in_plane() + int64_t{y} * a.in_width + x] += weight * shared.g[c][i];
  }
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_grad_ordered_kernel(const T* __restrict__ grad_out, A* __restrict__ sums,
                                                                  AdacofArgsGpu a, AdacofBandsGpu bands) {
  __shared__ AdacofShared<A> shared;
  const int32_t band = blockIdx.x % bands.down, part = blockIdx.x / bands.down, first = part % a.groups() * kAdacofGroup;
  const int32_t low = band * bands.rows, high = min(low + bands.rows, a.in_height);
  const int32_t channels = min(a.channels - first, kAdacofGroup), me = threadIdx.x;
  const int64_t b = part / a.groups();
  grad_out += (b * a.channels + first) * a.plane();
  sums += (b * a.channels + first) * a.in_plane();
  for (int64_t start = 0; start < a.plane() * a.taps(); start += kThreads) {
    const int64_t i = start + me, tap_plane = i / a.plane(), pixel = i - tap_plane * a.plane();
    bool lands = false;
    if (tap_plane < a.taps()) {
      const int32_t y = static_cast<int32_t>(pixel / a.width), x = static_cast<int32_t>(pixel % a.width);
      const AdacofTap<A> tap = adacof_tap<A>(a, b, static_cast<int32_t>(tap_plane), y, x);
      const Corners<A> corner = corners(tap.x, tap.y);
      lands = corner.any() && tap.y.at + 1 >= low && tap.y.at < high;
      shared.y[me] = tap.y.at, shared.x[me] = tap.x.at;
      for (int k = 0; k < 4; ++k) shared.weight[k][me] = corner.used[k] ? corner.weight[k] : A(0);
      for (int32_t c = 0; c < channels; ++c) shared.g[c][me] = tap.weight * widen<A>(grad_out[c * a.plane() + pixel]);
    }
    shared.lands[me] = lands;
    __syncthreads();
    for (int n = 0; n < kThreads; ++n) {
      if (shared.lands[n]) add_in_order(shared, sums, a, n, low, high, channels);
    }
    __syncthreads();
  }
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_grad_round_kernel(const A* __restrict__ sums, T* __restrict__ grad,
                                                                int64_t elements) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < elements) grad[i] = narrow_to<T>(sums[i]);
}

inline void launch_adacof_grad_taps(const void* grad_out, const void* image, const AdacofGradsGpu& to, Dtype dtype,
                                    const AdacofArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((adacof_grad_taps_kernel<T, A>), adacof_grid(a, a.taps()), kThreads, 0, stream,
               static_cast<const T*>(grad_out), static_cast<const T*>(image), to, a);
  });
}

// `sums` has room for a double, or a float where no tensor is float64, for each element of the image.
inline void launch_adacof_grad_image(const void* grad_out, void* sums, void* grad, Dtype dtype, bool deterministic,
                                     const AdacofArgsGpu& a, cudaStream_t stream) {
  const int64_t elements = a.batch * a.channels * a.in_plane();
  if (elements == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    clear(sums, elements * sizeof(A), stream);
    if (a.plane() > 0 && deterministic) {
      constexpr int64_t kRows = 8;
      const AdacofBandsGpu bands{kRows, static_cast<int32_t>(ceil_div(a.in_height, kRows))};
      VFI_LAUNCH((adacof_grad_ordered_kernel<T, A>), Grid(a.batch * a.groups() * bands.down), kThreads, 0, stream,
                 static_cast<const T*>(grad_out), static_cast<A*>(sums), a, bands);
    } else if (a.plane() > 0) {
      VFI_LAUNCH((adacof_grad_scatter_kernel<T, A>), adacof_grid(a, a.taps()), kThreads, 0, stream,
                 static_cast<const T*>(grad_out), static_cast<A*>(sums), a);
    }
    VFI_LAUNCH((adacof_grad_round_kernel<T, A>), Grid(ceil_div(elements, kThreads)), kThreads, 0, stream,
               static_cast<const A*>(sums), static_cast<T*>(grad), elements);
  });
}

}  // namespace vfi::cuda
