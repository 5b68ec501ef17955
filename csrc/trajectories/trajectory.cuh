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

// The flow of tau t at output pixel (y, x).
template <class A>
__device__ __forceinline__ void load_flow(const PathView& p, int64_t b, int64_t t, int32_t y, int32_t x, A (&flow)[2]) {
  const Taps<A> taps = load_taps<A>(p, b, t, y, x);
  const auto read = [&](int32_t k, int32_t row, int32_t column, A(&pixel)[2]) {
    load(p.keyframes, b, int64_t{2} * k, row, column, pixel);
  };
  trajectory_flow(taps, p.size, y, x, read, flow);
}

}  // namespace vfi::cuda
