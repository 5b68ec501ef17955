// The warps of a block and their barriers.
#include "testing/ptx/block.h"

#include <algorithm>

namespace vfi::ptx {

Block::Block(Launch& launch)
    : launch(launch),
      shared(launch.shared_bytes),
      shared_races(launch.shared_bytes, launch.kernel.shared_grain,
                   static_cast<int>((launch.block.count() + kLanes - 1) / kLanes)),
      local_(launch.kernel.entry->local_bytes * launch.block.count()),
      groups_of_(launch.block.count()) {
  for (int first = 0; first < threads(); first += kLanes) {
    const int lanes = std::min(kLanes, threads() - first);
    const uint32_t mask = lanes == kLanes ? kAllLanes : (1u << lanes) - 1;
    warps_.push_back(std::make_unique<Warp>(*this, first / kLanes, mask));
  }
}

void Block::run(Dim3 at, uint64_t block_number, const std::vector<int>& warp_order) {
  index = at;
  number = static_cast<uint32_t>(block_number);
  std::fill(shared.begin(), shared.end(), 0xff);  // NaN: a read before any write shows
  std::fill(std::begin(arrivals_), std::end(arrivals_), 0);
  std::fill(groups_of_.begin(), groups_of_.end(), 0);
  copies_.clear();
  shared_races.begin_block();
  for (auto& warp : warps_) warp->restart();
  while (true) {
    bool finished = true;
    for (const int w : warp_order) {
      warps_[w]->run();
      finished = finished && warps_[w]->finished();
    }
    if (finished) return;
    if (!release_barriers()) report_deadlock();
  }
}

bool Block::release_barriers() {
  bool any = false;
  for (int number = 0; number < 16; ++number) any = release_barrier(number) || any;
  return any;
}

// Without a number of threads, a barrier waits for all that have not ended; with one, for so many, of which the first to
// come are taken.
bool Block::release_barrier(int barrier) {
  int64_t lanes = 0, live = 0, expected = 0;
  uint32_t waiting = 0;
  const Group* first = nullptr;
  for (const auto& warp : warps_) {
    live += __builtin_popcount(warp->live);
    for (const Group& g : warp->groups_) {
      if (g.state != Group::State::kAtBarrier || g.barrier != barrier) continue;
      if (first != nullptr && (first->pc != g.pc) && g.expected == 0) {
        warp->fault(launch.kernel.code[g.pc - 1], __builtin_ctz(g.lanes),
                    "threads of a block wait at different barriers (another: line " +
                        std::to_string(launch.kernel.entry->code[first->pc - 1].line) + ")");
      }
      first = first == nullptr ? &g : first;
      expected = g.expected;
      lanes += __builtin_popcount(g.lanes);
      waiting |= 1u << warp->index;
    }
  }
  if (first == nullptr) return false;
  int64_t wanted = expected == 0 ? threads() : expected - arrivals_[barrier];
  if (expected == 0 ? lanes < live : __builtin_popcount(waiting) * kLanes < wanted) return false;
  arrivals_[barrier] = 0;
  uint32_t joined = 0;
  for (auto& warp : warps_) {
    if (!(waiting >> warp->index & 1) || wanted <= 0) continue;
    warp->release(barrier);
    joined |= 1u << warp->index;
    wanted -= kLanes;
  }
  shared_races.join(joined);
  shared_races.see(barrier, joined);
  return true;
}

void Block::report_deadlock() {
  for (const auto& warp : warps_) {
    for (const Group& g : warp->groups_) {
      const bool barrier = g.state == Group::State::kAtBarrier;
      warp->fault(launch.kernel.code[barrier ? g.pc - 1 : g.pc], __builtin_ctz(g.lanes),
                  barrier ? "a barrier that other live threads never reach"
                          : "lanes of a warp wait for others that never come to this instruction");
    }
  }
  fail("deadlock");
}

void Block::finish_copies(int thread, int groups_left) {
  const int up_to = groups_of_[thread] - groups_left;
  const auto done = [&](const Copy& copy) {
    if (copy.thread != thread || copy.group >= up_to) return false;
    std::copy(copy.data, copy.data + copy.bytes, shared.data() + copy.to);
    if (launch.races) shared_races.landed(copy.to, copy.bytes);
    return true;
  };
  copies_.erase(std::remove_if(copies_.begin(), copies_.end(), done), copies_.end());
}

}  // namespace vfi::ptx
