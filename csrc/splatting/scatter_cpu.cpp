// The scatter on all threads: bands of target rows, their rings, and which channels go together.
#include "splatting/scatter.h"

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include <torch/csrc/stable/ops.h>


namespace vfi {
namespace {

// A ring larger than this no longer stays in the caches; the band is then cut into smaller ones, each of which reads the
// source rows that reach it.
constexpr int64_t kRingBytes = int64_t{4} << 20;
constexpr int32_t kMinRows = 16;

struct FreeAligned {
  void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{64}); }
};
using Memory = std::unique_ptr<std::byte, FreeAligned>;

// Grows to the largest ring that its thread needs within one call.
class Scratch {
 public:
  void* at_least(size_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      memory_.reset(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{64})));
      size_ = bytes;
    }
    return memory_.get();
  }

 private:
  Memory memory_;
  size_t size_ = 0;
};

// Channels c.. c + count that share a pass over the source, and where their pass finds D.
struct Pass {
  int64_t c;
  int32_t count;
  ScatterBand::Weight weight;
};

// Cells of 16 channels, and one of 4 for a remainder of up to 4. The first pass computes D, in a spare lane if it has one.
std::vector<Pass> split_channels(const ScatterArgs& s) {
  using Weight = ScatterBand::Weight;
  std::vector<Pass> passes;
  const int64_t rest = s.C % kWideCell;
  const bool narrow = rest > 0 && rest <= kNarrowCell;
  if (narrow) passes.push_back({s.C - rest, static_cast<int32_t>(rest), Weight::kNone});
  for (int64_t c = 0; c < s.C - (narrow ? rest : 0); c += kWideCell) {
    passes.push_back({c, static_cast<int32_t>(std::min<int64_t>(kWideCell, s.C - c)), Weight::kNone});
  }
  // With no channels at all D may still be wanted.
  if (passes.empty()) passes.push_back({0, 0, Weight::kNone});
  if (s.divide == Divide::kNot) return passes;
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
    const int64_t cell = cell_width(pass.count) + (pass.weight == ScatterBand::Weight::kPlane);
    const int64_t row_bytes = ring_columns(s_) * cell * (s_.float64 ? sizeof(double) : sizeof(float));
    const int32_t fitting = static_cast<int32_t>(std::max<int64_t>(kMinRows, kRingBytes / row_bytes));
    const int32_t rows = plan_rows(begin, end);
    if (rows > fitting) {
      for (int32_t y = begin; y < end; y += fitting) run(pass, y, std::min(end, y + fitting));
      return;
    }
    void* memory = scratch_.at_least(static_cast<size_t>((rows + 1) * row_bytes));
    const ScatterBand band{b_, pass.c, pass.count, begin, end, rows, reach_, still_open_.data(), memory, pass.weight};
    VFI_CPU_KERNEL(scatter_band)(s_, band);
  }

 private:
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

}  // namespace

void measure_reach(const ScatterArgs& s, RowReach* reach) {
  const int64_t grain = 1 + 65536 / (1 + s.W);
  torch::stable::parallel_for(0, s.B * s.H, grain, [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(scatter_reach)(s, reach, begin, end);
  });
}

void for_each_band(const ScatterArgs& s, const std::function<void(int64_t, int32_t, int32_t)>& work) {
  if (s.B * s.target_H * s.target_W == 0) return;
  constexpr int64_t kSmall = 8192;
  const bool small = s.B * s.H * s.W * (s.C + 4) < kSmall;
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t bands = small ? 1 : std::min(threads / std::gcd(threads, s.B), s.target_H);
  torch::stable::parallel_for(0, s.B * bands, small ? s.B : 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t b = k / bands, band = k % bands;
      work(b, static_cast<int32_t>(s.target_H * band / bands), static_cast<int32_t>(s.target_H * (band + 1) / bands));
    }
  });
}

void scatter(const ScatterArgs& s, const RowReach* reach) {
  const std::vector<Pass> passes = split_channels(s);
  for_each_band(s, [&](int64_t b, int32_t begin, int32_t end) {
    BandRunner runner(s, reach, b);
    for (const Pass& pass : passes) runner.run(pass, begin, end);
  });
}

void scatter(const ScatterArgs& s) {
  std::vector<RowReach> reach(s.B * s.H);
  measure_reach(s, reach.data());
  scatter(s, reach.data());
}

}  // namespace vfi
