// The scatter of scatter.h on CUDA: what the ops that use it fill in. Its kernels are the splat's forward, in ops/splat.
#pragma once

#include "cuda/launch.cuh"
#include "splatting/splat_rules.h"
#include "trajectories/trajectory.cuh"

namespace vfi::cuda {

// Floating point numbers as unsigned integers of the same order, for atomicMax. 0 is below all of them.
template <class A>
struct Ordered;
template <>
struct Ordered<float> {
  using Bits = unsigned;
  static __device__ __forceinline__ Bits from(float x) {
    const int bits = __float_as_int(x);
    return bits < 0 ? ~static_cast<Bits>(bits) : static_cast<Bits>(bits) | 0x80000000u;
  }
  static __device__ __forceinline__ float value(Bits bits) {
    return __int_as_float(static_cast<int>(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits));
  }
};
template <>
struct Ordered<double> {
  using Bits = unsigned long long;
  static __device__ __forceinline__ Bits from(double x) {
    const long long bits = __double_as_longlong(x);
    return bits < 0 ? ~static_cast<Bits>(bits) : static_cast<Bits>(bits) | 0x8000000000000000u;
  }
  static __device__ __forceinline__ double value(Bits bits) {
    return __longlong_as_double(
        static_cast<long long>(bits & 0x8000000000000000u ? bits & 0x7fffffffffffffffu : ~bits));
  }
};

// Memory of such integers, for numbers of float or double, whichever the op computes in.
struct OrderedNumbers {
  void* data;

  template <class A>
  __device__ __forceinline__ typename Ordered<A>::Bits* as() const {
    return static_cast<typename Ordered<A>::Bits*>(data);
  }
};

// Where the pixels of one flow go, and with which factor. Names as in ScatterArgs.
struct ScatterArgsGpu {
  int64_t B;
  int32_t H, W;  // of the source, which is the flow's
  int32_t target_H, target_W;
  ConstView flow;  // [B, 2, H, W]; not looked at where there is a path
  PathView path;   // count 0: there is none; else sample b is tau b % count of sample b / count of values and metric
  Padding padding;
  Factor factor;
  ConstView metric;  // [B, 1, H, W]; not looked at where factor is kOne
  bool float64;      // the compute type of the op
  // Softmax's forward only: largest metric and largest negated metric [B, 2], and the largest metric that lands on a target
  // [B, target_H, target_W].
  OrderedNumbers range, target_max;

  VFI_HOST_DEVICE int64_t pixels() const { return B * H * W; }
  VFI_HOST_DEVICE int64_t target_plane() const { return static_cast<int64_t>(target_H) * target_W; }
};

// Sums of a scatter, in the compute type, are [B, groups, target_H, target_W, 4]: channel c is in group c / 4, so that four
// channels of a pixel are one vector. `with_weight`: the sum of the weight is the last channel of the
// last group, beside which there is room for those of the values.
inline int32_t groups_of(int64_t channels, bool with_weight) {
  return static_cast<int32_t>(ceil_div(channels + (with_weight ? 1 : 0), 4));
}

}  // namespace vfi::cuda
