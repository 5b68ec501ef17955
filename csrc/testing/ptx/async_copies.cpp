// cp.async: the bytes arrive when they are waited for, not before; who touches them earlier is wrong.
#include <algorithm>

#include "testing/ptx/decoder.h"
#include "testing/ptx/memory.h"

namespace vfi::ptx {
namespace {

// op.a: where to, in shared memory; op.b and op.value: from where; op.c: how many bytes to read, the rest is 0.
void copy(Warp& w, const Op& op) {
  Block& block = w.block;
  Request from;
  const uint64_t* base = w.at<uint64_t>(op.b);
  const uint32_t* sizes = op.c == kNone ? nullptr : w.at<uint32_t>(op.c);
  uint32_t reading = 0;
  for (int l = 0; l < kLanes; ++l) {
    from.address[l] = base[l] + op.value;
    reading |= static_cast<uint32_t>(sizes == nullptr || sizes[l] != 0) << l;
  }
  locate_given(w, op, w.active & reading, op.bytes, Access::kRead, from, Space::kGlobal);
  w.each_active([&](int l) {
    const uint64_t to = (op.narrow_address ? w.at<uint32_t>(op.a)[l] : w.at<uint64_t>(op.a)[l]) + op.target;
    const size_t offset = (to & ~kSharedWindow) - kSharedStart;
    if (to % op.bytes != 0) w.fault(op, l, "misaligned: cp.async of " + std::to_string(op.bytes) + " bytes");
    if (offset + op.bytes > block.shared.size()) w.fault(op, l, "shared memory out of bounds");
    const int thread = w.index * kLanes + l;
    Copy c{thread, block.copy_group(thread), offset, op.bytes, {}};
    const uint32_t count = sizes == nullptr ? op.bytes : std::min<uint32_t>(sizes[l], op.bytes);
    if (count != 0) std::memcpy(c.data, from.at[l], count);
    block.begin_copy(c);
    if (block.launch.races) {
      const std::string wrong = block.shared_races.begin_copy(offset, op.bytes, thread);
      if (!wrong.empty()) w.fault(op, l, wrong);
    }
  });
}

void commit(Warp& w, const Op&) {
  w.each_active([&](int l) { w.block.commit_copies(w.index * kLanes + l); });
}

void wait(Warp& w, const Op& op) {
  w.each_active([&](int l) { w.block.finish_copies(w.index * kLanes + l, op.kind); });
}

void decode_copy(Decoder& d, const Instruction& i, Op& op) {
  op.counted = Class::kAsyncCopy;
  if (i.has("commit_group")) {
    op.run = commit;
    return;
  }
  if (i.has("wait_group") || i.has("wait_all")) {
    op.run = wait;
    op.kind = i.has("wait_all") ? int16_t{-1} : static_cast<int16_t>(i.operands.at(0).value);
    return;
  }
  if (i.has("bulk") || i.has("mbarrier") || !i.has("global")) d.unknown();
  Op to;
  d.address(i.operands.at(0), to);
  d.address(i.operands.at(1), op);
  if (op.narrow_address) d.unknown();
  op.b = op.a;
  op.a = to.a;
  op.narrow_address = to.narrow_address;
  op.target = static_cast<int32_t>(to.value);
  op.bytes = static_cast<uint8_t>(i.operands.at(2).value);
  const bool hint = i.has("L2::cache_hint");
  if (i.operands.size() > (hint ? 4u : 3u)) op.c = d.source(i.operands[3], 4);
  op.run = copy;
  d.kernel().shared_grain = std::min<int>(d.kernel().shared_grain, op.bytes);
  d.kernel().global_grain = std::min<int>(d.kernel().global_grain, op.bytes);
}

}  // namespace

void add_async_copies(DecodeTable& t) { t["cp"] = decode_copy; }

}  // namespace vfi::ptx
