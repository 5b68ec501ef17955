#include "testing/ptx/decoder.h"

#include <algorithm>

#include "testing/ptx/block.h"

namespace vfi::ptx {
namespace {

const DecodeTable& table_of_all() {
  static const DecodeTable table = [] {
    DecodeTable t;
    add_arithmetic(t), add_bits(t), add_compares(t), add_conversions(t), add_memory(t), add_atomics(t);
    add_async_copies(t), add_control(t), add_collectives(t), add_matrices(t), add_wmma(t);
    return t;
  }();
  return table;
}

}  // namespace

std::vector<std::string> types(const Instruction& i) {
  std::vector<std::string> found;
  for (const auto& m : i.modifiers) {
    if (type_bytes(m) >= 0) found.push_back(m);
  }
  return found;
}

Space space_of(const Instruction& i) {
  for (const auto& m : i.modifiers) {
    const std::string name = m.substr(0, m.find("::"));  // shared::cta
    if (name == "global" || name == "const") return Space::kGlobal;
    if (name == "shared") return Space::kShared;
    if (name == "local") return Space::kLocal;
    if (name == "param") return Space::kParameter;
  }
  return Space::kGeneric;
}

Decoder::Decoder(const Module& module, const Entry& entry, Kernel& kernel)
    : module_(module), entry_(entry), kernel_(kernel) {
  for (const int bytes : entry.registers) {
    const uint32_t size = bytes == 0 ? 4 : static_cast<uint32_t>(bytes) * kLanes;
    end_ = static_cast<uint32_t>(aligned(end_, bytes == 0 ? 4 : 64));
    registers_.push_back(end_);
    end_ += size;
  }
}

void Decoder::decode() {
  kernel_.entry = &entry_;
  for (const auto& [name, align] : module_.dynamic_shared)
    kernel_.dynamic_alignment = std::max(kernel_.dynamic_alignment, align);
  for (const auto& [name, v] : module_.variables) {
    kernel_.variables.push_back({reinterpret_cast<uintptr_t>(v->bytes.data()), v->bytes.size(), v->constant});
  }
  for (const Instruction& i : entry_.code) {
    present_ = &i;
    const auto found = table_of_all().find(i.opcode);
    if (found == table_of_all().end()) unknown();
    Op op;
    if (i.guard >= 0) {
      op.guard = registers_[i.guard];
      op.guard_negated = i.guard_negated;
    }
    try {
      found->second(*this, i, op);
    } catch (const std::out_of_range&) {
      unknown();
    }
    if (op.run == nullptr) unknown();
    kernel_.code.push_back(op);
  }
  kernel_.file_bytes = end_;
}

void Decoder::unknown() const {
  fail("unknown instruction, in " + entry_.name + ", line " + std::to_string(present_->line) + ": " + present_->text);
}

int Decoder::width(const Operand& o) const {
  if (o.kind == Operand::Kind::kSpecial) return 4;
  return o.kind == Operand::Kind::kRegister ? entry_.registers[o.value] : -1;
}

uint32_t Decoder::constant(uint64_t bits, int bytes) {
  if (bytes < 8) bits &= (1ull << (8 * std::max(bytes, 1))) - 1;
  const auto [found, fresh] = constants_.try_emplace({bits, bytes});
  if (fresh) {
    end_ = static_cast<uint32_t>(aligned(end_, 64));
    found->second = end_;
    end_ += bytes == 0 ? 4 : static_cast<uint32_t>(bytes) * kLanes;
    kernel_.constants.push_back({found->second, bytes, bits});
  }
  return found->second;
}

Symbol Decoder::symbol(const std::string& name) const {
  const auto shared = entry_.shared.find(name);
  if (shared != entry_.shared.end()) return {Space::kShared, kSharedStart + static_cast<uint64_t>(shared->second)};
  const auto dynamic = module_.dynamic_shared.find(name);
  if (dynamic != module_.dynamic_shared.end()) {
    return {Space::kShared,
            kSharedStart + static_cast<uint64_t>(aligned(entry_.shared_bytes, kernel_.dynamic_alignment))};
  }
  const auto local = entry_.local.find(name);
  if (local != entry_.local.end()) return {Space::kLocal, static_cast<uint64_t>(local->second)};
  for (const Parameter& p : entry_.parameters) {
    if (p.name == name) return {Space::kParameter, static_cast<uint64_t>(p.offset)};
  }
  const auto variable = module_.variables.find(name);
  if (variable != module_.variables.end()) {
    return {Space::kGlobal, reinterpret_cast<uint64_t>(variable->second->bytes.data())};
  }
  unknown();
}

uint32_t Decoder::source(const Operand& o, int bytes) {
  switch (o.kind) {
    case Operand::Kind::kRegister:
      if (entry_.registers[o.value] != bytes) unknown();
      return registers_[o.value];
    case Operand::Kind::kImmediate: return constant(static_cast<uint64_t>(o.value), bytes);
    case Operand::Kind::kSymbol: return constant(symbol(o.name).address, bytes);
    case Operand::Kind::kSpecial: {
      const auto [found, fresh] = kernel_.specials.try_emplace(o.name);
      if (bytes != 4) unknown();
      if (fresh) {
        found->second = end_ = static_cast<uint32_t>(aligned(end_, 64));
        end_ += 4 * kLanes;
      }
      return found->second;
    }
    default: unknown();
  }
}

uint32_t Decoder::destination(const Operand& o, int bytes) {
  if (o.kind == Operand::Kind::kSink) {
    uint32_t& sink = sinks_[bytes];
    if (sink == 0) {
      sink = end_ = static_cast<uint32_t>(aligned(end_ + 1, 64));
      end_ += static_cast<uint32_t>(std::max(bytes, 1)) * kLanes;
    }
    return sink;
  }
  if (o.kind != Operand::Kind::kRegister || entry_.registers[o.value] != bytes) unknown();
  return registers_[o.value];
}

uint32_t Decoder::predicate(const Operand& o) {
  if (o.kind == Operand::Kind::kRegister && entry_.registers[o.value] == 0) return registers_[o.value];
  if (o.kind == Operand::Kind::kImmediate) return constant(o.value != 0, 0);
  unknown();
}

const uint32_t* Decoder::keep(std::vector<uint32_t> offsets) {
  kernel_.lists.push_back(std::move(offsets));
  return kernel_.lists.back().data();
}

const uint32_t* Decoder::list(const std::vector<Operand>& operands, int bytes, bool written) {
  std::vector<uint32_t> offsets;
  for (const Operand& o : operands) offsets.push_back(written ? destination(o, bytes) : source(o, bytes));
  return keep(std::move(offsets));
}

const std::vector<int64_t>* Decoder::table(const std::string& name) {
  kernel_.tables.push_back(entry_.tables.at(name));
  return &kernel_.tables.back();
}

void Decoder::address(const Operand& o, Op& op) {
  if (o.kind != Operand::Kind::kAddress) unknown();
  const Operand& base = o.items.at(0);
  op.narrow_address = width(base) == 4;
  op.a = source(base, op.narrow_address ? 4 : 8);
  op.value = o.value;
  if (is_symbol(base) && op.space == Space::kGeneric) op.space = symbol(base.name).space;
}

}  // namespace vfi::ptx
