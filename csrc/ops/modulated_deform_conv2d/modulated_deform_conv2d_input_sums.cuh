// Sums of the gradient of modulated_deform_conv2d's input on CUDA, where taps of any pixels meet: by atomics, in one of two
// ways. They lie as the kernels' input does, [B, H, W, C], with C rounded up to a multiple of 4.
//
//   floating point   the order of the atomics is that of the moment.
//   fixed point      numbers scaled to 64-bit integers, whose sums have no order: the same result every time. The scale comes
//                    from bounds of all factors, found first, so that no sum can overflow. float64 has a second integer for
//                    what the first rounds off. Only where those bounds say that something may not be finite, each number is
//                    looked at: what is not finite is added to floating point sums (of 0, infinity and NaN, sums have no
//                    order either) and wins.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_ranges.cuh"

namespace vfi::cuda {

// Where the sums go. `fixed` is null for sums in floating point.
struct InputSums {
  void* sums;  // null where they are not needed
  unsigned long long* fixed;
  int64_t elements;  // of either; float64's second integers follow the first
  const Ranges* ranges;
  int64_t channels;  // of a pixel
  int terms;         // 2^terms is more than how many numbers a sum has
};

// What the ranges say.
struct FixedPoint {
  int exponent;  // of the scale
  bool finite;   // so is every m w_k G

  // Of sums of m w_k G, where w_k is up to 1.
  template <class A>
  static __device__ __forceinline__ FixedPoint of(const InputSums& to, const DeformArgsGpu& a) {
    const int mask = a.mask.data == nullptr ? 1 : bits_of_range(to.ranges->mask);
    const int grad = bits_of_range(to.ranges->grad_out) + bits_of_range(to.ranges->weight);
    return {exponent_of_scale<A>(to.terms, mask, grad), to.ranges->odd == 0 && grad < Bits<A>::kBias};
  }
};

// The sums of one sample, as a thread has them.
template <class A>
class InputSumsAt {
  A* sums_;
  unsigned long long* fixed_;
  int64_t first_, pixel_, row_;  // bytes: to pixel (-1, -1); from one pixel to the next, from one row to the next
  int64_t second_;               // to float64's second integers
  A scale_ = A(1);
  bool finite_ = true;

  // add(where, values) for each four of N channels, or each one, of the corners that are used; `to` is sums_ or fixed_.
  template <class E, class Corners, int N, class Add>
  __device__ __forceinline__ void for_each(E* to, const Corners& corners, int32_t c, const A (&grad)[N], const Add& add) const {
    constexpr int kWide = N % 4 == 0 ? 4 : 1;
    char* const first = reinterpret_cast<char*>(to) + first_ + int64_t{corners.at} * pixel_ + c * static_cast<int>(sizeof(E));
    const A mask = corners.mask * scale_;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (!corners.used(k)) continue;
      const A factor = mask * corners.y.weight[k >> 1] * corners.x.weight[k & 1];
      E* const corner = reinterpret_cast<E*>(first + (k & 1 ? pixel_ : 0) + (k & 2 ? row_ : 0));
#pragma unroll
      for (int n = 0; n < N; n += kWide) {
        A v[kWide];
#pragma unroll
        for (int i = 0; i < kWide; ++i) v[i] = factor * grad[n + i];
        add(corner + n, v);
      }
    }
  }

 public:
  __device__ __forceinline__ InputSumsAt(const InputSums& to, const DeformArgsGpu& a, int64_t b)
      : sums_(static_cast<A*>(to.sums)), fixed_(to.fixed),
        pixel_(to.channels * static_cast<int64_t>(to.fixed != nullptr ? sizeof(*to.fixed) : sizeof(A))), row_(a.g.W * pixel_),
        second_(to.elements) {
    first_ = b * a.g.H * row_ - row_ - pixel_;
    if (fixed_ == nullptr) return;
    const FixedPoint point = FixedPoint::of<A>(to, a);
    scale_ = power_of_2<A>(point.exponent);
    finite_ = point.finite;
  }

  // Adds m w_k G of N channels from `c` on to the corners.
  template <class Corners, int N>
  __device__ __forceinline__ void add(const Corners& corners, int32_t c, const A (&grad)[N]) const {
    if (fixed_ == nullptr) {
      if (sums_ == nullptr) return;
      for_each(sums_, corners, c, grad, [&](A* at, const auto& v) {
        if constexpr (sizeof v == 4 * sizeof(A)) atomic_add4(at, v);
        else atomicAdd(at, v[0]);
      });
    } else if (finite_) {
      for_each(fixed_, corners, c, grad, [&](unsigned long long* at, const auto& v) {
#pragma unroll
        for (const A x : v) add_fixed(at++, second_, x);
      });
    } else {
      for_each(fixed_, corners, c, grad, [&](unsigned long long* at, const auto& v) {
#pragma unroll
        for (const A x : v) {
          if (finite(x)) add_fixed(at, second_, x);
          else atomicAdd(sums_ + (at - fixed_), x);
          ++at;
        }
      });
    }
  }
};

