// The gradients of separable adaptive convolution on CUDA; see sepconv_kernels.cuh.
#pragma once

#include "ops/sepconv/sepconv_kernels.cuh"

namespace vfi::cuda {

// totals[r][p] += sum over the channels of grad_out sums.
template <int M, class T, class A>
__device__ __forceinline__ void add_products(A (&totals)[M][kSepconvPixels], const T* __restrict__ grad_out, int64_t plane,
                                             const A (&sums)[M][kSepconvGroup][kSepconvPixels], int32_t channels,
                                             int32_t pixels) {
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    if (n >= channels) break;
#pragma unroll
    for (int p = 0; p < kSepconvPixels; ++p) {
      const A g = p < pixels ? widen<A>(grad_out[n * plane + p]) : A(0);
#pragma unroll
      for (int r = 0; r < M; ++r) totals[r][p] += g * sums[r][n][p];
    }
  }
}

// The gradient of the columns of weights, of which a thread has kSepconvRows taps, or of the rows, kSepconvSide taps:
// grad[i] = sum over the channels of g times the sums over the other kernel.
template <class T, class A, bool kVertical>
__global__ __launch_bounds__(kThreads) void sepconv_grad_weights_kernel(const T* __restrict__ grad_out,
                                                                        const T* __restrict__ image, MutableView grad,
                                                                        SepconvArgsGpu a) {
  constexpr int P = kSepconvPixels, M = kVertical ? kSepconvRows : kSepconvSide;
  const int32_t taps = kVertical ? a.taps_v : a.taps_h;
  const SepconvPlace at = sepconv_place(a.height, a.width, (taps + M - 1) / M);
  if (at.y >= a.height || at.x >= a.width) return;
  const int32_t first = at.part * M, pixels = a.width - at.x;
  const SepconvWeights others(kVertical ? a.horizontal : a.vertical, at, a.width);
  image += at.b * a.channels * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
  grad_out += at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x;
  A totals[M][P] = {};
  for (int32_t c = 0; c < a.channels; c += kSepconvGroup) {
    A sums[M][kSepconvGroup][P];
    const T* planes = image + c * a.image_plane();
    const int32_t row = a.image_width(), channels = a.channels - c;
    if constexpr (kVertical) {
      const T* lines[M][kSepconvGroup];
      sepconv_lines(lines, planes + first * int64_t{row}, row, taps - first, a.image_plane(), channels);
      sum_along_rows(sums, lines, others, a.taps_h, row - at.x);
    } else {
      const T* lines[1][kSepconvGroup];
      sepconv_lines(lines, planes + first, 0, 1, a.image_plane(), channels);
      sum_along_columns(sums, lines, others, a.taps_v, row, row - at.x - first);
    }
    add_products(totals, grad_out + c * a.plane(), a.plane(), sums, channels, pixels);
  }
#pragma unroll
  for (int i = 0; i < M * P; ++i) {
    if (first + i / P < taps && i % P < pixels) store(grad, at.b, first + i / P, at.y, at.x + i % P, totals[i / P][i % P]);
  }
}

// Columns x ... x + M - 1 of a row that begins at `row`, 0 outside.
template <class A, int M>
__device__ __forceinline__ void load_inside(const ConstView& view, int64_t row, int32_t x, int32_t width, A (&to)[M]) {
  const auto load_as = [&](auto element) {
    const auto* from = static_cast<const decltype(element)*>(view.data) + row + x * view.strides.column;
#pragma unroll
    for (int m = 0; m < M; ++m) {
      to[m] = x + m >= 0 && x + m < width ? widen<A>(from[m * view.strides.column]) : A(0);
    }
  };
  switch (view.dtype) {
    case Dtype::kFloat64: return load_as(double());
    case Dtype::kFloat32: return load_as(float());
    case Dtype::kFloat16: return load_as(Half());
    default: return load_as(BFloat16());
  }
}

