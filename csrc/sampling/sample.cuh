// An image read at moved positions: the part of a kernel that costs most, for the warps. Most positions have all four
// corners in the image, each with a weight: those are read without asking, and without looking at the padding.
#pragma once

#include "sampling/gather.cuh"

namespace vfi::cuda {

// One axis of a position between two pixels of the image, and only of such a one: pixel `at` and its weight r, pixel at + 1 and
// its weight l. What split_axis() gives, in fewer instructions.
template <class A>
struct InnerAxis {
  int32_t at;
  A l, r;
  bool inside;  // it is such a position

  // Both pixels have a weight that is not 0.
  __device__ __forceinline__ bool is_whole() const { return inside && l > A(0); }
  // The position lies strictly inside, where every padding moves with the flow.
  __device__ __forceinline__ bool moves() const { return inside && (at > 0 || l > A(0)); }
};

template <class A>
__device__ __forceinline__ InnerAxis<A> inner_axis(A f, int32_t x, int32_t size) {
  const A whole = std::floor(f), l = f - whole;
  // Unsigned: a sum that does not fit is outside, and so is all that is too large for whole_number().
  const uint32_t at = static_cast<uint32_t>(x) + static_cast<uint32_t>(whole_number(whole));
  const bool inside = at < static_cast<uint32_t>(size - 1) && l < A(1);
  return {static_cast<int32_t>(at), l, whole + A(1) - f, inside};
}

// The packs of all four corners of a position that is whole.
template <class T, int N>
__device__ __forceinline__ void load_whole(const T* at, const DenseShape& s, Pack<T, N> (&v)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) v[k] = load_pack<T, N>(at + corner_step(s, k));
}

// Calls run(count, at, to_at) for the packs of this lane, kUnroll at a time, then what is left of them: `count` is a
// std::integral_constant, at(u) and to_at(u) point to pack u of both tensors. `from` and `to` have as many channels.
template <class Access, class P, class Q, class Run>
__device__ __forceinline__ void for_each_packs(const Place& p, const DenseShape& from, const DenseShape& to, P image, Q out,
                                               Run&& run) {
  constexpr int N = Access::N, kUnroll = Access::kUnroll;
  const int32_t stride = p.lanes * N;
  const int64_t step = stride * from.channel_stride(), to_step = stride * to.channel_stride();
  image += p.lane * N * from.channel_stride();
  out += p.lane * N * to.channel_stride();
  const auto at = [&](int u) { return image + u * step; };
  const auto to_at = [&](int u) { return out + u * to_step; };
  int32_t left = from.channels - p.lane * N;
  for (; left > (kUnroll - 1) * stride; left -= kUnroll * stride) {
    run(std::integral_constant<int, kUnroll>(), at, to_at);
    image += kUnroll * step;
    out += kUnroll * to_step;
  }
  if (kUnroll > 3 && left > 2 * stride) return run(std::integral_constant<int, 3>(), at, to_at);
  if (kUnroll > 2 && left > stride) return run(std::integral_constant<int, 2>(), at, to_at);
  if (kUnroll > 1 && left > 0) run(std::integral_constant<int, 1>(), at, to_at);
}

// The channels of this lane of one output pixel, at `out`: what `image` is where the flow points to.
template <class Access, class T, class A>
__device__ __forceinline__ void sample_pixel(const T* image, T* out, const DenseShape& shape, const DenseShape& to,
                                             Padding padding, const Place& p, const A (&flow)[2]) {
  constexpr int N = Access::N;
  const DenseShape from = shape.laid_out(Access::kLast);
  const InnerAxis<A> x = inner_axis(flow[0], p.x, from.width), y = inner_axis(flow[1], p.y, from.height);
  if (x.is_whole() && y.is_whole()) {
    const A weight[4] = {x.r * y.r, x.l * y.r, x.r * y.l, x.l * y.l};
    for_each_packs<Access>(p, from, to, image + from.offset(p.b, y.at, x.at), out, [&](auto count, auto at, auto to_at) {
      constexpr int kCount = decltype(count)::value;
      Pack<T, N> v[kCount][4];
#pragma unroll
      for (int u = 0; u < kCount; ++u) load_whole(at(u), from, v[u]);
#pragma unroll
      for (int u = 0; u < kCount; ++u) {
        Pack<T, N> result;
#pragma unroll
        for (int n = 0; n < N; ++n) {
          A sum = weight[0] * widen<A>(v[u][0].at[n]);
#pragma unroll
          for (int k = 1; k < 4; ++k) sum += weight[k] * widen<A>(v[u][k].at[n]);
          result.at[n] = narrow_to<T>(sum);
        }
        store_pack(to_at(u), result);
      }
    });
    return;
  }
  const auto position_there = position(flow[0], flow[1], padding, from.height, from.width, p.y, p.x);
  const Corners<A> c = corners(position_there.x, position_there.y);
  image += from.offset(p.b, position_there.y.at, position_there.x.at);
  for_each_packs<Access>(p, from, to, image, out, [&](auto count, auto at, auto to_at) {
    constexpr int kCount = decltype(count)::value;
    Pack<T, N> v[kCount][4];
#pragma unroll
    for (int u = 0; u < kCount; ++u) load_corners(at(u), from, c.used, v[u]);
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      Pack<T, N> result;
#pragma unroll
      for (int n = 0; n < N; ++n) result.at[n] = narrow_to<T>(interpolate(c, v[u], n));
      store_pack(to_at(u), result);
    }
  });
}

}  // namespace vfi::cuda
