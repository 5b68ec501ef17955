// The gradients of separable adaptive convolution's weights on CUDA; see sepconv_kernels.cuh.
#pragma once

#include "ops/sepconv/sepconv_kernels.cuh"

namespace vfi::cuda {

// totals[r][p] += sum over the channels of grad_out sums; kWhole: all pixels exist.
template <bool kWhole, int M, class T, class A>
__device__ __forceinline__ void add_products(A (&totals)[M][kSepconvPixels], const T* __restrict__ grad_out, int64_t plane,
                                             const A (&sums)[M][kSepconvGroup][kSepconvPixels], int32_t channels,
                                             int32_t pixels) {
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    if (n >= channels) break;
#pragma unroll
    for (int p = 0; p < kSepconvPixels; ++p) {
      const A g = kWhole || p < pixels ? widen<A>(grad_out[n * plane + p]) : A(0);
#pragma unroll
      for (int r = 0; r < M; ++r) totals[r][p] += g * sums[r][n][p];
    }
  }
}

// Taps of a thread for the gradient of the columns of weights, or of the rows.
template <bool kVertical>
constexpr int kSepconvOwn = kVertical ? kSepconvRows : kSepconvSide;

// totals[i] of taps first + i: the sum over the channels of g times the sums over the other kernel, whose weights are `others`.
template <bool kVertical, bool kWhole, class T, class A, class Weights>
__device__ __forceinline__ void sum_products(A (&totals)[kSepconvOwn<kVertical>][kSepconvPixels],
                                             const T* __restrict__ grad_out, const T* __restrict__ image,
                                             const SepconvArgsGpu& a, const Weights& others, int32_t first, int32_t x) {
  constexpr int P = kSepconvPixels, M = kSepconvOwn<kVertical>;
  const int32_t row = a.image_width();
  image += kVertical ? first * int64_t{row} : first;
#pragma unroll 1
  for (int32_t c = 0; c < a.channels; c += kSepconvGroup) {
    A sums[M][kSepconvGroup][P];
    const T* planes[kSepconvGroup];
    sepconv_planes(planes, image + c * a.image_plane(), a.image_plane(), a.channels - c);
    if constexpr (kVertical) {
      sum_along_rows<kWhole>(sums, planes, first + 1 < a.taps_v ? row : 0, others, a.taps_h, row - x);
    } else {
      sum_along_columns<kWhole>(sums, planes, others, a.taps_v, row, row - x - first);
    }
    add_products<kWhole>(totals, grad_out + c * a.plane(), a.plane(), sums, a.channels - c, a.width - x);
  }
}

template <class W, class A, int M>
__device__ __forceinline__ void store_taps_as(const MutableView& grad, int64_t at, const A (&totals)[M][kSepconvPixels],
                                              int32_t skipped, int32_t taps, int32_t pixels) {
  W* to = static_cast<W*>(grad.data) + at;
#pragma unroll
  for (int m = 0; m < M; ++m, to += grad.strides.channel) {
    if (m < skipped || m >= taps) continue;
#pragma unroll
    for (int p = 0; p < kSepconvPixels; ++p) {
      if (p < pixels) narrow(totals[m][p], to[p * grad.strides.column]);
    }
  }
}

// M taps of P pixels, from `first` on, of which `taps` and `pixels` exist; the first `skipped` are another thread's.
template <class A, int M>
__device__ __forceinline__ void store_taps(const MutableView& grad, const SepconvPlace& at, int32_t first,
                                           const A (&totals)[M][kSepconvPixels], int32_t skipped, int32_t taps,
                                           int32_t pixels) {
  const int64_t to = grad.strides.offset(at.b, first, at.y, at.x);
  switch (grad.dtype) {
    case Dtype::kFloat64: return store_taps_as<double>(grad, to, totals, skipped, taps, pixels);
    case Dtype::kFloat32: return store_taps_as<float>(grad, to, totals, skipped, taps, pixels);
    case Dtype::kFloat16: return store_taps_as<Half>(grad, to, totals, skipped, taps, pixels);
    default: return store_taps_as<BFloat16>(grad, to, totals, skipped, taps, pixels);
  }
}

// The gradient of the columns of weights where kVertical, else of the rows. kPacked: as a.packed says, and M taps exist.
template <class T, class A, bool kVertical, bool kPacked>
__global__ __launch_bounds__(kSepconvThreads, kPacked ? kSepconvResident<A> : 2) void
sepconv_grad_weights_kernel(const T* __restrict__ grad_out, const T* __restrict__ image, MutableView grad,
                            SepconvArgsGpu a) {
  constexpr int M = kSepconvOwn<kVertical>;
  const int32_t taps = kVertical ? a.taps_v : a.taps_h;
  const SepconvPlace at = sepconv_place(a.height, a.width, (taps + M - 1) / M);
  if (at.y >= a.height || at.x >= a.width) return;
  const int32_t own = at.part * M, first = max(min(own, taps - M), 0);  // M taps that exist, where there are so many
  const ConstView& view = kVertical ? a.horizontal : a.vertical;
  image += at.b * a.channels * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
  grad_out += at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x;
  A totals[M][kSepconvPixels] = {};
  if constexpr (kPacked) {
    sum_products<kVertical, true>(totals, grad_out, image, a, SepconvPacks<T>(view, at), first, at.x);
  } else {
    sum_products<kVertical, false>(totals, grad_out, image, a, SepconvWeights(view, at, a.width), first, at.x);
  }
  store_taps(grad, at, first, totals, own - first, taps - first, a.width - at.x);
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
    const auto run = [&](auto along_columns, auto packed) {
      VFI_LAUNCH((sepconv_grad_weights_kernel<T, A, decltype(along_columns)::value, decltype(packed)::value>), blocks,
                 threads, 0, stream, g, p, grad, a);
    };
    const bool packed = a.packed && (vertical ? a.taps_v >= kSepconvRows : a.taps_h >= kSepconvSide);
    if (vertical) {
      packed ? run(std::true_type(), std::true_type()) : run(std::true_type(), std::false_type());
    } else {
      packed ? run(std::false_type(), std::true_type()) : run(std::false_type(), std::false_type());
    }
  });
}

}  // namespace vfi::cuda
