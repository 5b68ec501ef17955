// The outer syntax of PTX: modules, variables, entries. The inside of an entry: body.cpp.
#include <algorithm>

#include "testing/ptx/body.h"
#include "testing/ptx/cursor.h"
#include "testing/ptx/program.h"
#include "testing/ptx/words.h"

namespace vfi::ptx {

int type_bytes(const std::string& name) {
  static const std::map<std::string, int> sizes = {
      {"pred", 0}, {"b8", 1},   {"u8", 1},  {"s8", 1},    {"b16", 2},  {"u16", 2},   {"s16", 2},
      {"f16", 2},  {"bf16", 2}, {"b32", 4}, {"u32", 4},   {"s32", 4},  {"f32", 4},   {"b64", 8},
      {"u64", 8},  {"s64", 8},  {"f64", 8}, {"f16x2", 4}, {"tf32", 4}, {"b128", 16}, {"bf16x2", 4},
  };
  const auto found = sizes.find(name);
  return found == sizes.end() ? -1 : found->second;
}

bool Instruction::has(const std::string& modifier) const {
  return std::find(modifiers.begin(), modifiers.end(), modifier) != modifiers.end();
}

Declaration declaration(const std::string& text) {
  Declaration d;
  const auto parts = words(text);
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string word = parts[i][0] == '.' ? parts[i].substr(1) : "";
    if (word == "align" && i + 1 < parts.size()) {
      d.align = std::stoll(parts[++i]);
    } else if (type_bytes(word) > 0) {
      d.element = type_bytes(word);
    } else if (parts[i][0] != '.') {
      const size_t bracket = parts[i].find('[');
      d.name = parts[i].substr(0, bracket);
      for (size_t at = bracket; at != std::string::npos; at = parts[i].find('[', at + 1)) {
        d.count *= parts[i][at + 1] == ']' ? 0 : std::stoll(parts[i].substr(at + 1));
      }
    }
  }
  d.align = std::max<int64_t>(d.align, d.element);
  return d;
}

namespace {

// Lines of the compiler's and the debugger's own directives become empty, and so do comments.
std::string without_notes(const std::string& text) {
  std::string clean;
  bool comment = false;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line); clean += '\n') {
    const auto first = words(line);
    static const char* notes[] = {".loc", ".file", ".version", ".target", ".address_size"};
    if (!first.empty() && std::find(std::begin(notes), std::end(notes), first[0]) != std::end(notes)) continue;
    for (size_t i = 0; i < line.size(); ++i) {
      const std::string two = line.substr(i, 2);
      if (!comment && two == "//") break;
      if (!comment && two == "/*")
        comment = true, ++i;
      else if (comment && two == "*/")
        comment = false, ++i;
      else if (!comment)
        clean += line[i];
    }
  }
  return clean;
}

// "{1, 0x2, 3}" as elements of `size` bytes.
std::vector<unsigned char> initial_bytes(const std::string& list, int64_t size) {
  std::vector<unsigned char> bytes;
  for (const auto& item : split(list, ',')) {
    const uint64_t value = std::stoull(stripped(item), nullptr, 0);
    for (int64_t i = 0; i < size; ++i) bytes.push_back(static_cast<unsigned char>(value >> (8 * i)));
  }
  return bytes;
}

void module_variable(Module& module, const std::string& head, Cursor& in) {
  const size_t equals = head.find('=');
  const Declaration d = declaration(head.substr(0, equals));
  const int64_t bytes = d.element * d.count;
  if (head.find(".shared") != std::string::npos) {
    if (head.find(".extern") != std::string::npos) {
      module.dynamic_shared[d.name] = d.align;
    } else {
      module.shared_bytes = aligned(module.shared_bytes, d.align);
      module.shared[d.name] = module.shared_bytes;
      module.shared_bytes += bytes;
    }
  } else {
    auto variable = std::make_unique<ModuleVariable>();
    variable->constant = head.find(".const") != std::string::npos;
    if (in.take(kOpen)) variable->bytes = initial_bytes(in.inside(kOpen, kClose), d.element);
    variable->bytes.resize(static_cast<size_t>(bytes));
    module.variables[d.name] = std::move(variable);
  }
  in.until(";");
  in.expect(';');
}

void entry_parameters(Entry& entry, const std::string& list) {
  for (const auto& text : split_operands(list)) {
    const Declaration d = declaration(text);
    // ".ptr .global .align 1" is about what a pointer points to.
    const int64_t align = text.find(".ptr") == std::string::npos ? d.align : d.element;
    const int64_t offset = aligned(entry.parameter_bytes, align);
    entry.parameters.push_back({d.name, offset, d.element * d.count});
    entry.parameter_bytes = offset + d.element * d.count;
  }
}

void entry_directives(Entry& entry, const std::string& text) {
  for (const auto& line : split(text, '.')) {
    const auto parts = words(line);
    if (!parts.empty() && (parts[0] == "maxntid" || parts[0] == "reqntid")) {
      entry.max_threads = 1;
      for (const auto& n : split(line.substr(line.find(parts[0]) + parts[0].size()), ','))
        entry.max_threads *= std::stoll(n);
    }
  }
}

void parse_entry(Module& module, const std::string& head, Cursor& in) {
  Entry entry;
  entry.name = words(head.substr(head.find(".entry") + 6)).at(0);
  entry.file = module.file;
  if (in.take('(')) entry_parameters(entry, in.inside('(', ')'));
  entry_directives(entry, in.until("{"));
  entry.shared = module.shared;
  entry.shared_bytes = module.shared_bytes;
  in.expect(kOpen);
  parse_body(entry, in);
  module.entries[entry.name] = std::move(entry);
}

}  // namespace

Module parse(const std::string& text, const std::string& file) {
  Module module;
  module.file = file;
  Cursor in(without_notes(text));
  while (!in.done()) {
    const std::string head = in.until("({;");
    const auto has = [&](const char* word) { return head.find(word) != std::string::npos; };
    if (has(".entry")) {
      parse_entry(module, head, in);
    } else if (has(".shared") || has(".global") || has(".const")) {
      module_variable(module, head, in);
    } else if (in.peek() == ';') {
      in.next();
    } else if (has(".section") || in.peek() == kOpen) {
      in.expect(kOpen);
      in.inside(kOpen, kClose);
    } else {  // the parameters of a function, whose calls are unknown instructions
      in.expect('(');
      in.inside('(', ')');
    }
  }
  return module;
}

}  // namespace vfi::ptx
