// Branches, ends, barriers of blocks, fences.
#include "testing/ptx/block.h"
#include "testing/ptx/decoder.h"

namespace vfi::ptx {
namespace {

void nothing(Warp&, const Op&) {}

void jump(Warp& w, const Op& op) {
  if (op.target < w.pc && --w.block.launch.jumps_left < 0)
    w.fault(op, __builtin_ctz(w.active), "a loop without an end");
  w.branch(w.active, op.target);
}

void jump_by_table(Warp& w, const Op& op) {
  const auto& table = *reinterpret_cast<const std::vector<int64_t>*>(op.value);
  const uint32_t* choice = w.at<uint32_t>(op.a);
  for (uint32_t rest = w.active; rest;) {
    const uint32_t first = choice[__builtin_ctz(rest)];
    if (first >= table.size()) w.fault(op, __builtin_ctz(rest), "brx.idx beyond its table");
    uint32_t same = 0;
    for (uint32_t left = rest; left; left &= left - 1) {
      const int l = __builtin_ctz(left);
      same |= static_cast<uint32_t>(choice[l] == first) << l;
    }
    rest &= ~same;
    w.part(same, static_cast<int32_t>(table[first]));
  }
}

void end(Warp& w, const Op&) { w.leave(w.active); }

void barrier(Warp& w, const Op& op) {
  const int first = __builtin_ctz(w.active);
  const auto number = [&](uint32_t offset, int64_t other) {
    return offset == kNone ? other : static_cast<int64_t>(w.at<uint32_t>(offset)[first]);
  };
  const auto id = static_cast<int>(number(op.a, 0));
  const int64_t threads = number(op.b, 0);
  if (threads % kLanes != 0) w.fault(op, first, "a barrier of threads that are no whole warps");
  if (op.kind == 1)
    w.block.arrive(id, w.index, kLanes);
  else
    w.wait_at_barrier(id, threads);
}

void decode_bar(Decoder& d, const Instruction& i, Op& op) {
  op.counted = Class::kBarrier;
  if (i.has("warp")) return decode_warp_barrier(d, i, op);
  if (i.has("red") || i.has("cluster")) d.unknown();
  op.run = barrier;
  op.kind = i.has("arrive");
  if (!i.operands.empty()) op.a = d.source(i.operands[0], 4);
  if (i.operands.size() > 1) op.b = d.source(i.operands[1], 4);
}

void decode_fence(Decoder&, const Instruction&, Op& op) {
  op.counted = Class::kBarrier;
  op.run = nothing;
}

}  // namespace

void add_control(DecodeTable& t) {
  t["bra"] = [](Decoder&, const Instruction& i, Op& op) {
    op.counted = Class::kBranch;
    op.run = jump;
    op.target = static_cast<int32_t>(i.operands.at(0).value);
  };
  t["brx"] = [](Decoder& d, const Instruction& i, Op& op) {
    op.counted = Class::kBranch;
    op.run = jump_by_table;
    op.a = d.source(i.operands.at(0), 4);
    op.value = reinterpret_cast<int64_t>(d.table(i.operands.at(1).name));
  };
  t["ret"] = t["exit"] = [](Decoder&, const Instruction&, Op& op) {
    op.counted = Class::kBranch;
    op.run = end;
  };
  t["bar"] = t["barrier"] = decode_bar;
  // One block runs after another, and a warp after another: memory is always in order.
  t["membar"] = t["fence"] = t["griddepcontrol"] = t["nanosleep"] = decode_fence;
  t["trap"] = [](Decoder&, const Instruction&, Op& op) {
    op.run = [](Warp& w, const Op& o) { w.fault(o, __builtin_ctz(w.active), "trap"); };
  };
}

}  // namespace vfi::ptx
