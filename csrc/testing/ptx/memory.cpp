// Finding memory, and ld, st, cvta, isspacep, prefetch.
#include "testing/ptx/memory.h"

#include <algorithm>

#include "testing/ptx/decoder.h"

namespace vfi::ptx {
namespace {

// Cycles of a request to shared memory: words of one bank follow one another; accesses of 8 and 16 bytes go in halves and
// quarters of the warp.
void count_wavefronts(Tally& tally, uint32_t lanes, int bytes, const uint64_t (&offset)[kLanes]) {
  const int per_phase = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8, words = std::max(1, bytes / 4);
  for (int first = 0; first < kLanes; first += per_phase) {
    uint64_t seen[kLanes * 4];
    int next[kLanes * 4], head[32], count = 0, most = 0, length[32] = {};
    std::fill(std::begin(head), std::end(head), -1);
    for (int l = first; l < first + per_phase; ++l) {
      if (!(lanes >> l & 1)) continue;
      for (int k = 0; k < words; ++k) {
        const uint64_t word = offset[l] / 4 + k;
        const int bank = static_cast<int>(word % 32);
        int n = head[bank];
        while (n >= 0 && seen[n] != word) n = next[n];
        if (n >= 0) continue;
        seen[count] = word;
        next[count] = head[bank];
        head[bank] = count++;
        most = std::max(most, ++length[bank]);
      }
    }
    tally.wavefronts += most;
    tally.least_wavefronts += most > 0;
  }
}

Tally& tally_of(Warp& w, const Op& op) { return w.block.launch.tallies[&op - w.block.launch.kernel.code.data()]; }

void locate_shared(Warp& w, const Op& op, uint32_t lanes, int bytes, Access access, Request& r, uint64_t window) {
  Block& block = w.block;
  uint64_t offset[kLanes];
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    offset[l] = (r.address[l] & ~window) - kSharedStart;
    if (offset[l] + bytes > block.shared.size()) {
      w.fault(op, l,
              "shared memory out of bounds: byte " + std::to_string(static_cast<int64_t>(offset[l])) + " of " +
                  std::to_string(block.shared.size()));
    }
    r.at[l] = block.shared.data() + offset[l];
    if (block.launch.races) {
      const std::string wrong = block.shared_races.touch(offset[l], bytes, access, w.index * kLanes + l);
      if (!wrong.empty()) w.fault(op, l, wrong + " (shared memory, byte " + std::to_string(offset[l]) + ")");
    }
  }
  count_wavefronts(tally_of(w, op), lanes, bytes, offset);
}

void locate_global(Warp& w, const Op& op, uint32_t lanes, int bytes, Access access, Request& r) {
  Launch& launch = w.block.launch;
  uint64_t seen[kLanes * 2];
  int sectors = 0;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const uint64_t at = r.address[l];
    Range* range = launch.storage.find(at, bytes);
    if (range == nullptr)
      w.fault(op, l,
              "global memory out of bounds: " + std::to_string(bytes) + " bytes outside of every tensor of the launch");
    if (range->constant && access != Access::kRead && access != Access::kReadConstant)
      w.fault(op, l, "writes constant memory");
    r.at[l] = reinterpret_cast<unsigned char*>(at);
    for (uint64_t s = at / kSectorBytes; s <= (at + bytes - 1) / kSectorBytes; ++s) {
      if (sectors > 0 && seen[sectors - 1] == s) continue;
      if (std::find(seen, seen + sectors, s) != seen + sectors) continue;
      seen[sectors++] = s;
      range->mark(s, access);
    }
    if (launch.races) {
      const std::string wrong = range->race(at, bytes, access, w.block.number, launch.kernel.global_grain);
      if (!wrong.empty()) w.fault(op, l, wrong + " (global memory)");
    }
  }
  Tally& tally = tally_of(w, op);
  ++tally.requests;
  tally.sectors += sectors;
}

