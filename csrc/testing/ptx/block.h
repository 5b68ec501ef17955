// One launch: its limits, its parameters, what it counts; and the block of it that runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "testing/ptx/machine.h"
#include "testing/ptx/races.h"
#include "testing/ptx/storage.h"

namespace vfi::ptx {

// Where generic addresses of a block's own memory begin: beyond any address of the host.
constexpr uint64_t kSharedWindow = 1ull << 60, kLocalWindow = 1ull << 61, kParameterWindow = 1ull << 62;
// Shared memory begins behind what the system keeps.
constexpr uint64_t kSharedStart = 1024;

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// Of one instruction, over a launch.
struct Tally {
  int64_t issued = 0;                            // by warps
  int64_t lanes = 0;                             // by threads; also those in which the guard is false
  int64_t requests = 0, sectors = 0;             // global memory: warps' accesses, distinct 32-byte sectors of each
  int64_t wavefronts = 0, least_wavefronts = 0;  // shared memory: cycles of an access; with no bank conflict
};

struct Launch {
  const Kernel& kernel;
  Dim3 grid, block;
  size_t shared_bytes = 0;  // static and dynamic
  std::vector<unsigned char> parameters;
  Storage& storage;
  bool races = true;
  int64_t jumps_left = 0;      // backwards, by warps: a loop that never ends is found
  std::vector<Tally> tallies;  // of each instruction
};

// A copy by cp.async that a thread has begun.
struct Copy {
  int thread;
  int group;
  size_t to;  // in shared memory
  int bytes;
  unsigned char data[16];
};

class Block {
 public:
  explicit Block(Launch& launch);
  void run(Dim3 index, uint64_t number, const std::vector<int>& warp_order);

  unsigned char* local(int thread, uint64_t offset) {
    return local_.data() + thread * launch.kernel.entry->local_bytes + offset;
  }
  int threads() const { return static_cast<int>(launch.block.count()); }
  void arrive(int barrier, int warp, int64_t threads) {
    arrivals_[barrier & 15] += threads;
    shared_races.arrive(barrier & 15, warp);
  }
  int copy_group(int thread) const { return groups_of_[thread]; }
  void begin_copy(const Copy& copy) { copies_.push_back(copy); }
  void commit_copies(int thread) { ++groups_of_[thread]; }
  void finish_copies(int thread, int groups_left);  // all but the last so many groups

  Launch& launch;
  Dim3 index;
  uint32_t number = 0;
  std::vector<unsigned char> shared;
  SharedRaces shared_races;

 private:
  bool release_barriers();
  bool release_barrier(int number);
  [[noreturn]] void report_deadlock();

  std::vector<std::unique_ptr<Warp>> warps_;
  std::vector<unsigned char> local_;
  int64_t arrivals_[16] = {};
  std::vector<Copy> copies_;
  std::vector<int> groups_of_;  // of each thread: how many groups it has committed
};

}  // namespace vfi::ptx
