// Flows along trajectories on CUDA; the formulas are in trajectory.h and keys_cubic.h.
#pragma once

#include "cuda/launch.cuh"
#include "trajectories/trajectory.h"

namespace vfi::cuda {

struct PathView {
  ConstView keyframes;  // [B, 2 K, h, w]
  ConstView taus;       // [B, T, 1, 1] or [B, T, H, W]
  int32_t count;        // T
  bool per_pixel;
  Resize size;
  Curve curve;
  int order;  // of the derivative
};

template <class A>
__device__ __forceinline__ Taps<A> load_taps(const PathView& p, int64_t b, int64_t t, int32_t y, int32_t x) {
  A tau[1];
  load(p.taus, b, t, p.per_pixel ? y : 0, p.per_pixel ? x : 0, tau);
  return taps_at(p.curve, tau[0], p.order);
}

// Where an output pixel lies in the keyframes. Made once for all that a thread does there: it costs divisions.
template <class A>
struct PathPlace {
  ResizeAxis<A> y, x;
};

template <class A>
__device__ __forceinline__ PathPlace<A> path_place(const PathView& p, int32_t y, int32_t x) {
  return {resize_axis<A>(y, p.size.h, p.size.H), resize_axis<A>(x, p.size.w, p.size.W)};
}

// Both components there of keyframe k of sample b, from keyframes of elements E.
template <class E, class A>
__device__ __forceinline__ void read_keyframe(const PathView& p, int64_t b, int32_t k, int32_t y, int32_t x,
                                              A (&value)[2]) {
  const Strides& strides = p.keyframes.strides;
  load_as<E>(p.keyframes.data, strides.offset(b, int64_t{2} * k, y, x), strides.channel, value);
}

// Calls run(E()) with the element type of the keyframes.
template <class A, class Run>
__device__ __forceinline__ void with_keyframes(const PathView& p, Run&& run) {
  switch (p.keyframes.dtype) {
    case Dtype::kFloat64:
      if constexpr (sizeof(A) == sizeof(double)) run(double());
      break;
    case Dtype::kFloat32: return run(float());
    case Dtype::kFloat16: return run(Half());
    default: run(BFloat16());
  }
}

// The flow at the pixel `from` of the first keyframe that the taps have, of keyframes as large as the output.
template <class E, class A>
__device__ __forceinline__ void combine_here(const PathView& p, const Taps<A>& taps, const E* from, A (&flow)[2]) {
  const int64_t channel = p.keyframes.strides.channel;
  A value[4][2];  // all are in flight together
#pragma unroll
  for (int m = 0; m < 4; ++m, from += 2 * channel) {
    if (taps.w[m] != A(0)) load_as<E>(from, 0, channel, value[m]);
  }
  flow[0] = flow[1] = A(0);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    if (taps.w[m] == A(0)) continue;
    flow[0] += taps.w[m] * value[m][0];
    flow[1] += taps.w[m] * value[m][1];
  }
}

// Where combine_here begins.
template <class E, class A>
__device__ __forceinline__ const E* first_keyframe(const PathView& p, int64_t b, const Taps<A>& taps, int32_t y, int32_t x) {
  return static_cast<const E*>(p.keyframes.data) + p.keyframes.strides.offset(b, int64_t{2} * taps.first, y, x);
}

template <class E, class A>
__device__ __forceinline__ void combine_keyframes(const PathView& p, int64_t b, const Taps<A>& taps,
                                                  const PathPlace<A>& at, A (&flow)[2]) {
  if (p.size.same()) return combine_here(p, taps, first_keyframe<E>(p, b, taps, at.y.at, at.x.at), flow);
  const auto read = [&](int32_t k, int32_t row, int32_t column, A(&pixel)[2]) {
    read_keyframe<E>(p, b, k, row, column, pixel);
  };
  trajectory_flow(taps, p.size, at.y, at.x, read, flow);
}

// Flows of R pixels of a column, of keyframes as large as the output: y[r] is y[r - 1] or the next row.
template <class A, int R>
__device__ __forceinline__ void load_flow_column(const PathView& p, int64_t b, const Taps<A>& taps, const int32_t (&y)[R],
                                                 int32_t x, A (&flow)[R][2]) {
  with_keyframes<A>(p, [&](auto element) {
    const auto* from = first_keyframe<decltype(element)>(p, b, taps, y[0], x);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r > 0) from += y[r] > y[r - 1] ? p.keyframes.strides.row : 0;
      combine_here(p, taps, from, flow[r]);
    }
  });
}

// The flow by the taps of a tau.
template <class A>
__device__ __forceinline__ void load_flow(const PathView& p, int64_t b, const Taps<A>& taps, const PathPlace<A>& at,
                                          A (&flow)[2]) {
  with_keyframes<A>(p, [&](auto element) { combine_keyframes<decltype(element)>(p, b, taps, at, flow); });
}

// The flow of tau t at output pixel (y, x).
template <class A>
__device__ __forceinline__ void load_flow(const PathView& p, int64_t b, int64_t t, int32_t y, int32_t x, A (&flow)[2]) {
  load_flow(p, b, load_taps<A>(p, b, t, y, x), path_place<A>(p, y, x), flow);
}

// Taps of a tau that all pixels share, made by one thread for the block, in `shared`. Every thread has to call it.
template <class A>
__device__ __forceinline__ Taps<A> shared_taps(const PathView& p, int64_t b, int64_t t, Taps<A>* shared) {
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) *shared = load_taps<A>(p, b, t, 0, 0);
  __syncthreads();
  return *shared;
}

}  // namespace vfi::cuda
