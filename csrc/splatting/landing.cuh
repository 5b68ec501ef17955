// Where a source pixel lands, with which weights. The bilinear scatter-add of splatting and of the warps' image
// gradients is
//
//   sums[b, t, c] = sum of weight_k(s) factor(s) values[b, c, s] over source pixels s and corners k, corner_k(s) = t
//
// and has two kernels: scatter.cuh adds atomically, ordered_gather.cuh in a fixed order. Both leave the sums in one
// layout: [B, groups, Ht, Wt, 4] with channel c in group c / 4, so that four channels of a pixel are one 16-byte vector
// and neighbouring pixels are neighbours in memory, whatever the layout of the input. Sums are float32, or float64.
#pragma once

#include "sampling/gather.cuh"
#include "trajectories/trajectory.cuh"

namespace vfi::cuda {

// What a source pixel's values are multiplied by.
enum class Factor { kOne, kLinear, kSoftmax, kSigmoid, kOneMinusSigmoid };

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

// Where the pixels of one flow go, and with which factor.
struct Spreading {
  int64_t batch;
  int32_t height, width;  // of the source, which is the flow's
  int32_t target_height, target_width;
  ConstView flow;  // [B, 2, H, W]; not looked at where there is a path
  PathView path;   // count 0: there is none; else sample b is tau b % count of sample b / count of values and metric
  Padding padding;
  Factor factor;
  ConstView metric;  // [B, 1, H, W]: metric or mask logits
  // Softmax only, as Ordered<A>::Bits: largest metric and largest negated metric [B, 2], and the largest metric that
  // lands on a target [B, Ht, Wt].
  const void* range;
  void* target_max;
  bool float64;  // the compute type of the op

