// A GPU as far as one launch sees it: one block at a time, its warps in turn, an instruction of a warp for its 32 lanes
// at once. An instruction is decoded once (decoder.h) into an Op, whose function does the work.
//
// Registers of a warp lie in one file: 32 values of a register side by side, of its own width; a predicate is a mask of
// 32 bits. Constants and special registers have places in the file too, so that every operand is an offset.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "testing/ptx/program.h"

namespace vfi::ptx {

constexpr int kLanes = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// What an instruction is counted as.
enum class Class : uint8_t {
  kInteger,
  kFloat,
  kDouble,
  kHalf,
  kSpecial,
  kConvert,
  kCompare,
  kMove,
  kLoadGlobal,
  kStoreGlobal,
  kAtomic,
  kLoadShared,
  kStoreShared,
  kAsyncCopy,
  kLocal,
  kParameter,
  kTensor,
  kShuffle,
  kBranch,
  kBarrier,
  kOther,
  kCount,
};
constexpr int kClasses = static_cast<int>(Class::kCount);
extern const std::array<const char*, kClasses> kClassNames;

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParameter };

class Warp;
struct Op;
using Run = void (*)(Warp&, const Op&);

constexpr uint32_t kNone = 0xffffffffu;

struct Op {
  Run run = nullptr;
  uint32_t d = kNone, a = kNone, b = kNone, c = kNone;  // offsets into a warp's file
  uint32_t guard = kNone;
  bool guard_negated = false;
  Class counted = Class::kOther;
  Space space = Space::kGeneric;
  uint8_t bytes = 0;  // of an element
  uint8_t wide = 0;   // bytes of the register that holds an element
  uint8_t count = 1;  // elements of a vector
  bool is_signed = false;
  bool narrow_address = false;  // a 32-bit register holds it
  int16_t kind = 0;             // of several that share a function
  int16_t flags = 0;
  int32_t target = -1;             // where a branch goes
  int64_t value = 0;               // what an address adds
  Run inner = nullptr;             // what a function around another runs
  const uint32_t* list = nullptr;  // offsets of more operands
};

struct Constant {
  uint32_t offset;
  int bytes;  // 0: a predicate
  uint64_t bits;
};

// Memory of a module that a kernel names.
struct KernelVariable {
  uintptr_t begin;
  size_t bytes;
  bool constant;
};

struct Kernel {
  const Entry* entry = nullptr;
  std::vector<Op> code;
  uint32_t file_bytes = 0;
  std::vector<Constant> constants;
  std::map<std::string, uint32_t> specials;  // name -> offset
  std::deque<std::vector<uint32_t>> lists;
  std::deque<std::vector<int64_t>> tables;
  int shared_grain = 16, global_grain = 16;  // bytes of the smallest access
  int64_t dynamic_alignment = 16;            // of dynamic shared memory, which lies behind the static
  std::vector<KernelVariable> variables;
  int registers = 0;  // a thread's, as ptxas says; 0: unknown
  int64_t spilled_bytes = 0;
};

// Lanes of a warp that are at the same instruction.
struct Group {
  uint32_t lanes = 0;
  int32_t pc = 0;
  enum class State : uint8_t { kReady, kAtCollective, kAtBarrier } state = State::kReady;
  int barrier = 0;  // of kAtBarrier: its number and how many threads it waits for; 0: all
  int64_t expected = 0;
};

class Block;

class Warp {
 public:
  Warp(Block& block, int index, uint32_t lanes);
  void restart();

  // Runs until every group waits or is gone.
  void run();
  bool finished() const { return groups_.empty(); }

  template <class T>
  T* at(uint32_t offset) {
    return reinterpret_cast<T*>(file_.get() + offset);
  }
  uint32_t& predicate(uint32_t offset) { return *at<uint32_t>(offset); }

  // Sets d[lane] = f(lane) in the active lanes.
  template <class T, class F>
  void each(T* __restrict__ d, F f) {
    if (active == kAllLanes) {
#pragma GCC ivdep
      for (int l = 0; l < kLanes; ++l) d[l] = f(l);
    } else {
#pragma GCC ivdep
      for (int l = 0; l < kLanes; ++l) {
        const T value = f(l);
        d[l] = active >> l & 1 ? value : d[l];
      }
    }
  }
  template <class F>
  void each_active(F f) const {
    for (uint32_t rest = active; rest; rest &= rest - 1) f(__builtin_ctz(rest));
  }

  void branch(uint32_t taken, int32_t target);  // these go there, the others of the group on
  void part(uint32_t lanes, int32_t target);    // the same, but the others may still go elsewhere
  void leave(uint32_t lanes);                   // the active ones end
  // Whether all lanes of `mask` that have not ended are here; if not, the warp waits for them and comes again.
  bool gathered(uint32_t mask);
  void wait_at_barrier(int number, int64_t threads);
  void release(int barrier);

  [[noreturn]] void fault(const Op& op, int lane, const std::string& what) const;

  Block& block;
  const int index;             // in the block
  const uint32_t all;          // lanes that the block has
  uint32_t active = 0;         // lanes that run the present instruction
  uint32_t mask = 0;           // lanes of the present group
  uint32_t live = 0;           // lanes that have not ended
  int32_t pc = 0;              // of the next instruction
  std::vector<Group> groups_;  // those that do not run

 private:
  void fill_specials();
  bool next_group();

  int32_t limit_ = 0;  // the smallest pc of another group that could run
  std::unique_ptr<unsigned char[]> file_;
  std::vector<std::pair<uint32_t, int>> indices_;  // where the block's index lies in the file, by axis
};

}  // namespace vfi::ptx
