// The gradient of separable adaptive convolution's image on CUDA; see sepconv_kernels.cuh.
//
// Work: a thread has kSepconvPixels neighbours of two rows of the image. It goes through the rows of output pixels that give
// something to either: the rows' weights there are the same for both, and so is grad_out; the columns' are not.
#pragma once

#include "ops/sepconv/sepconv_kernels.cuh"

namespace vfi::cuda {

constexpr int kSepconvOwnRows = 2;
template <class A>
using SepconvSums = A[kSepconvOwnRows][kSepconvGroup][kSepconvPixels];

// A row of output pixels, and where its numbers lie.
template <class T>
struct SepconvRow {
  const T* grad_out;                   // pixel 0 of the first channel
  int64_t vertical[kSepconvOwnRows];  // elements: of pixel 0, at the tap that meets each row of the image
  int64_t horizontal;                  // of pixel 0, tap 0
  bool meets[kSepconvOwnRows];        // there is such a tap

  __device__ __forceinline__ SepconvRow(const SepconvArgsGpu& a, const T* plane, int64_t b, int32_t y, int32_t image_y)
      : grad_out(plane + int64_t{y} * a.width), horizontal(a.horizontal.strides.offset(b, 0, y, 0)) {
#pragma unroll
    for (int r = 0; r < kSepconvOwnRows; ++r) {
      const int32_t tap = image_y + r - y;
      vertical[r] = a.vertical.strides.offset(b, tap, y, 0);
      meets[r] = tap >= 0 && tap < a.taps_v && image_y + r < a.image_height();
    }
  }
};

// Calls use(data) with a pointer of the element type of a view.
template <class Use>
__device__ __forceinline__ void with_elements(const ConstView& view, Use&& use) {
  switch (view.dtype) {
    case Dtype::kFloat64: return use(static_cast<const double*>(view.data));
    case Dtype::kFloat32: return use(static_cast<const float*>(view.data));
    case Dtype::kFloat16: return use(static_cast<const Half*>(view.data));
    default: return use(static_cast<const BFloat16*>(view.data));
  }
}

// V of output pixels at ... at + P - 1 at the tap that meets row r of the image; kWhole: all of the pixels exist, and can be
// loaded at once.
template <bool kWhole, class T, class A>
__device__ __forceinline__ void load_vertical(A (&weights)[kSepconvPixels], const SepconvArgsGpu& a, const SepconvRow<T>& row,
                                              int r, int32_t at) {
  constexpr int P = kSepconvPixels;
  if constexpr (kWhole) {
    const auto v = load_pack<T, P>(static_cast<const T*>(a.vertical.data) + row.vertical[r] + at);
#pragma unroll
    for (int p = 0; p < P; ++p) weights[p] = widen<A>(v.at[p]);
  } else {
    with_elements(a.vertical, [&](auto* data) {
      data += row.vertical[r] + at * a.vertical.strides.column;
#pragma unroll
      for (int p = 0; p < P; ++p, data += a.vertical.strides.column) {
        weights[p] = static_cast<uint32_t>(at + p) < static_cast<uint32_t>(a.width) ? widen<A>(*data) : A(0);
      }
    });
  }
}

// The products V grad_out of output pixels at ... at + P - 1; 0 where there is none.
template <bool kWhole, class T, class A>
__device__ __forceinline__ void load_products(SepconvSums<A>& products, const SepconvArgsGpu& a, const SepconvRow<T>& row,
                                              int32_t at, int32_t channels) {
  constexpr int P = kSepconvPixels;
  A weights[kSepconvOwnRows][P];
#pragma unroll
  for (int r = 0; r < kSepconvOwnRows; ++r) {
    if (row.meets[r]) load_vertical<kWhole>(weights[r], a, row, r, at);
  }
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    const T* const from = row.grad_out + min(n, channels - 1) * a.plane() + at;
    Pack<T, P> g{};
    bool exists[P];
#pragma unroll
    for (int p = 0; p < P; ++p) {
      exists[p] = kWhole || static_cast<uint32_t>(at + p) < static_cast<uint32_t>(a.width);
      if (!kWhole && exists[p]) g.at[p] = from[p];
    }
    if constexpr (kWhole) g = load_pack<T, P>(from);
#pragma unroll
    for (int i = 0; i < kSepconvOwnRows * P; ++i) {
      products[i / P][n][i % P] = exists[i % P] ? weights[i / P][i % P] * widen<A>(g.at[i % P]) : A(0);
    }
  }
}

// The rows' weights of tap j + u at the output pixels x + p - j - u that it meets.
template <bool kWhole, class T, class A>
__device__ __forceinline__ void load_horizontal(A (&weights)[kSepconvPixels], const SepconvArgsGpu& a, int64_t row, int32_t x,
                                                int32_t j, int u) {
  constexpr int P = kSepconvPixels;
  const Strides& s = a.horizontal.strides;
  if constexpr (kWhole) {
    const T* const from = static_cast<const T*>(a.horizontal.data) + row + (j + u) * s.channel + (x - j);
    const auto near = load_pack<T, P>(from);
    Pack<T, P> far{};
    if (u > 0) far = load_pack<T, P>(from - P);
#pragma unroll
    for (int p = 0; p < P; ++p) weights[p] = widen<A>(p >= u ? near.at[(p - u + P) % P] : far.at[(p - u + P) % P]);
  } else {
    with_elements(a.horizontal, [&](auto* data) {
      data += row + (j + u) * s.channel + (x - j - u) * s.column;
#pragma unroll
      for (int p = 0; p < P; ++p) {
        weights[p] = static_cast<uint32_t>(x + p - j - u) < static_cast<uint32_t>(a.width) ? widen<A>(data[p * s.column]) : A(0);
      }
    });
  }
}

