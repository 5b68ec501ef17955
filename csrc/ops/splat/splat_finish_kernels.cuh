// The kernel that turns the sums of a scatter (splat_landing.cuh) into a result.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

struct Finish {
  SumLayout sums;
  Division division;
  // The sums of the weight begin at element `weight_first`, `weight_batch` apart from sample to sample, 4 from pixel to pixel.
  ConstNumbers weights;
  int64_t weight_first, weight_batch;
  Numbers weight_out;  // [B, 1, target_H, target_W]; data may be null
  Numbers shift_out;   // the same
};

// The result of a sum whose divisor is q, which is 0 in holes.
template <class A>
__device__ __forceinline__ A quotient(Division division, A sum, A q) {
  return division == Division::kNone ? sum : q == A(0) ? A(0) : sum / q;
}

template <class A>
__device__ __forceinline__ void write_weight(const ScatterArgsGpu& s, const Finish& f, const Place& p, int64_t pixel,
                                             A weight) {
  const int64_t target = p.b * s.target_plane() + pixel;
  if (f.weight_out.data != nullptr) f.weight_out.as<A>()[target] = weight;
  if (f.shift_out.data != nullptr) {
    const SampleShift<A> shift = sample_shift<A>(s, p.b);
    f.shift_out.as<A>()[target] = shift.per_target ? target_shift<A>(s, p.b, p.y, p.x) : shift.common;
  }
}

template <class T, class A, bool kLast>
__global__ __launch_bounds__(kThreads) void finish_kernel(T* __restrict__ out, DenseShape shape, ScatterArgsGpu s,
                                                          Finish f, PixelGrid grid) {
  const DenseShape to = shape.laid_out(kLast);
  const Place p = place<kLast>(grid);
  if (!p.inside) return;
  const int64_t pixel = static_cast<int64_t>(p.y) * to.width + p.x;
  A q = A(1);
  if (f.weights.data != nullptr) {
    const A weight = f.weights.as<A>()[f.weight_first + p.b * f.weight_batch + 4 * pixel];
    q = divisor(f.division, weight);
    if (p.lane == 0) write_weight(s, f, p, pixel, weight);
  }
  out += to.offset(p.b, p.y, p.x);
  for (int32_t g = p.lane; 4 * g < to.channels; g += p.lanes) {
    const Pack<A, 4> n = load_pack<A, 4>(sums_at<A>(s, f.sums, p.b, g, p.y, p.x));
    Pack<T, 4> result;
#pragma unroll
    for (int c = 0; c < 4; ++c) result.at[c] = narrow_to<T>(quotient(f.division, n.at[c], q));
    T* at = out + 4 * g * to.channel_stride();
    if (kLast && to.channels % 4 == 0) {
      store_pack(at, result);
    } else {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (4 * g + c < to.channels) at[c * to.channel_stride()] = result.at[c];
      }
    }
  }
}

inline void launch_finish(void* out, Dtype dtype, const DenseShape& shape, const ScatterArgsGpu& s, const Finish& f,
                          cudaStream_t stream) {
  if (shape.pixels() == 0) return;
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    for_each_launch(pixel_grid(shape, shape.channels_last, f.sums.groups), [&](const PixelGrid& part, Grid blocks) {
      if (shape.channels_last) {
        VFI_LAUNCH((finish_kernel<T, A, true>), blocks, part.block, 0, stream, static_cast<T*>(out), shape, s, f, part);
      } else {
        VFI_LAUNCH((finish_kernel<T, A, false>), blocks, part.block, 0, stream, static_cast<T*>(out), shape, s, f,
                   part);
      }
    });
  });
}

}  // namespace vfi::cuda
