// The control flow of a warp: groups of lanes, the one at the smallest instruction first, so that lanes that parted meet
// again behind what parted them.
#include <cxxabi.h>

#include <algorithm>
#include <limits>

#include "testing/ptx/block.h"

namespace vfi::ptx {

const std::array<const char*, kClasses> kClassNames = {
    "integer", "float",       "double",       "half",    "special",     "convert",      "compare",
    "move",    "load_global", "store_global", "atomic",  "load_shared", "store_shared", "async_copy",
    "local",   "parameter",   "tensor",       "shuffle", "branch",      "barrier",      "other",
};

Warp::Warp(Block& block, int index, uint32_t lanes)
    : block(block), index(index), all(lanes), file_(new unsigned char[block.launch.kernel.file_bytes + 64]) {
  const Kernel& kernel = block.launch.kernel;
  std::memset(file_.get(), 0xa5, kernel.file_bytes);
  for (const Constant& constant : kernel.constants) {
    if (constant.bytes == 0) predicate(constant.offset) = constant.bits ? kAllLanes : 0;
    for (int l = 0; l < kLanes && constant.bytes != 0; ++l) {
      std::memcpy(file_.get() + constant.offset + l * constant.bytes, &constant.bits, constant.bytes);
    }
  }
  fill_specials();
}

void Warp::fill_specials() {
  const Launch& launch = block.launch;
  const Dim3 &n = launch.block, &grid = launch.grid;
  const auto shared = static_cast<uint32_t>(launch.shared_bytes);
  const std::map<std::string, uint32_t> uniform = {
      {"%ntid.x", n.x},
      {"%ntid.y", n.y},
      {"%ntid.z", n.z},
      {"%smid", 0},
      {"%nctaid.x", grid.x},
      {"%nctaid.y", grid.y},
      {"%nctaid.z", grid.z},
      {"%nsmid", 1},
      {"%total_smem_size", shared},
      {"%warpid", static_cast<uint32_t>(index)},
      {"%dynamic_smem_size", shared - static_cast<uint32_t>(launch.kernel.entry->shared_bytes)},
  };
  for (const auto& [name, offset] : launch.kernel.specials) {
    const auto same = uniform.find(name);
    if (name.rfind("%ctaid.", 0) == 0) indices_.push_back({offset, name.back() - 'x'});
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint32_t t = index * kLanes + l, bit = 1u << l;
      at<uint32_t>(offset)[l] = same != uniform.end()    ? same->second
                                : name == "%tid.x"       ? t % n.x
                                : name == "%tid.y"       ? t / n.x % n.y
                                : name == "%tid.z"       ? t / (n.x * n.y)
                                : name == "%laneid"      ? l
                                : name == "%lanemask_eq" ? bit
                                : name == "%lanemask_lt" ? bit - 1
                                : name == "%lanemask_le" ? bit | (bit - 1)
                                : name == "%lanemask_gt" ? ~(bit | (bit - 1))
                                                         : ~(bit - 1);
    }
  }
}

void Warp::restart() {
  const uint32_t place[] = {block.index.x, block.index.y, block.index.z};
  for (const auto& [offset, axis] : indices_) std::fill_n(at<uint32_t>(offset), kLanes, place[axis]);
  groups_.clear();
  mask = live = all;
  pc = 0;
  limit_ = std::numeric_limits<int32_t>::max();
}

void Warp::run() {
  const Op* code = block.launch.kernel.code.data();
  Tally* tallies = block.launch.tallies.data();
  while (true) {
    if ((mask == 0 || pc >= limit_) && !next_group()) return;
    const Op& op = code[pc];
    Tally& tally = tallies[pc];
    ++tally.issued;
    tally.lanes += __builtin_popcount(mask);
    active = mask;
    if (op.guard != kNone) active &= predicate(op.guard) ^ (op.guard_negated ? kAllLanes : 0);
    ++pc;
    if (active) op.run(*this, op);
  }
}

bool Warp::next_group() {
  if (mask != 0) groups_.push_back({mask, pc});
  mask = 0;
  limit_ = std::numeric_limits<int32_t>::max();
  const Group* best = nullptr;
  for (const Group& g : groups_) {
    if (g.state == Group::State::kReady && (best == nullptr || g.pc < best->pc)) best = &g;
  }
  if (best == nullptr) return false;
  pc = best->pc;
  for (size_t i = 0; i < groups_.size();) {
    const Group& g = groups_[i];
    if (g.pc == pc && g.state != Group::State::kAtBarrier) {
      mask |= g.lanes;
      groups_.erase(groups_.begin() + static_cast<int64_t>(i));
      continue;
    }
    if (g.state != Group::State::kAtBarrier && g.pc > pc) limit_ = std::min(limit_, g.pc);
    ++i;
  }
  return true;
}

void Warp::branch(uint32_t taken, int32_t target) {
  const uint32_t rest = mask & ~taken;
  if (rest != 0) groups_.push_back({rest, pc});
  mask = taken;
  pc = target;
  if (!groups_.empty()) limit_ = -1;  // to look again which group is next
}

void Warp::part(uint32_t lanes, int32_t target) {
  groups_.push_back({lanes, target});
  mask &= ~lanes;
  limit_ = -1;
}

void Warp::leave(uint32_t lanes) {
  live &= ~lanes;
  mask &= ~lanes;
  for (Group& g : groups_) {  // they may have waited for these
    if (g.state == Group::State::kAtCollective) g.state = Group::State::kReady;
  }
  if (!groups_.empty()) limit_ = -1;
}

bool Warp::gathered(uint32_t wanted) {
  if ((wanted & live & ~active) == 0) return true;
  Tally& tally = block.launch.tallies[pc - 1];  // it will be counted again
  --tally.issued;
  tally.lanes -= __builtin_popcount(active);
  groups_.push_back({active, pc - 1, Group::State::kAtCollective});
  mask &= ~active;
  limit_ = -1;
  return false;
}

void Warp::wait_at_barrier(int number, int64_t threads) {
  groups_.push_back({active, pc, Group::State::kAtBarrier, number, threads});
  mask &= ~active;
  limit_ = -1;
}

void Warp::release(int barrier) {
  for (Group& g : groups_) {
    if (g.state == Group::State::kAtBarrier && g.barrier == barrier) g.state = Group::State::kReady;
  }
}

void Warp::fault(const Op& op, int lane, const std::string& what) const {
  const Kernel& kernel = block.launch.kernel;
  const size_t n = static_cast<size_t>(&op - kernel.code.data());
  const Instruction& i = kernel.entry->code[n];
  int status = 0;
  char* plain = abi::__cxa_demangle(kernel.entry->name.c_str(), nullptr, nullptr, &status);
  const std::string name = plain != nullptr ? plain : kernel.entry->name;
  std::free(plain);
  const auto text = [](uint32_t x) { return std::to_string(x); };
  fail(what + ", in " + name + ", line " + std::to_string(i.line) + ": " + i.text + "; block (" + text(block.index.x) +
       ", " + text(block.index.y) + ", " + text(block.index.z) + "), thread " + std::to_string(index * kLanes + lane));
}

}  // namespace vfi::ptx