// Taps j ... j + P - 1 of the rows, all of which exist if kAll: tap j + u meets pixel x + p - j - u, whose product is
// near[p - u] or far[p - u + P].
template <bool kWhole, bool kAll, class T, class A>
__device__ __forceinline__ void add_taps(SepconvSums<A>& sums, SepconvSums<A>& near, const SepconvArgsGpu& a,
                                         const SepconvRow<T>& row, int32_t x, int32_t j, int32_t channels) {
  constexpr int P = kSepconvPixels;
  SepconvSums<A> far;
  load_products<kWhole>(far, a, row, x - j - P, channels);
#pragma unroll
  for (int u = 0; u < P; ++u) {
    if (!kAll && j + u >= a.taps_h) break;
    A weights[P];
    load_horizontal<kWhole, T>(weights, a, row.horizontal, x, j, u);
#pragma unroll
    for (int r = 0; r < kSepconvOwnRows; ++r) {
      if (!row.meets[r]) continue;
#pragma unroll
      for (int k = 0; k < kSepconvGroup * P; ++k) {
        const int n = k / P, p = k % P;
        sums[r][n][p] += weights[p] * (p >= u ? near[r][n][(p - u + P) % P] : far[r][n][(p - u + P) % P]);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kSepconvOwnRows * kSepconvGroup * P; ++k) {
    near[k / P / kSepconvGroup][k / P % kSepconvGroup][k % P] = far[k / P / kSepconvGroup][k / P % kSepconvGroup][k % P];
  }
}

// What one row of output pixels gives. `packed`: grad_out can be loaded P at once, too.
template <class T, class A>
__device__ __forceinline__ void add_row(SepconvSums<A>& sums, const SepconvArgsGpu& a, const SepconvRow<T>& row, int32_t x,
                                        int32_t channels, bool packed) {
  constexpr int P = kSepconvPixels;
  const int32_t begin = max(0, x - a.width + 1) / P * P, end = min(a.taps_h, x + P);
  SepconvSums<A> near;
  if (packed && x >= begin && x - begin + P <= a.width) {
    load_products<true>(near, a, row, x - begin, channels);
  } else {
    load_products<false>(near, a, row, x - begin, channels);
  }
#pragma unroll 1
  for (int32_t j = begin; j < end; j += P) {
    if (!packed || x - j - P < 0 || x - j + P > a.width) {
      add_taps<false, false>(sums, near, a, row, x, j, channels);
    } else if (j + P <= a.taps_h) {
      add_taps<true, true>(sums, near, a, row, x, j, channels);
    } else {
      add_taps<true, false>(sums, near, a, row, x, j, channels);
    }
  }
}

template <class T, class A>
__global__ __launch_bounds__(kSepconvThreads, sizeof(A) == 4 ? 3 : 1) void sepconv_grad_image_kernel(
    const T* __restrict__ grad_out, T* __restrict__ grad, SepconvArgsGpu a) {
  constexpr int R = kSepconvOwnRows;
  const int32_t height = a.image_height(), groups = (a.channels + kSepconvGroup - 1) / kSepconvGroup;
  const SepconvPlace at = sepconv_place((height + R - 1) / R, a.image_width(), groups);
  const int32_t top = R * at.y, c = at.part * kSepconvGroup, channels = min(a.channels - c, kSepconvGroup);
  if (top >= height || at.x >= a.image_width()) return;
  const bool packed = a.packed && reinterpret_cast<uintptr_t>(grad_out) % sizeof(Pack<T, kSepconvPixels>) == 0;
  grad_out += (at.b * a.channels + c) * a.plane();
  SepconvSums<A> sums = {};
#pragma unroll 1
  for (int32_t y = max(0, top - a.taps_v + 1); y < min(a.height, top + R); ++y) {
    add_row(sums, a, SepconvRow<T>(a, grad_out, at.b, y, top), at.x, channels, packed);
  }
  grad += (at.b * a.channels + c) * a.image_plane() + int64_t{top} * a.image_width() + at.x;
#pragma unroll
  for (int r = 0; r < R; ++r, grad += a.image_width()) {
#pragma unroll
    for (int n = 0; n < kSepconvGroup; ++n) {
      if (top + r < height && n < channels) store_pixels(grad + n * a.image_plane(), sums[r][n], a.image_width() - at.x);
    }
  }
}

inline void launch_sepconv_grad_image(const void* grad_out, void* grad, Dtype dtype, const SepconvArgsGpu& a,
                                      cudaStream_t stream) {
  if (a.batch * a.channels * a.image_plane() == 0) return;
  dispatch(dtype, sepconv_wide(a), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((sepconv_grad_image_kernel<T, A>),
               sepconv_grid(a.batch, ceil_div(a.image_height(), kSepconvOwnRows), a.image_width(),
                            ceil_div(a.channels, kSepconvGroup)),
               dim3(kSepconvAcross, kSepconvLines), 0, stream, static_cast<const T*>(grad_out), static_cast<T*>(grad), a);
  });
}

}  // namespace vfi::cuda
