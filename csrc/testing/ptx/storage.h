// The global memory that a launch may touch: the allocations that its parameters point into, and its module's variables.
// What it reads, writes and adds to is marked by 32-byte sectors; with `races`, who did is kept for every grain.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace vfi::ptx {

enum class Access : uint8_t { kRead, kReadConstant, kWrite, kAtomic };

constexpr int kSectorBytes = 32;

struct SectorCounts {
  int64_t read = 0, written = 0, added = 0;  // distinct ones
};

class Range {
 public:
  Range(uintptr_t begin, uintptr_t end, bool constant);
  bool holds(uintptr_t at, int bytes) const { return at >= begin && at + bytes <= end; }
  void mark(uint64_t sector, Access access);
  // What is wrong with an access of block `block`; empty if nothing is.
  std::string race(uintptr_t at, int bytes, Access access, uint32_t block, int grain);
  SectorCounts sectors() const;

  const uintptr_t begin, end;
  const bool constant;

 private:
  // Of a grain: the block that wrote it, plus 1, or added to it; and the one that read it, or kMany.
  struct Cell {
    uint32_t writer = 0, reader = 0;
  };
  static constexpr int kPageCells = 1024;
  Cell& cell(size_t n);

  std::vector<uint8_t> marks_;
  std::vector<std::unique_ptr<Cell[]>> pages_;
};

class Storage {
 public:
  void add(uintptr_t begin, size_t bytes, bool constant = false);
  Range* find(uintptr_t at, int bytes);  // null: none
  SectorCounts sectors() const;

 private:
  std::vector<std::unique_ptr<Range>> ranges_;
  Range* last_ = nullptr;
};

// Every allocation that torch makes on the CPU from the first call on, and what else was named.
void watch_allocations();
bool name_allocation(uintptr_t begin, size_t bytes);  // false: it was known
void forget_allocation(uintptr_t begin);
// Adds the allocation that holds `at`; whether there is one.
bool add_allocation(Storage& storage, uintptr_t at);

}  // namespace vfi::ptx
