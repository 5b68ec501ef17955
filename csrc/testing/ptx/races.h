// Shared memory: who touched what last, and whether a barrier lies between. Each access has the time of its block's last
// barrier or warp barrier; known_[v][u] is the time up to which warp v has seen all that warp u did.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "testing/ptx/storage.h"

namespace vfi::ptx {

class SharedRaces {
 public:
  SharedRaces(size_t bytes, int grain, int warps)
      : grain_(grain), warps_(warps), cells_(bytes / grain + 1), known_(warps * warps) {}

  void begin_block();
  // What is wrong with an access of `thread`; empty if nothing is.
  std::string touch(size_t at, int bytes, Access access, int thread);
  // An asynchronous copy: until landed(), whoever touches the bytes is wrong.
  std::string begin_copy(size_t at, int bytes, int thread);
  void landed(size_t at, int bytes);
  void join(uint32_t warps);  // these met at a barrier
  // bar.arrive: the warp goes on, and what it did until now is seen by those who wait.
  void arrive(int barrier, int warp);
  void see(int barrier, uint32_t warps);

 private:
  struct Cell {
    uint32_t write_time = 0, read_time = 0;
    int16_t writer = 0, reader = 0;
    uint32_t reading_warps = 0;
    bool atomic = false;
  };
  uint32_t& known(int v, int u) { return known_[v * warps_ + u]; }
  bool after(int thread, int other, uint32_t time) {
    return other == thread ? time != kInFlight : time <= known(thread / 32, other / 32);
  }
  bool after_reads(const Cell& c, int thread);
  void note_read(Cell& c, int thread);

  static constexpr uint32_t kInFlight = 0xffffffffu;
  const int grain_, warps_;
  std::vector<Cell> cells_;
  std::vector<uint32_t> known_;
  std::map<int, std::vector<uint32_t>> arrived_;  // of a barrier: what those who arrived had seen
  uint32_t time_ = 1;
};

}  // namespace vfi::ptx
