#include "testing/ptx/storage.h"

#include <algorithm>

namespace vfi::ptx {
namespace {

constexpr uint32_t kAdds = 0x80000000u;  // in Cell::writer: by atomic operations only
constexpr uint32_t kMany = 0xffffffffu;  // in Cell::reader, and in writer: several blocks, which add
constexpr uint8_t kRead = 1, kWritten = 2, kAdded = 4;

std::string blocks_text(uint32_t who, const char* one, const char* several) {
  if (who == kMany) return std::string("several blocks ") + several;
  return "block " + std::to_string((who & ~kAdds) - 1) + " " + one;
}

}  // namespace

Range::Range(uintptr_t begin, uintptr_t end, bool constant)
    : begin(begin),
      end(end),
      constant(constant),
      marks_((end + kSectorBytes - 1) / kSectorBytes - begin / kSectorBytes) {}

void Range::mark(uint64_t sector, Access access) {
  const uint8_t bit = access == Access::kWrite ? kWritten : access == Access::kAtomic ? kAdded : kRead;
  marks_[sector - begin / kSectorBytes] |= bit;
}

SectorCounts Range::sectors() const {
  SectorCounts counts;
  for (const uint8_t m : marks_) {
    counts.read += (m & kRead) != 0;
    counts.written += (m & kWritten) != 0;
    counts.added += (m & kAdded) != 0;
  }
  return counts;
}

Range::Cell& Range::cell(size_t n) {
  if (pages_.size() <= n / kPageCells) pages_.resize(n / kPageCells + 1);
  auto& page = pages_[n / kPageCells];
  if (!page) page = std::make_unique<Cell[]>(kPageCells);
  return page[n % kPageCells];
}

std::string Range::race(uintptr_t at, int bytes, Access access, uint32_t block, int grain) {
  const uint32_t own = block + 1;
  const size_t first = (at - begin) / grain, last = (at + bytes - 1 - begin) / grain;
  for (size_t n = first; n <= last; ++n) {
    Cell& c = cell(n);
    const bool adds = (c.writer & kAdds) != 0, others = c.writer != 0 && (c.writer & ~kAdds) != own;
    const auto writer = [&] {
      return adds ? blocks_text(c.writer, "adds to", "add to") : blocks_text(c.writer, "writes", "");
    };
    if (access == Access::kRead || access == Access::kReadConstant) {
      if (others) return "race: reads what " + writer();
      if (c.writer != 0 && access == Access::kReadConstant)
        return "race: a constant load (.nc) of what this launch writes";
      c.reader = c.reader == 0 || c.reader == own ? own : kMany;
      continue;
    }
    const bool atomic = access == Access::kAtomic;
    if (others && !(atomic && adds)) return "race: writes what " + writer();
    if (c.reader != 0 && c.reader != own) return "race: writes what " + blocks_text(c.reader, "reads", "read");
    if (!atomic || (c.writer != 0 && !adds))
      c.writer = own;
    else
      c.writer = others ? kMany : own | kAdds;
  }
  return "";
}

void Storage::add(uintptr_t begin, size_t bytes, bool constant) {
  const auto same = [&](const auto& range) { return range->begin == begin; };
  if (bytes == 0 || std::any_of(ranges_.begin(), ranges_.end(), same)) return;
  ranges_.push_back(std::make_unique<Range>(begin, begin + bytes, constant));
}

Range* Storage::find(uintptr_t at, int bytes) {
  if (last_ != nullptr && last_->holds(at, bytes)) return last_;
  for (const auto& range : ranges_) {
    if (range->holds(at, bytes)) return last_ = range.get();
  }
  return nullptr;
}

SectorCounts Storage::sectors() const {
  SectorCounts sum;
  for (const auto& range : ranges_) {
    const SectorCounts counts = range->sectors();
    sum.read += counts.read;
    sum.written += counts.written;
    sum.added += counts.added;
  }
  return sum;
}

}  // namespace vfi::ptx
