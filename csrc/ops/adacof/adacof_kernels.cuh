// adacof on CUDA; the formulas are in adacof.h. Images are contiguous. A thread has one pixel and the sums of kAdacofGroup
// channels, through all taps.
#pragma once

#include "ops/adacof/adacof.h"
#include "sampling/gather.cuh"

namespace vfi::cuda {

constexpr int kAdacofGroup = 4;

struct AdacofArgsGpu {
  int64_t batch;
  int32_t channels, in_height, in_width, height, width, side, dilation;
  ConstView weights, vertical, horizontal;

  VFI_HOST_DEVICE int32_t taps() const { return side * side; }
  VFI_HOST_DEVICE int32_t groups() const { return (channels + kAdacofGroup - 1) / kAdacofGroup; }
  VFI_HOST_DEVICE int64_t in_plane() const { return int64_t{in_height} * in_width; }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
  VFI_HOST_DEVICE bool wide() const {
    return weights.dtype == Dtype::kFloat64 || vertical.dtype == Dtype::kFloat64 || horizontal.dtype == Dtype::kFloat64;
  }
};

template <class A>
struct AdacofTap {
  Axis<A> x, y;
  A weight;
};

// Weight and offsets of the taps of one pixel: where they are, in elements, of tap 0.
struct AdacofTaps {
  int64_t weights, vertical, horizontal;

  __device__ __forceinline__ AdacofTaps(const AdacofArgsGpu& a, int64_t b, int32_t y, int32_t x)
      : weights(a.weights.strides.offset(b, 0, y, x)),
        vertical(a.vertical.strides.offset(b, 0, y, x)),
        horizontal(a.horizontal.strides.offset(b, 0, y, x)) {}
  // Those of the tap `count` further.
  __device__ __forceinline__ void advance(const AdacofArgsGpu& a, int64_t count) {
    weights += count * a.weights.strides.channel;
    vertical += count * a.vertical.strides.channel;
    horizontal += count * a.horizontal.strides.channel;
  }
};

template <class A>
__device__ __forceinline__ A element_of(const ConstView& view, int64_t at) {
  switch (view.dtype) {
    case Dtype::kFloat64: return widen<A>(static_cast<const double*>(view.data)[at]);
    case Dtype::kFloat32: return widen<A>(static_cast<const float*>(view.data)[at]);
    case Dtype::kFloat16: return widen<A>(static_cast<const Half*>(view.data)[at]);
    default: return widen<A>(static_cast<const BFloat16*>(view.data)[at]);
  }
}

// The tap whose place without an offset is (y, x).
template <class A>
__device__ __forceinline__ AdacofTap<A> adacof_tap(const AdacofArgsGpu& a, const AdacofTaps& taps, int32_t y, int32_t x) {
  return {truncated_axis(element_of<A>(a.horizontal, taps.horizontal), x, a.in_width),
          truncated_axis(element_of<A>(a.vertical, taps.vertical), y, a.in_height), element_of<A>(a.weights, taps.weights)};
}

// Tap n of pixel (y, x).
template <class A>
__device__ __forceinline__ AdacofTap<A> adacof_tap(const AdacofArgsGpu& a, int64_t b, int32_t n, int32_t y, int32_t x) {
  AdacofTaps taps(a, b, y, x);
  taps.advance(a, n);
  return adacof_tap<A>(a, taps, y + n / a.side * a.dilation, x + n % a.side * a.dilation);
}

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

// One channel of the four corners of a tap; `at` is the first.
template <class T>
__device__ __forceinline__ void read_tap(const T* __restrict__ at, int32_t row, const bool (&wanted)[4],
                                         Pack<T, 1> (&v)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    v[k] = Pack<T, 1>{};
    if (wanted[k]) v[k].at[0] = at[(k >> 1) * row + (k & 1)];
  }
}

template <class A>
__device__ __forceinline__ int64_t corner_of(const AdacofArgsGpu& a, const AdacofTap<A>& tap) {
  return int64_t{tap.y.at} * a.in_width + tap.x.at;
}

// One tap's samples of the channels that are left, exactly: a corner of weight 0 is not read.
template <class T, class A>
__device__ __forceinline__ void sample_exactly(A (&values)[kAdacofGroup], const T* __restrict__ image,
                                               const AdacofArgsGpu& a, const AdacofTap<A>& tap, int32_t channels) {
  const Corners<A> corner = corners(tap.x, tap.y);
#pragma unroll
  for (int k = 0; k < kAdacofGroup; ++k) {
    values[k] = A(0);
    if (k >= channels || !corner.any()) continue;
    Pack<T, 1> v[4];
    read_tap(image + k * a.in_plane() + corner_of(a, tap), a.in_width, corner.used, v);
    values[k] = tap.weight * interpolate(corner, v, 0);
  }
}

// The same where all corners exist. A weight of 0 meets what it may: false where a sample is not finite.
template <class T, class A>
__device__ __forceinline__ bool sample_quickly(A (&values)[kAdacofGroup], const T* __restrict__ image,
                                               const AdacofArgsGpu& a, const AdacofTap<A>& tap, int32_t channels) {
  const A up = tap.weight * tap.y.r, down = tap.weight * tap.y.l;
  const A weights[4] = {up * tap.x.r, up * tap.x.l, down * tap.x.r, down * tap.x.l};
  A doubt = A(0);
  image += corner_of(a, tap);
#pragma unroll
  for (int k = 0; k < kAdacofGroup; ++k) {
    if (k >= channels) break;
    const T* const below = image + a.in_width;
    values[k] = weights[0] * widen<A>(image[0]) + weights[1] * widen<A>(image[1]) + weights[2] * widen<A>(below[0]) +
                weights[3] * widen<A>(below[1]);
    doubt += A(0) * values[k];
    image += a.in_plane();
  }
  return doubt == A(0);
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void adacof_kernel(const T* __restrict__ image, T* __restrict__ out,
                                                          AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, a.groups(), at)) return;
  const int32_t c = at.part * kAdacofGroup;
  image += (at.b * a.channels + c) * a.in_plane();
  A sums[kAdacofGroup] = {};
  AdacofTaps taps(a, at.b, at.y, at.x);
  for (int32_t i = 0; i < a.side; ++i) {
    for (int32_t j = 0; j < a.side; ++j, taps.advance(a, 1)) {
      const AdacofTap<A> tap = adacof_tap<A>(a, taps, at.y + i * a.dilation, at.x + j * a.dilation);
      A values[kAdacofGroup];
      const bool quick = tap.x.in1 && tap.y.in1;
      if (!quick || !sample_quickly(values, image, a, tap, a.channels - c)) {
        sample_exactly(values, image, a, tap, a.channels - c);
      }
#pragma unroll
      for (int k = 0; k < kAdacofGroup; ++k) sums[k] += c + k < a.channels ? values[k] : A(0);
    }
  }
  out += (at.b * a.channels + c) * a.plane() + int64_t{at.y} * a.width + at.x;
#pragma unroll
  for (int k = 0; k < kAdacofGroup; ++k) {
    if (c + k < a.channels) out[k * a.plane()] = narrow_to<T>(sums[k]);
  }
}

inline void launch_adacof(const void* image, void* out, Dtype dtype, const AdacofArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.channels * a.plane() == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((adacof_kernel<T, A>), adacof_grid(a, a.groups()), kThreads, 0, stream, static_cast<const T*>(image),
               static_cast<T*>(out), a);
  });
}

}  // namespace vfi::cuda