  VFI_HOST_DEVICE int64_t pixels() const { return batch * height * width; }
  VFI_HOST_DEVICE int64_t target_plane() const { return static_cast<int64_t>(target_height) * target_width; }
};

// Blocks on one multiprocessor of kernels that only look where pixels land: a path takes registers of its own.
template <class A, bool kPath>
constexpr int kLandingResident = sizeof(A) == 8 ? 1 : kPath ? 2 : 3;

// Kernels that read a source pixel's flow are compiled for flows (kPath false) and for paths.
template <bool kPath, class A>
__device__ __forceinline__ void load_flow_of(const Spreading& s, int64_t b, int32_t y, int32_t x, A (&flow)[2]) {
  if constexpr (kPath) {
    load_flow(s.path, b / s.path.count, b % s.path.count, y, x, flow);
  } else {
    load(s.flow, b, y, x, flow);
  }
}

// The sample of values and metric that sample b of the flow moves.
template <bool kPath>
__device__ __forceinline__ int64_t owner_of(const Spreading& s, int64_t b) {
  return kPath ? b / s.path.count : b;
}

// Calls run(A(), is_path) with the compute type and std::true_type for a path.
template <class Run>
void with_path(const Spreading& s, Run&& run) {
  if (s.path.count > 0) {
    s.float64 ? run(double(), std::true_type()) : run(float(), std::true_type());
  } else {
    s.float64 ? run(double(), std::false_type()) : run(float(), std::false_type());
  }
}

constexpr double kWideSpan = 60;  // exp(-60) is a normal float32: below this span one shift serves a whole sample

// The number that is subtracted from a sample's metrics. Decided here, on the device: the host never waits for it.
template <class A>
struct SampleShift {
  bool per_target;
  A common;
};

template <class A>
__device__ __forceinline__ SampleShift<A> sample_shift(const Spreading& s, int64_t b) {
  const auto* range = static_cast<const typename Ordered<A>::Bits*>(s.range) + 2 * b;
  if (range[0] == 0) return {false, A(0)};  // no pixel lands
  const A high = Ordered<A>::value(range[0]), low = -Ordered<A>::value(range[1]);
  return {!(high - low <= A(kWideSpan)), high};
}

template <class A>
__device__ __forceinline__ A target_shift(const Spreading& s, int64_t b, int32_t y, int32_t x) {
  using Bits = typename Ordered<A>::Bits;
  const Bits bits = static_cast<const Bits*>(s.target_max)[(b * s.target_height + y) * s.target_width + x];
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
__device__ __forceinline__ void softmax_factors(const Spreading& s, int64_t b, const Position<A>& at,
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
__device__ __forceinline__ Landing<A> land(const Spreading& s, int64_t b, int32_t y, int32_t x, const A (&flow)[2],
                                           A metric) {
  Landing<A> landing;
  const bool splats = s.factor == Factor::kLinear || s.factor == Factor::kSoftmax;
  if (splats && !finite(metric)) return landing;
  const auto at = position(flow[0], flow[1], s.padding, s.target_height, s.target_width, y, x);
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
  void* sums;         // A [B, groups, Ht, Wt, 4]
};

inline int32_t groups_of(int64_t channels, bool with_weight) {
  return static_cast<int32_t>(ceil_div(channels + (with_weight ? 1 : 0), 4));
}

template <class A>
__device__ __forceinline__ A* sums_at(const Spreading& s, const SumLayout& l, int64_t b, int32_t g, int32_t y,
                                      int32_t x) {
  const int64_t pixel = ((b * l.groups + g) * s.target_height + y) * s.target_width + x;
  return static_cast<A*>(l.sums) + 4 * pixel;
}

// What a source pixel brings along: its flow, its metric, and channels 4 g ... 4 g + 3.
template <class T, class A>
struct SourcePixel {
  A flow[2], metric[1];
  Pack<T, 4> values;
};

template <bool kPath, class T, class A>
__device__ __forceinline__ SourcePixel<T, A> load_pixel(const T* values, const Spreading& s, const SumLayout& l,
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

// How a sum N becomes a result, given the weight D: N, N / D (0 in holes), N / (D + eps), N / max(D, eps).
enum class Division { kNone, kZero, kAdd, kClip };

constexpr double kEps = 1e-7;

// 0 in holes.
template <class A>
__device__ __forceinline__ A divisor(Division rule, A weight) {
  if (rule == Division::kNone) return A(1);
  if (rule == Division::kZero) return std::abs(weight) < kHole<A> ? A(0) : weight;
  if (rule == Division::kAdd) return weight + A(kEps);
  return rule == Division::kClip && weight < A(kEps) ? A(kEps) : weight;
}

struct Finish {
  SumLayout sums;
  Division division;
  const void* weights;  // A: the sums of the weight, `weight_batch` apart from sample to sample, 4 from pixel to pixel
  int64_t weight_batch;
  void* weight_out;  // A [B, 1, Ht, Wt], or null
  void* shift_out;   // the same; it may be target_max itself
};

// Cells start one row above and one column left of the target, because corner 0 may be outside while others are inside.
VFI_HOST_DEVICE int64_t cells_of(int64_t batch, int64_t target_height, int64_t target_width) {
  return batch * (target_height + 1) * (target_width + 1);
}

VFI_HOST_DEVICE int64_t cell_key(int64_t b, int32_t y, int32_t x, int64_t target_height, int64_t target_width) {
  return (b * (target_height + 1) + y + 1) * (target_width + 1) + x + 1;
}

struct Plan {
  const int64_t* order;   // [B H W] source pixels (b H + y) W + x, sorted by cell; the ones that land nowhere come last
  const int64_t* starts;  // [cells + 1] where the pixels of a cell start in `order`
};

// Defined in scatter_cuda.cu, which alone compiles these kernels.
// Adds into sums, which the caller has cleared.
void launch_scatter(const void* values, Dtype dtype, const Spreading& s, const SumLayout& l, cudaStream_t stream);
// Writes all of the sums.
void launch_ordered_gather(const void* values, Dtype dtype, const Spreading& s, const SumLayout& l, const Plan& plan,
                           cudaStream_t stream);
// keys [B H W]; they still have to be sorted, stably.
void launch_cell_keys(int64_t* keys, const Spreading& s, cudaStream_t stream);
void launch_cell_starts(const int64_t* sorted_keys, int64_t* starts, int64_t count, int64_t cells, cudaStream_t stream);
// `out` [B, C, Ht, Wt] has the element type of the values that were spread.
void launch_finish(void* out, Dtype dtype, const DenseShape& shape, const Spreading& s, const Finish& f,
                   cudaStream_t stream);

}  // namespace vfi::cuda