// What row y of output pixels gives to pixels x ... of the image by tap `i` of the columns: sums[n][p] += sum over j of
// H_j V_i grad_out[n] at x + p - j. V_i grad_out of four pixels is kept, that of pixel x at x % 4.
template <class T, class A>
__device__ __forceinline__ void add_row(A (&sums)[kSepconvGroup][kSepconvPixels], const T* grad_out, const SepconvArgsGpu& a,
                                        int64_t b, int32_t i, int32_t y, int32_t x, int32_t channels) {
  constexpr int P = kSepconvPixels;
  const int64_t vertical = a.vertical.strides.offset(b, i, y, 0), horizontal = a.horizontal.strides.offset(b, 0, y, 0);
  A window[kSepconvGroup][P];
  const auto enter = [&](int to, int32_t at) {
    A weight[1];
    load_inside(a.vertical, vertical, at, a.width, weight);
    const bool inside = at >= 0 && at < a.width;
#pragma unroll
    for (int n = 0; n < kSepconvGroup; ++n) {
      window[n][to] = inside && n < channels ? weight[0] * widen<A>(grad_out[n * a.plane() + at]) : A(0);
    }
  };
  const int32_t begin = max(0, x - a.width + 1) / P * P, end = min(a.taps_h, x + P);
#pragma unroll
  for (int p = 1; p < P; ++p) enter(p, x - begin + p);
#pragma unroll 1
  for (int32_t j = begin; j < end; j += P) {
#pragma unroll
    for (int u = 0; u < P; ++u) {
      if (j + u >= end) break;
      enter((P - u) % P, x - j - u);
      A w[P];
      load_inside(a.horizontal, horizontal + (j + u) * a.horizontal.strides.channel, x - j - u, a.width, w);
#pragma unroll
      for (int k = 0; k < kSepconvGroup * P; ++k) sums[k / P][k % P] += w[k % P] * window[k / P][(k % P + P - u) % P];
    }
  }
}

// A thread has kSepconvPixels neighbours of the image.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void sepconv_grad_image_kernel(const T* __restrict__ grad_out,
                                                                      T* __restrict__ grad, SepconvArgsGpu a) {
  const int32_t groups = (a.channels + kSepconvGroup - 1) / kSepconvGroup;
  const SepconvPlace at = sepconv_place(a.image_height(), a.image_width(), groups);
  if (at.y >= a.image_height() || at.x >= a.image_width()) return;
  const int32_t c = at.part * kSepconvGroup, channels = min(a.channels - c, kSepconvGroup);
  grad_out += (at.b * a.channels + c) * a.plane();
  A sums[kSepconvGroup][kSepconvPixels] = {};
  for (int32_t i = max(0, at.y - a.height + 1); i < min(a.taps_v, at.y + 1); ++i) {
    add_row(sums, grad_out + int64_t{at.y - i} * a.width, a, at.b, i, at.y - i, at.x, channels);
  }
  grad += (at.b * a.channels + c) * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    if (n < channels) store_pixels(grad + n * a.image_plane(), sums[n], a.image_width() - at.x);
  }
}

// The gradient of the columns of weights where `vertical`, else of the rows.
inline void launch_sepconv_grad_kernel(const void* grad_out, const void* image, const MutableView& grad, bool vertical,
                                       Dtype dtype, const SepconvArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  const Grid blocks = sepconv_grid(a.batch, a.height, a.width,
                                   vertical ? ceil_div(a.taps_v, kSepconvRows) : ceil_div(a.taps_h, kSepconvSide));
  dispatch(dtype, sepconv_wide(a), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const dim3 threads(kSepconvAcross, kSepconvLines);
    const T *g = static_cast<const T*>(grad_out), *p = static_cast<const T*>(image);
    if (vertical) {
      VFI_LAUNCH((sepconv_grad_weights_kernel<T, A, true>), blocks, threads, 0, stream, g, p, grad, a);
    } else {
      VFI_LAUNCH((sepconv_grad_weights_kernel<T, A, false>), blocks, threads, 0, stream, g, p, grad, a);
    }
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
               dim3(kSepconvAcross, kSepconvLines), 0, stream, static_cast<const T*>(grad_out), static_cast<T*>(grad), a);
  });
}

}  // namespace vfi::cuda
