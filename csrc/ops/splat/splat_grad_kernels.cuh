// Gradients of splatting on CUDA. Forward, for target t with divisor q and weight D (splat.h):
//
//   N[t] = sum over s, k of w_k e_k x,   D[t] = sum over s, k of w_k e_k,   out = N / q
//
// and for a source pixel, with g = grad_out and k over its four corners:
//
//   grad_x      = sum_k w_k e_k / q_k g[k]
//   grad_flow   = sum_k dw_k (e_k / q_k dot_k + e_k grad_weight[k])
//   grad_metric = sum_k w_k (the same), times 1 / e in mode linear
//   dot_k       = sum over inputs and channels of g[k] (x - dq/dD out[k]), 0 where it is only rounding of out, and so is
//                 a gradient that may be (splat_rules.h)
//
// Work: a gather with the threads of the warp kernels (sampling/gather.cuh); one launch for each input. w e / q is formed
// first, because it is at most 1 where 1 / q alone may overflow. Every sum has a fixed order: deterministic.
#pragma once

#include "ops/splat/splat_landing.cuh"
#include "splatting/splat_rules.h"

namespace vfi::cuda {

struct SplatGradArgsGpu {
  ScatterArgsGpu s;
  DenseShape shape;  // of this input [B, C, H, W]
  Division division;
  ConstNumbers weight;  // [B, 1, H, W]; data null in mode sum
  ConstNumbers shift;   // [B, 1, H, W]; softmax only
  ConstNumbers grad_weight;  // [B, 1, H, W]; data null where there is none
  MutableView grad_flow;  // data null: not needed
  MutableView grad_metric;
  Numbers partial;   // [B, 8, H, W]: CornerDot of the inputs before; data null for a single input
  int most, doubt;   // times noise that is rounding, at most, and of a nearly lone pixel: splat_rules.h
  bool first, last;  // input: starts from 0 instead of `partial`; writes the gradients instead of `partial`
};

// What a source pixel needs of its four targets.
template <class A>
struct Targets {
  Corners<A> corner;
  CornerSlopes<A> slope;
  int32_t y, x;   // of target 0
  int64_t first;  // its offset in weight and shift [B, 1, H, W]
  bool reads[4];  // the corner is used, or its slope is
  A e[4];
  A unit[4];        // d e / d metric
  A q[4];           // 0: this target has no gradient
  A part[4];        // w e / q: at most 1
  bool follows[4];  // q grows with the weight
  bool alone[4];    // w e is all of q: x is out
  bool dim[4];      // the weight is so small that all but a lone pixel's may be rounding
};

template <class A>
__device__ __forceinline__ int64_t target_offset(const SplatGradArgsGpu& a, const Targets<A>& t, int k) {
  return t.first + (k >> 1) * a.s.W + (k & 1);
}

template <class A>
__device__ __forceinline__ Targets<A> find_targets(const SplatGradArgsGpu& a, const Place& p) {
  Targets<A> t{};
  A flow[2], metric[1] = {A(1)};
  load(a.s.flow, p.b, p.y, p.x, flow);
  if (a.s.factor != Factor::kOne) load(a.s.metric, p.b, p.y, p.x, metric);
  if (!finite(metric[0])) return t;
  const auto at = position(flow[0], flow[1], Padding::kZeros, a.s.H, a.s.W, p.y, p.x);
  t.corner = corners(at.x, at.y);
  t.slope = corner_slopes(at.x, at.y);
  t.y = at.y.at;
  t.x = at.x.at;
  t.first = p.b * a.s.target_plane() + static_cast<int64_t>(at.y.at) * a.s.W + at.x.at;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    t.reads[k] = t.corner.used[k] || t.slope.reads[k];
    if (!t.reads[k]) continue;
    t.e[k] = metric[0];
    t.unit[k] = A(1);
    if (a.s.factor == Factor::kSoftmax) {
      // A pixel with weight 0 here may exceed the shift of this target.
      const A below = metric[0] - a.shift.as<A>()[target_offset(a, t, k)];
      t.e[k] = t.unit[k] = std::exp(below < A(0) ? below : A(0));
    }
    t.q[k] = A(1);
    if (a.division != Division::kNone) {
      const A weight = a.weight.as<A>()[target_offset(a, t, k)];
      t.q[k] = divisor(a.division, weight);
      t.follows[k] = divisor_moves(a.division, weight);
      t.alone[k] = t.corner.used[k] && has_alone(a.division, weight, t.corner.weight[k] * t.e[k]);
      t.dim[k] = !t.alone[k] && is_dim(a.division, weight);
    }
    if (t.corner.used[k] && t.q[k] != A(0)) t.part[k] = t.corner.weight[k] * (t.e[k] / t.q[k]);
  }
  return t;
}

