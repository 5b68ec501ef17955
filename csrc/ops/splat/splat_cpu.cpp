// Splat on the CPU: tensors in, tensors out, on all threads. This is the scatter of splatting/scatter.h, for every op that
// adds pixels where a flow takes them. The kernels are in splat_simd.cpp and splat_shift_simd.cpp.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "cpu/scratch.h"
#include "splatting/tensor_planes.h"
#include "ops/splat/splat_checks.h"
#include "ops/splat/splat_cpu.h"

namespace vfi {
namespace {

// A ring larger than this no longer stays in the caches; the band is then cut into smaller ones, each of which reads the
// source rows that reach it.
constexpr int64_t kRingBytes = int64_t{4} << 20;
constexpr int32_t kMinRows = 16;

// Channels c.. c + count that share a pass over the source, and where their pass finds D.
struct Pass {
  int64_t c;
  int32_t count;
  SplatBand::Weight weight;
};

// Cells of 16 channels, and one of 4 for a remainder of up to 4. The first pass computes D, in a spare lane if it has one.
std::vector<Pass> split_channels(const ScatterArgs& s) {
  using Weight = SplatBand::Weight;
  std::vector<Pass> passes;
  const int64_t rest = s.C % kWideCell;
  const bool narrow = rest > 0 && rest <= kNarrowCell;
  if (narrow) passes.push_back({s.C - rest, static_cast<int32_t>(rest), Weight::kNone});
  for (int64_t c = 0; c < s.C - (narrow ? rest : 0); c += kWideCell) {
    passes.push_back({c, static_cast<int32_t>(std::min<int64_t>(kWideCell, s.C - c)), Weight::kNone});
  }
  // With no channels at all D may still be wanted.
  if (passes.empty()) passes.push_back({0, 0, Weight::kNone});
  if (s.division == Division::kNone) return passes;
  for (Pass& pass : passes) pass.weight = Weight::kReady;
  if (!s.weight_ready) passes[0].weight = passes[0].count < kNarrowCell ? Weight::kLane : Weight::kPlane;
  return passes;
}

class BandRunner {
 public:
  BandRunner(const ScatterArgs& s, const RowReach* reach, int64_t b)
      : s_(s), reach_(reach + b * s.H), b_(b), still_open_(s.H) {}

  void run(const Pass& pass, int32_t begin, int32_t end) {
    if (begin == end) return;
    SplatBand band{b_, pass.c, pass.count, begin, end, 0, reach_, still_open_.data(), nullptr, pass.weight};
    const int32_t fitting = static_cast<int32_t>(std::max<int64_t>(kMinRows, kRingBytes / ring_bytes(band)));
    band.ring_rows = plan_rows(begin, end);
    if (band.ring_rows > fitting) {
      for (int32_t y = begin; y < end; y += fitting) run(pass, y, std::min(end, y + fitting));
      return;
    }
    band.memory = scratch_.at_least(ring_bytes(band));
    VFI_CPU_KERNEL(splat_band)(s_, band);
  }

 private:
  int64_t ring_bytes(const SplatBand& band) const {
    return s_.float64 ? SplatRing<double>().lay_out(s_, band, nullptr) : SplatRing<float>().lay_out(s_, band, nullptr);
  }

  // Fills still_open_; returns how many target rows of the band are open at a time.
  int32_t plan_rows(int32_t begin, int32_t end) {
    int32_t open = end;
    for (int64_t y = s_.H - 1; y >= 0; --y) {
      if (reaches(y, begin, end)) open = std::min(open, std::max(reach_[y].first, begin));
      still_open_[y] = open;
    }
    int32_t rows = 1, last = begin - 1;
    for (int64_t y = 0; y < s_.H; ++y) {
      if (reaches(y, begin, end)) last = std::max(last, std::min(reach_[y].last, end - 1));
      rows = std::max(rows, last - still_open_[y] + 1);
    }
    return rows;
  }

  bool reaches(int64_t y, int32_t begin, int32_t end) const {
    return reach_[y].first <= reach_[y].last && reach_[y].last >= begin && reach_[y].first < end;
  }

  const ScatterArgs& s_;
  const RowReach* reach_;
  int64_t b_;
  std::vector<int32_t> still_open_;
  Scratch scratch_;
};

// What a scatter needs to know about flow (and m) first. `reach` has B * H elements.
void measure_reach(const ScatterArgs& s, RowReach* reach) {
  const int64_t grain = 1 + 65536 / (1 + s.W);
  parallel_for(0, s.B * s.H, grain,
                              [&](int64_t begin, int64_t end) { VFI_CPU_KERNEL(splat_reach)(s, reach, begin, end); });
}

// The bands of target rows begin <= y < end of sample b, on all threads.
void for_each_band(const ScatterArgs& s, const std::function<void(int64_t b, int32_t begin, int32_t end)>& work) {
  if (s.B * s.target_H * s.target_W == 0) return;
  constexpr int64_t kSmall = 8192;
  const bool small = s.B * s.H * s.W * (s.C + 4) < kSmall;
  const int64_t threads = thread_count();
  const int64_t bands = small ? 1 : std::min(threads / std::gcd(threads, s.B), s.target_H);
  parallel_for(0, s.B * bands, small ? s.B : 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t b = k / bands, band = k % bands;
      work(b, static_cast<int32_t>(s.target_H * band / bands), static_cast<int32_t>(s.target_H * (band + 1) / bands));
    }
  });
}

