// The gradients of adacof's weights and offsets on CUDA; see adacof_kernels.cuh. A thread has one pixel; the gradients of a tap
// of which one is not finite are taken again, exactly.
#pragma once

#include "ops/adacof/adacof_kernels.cuh"

namespace vfi::cuda {

// Where the data of a gradient is null it is not needed.
struct AdacofGradsGpu {
  MutableView weights, vertical, horizontal;
};

// The gradients of one tap, by its weight and its offsets.
template <class A>
struct TapGrads {
  A weight, vertical, horizontal;

  __device__ __forceinline__ bool all_finite() const { return finite(weight) && finite(vertical) && finite(horizontal); }
};

// Exactly: a corner is read where it is used. packs and grad_out: of the first group.
template <class T, class A>
__device__ __forceinline__ TapGrads<A> tap_grads_exactly(const T* __restrict__ grad_out, const AdacofPack<A>* packs,
                                                         const AdacofArgsGpu& a, const AdacofTap<A>& tap) {
  const Corners<A> corner = corners(tap.x, tap.y);
  const CornerSlopes<A> slopes = corner_slopes(tap.x, tap.y);
  if (!corner.any()) return {A(0), A(0), A(0)};
  A value = A(0), along_x = A(0), along_y = A(0);
  packs += corner_of(a, tap);
#pragma unroll 1
  for (int32_t c = 0; c < a.channels; ++c, grad_out += a.plane()) {
    Pack<A, 1> v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      v[k] = Pack<A, 1>{};
      if (corner.used[k] || slopes.reads[k]) {
        v[k].at[0] = packs[(k >> 1) * a.in_width + (k & 1)].at[c % kAdacofGroup];
      }
    }
    const A g = widen<A>(*grad_out);
    value += g * interpolate(corner, v, 0);
    add_slopes(slopes, v, 0, g, along_x, along_y);
    if (c % kAdacofGroup == kAdacofGroup - 1) packs += a.in_plane();
  }
  return {value, tap.y.slope != A(0) ? tap.weight * along_y : A(0), tap.x.slope != A(0) ? tap.weight * along_x : A(0)};
}

// Adds products of a group of channels to those of each corner; `packs`: of the first corner.
template <class A>
__device__ __forceinline__ void add_dots(A (&dots)[4], const AdacofPack<A>* packs, int32_t width,
                                         const A (&g)[kAdacofGroup]) {
  const AdacofPack<A>* const lower = packs + width;
  const AdacofPack<A> v[4] = {packs[0], packs[1], lower[0], lower[1]};
#pragma unroll
  for (int i = 0; i < 4 * kAdacofGroup; ++i) {
    dots[i / kAdacofGroup] += g[i % kAdacofGroup] * v[i / kAdacofGroup].at[i % kAdacofGroup];
  }
}

// Of a tap that has all four corners. `first`: grad_out of the first group.
template <class T, class A>
__device__ __forceinline__ TapGrads<A> tap_grads_quickly(const T* __restrict__ grad_out, const AdacofPack<A>* packs,
                                                         const A (&first)[kAdacofGroup], const AdacofArgsGpu& a,
                                                         const QuickTap<A>& tap) {
  A dots[4] = {A(0), A(0), A(0), A(0)};
  packs += corner_of(a, tap);
  add_dots(dots, packs, a.in_width, first);
#pragma unroll 1
  for (int32_t part = 1; part < a.groups(); ++part) {
    A g[kAdacofGroup];
    load_upstream(g, grad_out, a, part);
    packs += a.in_plane();
    add_dots(dots, packs, a.in_width, g);
  }
  const A upper = tap.x.r * dots[0] + tap.x.l * dots[1], lower = tap.x.r * dots[2] + tap.x.l * dots[3];
  const A along_x = tap.y.r * (dots[1] - dots[0]) + tap.y.l * (dots[3] - dots[2]);
  const A along_y = tap.x.r * (dots[2] - dots[0]) + tap.x.l * (dots[3] - dots[1]);
  return {tap.y.r * upper + tap.y.l * lower, tap.weight * along_y, tap.weight * along_x};
}

// A view's elements of one pixel, tap by tap, to be written; none where the gradient is not needed. W as of TapElements.
template <class W>
struct TapStores {
  W* at;
  int64_t step;

  __device__ __forceinline__ TapStores(const MutableView& view, int64_t b, int32_t y, int32_t x)
      : at(view.data == nullptr ? nullptr : static_cast<W*>(view.data) + view.strides.offset(b, 0, y, x)),
        step(view.strides.channel) {}
  template <class A>
  __device__ __forceinline__ void put(A value) {
    if (at == nullptr) return;
    narrow(value, *at);
    at += step;
  }
};
template <>
struct TapStores<void> {
  const MutableView& view;
  int64_t b;
  int32_t n, y, x;

  __device__ __forceinline__ TapStores(const MutableView& view, int64_t b, int32_t y, int32_t x)
      : view(view), b(b), n(0), y(y), x(x) {}
  template <class A>
  __device__ __forceinline__ void put(A value) {
    if (view.data != nullptr) store(view, b, n, y, x, value);
    ++n;
  }
};

template <class T, class A, class W>
__global__ __launch_bounds__(kThreads, 2) void adacof_grad_taps_kernel(const T* __restrict__ grad_out,
                                                                                        const AdacofPack<A>* __restrict__ packs,
                                                                                        AdacofGradsGpu to,
                                                                                        AdacofArgsGpu a) {
  AdacofPlace at;
  if (!adacof_place(a, 1, at)) return;
  packs += at.b * a.groups() * a.in_plane();
  grad_out += at.b * a.channels * a.plane() + int64_t{at.y} * a.width + at.x;
  TapStores<W> weights(to.weights, at.b, at.y, at.x), vertical(to.vertical, at.b, at.y, at.x),
      horizontal(to.horizontal, at.b, at.y, at.x);
  const bool quick = a.has_pairs() && a.channels > 0;
  A first[kAdacofGroup];
  load_upstream(first, grad_out, a, 0);
  for_each_tap<W>(a, at, [&](const AdacofTaps<W>& taps, int32_t y, int32_t x) {
    QuickTap<A> tap(a, taps, y, x);
    const bool inside = tap.inside();
    if (!inside) tap.clip(a);
    TapGrads<A> grads{A(0), A(0), A(0)};
    if (quick) grads = tap_grads_quickly(grad_out, packs, first, a, tap);
    if (!quick || !grads.all_finite()) {
      grads = tap_grads_exactly(grad_out, packs, a, adacof_tap<A>(a, taps, y, x));
    } else if (!inside) {
      if (!tap.y.inside) grads.vertical = A(0);
      if (!tap.x.inside) grads.horizontal = A(0);
    }
    weights.put(grads.weight);
    vertical.put(grads.vertical);
    horizontal.put(grads.horizontal);
  });
}

inline void launch_adacof_grad_taps(const void* grad_out, const void* packs, const AdacofGradsGpu& to, Dtype dtype,
                                    const AdacofArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  dispatch(dtype, a.wide(), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_tap_type<T, A>(dtype, a, [&](auto* type) {
      VFI_LAUNCH((adacof_grad_taps_kernel<T, A, std::remove_pointer_t<decltype(type)>>), adacof_grid(a, 1), kThreads, 0,
                 stream, static_cast<const T*>(grad_out), static_cast<const AdacofPack<A>*>(packs), to, a);
    });
  });
}

}  // namespace vfi::cuda
