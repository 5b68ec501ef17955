#include "testing/ptx/races.h"

#include <algorithm>

namespace vfi::ptx {

void SharedRaces::begin_block() {
  std::fill(known_.begin(), known_.end(), time_);  // what was before is no concern
  arrived_.clear();
  ++time_;
}

void SharedRaces::join(uint32_t warps) {
  for (int v = 0; v < warps_; ++v) {
    if (!(warps >> v & 1)) continue;
    for (int u = 0; u < warps_; ++u) {
      uint32_t seen = warps >> u & 1 ? time_ : known(v, u);
      for (int w = 0; w < warps_; ++w) {
        if (warps >> w & 1) seen = std::max(seen, known(w, u));
      }
      known(v, u) = seen;
    }
  }
  ++time_;
}

void SharedRaces::arrive(int barrier, int warp) {
  auto& seen = arrived_[barrier];
  seen.resize(warps_);
  for (int u = 0; u < warps_; ++u) seen[u] = std::max(seen[u], u == warp ? time_ : known(warp, u));
  ++time_;
}

void SharedRaces::see(int barrier, uint32_t warps) {
  const auto found = arrived_.find(barrier);
  if (found == arrived_.end()) return;
  for (int v = 0; v < warps_; ++v) {
    for (int u = 0; u < warps_ && (warps >> v & 1); ++u) known(v, u) = std::max(known(v, u), found->second[u]);
  }
  arrived_.erase(found);
}

bool SharedRaces::after_reads(const Cell& c, int thread) {
  if (c.reader >= 0 && c.reading_warps != 0 && (c.reading_warps & (c.reading_warps - 1)) == 0) {
    return after(thread, c.reader, c.read_time);
  }
  for (uint32_t rest = c.reading_warps; rest; rest &= rest - 1) {
    if (c.read_time > known(thread / 32, __builtin_ctz(rest))) return false;
  }
  return true;
}

// A reader of -1: several lanes of a warp.
void SharedRaces::note_read(Cell& c, int thread) {
  const uint32_t own = 1u << (thread / 32);
  if (after_reads(c, thread)) {
    c.reading_warps = own;
    c.reader = static_cast<int16_t>(thread);
  } else {
    c.reader = c.reading_warps == own && c.reader == thread ? c.reader : int16_t{-1};
    c.reading_warps |= own;
  }
  c.read_time = time_;
}

std::string SharedRaces::touch(size_t at, int bytes, Access access, int thread) {
  for (size_t n = at / grain_; n <= (at + bytes - 1) / grain_; ++n) {
    Cell& c = cells_[n];
    if (c.write_time == time_ && c.writer == thread && access != Access::kRead) {
      if (c.reading_warps == 0) continue;
    }
    const bool both_atomic = access == Access::kAtomic && c.atomic;
    if (c.write_time != 0 && !both_atomic && !after(thread, c.writer, c.write_time)) {
      if (c.write_time == kInFlight) return "race: touches what cp.async still copies";
      const std::string other = std::to_string(c.writer) + " wrote without a barrier between";
      return (access == Access::kRead ? "race: reads what thread " : "race: writes what thread ") + other;
    }
    if (access == Access::kRead) {
      note_read(c, thread);
      continue;
    }
    if (!after_reads(c, thread)) {
      const std::string other = c.reader >= 0 ? "thread " + std::to_string(c.reader) : "several threads";
      return "race: writes what " + other + " read without a barrier between";
    }
    c.write_time = time_;
    c.writer = static_cast<int16_t>(thread);
    c.atomic = access == Access::kAtomic;
    c.reading_warps = 0;
  }
  return "";
}

std::string SharedRaces::begin_copy(size_t at, int bytes, int thread) {
  std::string wrong = touch(at, bytes, Access::kWrite, thread);
  for (size_t n = at / grain_; n <= (at + bytes - 1) / grain_; ++n) cells_[n].write_time = kInFlight;
  return wrong;
}

void SharedRaces::landed(size_t at, int bytes) {
  for (size_t n = at / grain_; n <= (at + bytes - 1) / grain_; ++n) {
    if (cells_[n].write_time == kInFlight) cells_[n].write_time = time_;
  }
}

}  // namespace vfi::ptx
