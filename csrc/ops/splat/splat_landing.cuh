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

#include "sampling/sample.cuh"
#include "splatting/scatter.cuh"

namespace vfi::cuda {

// Blocks on one multiprocessor of kernels that only look where pixels land: a path takes registers of its own.
template <class A, bool kPath>
constexpr int kLandingResident = sizeof(A) == 8 ? 1
                                 : kPath        ? 2
                                                : 3;

// Kernels that read the flow of R pixels in a column are compiled for flows (kPath false) and for paths.
template <bool kPath, class A, int R>
__device__ __forceinline__ void load_flows(const ScatterArgsGpu& s, int64_t b, const int32_t (&y)[R], int32_t x,
                                           A (&flow)[R][2]) {
  if constexpr (kPath) {
    const int64_t owner = whole_part(b, s.path.count), t = b - owner * s.path.count;
    Taps<A> taps;
    if (!s.path.per_pixel) taps = load_taps<A>(s.path, owner, t, 0, 0);
    if (!s.path.per_pixel && s.path.size.same()) return load_flow_column(s.path, owner, taps, y, x, flow);
    PathPlace<A> at = path_place<A>(s.path, y[0], x);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (s.path.per_pixel) taps = load_taps<A>(s.path, owner, t, y[r], x);
      if (r > 0) at.y = resize_axis<A>(y[r], s.path.size.h, s.path.size.H);
      load_flow(s.path, owner, taps, at, flow[r]);
    }
  } else {
    load_column(s.flow, b, y, x, flow);
  }
}

template <bool kPath, class A>
__device__ __forceinline__ void load_flow_of(const ScatterArgsGpu& s, int64_t b, int32_t y, int32_t x, A (&flow)[2]) {
  const int32_t rows[1] = {y};
  A flows[1][2];
  load_flows<kPath>(s, b, rows, x, flows);
  flow[0] = flows[0][0];
  flow[1] = flows[0][1];
}

// The sample of values and metric that sample b of the flow moves.
template <bool kPath>
__device__ __forceinline__ int64_t owner_of(const ScatterArgsGpu& s, int64_t b) {
  return kPath ? whole_part(b, s.path.count) : b;
}

// The metric of R pixels of a column; 0 where there is none.
template <bool kPath, class A, int R>
__device__ __forceinline__ void load_metrics(const ScatterArgsGpu& s, int64_t b, const int32_t (&y)[R], int32_t x,
                                             A (&metric)[R][1]) {
#pragma unroll
  for (int r = 0; r < R; ++r) metric[r][0] = A(0);
  if (s.factor != Factor::kOne) load_column(s.metric, owner_of<kPath>(s, b), y, x, metric);
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

// Of pixel `target` of all samples.
template <class A>
__device__ __forceinline__ A target_shift(const ScatterArgsGpu& s, int64_t target) {
  const auto bits = s.target_max.as<A>()[target];
  return bits == 0 ? A(0) : Ordered<A>::value(bits);
}

constexpr int32_t kNowhere = std::numeric_limits<int32_t>::min();

// One source pixel: corner k is target pixel (y + k / 2, x + k % 2) and gets weight[k] = bilinear weight * factor, if bit k
// of `used` is set.
template <class A>
struct Landing {
  int32_t x = kNowhere, y = kNowhere;
  A weight[4] = {A(0), A(0), A(0), A(0)};
  unsigned used = 0;
};
constexpr unsigned kAllCorners = 15;

// The position of a pixel. It is where the pixel lands between four targets; elsewhere it has, with padding zeros, the corners
// in the target that the pixel has, and may have more: a fraction that is rounded to 1 is one pixel further, NaN is nowhere.
template <class A>
struct InnerPosition {
  InnerAxis<A> x, y;

  __device__ __forceinline__ InnerPosition(const ScatterArgsGpu& s, const A (&flow)[2], int32_t y, int32_t x)
      : x(inner_axis(flow[0], x, s.target_W)), y(inner_axis(flow[1], y, s.target_H)) {}
};

// Bilinear weights of a pixel; those of corners that are not used are 0.
template <class A>
__device__ __forceinline__ Landing<A> land_exactly(const ScatterArgsGpu& s, int32_t y, int32_t x, const A (&flow)[2]) {
  const auto at = position(flow[0], flow[1], s.padding, s.target_H, s.target_W, y, x);
  Landing<A> landing;
  for_each_corner(at.x, at.y, [&](int j, int i, A weight) {
    landing.weight[2 * j + i] = weight;
    landing.used |= 1u << (2 * j + i);
  });
  if (landing.used != 0) landing.x = at.x.at, landing.y = at.y.at;
  return landing;
}

// The same of a pixel at `at`.
template <class A>
__device__ __forceinline__ Landing<A> land_at(const ScatterArgsGpu& s, const InnerPosition<A>& at, int32_t y, int32_t x,
                                              const A (&flow)[2]) {
  if (at.x.is_whole() & at.y.is_whole()) {  // one branch
    const A weight[4] = {at.x.r * at.y.r, at.x.l * at.y.r, at.x.r * at.y.l, at.x.l * at.y.l};
    return {at.x.at, at.y.at, {weight[0], weight[1], weight[2], weight[3]}, kAllCorners};
  }
  return land_exactly(s, y, x, flow);
}

template <class A>
__device__ __forceinline__ Landing<A> land_unweighted(const ScatterArgsGpu& s, int32_t y, int32_t x, const A (&flow)[2]) {
  return land_at(s, InnerPosition<A>(s, flow, y, x), y, x, flow);
}

// Times exp(metric - shift), with the shift of the sample or of each corner's target.
template <class A>
__device__ __forceinline__ void multiply_softmax(const ScatterArgsGpu& s, const SampleShift<A>& shift, int64_t b, A metric,
                                                 Landing<A>& landing) {
  if (!shift.per_target) {
    const A e = std::exp(metric - shift.common);
#pragma unroll
    for (int k = 0; k < 4; ++k) landing.weight[k] *= e;
    return;
  }
  const int64_t first = (b * s.target_H + landing.y) * s.target_W + landing.x;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if ((landing.used >> k & 1) == 0) continue;
    landing.weight[k] *= std::exp(metric - target_shift<A>(s, first + (k >> 1) * int64_t{s.target_W} + (k & 1)));
  }
}