// The sums of one input.
void scatter_bands(const ScatterArgs& s, const RowReach* reach) {
  const std::vector<Pass> passes = split_channels(s);
  for_each_band(s, [&](int64_t b, int32_t begin, int32_t end) {
    BandRunner runner(s, reach, b);
    for (const Pass& pass : passes) runner.run(pass, begin, end);
  });
}

// The shift of every sample; NaN where each target has its own.
std::vector<double> sample_shifts(const ScatterArgs& s, const std::vector<RowReach>& reach) {
  std::vector<double> shifts(s.B, 0.0);
  for (int64_t b = 0; b < s.B; ++b) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (int64_t y = 0; y < s.H; ++y) {
      low = std::min(low, reach[b * s.H + y].low);
      high = std::max(high, reach[b * s.H + y].high);
    }
    if (low > high) continue;
    shifts[b] = high - low <= kWideSpan ? high : std::numeric_limits<double>::quiet_NaN();
  }
  return shifts;
}

template <class A>
void fill_rows(const ScatterArgs& s, int64_t b, int32_t begin, int32_t end) {
  A* const plane = static_cast<A*>(s.target_shift) + b * s.target_H * s.target_W;
  std::fill(plane + begin * s.target_W, plane + end * s.target_W, static_cast<A>(s.sample_shift[b]));
}

void write_shift(const ScatterArgs& s, const RowReach* reach) {
  for_each_band(s, [&](int64_t b, int32_t begin, int32_t end) {
    if (std::isnan(s.sample_shift[b])) {
      VFI_CPU_KERNEL(splat_shift)(s, reach + b * s.H, b, begin, end);
    } else {
      s.float64 ? fill_rows<double>(s, b, begin, end) : fill_rows<float>(s, b, begin, end);
    }
  });
}

}  // namespace

void scatter(const ScatterArgs& s) {
  std::vector<RowReach> reach(s.B * s.H);
  measure_reach(s, reach.data());
  scatter_bands(s, reach.data());
}

Splatted splat_tensors(ScatterArgs s, const std::vector<Tensor>& inputs, bool keep_weight) {
  const ScalarType acc = s.float64 ? ScalarType::Double : ScalarType::Float;
  const Tensor& first = inputs[0];
  const Tensor absent = nothing(first, acc);
  const auto plane = [&](bool wanted) { return wanted ? empty(first, {s.B, 1, s.H, s.W}, acc) : absent; };
  const bool keeps = keep_weight && s.division != Division::kNone;
  std::vector<RowReach> reach(s.B * s.H);
  measure_reach(s, reach.data());
  std::vector<double> shifts;
  Tensor shift = absent;
  if (s.factor == Factor::kSoftmax) {
    shifts = sample_shifts(s, reach);
    s.sample_shift = shifts.data();
    const bool wide = std::any_of(shifts.begin(), shifts.end(), [](double x) { return std::isnan(x); });
    shift = plane(keeps || wide);
    s.target_shift = shift.mutable_data_ptr();
    if (keeps || wide) write_shift(s, reach.data());
  }

  // D is computed with the first channels and kept for the others.
  const bool once = inputs.size() == 1 && first.size(1) <= kWideCell;
  const Tensor weight = plane(keeps || (s.division != Division::kNone && !once));
  s.weight = weight.numel() > 0 ? weight.mutable_data_ptr() : nullptr;
  std::vector<Tensor> outs;
  for (const Tensor& input : inputs) {
    const MemoryFormat layout = layout_of(input);
    const Tensor x = with_layout(input, layout);
    const Tensor out = result(x, {s.B, x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout);
    s.values = planes_of(x), s.target = planes_of(out), s.C = x.size(1);
    scatter_bands(s, reach.data());
    s.weight_ready = s.weight != nullptr;
    outs.push_back(out);
  }
  const bool shifts_kept = keeps && s.factor == Factor::kSoftmax;
  return {outs, keeps ? weight : nothing(first, acc), shifts_kept ? shift : nothing(first, acc)};
}

namespace {

using Metric = std::optional<Tensor>;

std::tuple<std::vector<Tensor>, Tensor, Tensor> splat(const std::vector<Tensor>& inputs, const Tensor& flow,
                                                      const Metric& metric, int64_t mode,
                                                      int64_t holes, bool keep_weight, bool) {
  const SplatRules m = check_splat(inputs, flow, metric, mode, holes);
  ScatterArgs s{};
  s.float64 = needs_float64(inputs, flow, metric);
  const Tensor& first = inputs[0];
  const Tensor dense_flow = with_layout(flow, layout_of(flow));
  const Metric dense_metric = metric ? Metric(with_layout(*metric, layout_of(*metric))) : std::nullopt;
  s.B = first.size(0), s.H = s.target_H = first.size(2), s.W = s.target_W = first.size(3);
  s.flow = planes_of(dense_flow), s.padding = Padding::kZeros, s.factor = m.factor, s.division = m.division;
  if (dense_metric) s.metric = planes_of(*dense_metric);

  const Splatted result = splat_tensors(s, inputs, keep_weight);
  return {result.outs, result.weight, result.shift};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) { m.impl("splat", TORCH_BOX(&vfi::splat)); }
