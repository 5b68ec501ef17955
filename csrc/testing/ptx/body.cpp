// The inside of an entry. Inline PTX opens blocks of its own, in which names of registers and labels hold.
#include "testing/ptx/body.h"

#include <cctype>
#include <set>

#include "testing/ptx/words.h"

namespace vfi::ptx {
namespace {

const std::set<std::string> kSpecials = {
    "%tid.x",           "%tid.y",       "%tid.z",       "%ntid.x",      "%ntid.y",
    "%ntid.z",          "%ctaid.x",     "%ctaid.y",     "%ctaid.z",     "%nctaid.x",
    "%nctaid.y",        "%nctaid.z",    "%laneid",      "%warpid",      "%lanemask_eq",
    "%lanemask_lt",     "%lanemask_le", "%lanemask_gt", "%lanemask_ge", "%dynamic_smem_size",
    "%total_smem_size", "%smid",        "%nsmid",
};

struct Scope {
  int parent = -1;
  std::map<std::string, int> registers;
  std::map<std::string, std::pair<int, int>> ranges;  // %r<5>: its prefix -> first register, how many
  std::map<std::string, int64_t> labels;
};

class Body {
 public:
  Body(Entry& entry, Cursor& in) : entry_(entry), in_(in), scopes_(1) {}

  void parse() {
    for (int depth = 1; depth > 0;) {
      if (in_.done()) fail(entry_.name + ": expected }, got the end of the file");
      if (in_.take(kOpen)) {
        ++depth;
        scopes_.push_back({scope_, {}, {}, {}});
        scope_ = static_cast<int>(scopes_.size()) - 1;
      } else if (in_.take(kClose)) {
        --depth;
        scope_ = scopes_[scope_].parent;
      } else {
        statement();
      }
    }
    resolve_labels();
  }

 private:
  struct Jump {
    size_t instruction;
    int scope;
  };
  struct Table {
    std::string name;
    std::vector<std::string> labels;
    int scope;
  };

  void statement() {
    const std::string label = in_.take_label();
    if (!label.empty()) {
      scopes_[scope_].labels[label] = static_cast<int64_t>(entry_.code.size());
      last_label_ = label;
      return;
    }
    const int line = in_.line();
    const std::string text = stripped(in_.until(";"));
    in_.expect(';');
    if (text.empty() || text.rfind(".pragma", 0) == 0) return;
    if (text.rfind(".branchtargets", 0) == 0) {
      tables_.push_back({last_label_, split_operands(text.substr(14)), scope_});
    } else if (text.rfind(".reg", 0) == 0) {
      declare_registers(text);
    } else if (text[0] == '.') {
      declare_memory(text);
    } else {
      instruction(text, line);
    }
  }

  void declare_registers(const std::string& text) {
    const auto head = words(text);
    const std::string type = head.at(1);
    const int bytes = type_bytes(type.substr(1));
    if (bytes < 0) fail(entry_.name + ": expected a type, got " + type);
    for (std::string name : split_operands(text.substr(text.find(type) + type.size()))) {
      const size_t angle = name.find('<');
      const int count = angle == std::string::npos ? 1 : std::stoi(name.substr(angle + 1));
      const int first = static_cast<int>(entry_.registers.size());
      if (angle == std::string::npos)
        scopes_[scope_].registers[name] = first;
      else
        scopes_[scope_].ranges[name.substr(0, angle)] = {first, count};
      entry_.registers.insert(entry_.registers.end(), count, bytes);
    }
  }

  void declare_memory(const std::string& text) {
    const Declaration d = declaration(text);
    const bool shared = text.rfind(".shared", 0) == 0;
    if (!shared && text.rfind(".local", 0) != 0) fail(entry_.name + ": unknown directive " + text);
    auto& bytes = shared ? entry_.shared_bytes : entry_.local_bytes;
    bytes = aligned(bytes, d.align);
    (shared ? entry_.shared : entry_.local)[d.name] = bytes;
    bytes += d.element * d.count;
  }

  int find_register(const std::string& name) const {
    const size_t digits = name.find_last_not_of("0123456789") + 1;
    for (int s = scope_; s >= 0; s = scopes_[s].parent) {
      const auto exact = scopes_[s].registers.find(name);
      if (exact != scopes_[s].registers.end()) return exact->second;
      const auto range = scopes_[s].ranges.find(name.substr(0, digits));
      if (range == scopes_[s].ranges.end() || digits == name.size()) continue;
      const int n = std::stoi(name.substr(digits));
      if (n < range->second.second) return range->second.first + n;
    }
    return -1;
  }