void locate_own(Warp& w, const Op& op, uint32_t lanes, int bytes, Request& r, Space space) {
  Block& block = w.block;
  const bool local = space == Space::kLocal;
  const uint64_t window = local ? kLocalWindow : kParameterWindow;
  const uint64_t size = local ? block.launch.kernel.entry->local_bytes : block.launch.kernel.entry->parameter_bytes;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const uint64_t offset = r.address[l] & ~window;
    if (offset + bytes > size) w.fault(op, l, local ? "local memory out of bounds" : "parameters out of bounds");
    r.at[l] = local ? block.local(w.index * kLanes + l, offset) : block.launch.parameters.data() + offset;
  }
}

Space space_at(uint64_t address) {
  return address & kSharedWindow      ? Space::kShared
         : address & kLocalWindow     ? Space::kLocal
         : address & kParameterWindow ? Space::kParameter
                                      : Space::kGlobal;
}

}  // namespace

void locate_given(Warp& w, const Op& op, uint32_t lanes, int bytes, Access access, Request& r, Space space) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    if (r.address[l] % bytes != 0) {
      w.fault(op, l,
              "misaligned: " + std::to_string(bytes) + " bytes at an address that is " +
                  std::to_string(r.address[l] % bytes) + " more than a multiple");
    }
  }
  if (space == Space::kGeneric) {  // lanes may be in several spaces
    for (uint32_t rest = lanes; rest;) {
      const Space one = space_at(r.address[__builtin_ctz(rest)]);
      uint32_t same = 0;
      for (uint32_t left = rest; left; left &= left - 1) {
        const int l = __builtin_ctz(left);
        same |= static_cast<uint32_t>(space_at(r.address[l]) == one) << l;
      }
      locate_given(w, op, same, bytes, access, r, one);
      rest &= ~same;
    }
  } else if (space == Space::kShared) {
    locate_shared(w, op, lanes, bytes, access, r, kSharedWindow);
  } else if (space == Space::kGlobal) {
    locate_global(w, op, lanes, bytes, access, r);
  } else {
    locate_own(w, op, lanes, bytes, r, space);
  }
}

void read_addresses(Warp& w, const Op& op, Request& r) {
  const int64_t more = op.value;
  if (op.narrow_address) {
    const uint32_t* base = w.at<uint32_t>(op.a);
    for (int l = 0; l < kLanes; ++l) r.address[l] = static_cast<uint32_t>(base[l] + static_cast<uint32_t>(more));
  } else {
    const uint64_t* base = w.at<uint64_t>(op.a);
    for (int l = 0; l < kLanes; ++l) r.address[l] = base[l] + static_cast<uint64_t>(more);
  }
}

void locate(Warp& w, const Op& op, int bytes, Access access, Request& r) {
  read_addresses(w, op, r);
  locate_given(w, op, w.active, bytes, access, r, op.space);
}