// The pixel's factor, which all of its weights are multiplied by; where it skips the pixel, no corner is used.
template <class A>
__device__ __forceinline__ void multiply_factor(const ScatterArgsGpu& s, const SampleShift<A>& shift, int64_t b, A metric,
                                                Landing<A>& landing) {
  if (s.factor == Factor::kOne) return;
  if (skips_by_metric(s.factor) && !finite(metric)) landing.used = 0;
  if (s.factor == Factor::kSoftmax) return multiply_softmax(s, shift, b, metric, landing);
  const A sign = s.factor == Factor::kOneMinusSigmoid ? A(1) : A(-1);
  const A factor = s.factor == Factor::kLinear ? metric : A(1) / (A(1) + std::exp(sign * metric));
#pragma unroll
  for (int k = 0; k < 4; ++k) landing.weight[k] *= factor;
}

// The shift of a sample, where there is one.
template <class A>
__device__ __forceinline__ SampleShift<A> shift_of(const ScatterArgsGpu& s, int64_t b) {
  return s.factor == Factor::kSoftmax ? sample_shift<A>(s, b) : SampleShift<A>{false, A(0)};
}

// Where the sums are, and which values are spread.
struct SumLayout {
  DenseShape values;  // [B, C, H, W]
  bool with_weight;   // the last of all groups' channels has the value 1 everywhere: its sum is the weight
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

// R pixels of a column; those beyond the image repeat its last one, and land nowhere.
template <int R>
struct Column {
  int32_t x, y[R];
  int32_t last_x, rows;  // x that is read; how many pixels there are, 0 where x is beyond

  __device__ __forceinline__ Column(int32_t top, int32_t x, int32_t height, int32_t width) : x(x) {
    last_x = min(x, width - 1);
    rows = x < width ? height - top : 0;
#pragma unroll
    for (int r = 0; r < R; ++r) y[r] = min(top + r, height - 1);
  }
};

template <bool kPath, class A, int R>
__device__ __forceinline__ void land_column(const ScatterArgsGpu& s, int64_t b, const Column<R>& at, Landing<A> (&landings)[R]) {
  A flow[R][2], metric[R][1];
  load_flows<kPath>(s, b, at.y, at.last_x, flow);
  load_metrics<kPath>(s, b, at.y, at.last_x, metric);
  const SampleShift<A> shift = shift_of<A>(s, b);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    landings[r] = land_unweighted(s, at.y[r], at.x, flow[r]);
    multiply_factor(s, shift, b, metric[r][0], landings[r]);
    if (r >= at.rows) landings[r].used = 0;
  }
}

// Channels 4 g ... 4 g + 3 of the pixels whose channel 4 g is at at[r]: values to spread, 1 for the weight. All loads are in
// flight together. at[r] moves on to the next group.
template <class T, class A, int R>
__device__ __forceinline__ void load_group(const T* (&at)[R], const SumLayout& l, int32_t g, A (&v)[R][4]) {
  const int64_t step = l.values.channel_stride();
  const int32_t left = l.values.channels - 4 * g;
  Pack<T, 4> raw[R];
  if (left >= 4) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (l.packed) {
        raw[r] = load_pack<T, 4>(at[r]);
        at[r] += 4;
      } else {
#pragma unroll
        for (int c = 0; c < 4; ++c, at[r] += step) raw[r].at[c] = *at[r];
      }
    }
#pragma unroll
    for (int i = 0; i < 4 * R; ++i) v[i / 4][i % 4] = widen<A>(raw[i / 4].at[i % 4]);
    return;
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (c < left) {
#pragma unroll
      for (int r = 0; r < R; ++r) {
        v[r][c] = widen<A>(*at[r]);
        at[r] += step;
      }
    } else {
      const A rest = l.with_weight && c == 3 ? A(1) : A(0);
#pragma unroll
      for (int r = 0; r < R; ++r) v[r][c] = rest;
    }
  }
}

}  // namespace vfi::cuda
