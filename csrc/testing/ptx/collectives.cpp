// What lanes of a warp do together: shfl, vote, match, redux, elect, activemask, bar.warp.sync. Each lane says which lanes
// take part; these must come to the same instruction, or have ended.
#include <algorithm>

#include "testing/ptx/block.h"
#include "testing/ptx/decoder.h"

namespace vfi::ptx {
namespace {

// Whether all lanes that the active ones name are here.
bool gathered(Warp& w, const Op& op) {
  const uint32_t* masks = w.at<uint32_t>(op.c);
  uint32_t all = 0;
  w.each_active([&](int l) {
    if (!(masks[l] >> l & 1)) w.fault(op, l, "the lane is not in its own mask");
    all |= masks[l];
  });
  return w.gathered(all);
}

// f(lanes) for the active lanes with one mask.
template <class F>
void each_mask(Warp& w, const Op& op, F f) {
  const uint32_t* masks = w.at<uint32_t>(op.c);
  for (uint32_t rest = w.active; rest;) {
    const uint32_t lanes = masks[__builtin_ctz(rest)] & w.active;
    f(lanes);
    rest &= ~lanes;
  }
}

template <class F>
void each_lane(uint32_t lanes, F f) {
  for (; lanes; lanes &= lanes - 1) f(__builtin_ctz(lanes));
}

void put(Warp& w, uint32_t offset, uint32_t truth) {
  if (offset == kNone) return;
  uint32_t& d = w.predicate(offset);
  d = (d & ~w.active) | (truth & w.active);
}

enum Shuffle : int16_t { kUp, kDown, kButterfly, kIndex };

// op.list: the predicate, the other lane, what bounds it.
void shuffle(Warp& w, const Op& op) {
  if (!gathered(w, op)) return;
  uint32_t in[kLanes], out[kLanes], truth = 0;
  std::copy_n(w.at<uint32_t>(op.a), kLanes, in);
  const uint32_t *masks = w.at<uint32_t>(op.c), *others = w.at<uint32_t>(op.b), *bounds = w.at<uint32_t>(op.list[1]);
  w.each_active([&](int l) {
    const int b = static_cast<int>(others[l] & 31), segment = static_cast<int>(bounds[l] >> 8 & 31),
              clamp = static_cast<int>(bounds[l] & 31);
    const int last = (l & segment) | (clamp & ~segment), first = l & segment;
    int from = op.kind == kUp          ? l - b
               : op.kind == kDown      ? l + b
               : op.kind == kButterfly ? l ^ b
                                       : first | (b & ~segment);
    const bool inside = op.kind == kUp ? from >= last : from <= last;
    if (!inside) from = l;
    if (!((masks[l] & w.active) >> from & 1))
      w.fault(op, l, "shfl reads lane " + std::to_string(from) + ", which does not take part");
    out[l] = in[from];
    truth |= static_cast<uint32_t>(inside) << l;
  });
  w.each(w.at<uint32_t>(op.d), [&](int l) { return out[l]; });
  put(w, op.list[0], truth);
}

enum Vote : int16_t { kBallot, kAny, kAll, kUniform };

void vote(Warp& w, const Op& op) {
  if (!gathered(w, op)) return;
  const uint32_t asked = w.predicate(op.a) ^ (op.flags ? kAllLanes : 0);
  uint32_t truth = 0;
  each_mask(w, op, [&](uint32_t lanes) {
    const uint32_t yes = asked & lanes;
    if (op.kind == kBallot) each_lane(lanes, [&](int l) { w.at<uint32_t>(op.d)[l] = yes; });
    const bool holds = op.kind == kAny ? yes != 0 : op.kind == kAll ? yes == lanes : yes == 0 || yes == lanes;
    if (holds) truth |= lanes;
  });
  if (op.kind != kBallot) put(w, op.d, truth);
}

template <class T, bool kAllSame>
void match(Warp& w, const Op& op) {
  if (!gathered(w, op)) return;
  const T* a = w.at<T>(op.a);
  uint32_t truth = 0;
  each_mask(w, op, [&](uint32_t lanes) {
    each_lane(lanes, [&](int l) {
      uint32_t same = 0;
      each_lane(lanes, [&](int other) { same |= static_cast<uint32_t>(a[other] == a[l]) << other; });
      const bool all = same == lanes;
      w.at<uint32_t>(op.d)[l] = kAllSame && !all ? 0 : same;
      truth |= static_cast<uint32_t>(all) << l;
    });
  });
  if (op.list != nullptr) put(w, op.list[0], truth);
}

// op.kind: add, min, max, and, or, xor.
template <class T>
void reduce(Warp& w, const Op& op) {
  if (!gathered(w, op)) return;
  const T* a = w.at<T>(op.a);
  each_mask(w, op, [&](uint32_t lanes) {
    T sum = a[__builtin_ctz(lanes)];
    each_lane(lanes & (lanes - 1), [&](int l) {
      const T x = a[l];
      const T results[] = {static_cast<T>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(x)),
                           std::min(sum, x),
                           std::max(sum, x),
                           static_cast<T>(sum & x),
                           static_cast<T>(sum | x),
                           static_cast<T>(sum ^ x)};
      sum = results[op.kind];
    });
    each_lane(lanes, [&](int l) { w.at<T>(op.d)[l] = sum; });
  });
}

void elect(Warp& w, const Op& op) {
  if (!gathered(w, op)) return;
  uint32_t truth = 0;
  each_mask(w, op, [&](uint32_t lanes) {
    const auto first = static_cast<uint32_t>(__builtin_ctz(lanes));
    truth |= 1u << first;
    each_lane(lanes, [&](int l) { w.at<uint32_t>(op.d)[l] = first; });
  });
  put(w, op.list[0], truth);
}

void warp_barrier(Warp& w, const Op& op) {
  if (gathered(w, op) && w.block.launch.races) w.block.shared_races.join(1u << w.index);
}

// d or d|p: the place of p, or of nothing.
uint32_t pair_predicate(Decoder& d, const Operand& to) {
  if (to.kind != Operand::Kind::kPair) return kNone;
  return to.items.at(1).kind == Operand::Kind::kSink ? kNone : d.predicate(to.items[1]);
}
const Operand& first_of(const Operand& to) { return to.kind == Operand::Kind::kPair ? to.items.at(0) : to; }

void decode_shuffle(Decoder& d, const Instruction& i, Op& op) {
  if (!i.has("sync")) d.unknown();
  op.run = shuffle;
  op.counted = Class::kShuffle;
  op.kind = i.has("up") ? kUp : i.has("down") ? kDown : i.has("bfly") ? kButterfly : kIndex;
  op.d = d.destination(first_of(i.operands.at(0)), 4);
  op.a = d.source(i.operands.at(1), 4);
  op.b = d.source(i.operands.at(2), 4);
  op.c = d.source(i.operands.at(4), 4);
  op.list = d.keep({pair_predicate(d, i.operands[0]), d.source(i.operands[3], 4)});
}

void decode_vote(Decoder& d, const Instruction& i, Op& op) {
  if (!i.has("sync")) d.unknown();
  op.run = vote;
  op.counted = Class::kShuffle;
  op.kind = i.has("ballot") ? kBallot : i.has("any") ? kAny : i.has("all") ? kAll : kUniform;
  op.d = op.kind == kBallot ? d.destination(i.operands.at(0), 4) : d.predicate(i.operands.at(0));
  op.a = d.predicate(i.operands.at(1));
  op.flags = i.operands[1].negated;
  op.c = d.source(i.operands.at(2), 4);
}

void decode_match(Decoder& d, const Instruction& i, Op& op) {
  const int bytes = type_bytes(types(i).at(0));
  const bool all = i.has("all");
  op.counted = Class::kShuffle;
  op.run = bytes == 4 ? (all ? match<uint32_t, true> : match<uint32_t, false>)
                      : (all ? match<uint64_t, true> : match<uint64_t, false>);
  op.d = d.destination(first_of(i.operands.at(0)), 4);
  op.a = d.source(i.operands.at(1), bytes);
  op.c = d.source(i.operands.at(2), 4);
  op.list = d.keep({pair_predicate(d, i.operands[0])});
}

void decode_reduce(Decoder& d, const Instruction& i, Op& op) {
  const char* names[] = {"add", "min", "max", "and", "or", "xor"};
  op.kind = -1;
  for (int16_t n = 0; n < 6; ++n) op.kind = i.has(names[n]) ? n : op.kind;
  const std::string type = types(i).at(0);
  if (op.kind < 0 || type[0] == 'f') d.unknown();
  op.counted = Class::kShuffle;
  op.run = type == "s32" ? reduce<int32_t> : reduce<uint32_t>;
  op.d = d.destination(i.operands.at(0), 4);
  op.a = d.source(i.operands.at(1), 4);
  op.c = d.source(i.operands.at(2), 4);
}

}  // namespace

void decode_warp_barrier(Decoder& d, const Instruction& i, Op& op) {
  op.run = warp_barrier;
  op.c = d.source(i.operands.at(0), 4);
}

void add_collectives(DecodeTable& t) {
  t["shfl"] = decode_shuffle;
  t["vote"] = decode_vote;
  t["match"] = decode_match;
  t["redux"] = decode_reduce;
  t["elect"] = [](Decoder& d, const Instruction& i, Op& op) {
    op.run = elect;
    op.counted = Class::kShuffle;
    op.d = d.destination(first_of(i.operands.at(0)), 4);
    op.c = d.source(i.operands.at(1), 4);
    op.list = d.keep({pair_predicate(d, i.operands[0])});
  };
  t["activemask"] = [](Decoder& d, const Instruction& i, Op& op) {
    op.counted = Class::kShuffle;
    op.d = d.destination(i.operands.at(0), 4);
    op.run = [](Warp& w, const Op& o) {
      const uint32_t lanes = w.active;
      w.each(w.at<uint32_t>(o.d), [=](int) { return lanes; });
    };
  };
}

}  // namespace vfi::ptx
