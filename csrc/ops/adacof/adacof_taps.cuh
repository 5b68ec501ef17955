// The taps of adacof's pixels on CUDA: how their weights and offsets are read, and where they point to.
#pragma once

#include "ops/adacof/adacof.h"
#include "sampling/sample.cuh"

namespace vfi::cuda {

constexpr int kAdacofGroup = 4;
// Blocks on one multiprocessor: as many as keep every register out of memory.
template <class A>
constexpr int kAdacofResident = sizeof(A) == 8 ? 2 : 3;

struct AdacofArgsGpu {
  int64_t batch;
  int32_t channels, in_height, in_width, height, width, side, dilation;
  ConstView weights, vertical, horizontal;

  VFI_HOST_DEVICE int32_t taps() const { return side * side; }
  VFI_HOST_DEVICE int32_t groups() const { return (channels + kAdacofGroup - 1) / kAdacofGroup; }
  VFI_HOST_DEVICE int64_t in_plane() const { return int64_t{in_height} * in_width; }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
  // Of pixels, along both axes of the image.
  VFI_HOST_DEVICE bool has_pairs() const { return in_height > 1 && in_width > 1; }
  VFI_HOST_DEVICE bool wide() const {
    return weights.dtype == Dtype::kFloat64 || vertical.dtype == Dtype::kFloat64 || horizontal.dtype == Dtype::kFloat64;
  }
};

template <class A>
struct AdacofTap {
  Axis<A> x, y;
  A weight;
};

// A view's elements of one pixel, tap by tap. W: their type; void: it is known at run time only.
template <class W>
struct TapElements {
  const W* at;
  int64_t step;

  __device__ __forceinline__ TapElements(const ConstView& view, int64_t b, int32_t n, int32_t y, int32_t x)
      : at(static_cast<const W*>(view.data) + view.strides.offset(b, n, y, x)), step(view.strides.channel) {}
  __device__ __forceinline__ void advance() { at += step; }
  template <class A>
  __device__ __forceinline__ A value() const {
    return widen<A>(*at);
  }
};
template <>
struct TapElements<void> {
  const void* data;
  Dtype dtype;
  int64_t at, step;

  __device__ __forceinline__ TapElements(const ConstView& view, int64_t b, int32_t n, int32_t y, int32_t x)
      : data(view.data), dtype(view.dtype), at(view.strides.offset(b, n, y, x)), step(view.strides.channel) {}
  __device__ __forceinline__ void advance() { at += step; }
  template <class A>
  __device__ __forceinline__ A value() const {
    switch (dtype) {
      case Dtype::kFloat64: return widen<A>(static_cast<const double*>(data)[at]);
      case Dtype::kFloat32: return widen<A>(static_cast<const float*>(data)[at]);
      case Dtype::kFloat16: return widen<A>(static_cast<const Half*>(data)[at]);
      default: return widen<A>(static_cast<const BFloat16*>(data)[at]);
    }
  }
};

// Weight and offsets of the taps of one pixel, from tap n on.
template <class W>
struct AdacofTaps {
  TapElements<W> weights, vertical, horizontal;

  __device__ __forceinline__ AdacofTaps(const AdacofArgsGpu& a, int64_t b, int32_t n, int32_t y, int32_t x)
      : weights(a.weights, b, n, y, x), vertical(a.vertical, b, n, y, x), horizontal(a.horizontal, b, n, y, x) {}
  __device__ __forceinline__ void advance() {
    weights.advance();
    vertical.advance();
    horizontal.advance();
  }
};

// The tap whose place without an offset is (y, x).
template <class A, class W>
__device__ __forceinline__ AdacofTap<A> adacof_tap(const AdacofArgsGpu& a, const AdacofTaps<W>& taps, int32_t y, int32_t x) {
  return {truncated_axis(taps.horizontal.template value<A>(), x, a.in_width),
          truncated_axis(taps.vertical.template value<A>(), y, a.in_height), taps.weights.template value<A>()};
}

// An axis of a tap in an image of two pixels and more there, in fewer instructions than truncated_axis() needs. What is clipped
// has the outer two pixels, and a weight of 0. An offset that is no number makes weights that are none.
template <class A>
struct TapAxis : InnerAxis<A> {
  int32_t whole;  // of the offset

  __device__ __forceinline__ TapAxis(A f, int32_t x, int32_t size) : whole(whole_number(f)) {
    const uint32_t at = static_cast<uint32_t>(x) + static_cast<uint32_t>(whole);
    this->at = static_cast<int32_t>(at);
    this->l = f - static_cast<A>(whole), this->r = A(1) - this->l;
    this->inside = at < static_cast<uint32_t>(size - 1);
  }
  // Where it is not inside. x is: only what goes to the left can end there.
  __device__ __forceinline__ void clip(int32_t size) {
    if (this->inside) return;
    this->at = whole < 0 ? 0 : max(size - 2, 0);
    if (finite(this->l)) this->l = A(whole >= 0 && size > 1);
    this->r = A(1) - this->l;
  }
};

template <class A>
struct QuickTap {
  TapAxis<A> x, y;
  A weight;

  template <class W>
  __device__ __forceinline__ QuickTap(const AdacofArgsGpu& a, const AdacofTaps<W>& taps, int32_t row, int32_t column)
      : x(taps.horizontal.template value<A>(), column, a.in_width),
        y(taps.vertical.template value<A>(), row, a.in_height),
        weight(taps.weights.template value<A>()) {}
  __device__ __forceinline__ bool inside() const { return x.inside && y.inside; }
  __device__ __forceinline__ void clip(const AdacofArgsGpu& a) {
    x.clip(a.in_width);
    y.clip(a.in_height);
  }
};

}  // namespace vfi::cuda
