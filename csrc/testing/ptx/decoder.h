// From an instruction as it is read to the Op that runs it. A group of instructions (arithmetic.cpp, memory.cpp ...) puts
// a function for each opcode into the table; what no function knows is an error that names the instruction.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "testing/ptx/machine.h"
#include "testing/ptx/program.h"

namespace vfi::ptx {

class Decoder;
using Decode = void (*)(Decoder&, const Instruction&, Op&);
using DecodeTable = std::map<std::string, Decode>;

void add_arithmetic(DecodeTable& table);
void add_bits(DecodeTable& table);
void add_compares(DecodeTable& table);
void add_conversions(DecodeTable& table);
void add_memory(DecodeTable& table);
void add_atomics(DecodeTable& table);
void add_async_copies(DecodeTable& table);
void add_control(DecodeTable& table);
void add_collectives(DecodeTable& table);
void add_matrices(DecodeTable& table);
void add_wmma(DecodeTable& table);

// Where a symbol lies.
struct Symbol {
  Space space = Space::kGeneric;
  uint64_t address = 0;
};

class Decoder {
 public:
  Decoder(const Module& module, const Entry& entry, Kernel& kernel);
  void decode();

  [[noreturn]] void unknown() const;  // the present instruction
  // Offsets of operands in a warp's file.
  uint32_t source(const Operand& o, int bytes);
  uint32_t destination(const Operand& o, int bytes);
  uint32_t predicate(const Operand& o);  // whether it is negated is the caller's concern
  uint32_t constant(uint64_t bits, int bytes);
  int width(const Operand& o) const;  // bytes of a register; 0: a predicate; -1: no register
  bool is_symbol(const Operand& o) const { return o.kind == Operand::Kind::kSymbol; }
  Symbol symbol(const std::string& name) const;
  // The elements of {a, b} or a, in registers of `bytes`.
  const uint32_t* list(const std::vector<Operand>& items, int bytes, bool written);
  const uint32_t* keep(std::vector<uint32_t> offsets);
  const std::vector<int64_t>* table(const std::string& name);  // of .branchtargets
  // [base + displacement] of a memory operation.
  void address(const Operand& o, Op& op);

  Kernel& kernel() { return kernel_; }

 private:
  const Module& module_;
  const Entry& entry_;
  Kernel& kernel_;
  const Instruction* present_ = nullptr;
  std::vector<uint32_t> registers_;  // offset of each
  std::map<std::pair<uint64_t, int>, uint32_t> constants_;
  std::map<int, uint32_t> sinks_;  // of _, by bytes
  uint32_t end_ = 0;
};

void decode_warp_barrier(Decoder& d, const Instruction& i, Op& op);  // bar.warp.sync

// The names of types among the modifiers, in order.
std::vector<std::string> types(const Instruction& i);
inline std::vector<Operand> items(const Operand& o) {
  return o.kind == Operand::Kind::kVector ? o.items : std::vector<Operand>{o};
}
Space space_of(const Instruction& i);

}  // namespace vfi::ptx