// The sums in floating point begin with 0 where they are needed.
template <class A>
__global__ __launch_bounds__(kThreads) void deform_clear_kernel(InputSums to, DeformArgsGpu a) {
  if (FixedPoint::of<A>(to, a).finite) return;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < to.elements; i += step) static_cast<A*>(to.sums)[i] = A(0);
}

// The sums as numbers.
template <class A>
class FinishedSums {
  const InputSums& to_;
  FixedPoint point_{0, false};
  A unit_ = A(1);

 public:
  __device__ __forceinline__ FinishedSums(const InputSums& to, const DeformArgsGpu& a) : to_(to) {
    if (to.fixed == nullptr) return;
    point_ = FixedPoint::of<A>(to, a);
    unit_ = power_of_2<A>(-point_.exponent);
  }
  // Four from element i on, which is a multiple of 4. What is not finite is among the sums in floating point.
  __device__ __forceinline__ Pack<A, 4> at(int64_t i) const {
    Pack<A, 4> values{};
    if (!point_.finite) values = load_pack<A, 4>(static_cast<const A*>(to_.sums) + i);
    if (to_.fixed == nullptr) return values;
    const Pack<A, 4> fixed = fixed_sums<A, 4>(to_.fixed + i, to_.elements);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      if (values.at[n] == A(0)) values.at[n] = fixed.at[n] * unit_;
    }
    return values;
  }
};

template <class T, class A>
__device__ __forceinline__ Pack<T, 4> narrow_pack(const Pack<A, 4>& from) {
  Pack<T, 4> to;
#pragma unroll
  for (int n = 0; n < 4; ++n) narrow(from.at[n], to.at[n]);
  return to;
}

// The sums become the gradient, which lies as they do.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_finish_kernel(T* __restrict__ grad, InputSums to, DeformArgsGpu a) {
  const FinishedSums<A> sums(to, a);
  const int64_t step = int64_t{gridDim.x} * 4 * kThreads;
  for (int64_t i = 4 * (int64_t{blockIdx.x} * kThreads + threadIdx.x); i < to.elements; i += step) {
    store_pack(grad + i, narrow_pack<T>(sums.at(i)));
  }
}

constexpr int kTurnedChannels = 32;  // of a thread

// Or it lies as `shape` says. Neighbouring threads have neighbouring pixels.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_finish_turned_kernel(T* __restrict__ grad, DenseShape shape, InputSums to,
                                                                        DeformArgsGpu a) {
  const FinishedSums<A> sums(to, a);
  const int64_t pixel = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int32_t first = kTurnedChannels * static_cast<int32_t>(blockIdx.y);
  if (pixel >= shape.plane) return;
  for (int64_t b = blockIdx.z; b < shape.batch; b += gridDim.z) {
#pragma unroll 1
    for (int32_t c = first; c < min(first + kTurnedChannels, shape.channels); c += 4) {
      const Pack<T, 4> values = narrow_pack<T>(sums.at((b * shape.plane + pixel) * to.channels + c));
      T* const at = grad + b * shape.sample + c * shape.channel_stride() + pixel * shape.pixel_stride();
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        if (c + n < shape.channels) at[n * shape.channel_stride()] = values.at[n];
      }
    }
  }
}

// Every tap of a pixel adds to a pixel once.
inline int terms_of(const DeformGeometry& g) {
  int bits = 0;
  for (int64_t terms = g.taps() * g.pixels(); terms > 0; terms /= 2) ++bits;
  return bits;
}

template <class A>
void launch_deform_clear(const InputSums& to, const DeformArgsGpu& a, cudaStream_t stream) {
  if (to.elements == 0) return;
  VFI_LAUNCH((deform_clear_kernel<A>), grid_size(ceil_div(to.elements, 64 * kThreads)), kThreads, 0, stream, to, a);
}

template <class T, class A>
void launch_deform_finish(T* grad, const DenseShape& shape, const InputSums& to, const DeformArgsGpu& a, cudaStream_t stream) {
  if (to.elements == 0) return;
  if (shape.channels_last && shape.channels == to.channels) {
    VFI_LAUNCH((deform_finish_kernel<T, A>), grid_size(ceil_div(to.elements, 16 * kThreads)), kThreads, 0, stream, grad, to, a);
  } else {
    const Grid grid(ceil_div(shape.plane, kThreads), ceil_div(shape.channels, kTurnedChannels), grid_size(shape.batch));
    VFI_LAUNCH((deform_finish_turned_kernel<T, A>), grid, kThreads, 0, stream, grad, shape, to, a);
  }
}

}  // namespace vfi::cuda