// At a target: the sum of g (x - dq/dD out) over channels, and what is rounding in it.
template <class A>
struct CornerDot {
  A sum, noise;
};

// Of two parts of the channels.
template <class T, class A>
__device__ __forceinline__ CornerDot<A> joined(const CornerDot<A>& one, const CornerDot<A>& other) {
  return {one.sum + other.sum, joined_noise<T>(one.noise, other.noise)};
}

// grad_x of the channels of this lane, and their part of the dots.
template <class Access, class T, class A>
__device__ __forceinline__ void gather_channels(const T* grad_out, const T* values, const T* out, T* grad_values,
                                                const SplatGradArgsGpu& a, const Place& p, const Targets<A>& t,
                                                CornerDot<A> (&dots)[4]) {
  constexpr int N = Access::N;
  const DenseShape shape = a.shape.laid_out(Access::kLast);
  const int64_t own = shape.offset(p.b, p.y, p.x), target = shape.offset(p.b, t.y, t.x);
  for (int32_t channel = p.lane * N; channel < shape.channels; channel += p.lanes * N) {
    const int64_t step = channel * shape.channel_stride();
    Pack<T, N> g[4], o[4], x{};
    load_corners(grad_out + target + step, shape, t.reads, g);
    if (out != nullptr) load_corners(out + target + step, shape, t.reads, o);
    if (values != nullptr) x = load_pack<T, N>(values + own + step);
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      A sum = A(0);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (!t.reads[k]) continue;
        const A upstream = widen<A>(g[k].at[n]);
        if (t.part[k] != A(0)) sum += t.part[k] * upstream;
        const A result = out != nullptr && t.follows[k] ? widen<A>(o[k].at[n]) : A(0);
        dots[k].sum += upstream * (t.alone[k] ? A(0) : widen<A>(x.at[n]) - result);
        dots[k].noise = joined_noise<T>(dots[k].noise, noise_of<T>(upstream * result));
      }
      result.at[n] = narrow_to<T>(sum);
    }
    if (grad_values != nullptr) store_pack(grad_values + own + step, result);
  }
}

// Adds what the inputs before left, and leaves it for the next one.
template <class T, class A>
__device__ __forceinline__ void join_inputs(const SplatGradArgsGpu& a, const Place& p, CornerDot<A> (&dots)[4]) {
  if (a.partial.data == nullptr) return;
  const int64_t plane = a.s.target_plane();
  A* const partial = a.partial.as<A>() + 8 * p.b * plane + static_cast<int64_t>(p.y) * a.s.W + p.x;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    A *const sum = partial + 2 * k * plane, *const noise = sum + plane;
    if (!a.first) dots[k] = joined<T>(CornerDot<A>{*sum, *noise}, dots[k]);
    if (!a.last) *sum = dots[k].sum, *noise = dots[k].noise;
  }
}