  Operand operand(std::string text) {
    Operand o;
    if (text[0] == kOpen) return list(Operand::Kind::kVector, split_operands(text.substr(1, text.size() - 2)));
    if (text[0] == '[') return address(text.substr(1, text.size() - 2));
    if (text.find('|') != std::string::npos) return list(Operand::Kind::kPair, split(text, '|'));
    if (text[0] == '!') o.negated = true, text = stripped(text.substr(1));
    o.name = text;
    if (text == "_") {
      o.kind = Operand::Kind::kSink;
    } else if (const int r = find_register(text); r >= 0) {
      o.kind = Operand::Kind::kRegister;
      o.value = r;
    } else if (kSpecials.count(text)) {
      o.kind = Operand::Kind::kSpecial;
    } else if (std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-') {
      o.kind = Operand::Kind::kImmediate;
      o.value = immediate(text);
    } else if (text == "WARP_SZ") {
      o.kind = Operand::Kind::kImmediate;
      o.value = 32;
    } else {
      o.kind = Operand::Kind::kSymbol;
    }
    return o;
  }

  static int64_t immediate(const std::string& text) {
    const std::string head = text.substr(0, 2);
    if (head == "0f" || head == "0F" || head == "0d" || head == "0D") {
      return static_cast<int64_t>(std::stoull(text.substr(2), nullptr, 16));
    }
    if (text[0] == '-') return std::stoll(text, nullptr, 0);
    return static_cast<int64_t>(std::stoull(text, nullptr, 0));
  }

  Operand list(Operand::Kind kind, const std::vector<std::string>& texts) {
    Operand o;
    o.kind = kind;
    for (const auto& text : texts) o.items.push_back(operand(stripped(text)));
    return o;
  }

  Operand address(const std::string& text) {
    Operand o;
    o.kind = Operand::Kind::kAddress;
    const size_t plus = text.find('+');
    o.items.push_back(operand(stripped(text.substr(0, plus))));
    if (plus != std::string::npos) o.value = std::stoll(stripped(text.substr(plus + 1)), nullptr, 0);
    return o;
  }

  void instruction(std::string text, int line) {
    Instruction i;
    i.text = text;
    i.line = line;
    if (text[0] == '@') {
      i.guard_negated = text[1] == '!';
      const size_t begin = i.guard_negated ? 2 : 1, end = text.find_first_of(" \t\n", begin);
      i.guard = find_register(text.substr(begin, end - begin));
      if (i.guard < 0) fail(entry_.name + ", line " + std::to_string(line) + ": unknown predicate in " + text);
      text = stripped(text.substr(end));
    }
    const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
    auto parts = split(text.substr(0, end), '.');
    i.opcode = parts[0];
    i.modifiers.assign(parts.begin() + 1, parts.end());
    const bool jumps = i.opcode == "bra" || i.opcode == "brx";
    if (jumps) jumps_.push_back({entry_.code.size(), scope_});
    for (const auto& part : split_operands(text.substr(end))) i.operands.push_back(operand(part));
    entry_.code.push_back(std::move(i));
  }

  int64_t find_label(const std::string& name, int scope) const {
    for (int s = scope; s >= 0; s = scopes_[s].parent) {
      const auto found = scopes_[s].labels.find(name);
      if (found != scopes_[s].labels.end()) return found->second;
    }
    fail(entry_.name + ": unknown label " + name);
  }

  void resolve_labels() {
    for (const Table& table : tables_) {
      for (const auto& label : table.labels) entry_.tables[table.name].push_back(find_label(label, table.scope));
    }
    for (const Jump& jump : jumps_) {
      Operand& target = entry_.code[jump.instruction].operands.back();
      if (entry_.tables.count(target.name)) continue;
      target.kind = Operand::Kind::kLabel;
      target.value = find_label(target.name, jump.scope);
    }
  }

  Entry& entry_;
  Cursor& in_;
  std::vector<Scope> scopes_;
  int scope_ = 0;
  std::string last_label_;
  std::vector<Jump> jumps_;
  std::vector<Table> tables_;
};

}  // namespace

void parse_body(Entry& entry, Cursor& in) { Body(entry, in).parse(); }

}  // namespace vfi::ptx
