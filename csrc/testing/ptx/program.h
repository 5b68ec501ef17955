// PTX as it is read: entries with their parameters, memory and instructions. Nothing here knows what an instruction does.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace vfi::ptx {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] inline void fail(const std::string& what) { throw Error("ptx: " + what); }

struct Operand {
  enum class Kind {
    kNone,
    kRegister,   // value: its index in Entry::registers
    kImmediate,  // value: its bits
    kSpecial,    // name: %tid.x
    kSymbol,     // name: a variable or a parameter
    kLabel,      // value: the instruction that it stands before
    kAddress,    // [items[0] + value]
    kVector,     // {items}
    kPair,       // items[0] | items[1]
    kSink,       // _
  };
  Kind kind = Kind::kNone;
  std::string name;
  int64_t value = 0;
  bool negated = false;  // !%p1
  std::vector<Operand> items;
};

struct Instruction {
  std::string text;  // as it stands in the file
  int line = 0;
  std::string opcode;                  // "ld"
  std::vector<std::string> modifiers;  // "global", "v4", "f32"
  std::vector<Operand> operands;
  int guard = -1;  // register: the instruction runs in the lanes where it is true, or false
  bool guard_negated = false;

  bool has(const std::string& modifier) const;
};

struct Parameter {
  std::string name;
  int64_t offset = 0, bytes = 0;
};

struct Entry {
  std::string name, file;
  std::vector<Parameter> parameters;
  int64_t parameter_bytes = 0;
  int64_t max_threads = 0;                       // .maxntid or .reqntid; 0: not said
  std::vector<int> registers;                    // bytes of each; 0: a predicate
  std::map<std::string, int64_t> shared, local;  // offsets of variables
  int64_t shared_bytes = 0, local_bytes = 0;
  std::vector<Instruction> code;
  std::map<std::string, std::vector<int64_t>> tables;  // .branchtargets
};

// Memory of a module: .global and .const variables.
struct ModuleVariable {
  std::vector<unsigned char> bytes;
  bool constant = false;
};

struct Module {
  std::string file;
  std::map<std::string, Entry> entries;
  std::map<std::string, std::unique_ptr<ModuleVariable>> variables;
  std::map<std::string, int64_t>
      dynamic_shared;                     // extern arrays and their alignments; all begin behind the static ones
  std::map<std::string, int64_t> shared;  // static ones outside of entries
  int64_t shared_bytes = 0;
};

Module parse(const std::string& text, const std::string& file);

// Bytes of a type by its name without the dot, as "b32"; 0: a predicate; -1: no type.
int type_bytes(const std::string& name);

inline int64_t aligned(int64_t offset, int64_t to) { return (offset + to - 1) / to * to; }

}  // namespace vfi::ptx