// grad_flow and grad_metric from the dot products, 0 where they may be rounding for the most part.
template <class A>
__device__ __forceinline__ void write_gradients(const SplatGradArgsGpu& a, const Place& p, const Targets<A>& t,
                                                const CornerDot<A> (&dots)[4]) {
  A total[3] = {A(0), A(0), A(0)}, doubts[3] = {A(0), A(0), A(0)};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (!t.reads[k]) continue;
    const A direct = a.grad_weight.data == nullptr ? A(0) : a.grad_weight.as<A>()[target_offset(a, t, k)];
    // Without a product of 0 and infinity: 1 / q may overflow.
    const A dot = dots[k].sum, noise = dots[k].noise;
    const bool none = t.q[k] == A(0) || dot == A(0) || is_rounding(dot, noise, t.part[k], a.most);
    const A along_e = none ? A(0) : t.e[k] / t.q[k] * dot, along_unit = none ? A(0) : t.unit[k] / t.q[k] * dot;
    const A moved = along_e + t.e[k] * direct;
    if (t.slope.uses_dx[k]) total[0] += t.slope.dx[k] * moved;
    if (t.slope.uses_dy[k]) total[1] += t.slope.dy[k] * moved;
    if (t.corner.used[k]) total[2] += t.corner.weight[k] * (along_unit + t.unit[k] * direct);
    if (t.dim[k]) doubts[0] = doubts[1] = doubts[2] = std::numeric_limits<A>::infinity();
    const A doubt = A(a.doubt) * noise;
    if (t.q[k] == A(0) || !(doubt > A(0)) || t.alone[k] || !is_doubtful(t.part[k], t.corner.weight[k])) continue;
    const A of_e = std::abs(t.e[k] / t.q[k]) * doubt;
    if (t.slope.uses_dx[k]) doubts[0] += std::abs(t.slope.dx[k]) * of_e;
    if (t.slope.uses_dy[k]) doubts[1] += std::abs(t.slope.dy[k]) * of_e;
  }
  for (int i = 0; i < 3; ++i) {
    if (std::abs(total[i]) < doubts[i]) total[i] = A(0);
  }
  if (a.grad_flow.data != nullptr) {
    store(a.grad_flow, p.b, 0, p.y, p.x, total[0]);
    store(a.grad_flow, p.b, 1, p.y, p.x, total[1]);
  }
  if (a.grad_metric.data != nullptr) store(a.grad_metric, p.b, 0, p.y, p.x, total[2]);
}

// `values` and `out` may be null where neither grad_flow nor grad_metric is needed (`out` in mode sum too), and so may
// `grad_values` where it is not.
template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads, 1) void splat_grad_kernel(const T* __restrict__ grad_out,
                                                                 const T* __restrict__ values, const T* __restrict__ out,
                                                                 T* __restrict__ grad_values, SplatGradArgsGpu a,
                                                                 PixelGrid grid) {
  const Place p = place<Access::kLast>(grid);
  Targets<A> t{};
  CornerDot<A> dots[4] = {};
  if (p.inside) {
    t = find_targets<A>(a, p);
    gather_channels<Access>(grad_out, values, out, grad_values, a, p, t, dots);
  }
  join_lanes<Access::kLast>(p, dots, joined<T, A>);
  if (!p.inside || p.lane != 0) return;
  join_inputs<T>(a, p, dots);
  if (a.last) write_gradients(a, p, t, dots);
}

inline void launch_splat_grad(const void* grad_out, const void* values, const void* out, void* grad_values, Dtype dtype,
                              const SplatGradArgsGpu& a, cudaStream_t stream) {
  if (a.shape.pixels() == 0) return;
  dispatch(dtype, a.s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_access<T, A>(a.shape, a.shape, {grad_out, values, out, grad_values}, [&](auto access, const PixelGrid& grid) {
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        VFI_LAUNCH((splat_grad_kernel<T, A, decltype(access)>), blocks, part.block, part.sum_bytes(4, sizeof(CornerDot<A>)),
                   stream, static_cast<const T*>(grad_out), static_cast<const T*>(values), static_cast<const T*>(out),
                   static_cast<T*>(grad_values), a, part);
      });
    });
  });
}

}  // namespace vfi::cuda
