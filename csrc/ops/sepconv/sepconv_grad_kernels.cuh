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
    const T* planes[kSepconvGroup];
    const int32_t row = a.image_width(), channels = a.channels - c;
    const int64_t offset = kVertical ? first * int64_t{row} : first;
    sepconv_planes(planes, image + c * a.image_plane() + offset, a.image_plane(), channels);
    if constexpr (kVertical) {
      const int64_t step = first + 1 < taps ? row : 0;
      if (pixels >= P) {
        sum_along_rows<true>(sums, planes, step, others, a.taps_h, row - at.x);
      } else {
        sum_along_rows<false>(sums, planes, step, others, a.taps_h, row - at.x);
      }
    } else {
      if (pixels >= P && first + M <= taps) {
        sum_along_columns<true>(sums, planes, others, a.taps_v, row, row - at.x - first);
      } else {
        sum_along_columns<false>(sums, planes, others, a.taps_v, row, row - at.x - first);
      }
    }
    add_products(totals, grad_out + c * a.plane(), a.plane(), sums, channels, pixels);
  }
#pragma unroll
  for (int i = 0; i < M * P; ++i) {
    if (first + i / P < taps && i % P < pixels) store(grad, at.b, first + i / P, at.y, at.x + i % P, totals[i / P][i % P]);
  }
}

// What row y of output pixels gives to pixels x ... of the image by tap `i` of the columns: sums[n][p] += sum over j of
// H_j V_i grad_out[n] at x + p - j.
struct SepconvRow {
  int64_t vertical, horizontal;  // elements: of pixel 0 of the row, tap i and tap 0

  __device__ __forceinline__ SepconvRow(const SepconvArgsGpu& a, int64_t b, int32_t i, int32_t y)
      : vertical(a.vertical.strides.offset(b, i, y, 0)), horizontal(a.horizontal.strides.offset(b, 0, y, 0)) {}
};

// Calls use(T(), data) with the element type of a view.
template <class Use>
__device__ __forceinline__ void with_elements(const ConstView& view, Use&& use) {
  switch (view.dtype) {
    case Dtype::kFloat64: return use(static_cast<const double*>(view.data));
    case Dtype::kFloat32: return use(static_cast<const float*>(view.data));
    case Dtype::kFloat16: return use(static_cast<const Half*>(view.data));
    default: return use(static_cast<const BFloat16*>(view.data));
  }
}

// V_i grad_out[n] of pixels at ... at + P - 1; kWhole: all of them exist.
template <bool kWhole, class T, class A>
__device__ __forceinline__ void load_products(A (&products)[kSepconvGroup][kSepconvPixels], const T* grad_out,
                                              const SepconvArgsGpu& a, const SepconvRow& row, int32_t at,
                                              int32_t channels) {
  constexpr int P = kSepconvPixels;
  A weights[P];
  with_elements(a.vertical, [&](auto* data) {
    data += row.vertical + at * a.vertical.strides.column;
#pragma unroll
    for (int p = 0; p < P; ++p, data += a.vertical.strides.column) {
      weights[p] = kWhole || (at + p >= 0 && at + p < a.width) ? widen<A>(*data) : A(0);
    }
  });
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    const T* const from = grad_out + min(n, channels - 1) * a.plane() + at;
#pragma unroll
    for (int p = 0; p < P; ++p) {
      products[n][p] = kWhole || (at + p >= 0 && at + p < a.width) ? weights[p] * widen<A>(from[p]) : A(0);
    }
  }
}

// Taps j ... j + P - 1 of the rows: tap j + u meets pixel x + p - j - u, whose product is near[p - u] or far[p - u + P].
template <bool kWhole, class T, class A>
__device__ __forceinline__ void add_taps(A (&sums)[kSepconvGroup][kSepconvPixels],
                                         A (&near)[kSepconvGroup][kSepconvPixels], const T* grad_out,
                                         const SepconvArgsGpu& a, const SepconvRow& row, int32_t x, int32_t j,
                                         int32_t channels) {
  constexpr int P = kSepconvPixels;
  A far[kSepconvGroup][P], weights[P][P];
  load_products<kWhole>(far, grad_out, a, row, x - j - P, channels);
  with_elements(a.horizontal, [&](auto* data) {
    const auto& s = a.horizontal.strides;
    data += row.horizontal + j * s.channel + (x - j) * s.column;
#pragma unroll
    for (int u = 0; u < P; ++u, data += s.channel - s.column) {
#pragma unroll
      for (int p = 0; p < P; ++p) {
        const int32_t at = x + p - j - u;
        const bool exists = kWhole || (at >= 0 && at < a.width && j + u < a.taps_h);
        weights[u][p] = exists ? widen<A>(data[p * s.column]) : A(0);
      }
    }
  });
#pragma unroll
  for (int u = 0; u < P; ++u) {
#pragma unroll
    for (int k = 0; k < kSepconvGroup * P; ++k) {
      const int n = k / P, p = k % P;
      // A weight that does not exist meets a product that may: of a tap beyond the last.
      if (kWhole || j + u < a.taps_h) sums[n][p] += weights[u][p] * (p >= u ? near[n][(p - u + P) % P] : far[n][(p - u + P) % P]);
    }
  }
#pragma unroll
  for (int k = 0; k < kSepconvGroup * P; ++k) near[k / P][k % P] = far[k / P][k % P];
}

template <class T, class A>
__device__ __forceinline__ void add_row(A (&sums)[kSepconvGroup][kSepconvPixels], const T* grad_out, const SepconvArgsGpu& a,
                                        const SepconvRow& row, int32_t x, int32_t channels) {
  constexpr int P = kSepconvPixels;
  const int32_t begin = max(0, x - a.width + 1) / P * P, end = min(a.taps_h, x + P);
  A near[kSepconvGroup][P];
  load_products<false>(near, grad_out, a, row, x - begin, channels);
#pragma unroll 1
  for (int32_t j = begin; j < end; j += P) {
    if (x - j - P >= 0 && x - j + P <= a.width && j + P <= a.taps_h) {
      add_taps<true>(sums, near, grad_out, a, row, x, j, channels);
    } else {
      add_taps<false>(sums, near, grad_out, a, row, x, j, channels);
    }
  }
}

// A thread has kSepconvPixels neighbours of the image.
template <class T, class A>
__global__ __launch_bounds__(kThreads, 1) void sepconv_grad_image_kernel(const T* __restrict__ grad_out,
                                                                         T* __restrict__ grad, SepconvArgsGpu a) {
  const int32_t groups = (a.channels + kSepconvGroup - 1) / kSepconvGroup;
  const SepconvPlace at = sepconv_place(a.image_height(), a.image_width(), groups);
  if (at.y >= a.image_height() || at.x >= a.image_width()) return;
  const int32_t c = at.part * kSepconvGroup, channels = min(a.channels - c, kSepconvGroup);
  grad_out += (at.b * a.channels + c) * a.plane();
  A sums[kSepconvGroup][kSepconvPixels] = {};
  for (int32_t i = max(0, at.y - a.height + 1); i < min(a.taps_v, at.y + 1); ++i) {
    const SepconvRow row(a, at.b, i, at.y - i);
    add_row(sums, grad_out + int64_t{at.y - i} * a.width, a, row, at.x, channels);
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
