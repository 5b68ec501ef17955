#include "splatting/splat_tensors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "splatting/tensor_planes.h"

namespace vfi {
namespace {

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
      VFI_CPU_KERNEL(scatter_shift)(s, reach + b * s.H, b, begin, end);
    } else {
      s.float64 ? fill_rows<double>(s, b, begin, end) : fill_rows<float>(s, b, begin, end);
    }
  });
}

}  // namespace

Splatted splat_tensors(ScatterArgs s, const std::vector<Tensor>& inputs, bool keep_weight) {
  const ScalarType acc = s.float64 ? ScalarType::Double : ScalarType::Float;
  const Tensor& first = inputs[0];
  const Tensor absent = nothing(first, acc);
  const auto plane = [&](bool wanted) { return wanted ? empty(first, {s.B, 1, s.H, s.W}, acc) : absent; };
  const bool keeps = keep_weight && s.divide != Divide::kNot;
  std::vector<RowReach> reach(s.B * s.H);
  measure_reach(s, reach.data());
  std::vector<double> shifts;
  Tensor shift = absent;
  if (s.factor == Factor::kExp) {
    shifts = sample_shifts(s, reach);
    s.sample_shift = shifts.data();
    const bool wide = std::any_of(shifts.begin(), shifts.end(), [](double x) { return std::isnan(x); });
    shift = plane(keeps || wide);
    s.target_shift = shift.mutable_data_ptr();
    if (keeps || wide) write_shift(s, reach.data());
  }

  // D is computed with the first channels and kept for the others.
  const bool once = inputs.size() == 1 && first.size(1) <= kWideCell;
  const Tensor weight = plane(keeps || (s.divide != Divide::kNot && !once));
  s.weight = weight.numel() > 0 ? weight.mutable_data_ptr() : nullptr;
  std::vector<Tensor> outs;
  for (const Tensor& input : inputs) {
    const MemoryFormat layout = layout_of(input);
    const Tensor x = with_layout(input, layout);
    const Tensor out = empty(x, {s.B, x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout);
    s.values = planes_of(x), s.target = planes_of(out), s.C = x.size(1);
    scatter(s, reach.data());
    s.weight_ready = s.weight != nullptr;
    outs.push_back(out);
  }
  const bool shifts_kept = keeps && s.factor == Factor::kExp;
  return {outs, keeps ? weight : nothing(first, acc), shifts_kept ? shift : nothing(first, acc)};
}

}  // namespace vfi
