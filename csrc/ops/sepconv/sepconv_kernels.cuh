// Separable adaptive convolution and its gradients on CUDA; the formulas are in sepconv.h. The image is contiguous.
//
// Work: a thread has one pixel, neighbours along a row, and the sums of kTaps taps and kGroup channels in registers: a
// weight that is read serves all of them. Every sum has one owner and a fixed order.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

constexpr int kSepconvColumns = 32, kSepconvLines = 8;  // pixels of a block
constexpr int kSepconvTaps = 4, kSepconvGroup = 3;

struct SepconvArgsGpu {
  int64_t batch;
  int32_t channels, height, width;  // of the output
  int32_t taps_v, taps_h;
  ConstView vertical, horizontal;

  VFI_HOST_DEVICE int32_t image_height() const { return height + taps_v - 1; }
  VFI_HOST_DEVICE int32_t image_width() const { return width + taps_h - 1; }
  VFI_HOST_DEVICE int64_t image_plane() const { return int64_t{image_height()} * image_width(); }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
};

// The pixel of a thread in planes of some size, and its block's `part` of the work of the pixel.
struct SepconvPlace {
  int64_t b;
  int32_t y, x, part;
};

__device__ __forceinline__ SepconvPlace sepconv_place(int32_t height, int32_t width, int32_t parts) {
  const int32_t across = (width + kSepconvColumns - 1) / kSepconvColumns;
  const int32_t down = (height + kSepconvLines - 1) / kSepconvLines;
  const int32_t tile = blockIdx.x / parts, row = tile / across;
  return {row / down, row % down * kSepconvLines + static_cast<int32_t>(threadIdx.y),
          tile % across * kSepconvColumns + static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockIdx.x) % parts};
}

inline Grid sepconv_grid(int64_t batch, int64_t height, int64_t width, int64_t parts) {
  return batch * ceil_div(height, kSepconvLines) * ceil_div(width, kSepconvColumns) * parts;
}

template <class A>
__device__ __forceinline__ A weight_at(const ConstView& kernel, const SepconvPlace& at, int32_t tap, int32_t y,
                                       int32_t x) {
  A value[1];
  load(kernel, at.b, int64_t{tap}, y, x, value);
  return value[0];
}

// The taps of one kernel, whose weights multiply, and of the other one, for each of which there is a sum.
struct SepconvAxes {
  ConstView weights;
  int32_t taps, others;
  int64_t step, other_step;  // in the image, from tap to tap
};

// sums[r][n] = sum over the taps k of weights[k] image[n, k step + (first + r) other_step], of `channels` channels that exist.
// `image` is at the pixel.
template <class T, class A>
__device__ __forceinline__ void sum_taps(A (&sums)[kSepconvTaps][kSepconvGroup], const T* __restrict__ image,
                                         int64_t plane, const SepconvAxes& axes, const SepconvPlace& at, int32_t first,
                                         int32_t channels) {
#pragma unroll
  for (int r = 0; r < kSepconvTaps; ++r) {
#pragma unroll
    for (int n = 0; n < kSepconvGroup; ++n) sums[r][n] = A(0);
  }
  image += first * axes.other_step;
  for (int32_t k = 0; k < axes.taps; ++k, image += axes.step) {
    const A weight = weight_at<A>(axes.weights, at, k, at.y, at.x);
#pragma unroll
    for (int r = 0; r < kSepconvTaps; ++r) {
#pragma unroll
      for (int n = 0; n < kSepconvGroup; ++n) {
        if (first + r < axes.others && n < channels) {
          sums[r][n] += weight * widen<A>(image[r * axes.other_step + n * plane]);
        }
      }
    }
  }
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void sepconv_kernel(const T* __restrict__ image, T* __restrict__ out,
                                                           SepconvArgsGpu a) {
  const SepconvPlace at = sepconv_place(a.height, a.width, (a.channels + kSepconvGroup - 1) / kSepconvGroup);
  if (at.y >= a.height || at.x >= a.width) return;
  const int32_t c = at.part * kSepconvGroup, channels = min(a.channels - c, kSepconvGroup);
  const SepconvAxes axes{a.horizontal, a.taps_h, a.taps_v, 1, a.image_width()};
  image += (at.b * a.channels + c) * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
  A totals[kSepconvGroup] = {};
  for (int32_t i = 0; i < a.taps_v; i += kSepconvTaps) {
    A sums[kSepconvTaps][kSepconvGroup];
    sum_taps(sums, image, a.image_plane(), axes, at, i, channels);
#pragma unroll
    for (int r = 0; r < kSepconvTaps; ++r) {
      if (i + r >= a.taps_v) break;
      const A weight = weight_at<A>(a.vertical, at, i + r, at.y, at.x);
#pragma unroll
      for (int n = 0; n < kSepconvGroup; ++n) totals[n] += weight * sums[r][n];
    }
  }
  out += (at.b * a.channels + c) * a.plane() + int64_t{at.y} * a.width + at.x;
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    if (n < channels) out[n * a.plane()] = narrow_to<T>(totals[n]);
  }
}

