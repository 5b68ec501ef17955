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

// What the sums of a target are multiplied by; those of a hole are 0, whatever they are.
template <class A>
struct Quotient {
  A inverse = A(1);
  bool hole = false;

  __device__ __forceinline__ A of(A sum) const { return hole ? A(0) : sum * inverse; }
};

template <class A>
__device__ __forceinline__ Quotient<A> quotient(Division division, A weight) {
  const A q = divisor(division, weight);
  return {A(1) / q, q == A(0)};
}

// Of a pixel of sample b; where the weight is wanted, the shift may be.
template <class A>
__device__ __forceinline__ void write_weight(const ScatterArgsGpu& s, const Finish& f, int64_t b, int64_t pixel, A weight) {
  const int64_t target = b * s.target_plane() + pixel;
  f.weight_out.as<A>()[target] = weight;
  if (f.shift_out.data != nullptr) {
    const SampleShift<A> shift = sample_shift<A>(s, b);
    f.shift_out.as<A>()[target] = shift.per_target ? target_shift<A>(s, target) : shift.common;
  }
}

// Channels of P pixels, as many of 4 G as there are `left`: from their sums, to `at` and every `step` further elements.
template <int P, int G, class T, class A>
__device__ __forceinline__ void store_quotients(T* at, int64_t step, int64_t channel, int32_t left, const Quotient<A> (&by)[P],
                                                const Pack<A, 4> (&sums)[P][G]) {
#pragma unroll
  for (int c = 0; c < 4 * G; ++c, at += channel) {
    if (c >= left) return;
#pragma unroll
    for (int i = 0; i < P; ++i) at[i * step] = narrow_to<T>(by[i].of(sums[i][c / 4].at[c % 4]));
  }
}

// Pixels of a row that a thread of a contiguous tensor has, 32 apart.
constexpr int kFinishPixels = 4, kApart = 32;

// P pixels from p.x on, for the groups of this lane.
template <int P, bool kLast, class T, class A>
__device__ __forceinline__ void finish_pixels(T* out, const DenseShape& to, const ScatterArgsGpu& s, const Finish& f,
                                              const Place& p) {
  const int64_t pixel = static_cast<int64_t>(p.y) * to.width + p.x;
  Quotient<A> quotients[P];
  if (f.weights.data != nullptr) {
    const A* const at = f.weights.as<A>() + f.weight_first + p.b * f.weight_batch + 4 * pixel;
    A weight[P];
#pragma unroll
    for (int i = 0; i < P; ++i) weight[i] = at[4 * kApart * i];
#pragma unroll
    for (int i = 0; i < P; ++i) quotients[i] = quotient(f.division, weight[i]);
    if (p.lane == 0 && f.weight_out.data != nullptr) {
#pragma unroll
      for (int i = 0; i < P; ++i) write_weight(s, f, p.b, pixel + kApart * i, weight[i]);
    }
  }
  const A* sums = sums_at<A>(s, f.sums, p.b, p.lane, p.y, p.x);
  T* at = out + to.offset(p.b, p.y, p.x) + 4 * p.lane * to.channel_stride();
#pragma unroll 1
  for (int32_t left = to.channels - 4 * p.lane; left > 0; left -= 4 * p.lanes) {
    Pack<A, 4> n[P][1];
#pragma unroll
    for (int i = 0; i < P; ++i) n[i][0] = load_pack<A, 4>(sums + 4 * kApart * i);
    if (kLast && to.channels % 4 == 0) {
      Pack<T, 4> result;
#pragma unroll
      for (int c = 0; c < 4; ++c) result.at[c] = narrow_to<T>(quotients[0].of(n[0][0].at[c]));
      store_pack(at, result);
    } else {
      store_quotients(at, kApart, to.channel_stride(), left, quotients, n);
    }
    sums += 4 * p.lanes * s.target_plane();
    at += 4 * p.lanes * to.channel_stride();
  }
}

template <class T, class A, bool kLast>
__global__ __launch_bounds__(kThreads) void finish_kernel(T* __restrict__ out, DenseShape shape, ScatterArgsGpu s,
                                                          Finish f, PixelGrid grid) {
  const DenseShape to = shape.laid_out(kLast);
  Place p = place<kLast>(grid);
  if (!p.inside) return;
  if constexpr (kLast) {
    finish_pixels<1, true, T, A>(out, to, s, f, p);
  } else {
    constexpr int kFurther = kApart * (kFinishPixels - 1);
    p.x += blockIdx.x * kFurther;
    if (p.x + kFurther < to.width) return finish_pixels<kFinishPixels, false, T, A>(out, to, s, f, p);
    for (; p.x < to.width; p.x += kApart) finish_pixels<1, false, T, A>(out, to, s, f, p);
  }
}

// The threads of finish_kernel.
inline PixelGrid finish_grid(const DenseShape& shape, int32_t groups) {
  PixelGrid grid = pixel_grid(shape, shape.channels_last, groups);
  if (!shape.channels_last) grid.width = kApart * static_cast<int32_t>(ceil_div(shape.width, kApart * kFinishPixels));
  return grid;
}

inline void launch_finish(void* out, Dtype dtype, const DenseShape& shape, const ScatterArgsGpu& s, const Finish& f,
                          cudaStream_t stream) {
  if (shape.pixels() == 0) return;
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    for_each_launch(finish_grid(shape, f.sums.groups), [&](const PixelGrid& part, Grid blocks) {
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
