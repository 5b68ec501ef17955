// The kernels that are loaded.
#include <fstream>
#include <regex>
#include <sstream>

#include "testing/ptx/launch.h"

namespace vfi::ptx {
namespace {

struct Loaded {
  const Entry* entry = nullptr;
  std::unique_ptr<Kernel> kernel;  // decoded when it is first wanted
  int registers = 0;
  int64_t spilled_bytes = 0;
};

std::map<std::string, std::shared_ptr<Module>> g_modules;
std::map<std::string, Loaded> g_kernels;

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  if (!in) fail("expected a readable file, got " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// "Compiling entry function 'NAME'", "N bytes spill stores, N bytes spill loads", "Used N registers"
void read_ptxas(const std::string& log) {
  const std::regex entry("entry function '([^']+)'"), spills("(\\d+) bytes spill stores, (\\d+) bytes spill loads"),
      used("Used (\\d+) registers");
  std::istringstream in(log);
  std::smatch found;
  Loaded* kernel = nullptr;
  for (std::string line; std::getline(in, line);) {
    if (std::regex_search(line, found, entry)) {
      const auto known = g_kernels.find(found[1]);
      kernel = known == g_kernels.end() ? nullptr : &known->second;
    } else if (kernel != nullptr && std::regex_search(line, found, spills)) {
      kernel->spilled_bytes = std::stoll(found[1]) + std::stoll(found[2]);
    } else if (kernel != nullptr && std::regex_search(line, found, used)) {
      kernel->registers = std::stoi(found[1]);
    }
  }
}

}  // namespace

// A kernel that two files have is the first one's.
void load_module(const std::string& path, const std::string& ptxas_log) {
  auto module = std::make_shared<Module>(parse(read_file(path), path));
  for (const auto& [name, entry] : module->entries) g_kernels.try_emplace(name, Loaded{&entry});
  g_modules.emplace(path, std::move(module));
  if (!ptxas_log.empty()) read_ptxas(read_file(ptxas_log));
}

// In place of what was known by the names of its kernels.
void load_text(const std::string& text, const std::string& name) {
  auto module = std::make_shared<Module>(parse(text, name));
  for (const auto& [entry_name, entry] : module->entries) g_kernels.insert_or_assign(entry_name, Loaded{&entry});
  g_modules[name] = std::move(module);
}

void forget_modules() {
  forget_counts();
  g_kernels.clear();
  g_modules.clear();
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& [name, loaded] : g_kernels) names.push_back(name);
  return names;
}

const Kernel& kernel_of(const std::string& name) {
  const auto found = g_kernels.find(name);
  if (found == g_kernels.end()) fail("no PTX of kernel " + name + ": its source was not compiled for this run");
  Loaded& loaded = found->second;
  if (loaded.kernel == nullptr) {
    auto kernel = std::make_unique<Kernel>();
    Decoder(*g_modules.at(loaded.entry->file), *loaded.entry, *kernel).decode();
    kernel->registers = loaded.registers;
    kernel->spilled_bytes = loaded.spilled_bytes;
    loaded.kernel = std::move(kernel);
  }
  return *loaded.kernel;
}

}  // namespace vfi::ptx