namespace {

template <class M, class R>
void load(Warp& w, const Op& op) {
  Request r;
  const Access access = op.kind ? Access::kReadConstant : Access::kRead;
  locate(w, op, static_cast<int>(sizeof(M)) * op.count, access, r);
  for (int n = 0; n < op.count; ++n) {
    R* d = w.at<R>(op.list[n]);
    w.each_active([&](int l) {
      M m;
      std::memcpy(&m, r.at[l] + n * sizeof(M), sizeof(M));
      d[l] = static_cast<R>(m);
    });
  }
}

template <class M, class R>
void store(Warp& w, const Op& op) {
  Request r;
  locate(w, op, static_cast<int>(sizeof(M)) * op.count, Access::kWrite, r);
  for (int n = 0; n < op.count; ++n) {
    const R* d = w.at<R>(op.list[n]);
    w.each_active([&](int l) { std::memcpy(r.at[l] + n * sizeof(M), &d[l], sizeof(M)); });
  }
}

template <class M>
Run transfer(int register_bytes, bool loads) {
  if constexpr (sizeof(M) <= 2) {
    if (register_bytes == 2) return loads ? load<M, uint16_t> : store<M, uint16_t>;
  }
  if constexpr (sizeof(M) <= 4) {
    if (register_bytes == 4) return loads ? load<M, uint32_t> : store<M, uint32_t>;
  }
  return register_bytes == 8 ? (loads ? load<M, uint64_t> : store<M, uint64_t>) : nullptr;
}

Run transfer_of(int bytes, bool is_signed, int register_bytes, bool loads) {
  if (bytes == 1) return is_signed ? transfer<int8_t>(register_bytes, loads) : transfer<uint8_t>(register_bytes, loads);
  if (bytes == 2)
    return is_signed ? transfer<int16_t>(register_bytes, loads) : transfer<uint16_t>(register_bytes, loads);
  if (bytes == 4)
    return is_signed ? transfer<int32_t>(register_bytes, loads) : transfer<uint32_t>(register_bytes, loads);
  return transfer<uint64_t>(register_bytes, loads);
}

void decode_transfer(Decoder& d, const Instruction& i, Op& op) {
  const bool loads = i.opcode == "ld" || i.opcode == "ldu";
  const std::string type = types(i).at(0);
  const auto values = items(i.operands.at(loads ? 0 : 1));
  op.space = space_of(i);
  d.address(i.operands.at(loads ? 1 : 0), op);
  op.bytes = static_cast<uint8_t>(type_bytes(type));
  op.count = static_cast<uint8_t>(values.size());
  op.kind = i.has("nc");
  int width = op.bytes;
  for (const Operand& v : values) width = std::max(width, d.width(v));
  op.list = d.list(values, width, loads);
  op.run = transfer_of(op.bytes, type[0] == 's', width, loads);
  const int bytes = op.bytes * op.count;
  Kernel& k = d.kernel();
  switch (op.space) {
    case Space::kShared: op.counted = loads ? Class::kLoadShared : Class::kStoreShared; break;
    case Space::kLocal: op.counted = Class::kLocal; break;
    case Space::kParameter: op.counted = Class::kParameter; break;
    default: op.counted = loads ? Class::kLoadGlobal : Class::kStoreGlobal;
  }
  if (op.space == Space::kShared || op.space == Space::kGeneric) k.shared_grain = std::min(k.shared_grain, bytes);
  if (op.space == Space::kGlobal || op.space == Space::kGeneric) k.global_grain = std::min(k.global_grain, bytes);
}

uint64_t window_of(Space space) {
  return space == Space::kShared      ? kSharedWindow
         : space == Space::kLocal     ? kLocalWindow
         : space == Space::kParameter ? kParameterWindow
                                      : 0;
}

void convert_address(Warp& w, const Op& op) {
  const uint64_t *a = w.at<uint64_t>(op.a), window = window_of(op.space);
  const bool to = op.kind != 0;
  w.each(w.at<uint64_t>(op.d), [=](int l) { return to ? a[l] & ~window : a[l] | window; });
}

void is_in_space(Warp& w, const Op& op) {
  const uint64_t* a = w.at<uint64_t>(op.a);
  uint32_t truth = 0;
  for (int l = 0; l < kLanes; ++l) truth |= static_cast<uint32_t>(space_at(a[l]) == op.space) << l;
  uint32_t& d = w.predicate(op.d);
  d = (d & ~w.active) | (truth & w.active);
}

}  // namespace

void add_memory(DecodeTable& t) {
  t["ld"] = t["ldu"] = t["st"] = decode_transfer;
  t["cvta"] = [](Decoder& d, const Instruction& i, Op& op) {
    op.space = space_of(i);
    op.kind = i.has("to");
    op.counted = Class::kMove;
    op.run = convert_address;
    op.d = d.destination(i.operands.at(0), 8);
    op.a = d.source(i.operands.at(1), 8);
  };
  t["isspacep"] = [](Decoder& d, const Instruction& i, Op& op) {
    op.space = space_of(i);
    op.counted = Class::kCompare;
    op.run = is_in_space;
    op.d = d.predicate(i.operands.at(0));
    op.a = d.source(i.operands.at(1), 8);
  };
  // Hints: they may name any address.
  t["prefetch"] = t["prefetchu"] = [](Decoder&, const Instruction&, Op& op) { op.run = [](Warp&, const Op&) {}; };
}

}  // namespace vfi::ptx