// grad[i] = sum over the channels of g sum_taps: of the columns where `axes` has the rows of weights, and the other way.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void sepconv_grad_kernel_kernel(const T* __restrict__ grad_out,
                                                                       const T* __restrict__ image, MutableView grad,
                                                                       SepconvAxes axes, SepconvArgsGpu a) {
  const SepconvPlace at = sepconv_place(a.height, a.width, (axes.others + kSepconvTaps - 1) / kSepconvTaps);
  if (at.y >= a.height || at.x >= a.width) return;
  const int32_t first = at.part * kSepconvTaps;
  image += at.b * a.channels * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
  grad_out += at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x;
  A totals[kSepconvTaps] = {};
  for (int32_t c = 0; c < a.channels; c += kSepconvGroup) {
    A sums[kSepconvTaps][kSepconvGroup];
    sum_taps(sums, image + c * a.image_plane(), a.image_plane(), axes, at, first, a.channels - c);
#pragma unroll
    for (int n = 0; n < kSepconvGroup; ++n) {
      if (c + n >= a.channels) break;
      const A g = widen<A>(grad_out[(c + n) * a.plane()]);
#pragma unroll
      for (int r = 0; r < kSepconvTaps; ++r) totals[r] += g * sums[r][n];
    }
  }
#pragma unroll
  for (int r = 0; r < kSepconvTaps; ++r) {
    if (first + r < axes.others) store(grad, at.b, first + r, at.y, at.x, totals[r]);
  }
}

// A thread has one pixel of the image.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void sepconv_grad_image_kernel(const T* __restrict__ grad_out,
                                                                      T* __restrict__ grad, SepconvArgsGpu a) {
  const int32_t groups = (a.channels + kSepconvGroup - 1) / kSepconvGroup;
  const SepconvPlace at = sepconv_place(a.image_height(), a.image_width(), groups);
  if (at.y >= a.image_height() || at.x >= a.image_width()) return;
  const int32_t c = at.part * kSepconvGroup, channels = min(a.channels - c, kSepconvGroup);
  grad_out += (at.b * a.channels + c) * a.plane();
  A sums[kSepconvGroup] = {};
  for (int32_t i = max(0, at.y - a.height + 1); i < min(a.taps_v, at.y + 1); ++i) {
    for (int32_t j = max(0, at.x - a.width + 1); j < min(a.taps_h, at.x + 1); ++j) {
      const int32_t y = at.y - i, x = at.x - j;
      const A row = weight_at<A>(a.horizontal, at, j, y, x), column = weight_at<A>(a.vertical, at, i, y, x);
#pragma unroll
      for (int n = 0; n < kSepconvGroup; ++n) {
        if (n < channels) sums[n] += widen<A>(grad_out[n * a.plane() + int64_t{y} * a.width + x]) * row * column;
      }
    }
  }
  grad += (at.b * a.channels + c) * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    if (n < channels) grad[n * a.image_plane()] = narrow_to<T>(sums[n]);
  }
}

inline bool sepconv_wide(const SepconvArgsGpu& a) {
  return a.vertical.dtype == Dtype::kFloat64 || a.horizontal.dtype == Dtype::kFloat64;
}

inline void launch_sepconv(const void* image, void* out, Dtype dtype, const SepconvArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.channels * a.plane() == 0) return;
  dispatch(dtype, sepconv_wide(a), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((sepconv_kernel<T, A>), sepconv_grid(a.batch, a.height, a.width, ceil_div(a.channels, kSepconvGroup)),
               dim3(kSepconvColumns, kSepconvLines), 0, stream, static_cast<const T*>(image), static_cast<T*>(out), a);
  });
}

// The gradient of the columns of weights where `vertical`, else of the rows.
inline void launch_sepconv_grad_kernel(const void* grad_out, const void* image, const MutableView& grad, bool vertical,
                                       Dtype dtype, const SepconvArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  const SepconvAxes axes = vertical ? SepconvAxes{a.horizontal, a.taps_h, a.taps_v, 1, a.image_width()}
                                    : SepconvAxes{a.vertical, a.taps_v, a.taps_h, a.image_width(), 1};
  dispatch(dtype, sepconv_wide(a), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((sepconv_grad_kernel_kernel<T, A>),
               sepconv_grid(a.batch, a.height, a.width, ceil_div(axes.others, kSepconvTaps)),
               dim3(kSepconvColumns, kSepconvLines), 0, stream, static_cast<const T*>(grad_out),
               static_cast<const T*>(image), grad, axes, a);
  });
}

inline void launch_sepconv_grad_image(const void* grad_out, void* grad, Dtype dtype, const SepconvArgsGpu& a,
                                      cudaStream_t stream) {
  if (a.batch * a.channels * a.image_plane() == 0) return;
  dispatch(dtype, sepconv_wide(a), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((sepconv_grad_image_kernel<T, A>),
               sepconv_grid(a.batch, a.image_height(), a.image_width(), ceil_div(a.channels, kSepconvGroup)),
               dim3(kSepconvColumns, kSepconvLines), 0, stream, static_cast<const T*>(grad_out), static_cast<T*>(grad), a);
  });
}

}  // namespace vfi::cuda
