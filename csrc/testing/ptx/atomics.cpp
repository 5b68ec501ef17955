// atom and red, also on vectors and on pairs of halves.
#include <algorithm>

#include "testing/ptx/decoder.h"
#include "testing/ptx/memory.h"
#include "testing/ptx/numbers.h"

namespace vfi::ptx {
namespace {

enum Kind : int16_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kExchange, kCompare, kIncrement, kDecrement };

template <class T>
T combine(int kind, T old, T b, T c) {
  switch (kind) {
    case kExchange: return b;
    case kCompare: return std::memcmp(&old, &b, sizeof(T)) == 0 ? c : old;
    case kAdd:
      if constexpr (std::is_integral_v<T>)
        return static_cast<T>(static_cast<uint64_t>(old) + static_cast<uint64_t>(b));
      else
        return apply([](auto x, auto y) { return x + y; }, old, b);
    case kMin:
    case kMax: {
      const bool least = kind == kMin;
      return apply([=](auto x, auto y) { return x != x ? y : y != y ? x : (least ? y < x : x < y) ? y : x; }, old, b);
    }
    default: break;
  }
  if constexpr (std::is_integral_v<T>) {
    switch (kind) {
      case kAnd: return old & b;
      case kOr: return old | b;
      case kXor: return old ^ b;
      case kIncrement: return old >= b ? T(0) : static_cast<T>(old + 1);
      case kDecrement: return old == 0 || old > b ? b : static_cast<T>(old - 1);
      default: break;
    }
  }
  fail("an atomic operation that is none of its type's");
}

// Operands: the old values, if they are wanted; the new ones; what compare-and-swap stores.
template <class T>
void atomic(Warp& w, const Op& op) {
  Request r;
  locate(w, op, static_cast<int>(sizeof(T)) * op.count, Access::kAtomic, r);
  const int n = op.count;
  w.each_active([&](int l) {
    for (int k = 0; k < n; ++k) {
      T old;
      std::memcpy(&old, r.at[l] + k * sizeof(T), sizeof(T));
      const T value = combine(op.kind, old, w.at<T>(op.list[n + k])[l], w.at<T>(op.list[2 * n + k])[l]);
      std::memcpy(r.at[l] + k * sizeof(T), &value, sizeof(T));
      if (op.flags) w.at<T>(op.list[k])[l] = old;
    }
  });
}

Run atomic_of(const std::string& type) {
  const std::map<std::string, Run> runs = {
      {"f32", atomic<float>},          {"f64", atomic<double>},   {"f16", atomic<Half>},
      {"bf16", atomic<BHalf>},         {"s32", atomic<int32_t>},  {"u32", atomic<uint32_t>},
      {"b32", atomic<uint32_t>},       {"s64", atomic<int64_t>},  {"u64", atomic<uint64_t>},
      {"b64", atomic<uint64_t>},       {"b16", atomic<uint16_t>}, {"f16x2", atomic<Pair<Half>>},
      {"bf16x2", atomic<Pair<BHalf>>},
  };
  return runs.at(type);
}

void decode_atomic(Decoder& d, const Instruction& i, Op& op) {
  const std::pair<const char*, Kind> kinds[] = {
      {"add", kAdd}, {"min", kMin},       {"max", kMax},     {"and", kAnd},       {"or", kOr},
      {"xor", kXor}, {"exch", kExchange}, {"cas", kCompare}, {"inc", kIncrement}, {"dec", kDecrement},
  };
  op.kind = -1;
  for (const auto& [name, kind] : kinds) {
    if (i.has(name)) op.kind = kind;
  }
  if (op.kind < 0) d.unknown();
  const bool gives = i.opcode == "atom";
  const size_t first = gives ? 1 : 0;
  const std::string type = types(i).back();
  const int bytes = type_bytes(type);
  op.flags = gives;
  op.counted = Class::kAtomic;
  op.space = space_of(i);
  d.address(i.operands.at(first), op);
  const auto values = items(i.operands.at(first + 1));
  const auto swapped = op.kind == kCompare ? items(i.operands.at(first + 2)) : values;
  const std::vector<Operand> old =
      gives ? items(i.operands[0])
            : std::vector<Operand>(values.size(), Operand{Operand::Kind::kSink, "", 0, false, {}});
  op.count = static_cast<uint8_t>(values.size());
  std::vector<uint32_t> offsets;
  for (const Operand& o : old) offsets.push_back(d.destination(o, bytes));
  for (const auto* operands : {&values, &swapped}) {
    for (const Operand& o : *operands) offsets.push_back(d.source(o, bytes));
  }
  op.list = d.keep(std::move(offsets));
  op.run = atomic_of(type);
  Kernel& k = d.kernel();
  const int all = bytes * op.count;
  if (op.space != Space::kGlobal) k.shared_grain = std::min(k.shared_grain, all);
  if (op.space != Space::kShared) k.global_grain = std::min(k.global_grain, all);
}

}  // namespace

void add_atomics(DecodeTable& t) { t["atom"] = t["red"] = decode_atomic; }

}  // namespace vfi::ptx
