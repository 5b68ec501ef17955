// Where a source pixel lands, with which weights. The bilinear scatter-add of splatting and of the warps' image
// gradients is
//
//   sums[b, t, c] = sum of weight_k(s) factor(s) values[b, c, s] over source pixels s and corners k, corner_k(s) = t
//
// and has two kernels: that of splat_kernels.cuh adds atomically, that of splat_ordered_kernels.cuh in a fixed order. Both
// leave the sums in one layout: [B, groups, target_H, target_W, 4] with channel c in group c / 4, so that four channels of a
// pixel are one 16-byte vector and neighbouring pixels are neighbours in memory, whatever the layout of the input. Sums are
// float32, or float64.
#pragma once

#include "sampling/gather.cuh"
#include "splatting/scatter.cuh"

namespace vfi::cuda {

// Blocks on one multiprocessor of kernels that only look where pixels land: a path takes registers of its own.
template <class A, bool kPath>
constexpr int kLandingResident = sizeof(A) == 8 ? 1
                                 : kPath        ? 2
                                                : 3;

// Kernels that read a source pixel's flow are compiled for flows (kPath false) and for paths.
template <bool kPath, class A>
__device__ __forceinline__ void load_flow_of(const ScatterArgsGpu& s, int64_t b, int32_t y, int32_t x, A (&flow)[2]) {
  if constexpr (kPath) {
    load_flow(s.path, b / s.path.count, b % s.path.count, y, x, flow);
  } else {
    load(s.flow, b, y, x, flow);
  }
}

// The sample of values and metric that sample b of the flow moves.
template <bool kPath>
__device__ __forceinline__ int64_t owner_of(const ScatterArgsGpu& s, int64_t b) {
  return kPath ? b / s.path.count : b;
}

// Calls run(A(), is_path) with the compute type and std::true_type for a path.
template <class Run>
void with_path(const ScatterArgsGpu& s, Run&& run) {
  if (s.path.count > 0) {
    s.float64 ? run(double(), std::true_type()) : run(float(), std::true_type());
  } else {
    s.float64 ? run(double(), std::false_type()) : run(float(), std::false_type());
  }
}

// The number that is subtracted from a sample's metrics. Decided here, on the device: the host never waits for it.
template <class A>
struct SampleShift {
  bool per_target;
  A common;
};

template <class A>
__device__ __forceinline__ SampleShift<A> sample_shift(const ScatterArgsGpu& s, int64_t b) {
  const auto* range = s.range.as<A>() + 2 * b;
  if (range[0] == 0) return {false, A(0)};  // no pixel lands
  const A high = Ordered<A>::value(range[0]), low = -Ordered<A>::value(range[1]);
  return {!(high - low <= A(kWideSpan)), high};
}

template <class A>
__device__ __forceinline__ A target_shift(const ScatterArgsGpu& s, int64_t b, int32_t y, int32_t x) {
  const auto bits = s.target_max.as<A>()[(b * s.target_H + y) * s.target_W + x];
  return bits == 0 ? A(0) : Ordered<A>::value(bits);
}

constexpr int32_t kNowhere = std::numeric_limits<int32_t>::min();

// One source pixel: corner k is target pixel (y + k / 2, x + k % 2) and gets weight[k] = bilinear weight * factor.
template <class A>
struct Landing {
  int32_t x = kNowhere, y = kNowhere;
  A weight[4] = {A(0), A(0), A(0), A(0)};
  bool used[4] = {false, false, false, false};
};

// exp(metric - shift), with the shift of the sample or of each corner's target.
template <class A>
__device__ __forceinline__ void softmax_factors(const ScatterArgsGpu& s, int64_t b, const Position<A>& at,
                                                const Corners<A>& c, A metric, A (&e)[4]) {
  const SampleShift<A> shift = sample_shift<A>(s, b);
  if (!shift.per_target) {
    const A common = std::exp(metric - shift.common);
    for (int k = 0; k < 4; ++k) e[k] = common;
    return;
  }
  for (int k = 0; k < 4; ++k) {
    if (c.used[k]) e[k] = std::exp(metric - target_shift<A>(s, b, at.y.at + (k >> 1), at.x.at + (k & 1)));
  }
}

template <class A>
__device__ __forceinline__ Landing<A> land(const ScatterArgsGpu& s, int64_t b, int32_t y, int32_t x, const A (&flow)[2],
                                           A metric) {
  Landing<A> landing;
  if (skips_by_metric(s.factor) && !finite(metric)) return landing;
  const auto at = position(flow[0], flow[1], s.padding, s.target_H, s.target_W, y, x);
  const Corners<A> c = corners(at.x, at.y);
  if (!c.any()) return landing;
  A e[4] = {A(1), A(1), A(1), A(1)};
  if (s.factor == Factor::kSoftmax) {
    softmax_factors(s, b, at, c, metric, e);
  } else if (s.factor != Factor::kOne) {
    const A sign = s.factor == Factor::kOneMinusSigmoid ? A(1) : A(-1);
    const A factor = s.factor == Factor::kLinear ? metric : A(1) / (A(1) + std::exp(sign * metric));
    for (int k = 0; k < 4; ++k) e[k] = factor;
  }
  landing.x = at.x.at;
  landing.y = at.y.at;
  for (int k = 0; k < 4; ++k) {
    landing.used[k] = c.used[k];
    if (c.used[k]) landing.weight[k] = c.weight[k] * e[k];
  }
  return landing;
}

// Where the sums are, and which values are spread.
struct SumLayout {
  DenseShape values;  // [B, C, H, W]
  bool with_weight;   // channel C has the value 1 everywhere: its sum is the weight
  int32_t groups;     // of four channels
  bool packed;        // four channels can be loaded at once
  Numbers sums;       // [B, groups, target_H, target_W, 4]
};

template <class A>
__device__ __forceinline__ A* sums_at(const ScatterArgsGpu& s, const SumLayout& l, int64_t b, int32_t g, int32_t y,
                                      int32_t x) {
  const int64_t pixel = ((b * l.groups + g) * s.target_H + y) * s.target_W + x;
  return l.sums.as<A>() + 4 * pixel;
}

// What a source pixel brings along: its flow, its metric, and channels 4 g ... 4 g + 3.
template <class T, class A>
struct SourcePixel {
  A flow[2], metric[1];
  Pack<T, 4> values;
};

template <bool kPath, class T, class A>
__device__ __forceinline__ SourcePixel<T, A> load_pixel(const T* values, const ScatterArgsGpu& s, const SumLayout& l,
                                                        int64_t b, int32_t g, int32_t y, int32_t x) {
  SourcePixel<T, A> pixel{};
  const int64_t owner = owner_of<kPath>(s, b);
  load_flow_of<kPath>(s, b, y, x, pixel.flow);
  if (s.factor != Factor::kOne) load(s.metric, owner, y, x, pixel.metric);
  const T* at = values + l.values.offset(owner, y, x) + 4 * g * l.values.channel_stride();
  if (l.packed && 4 * g < l.values.channels) {
    pixel.values = load_pack<T, 4>(at);
    return pixel;
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (4 * g + c < l.values.channels) pixel.values.at[c] = at[c * l.values.channel_stride()];
  }
  return pixel;
}

// The values to spread: those of the pixel, and 1 for the weight.
template <class T, class A>
__device__ __forceinline__ void spread_values(const SourcePixel<T, A>& pixel, const SumLayout& l, int32_t g,
                                              A (&v)[4]) {
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    v[c] = l.with_weight && 4 * g + c == l.values.channels ? A(1) : widen<A>(pixel.values.at[c]);
  }
}

}  // namespace vfi::cuda
