// Runs the library's ops where there is no torch: calls come from stdin, their results go to stdout, until the input ends.
// vfi_kernels/bench/player.py is the other side, and says what a call looks like. `player N` runs every call N times.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "testing/player/ops.h"
#include "testing/player/tensor.h"

namespace vfi::player {
namespace {

template <class T>
T read() {
  T value;
  if (std::fread(&value, sizeof value, 1, stdin) != 1) std::exit(0);
  return value;
}

template <class T>
void write(const T& value) {
  std::fwrite(&value, sizeof value, 1, stdout);
}

std::string read_text() {
  std::string text(static_cast<size_t>(read<int64_t>()), '\0');
  for (char& c : text) c = read<char>();
  return text;
}

Tensor read_tensor() {
  const auto type = static_cast<ScalarType>(read<int64_t>());
  std::vector<int64_t> sizes(static_cast<size_t>(read<int64_t>()));
  for (int64_t& size : sizes) size = read<int64_t>();
  std::vector<int64_t> strides(sizes.size());
  for (int64_t& stride : strides) stride = read<int64_t>();
  Tensor t = empty(sizes, strides, type);
  const size_t bytes = static_cast<size_t>(t.bytes());
  if (std::fread(t.data(), 1, bytes, stdin) != bytes) std::exit(1);
  return t;
}

void write_tensor(const Tensor& t) {
  write(static_cast<int64_t>(t.type));
  write(t.dim());
  for (const int64_t size : t.sizes) write(size);
  for (const int64_t stride : t.strides) write(stride);
  std::fwrite(t.data(), 1, static_cast<size_t>(t.bytes()), stdout);
}

// An argument: what it is made of, so that it can be given more than once.
struct Value {
  char kind;
  int64_t bits = 0;  // of a number
  Tensor tensor{};
  std::vector<Value> parts{};  // of a list, or the value of an optional one

  static Value of_input() {
    Value v{read<char>()};
    if (v.kind == 't') v.tensor = read_tensor();
    if (v.kind == 'i') v.bits = read<int64_t>();
    for (int64_t n = v.kind == '[' ? read<int64_t>() : v.kind == '?' ? 1 : 0; n > 0; --n) v.parts.push_back(of_input());
    return v;
  }

  StableIValue boxed() const {
    if (kind == 't') return reinterpret_cast<StableIValue>(new Tensor(tensor));
    if (kind == '?') return reinterpret_cast<StableIValue>(new StableIValue(parts[0].boxed()));
    if (kind != '[') return static_cast<StableIValue>(bits);
    StableListHandle list;
    torch_new_list_reserve_size(parts.size(), &list);
    for (const Value& part : parts) torch_list_push_back(list, part.boxed());
    return reinterpret_cast<StableIValue>(list);
  }
};

void write_result(char kind, StableIValue value) {
  if (kind == 't') {
    const std::unique_ptr<Tensor> t(reinterpret_cast<Tensor*>(value));
    return write_tensor(*t);
  }
  const auto list = reinterpret_cast<StableListHandle>(value);
  size_t size;
  torch_list_size(list, &size);
  write(static_cast<int64_t>(size));
  for (size_t i = 0; i < size; ++i) {
    StableIValue part;
    torch_list_get_item(list, i, &part);
    write_result('t', part);
  }
  torch_delete_list(list);
}

// Name, arguments and kinds of results; back come '=', the results and the tensors among the arguments that are written
// into, or '!' and what is wrong with the call.
void play(int64_t times) {
  const std::string name = read_text(), kinds = read_text();
  std::vector<Value> arguments(static_cast<size_t>(read<int64_t>()));
  for (Value& argument : arguments) argument = Value::of_input();
  const std::string written = read_text();  // 'w' for each argument that the op writes into
  std::vector<StableIValue> stack(std::max(arguments.size(), kinds.size()));
  try {
    const Kernel kernel = kernels().at(name);
    for (int64_t n = 0; n < times; ++n) {
      for (size_t i = 0; i < arguments.size(); ++i) stack[i] = arguments[i].boxed();
      kernel(stack.data(), arguments.size(), kinds.size());
    }
  } catch (const std::exception& error) {
    const std::string text = error.what();
    write('!');
    write(static_cast<int64_t>(text.size()));
    std::fwrite(text.data(), 1, text.size(), stdout);
    return;
  }
  write('=');
  for (size_t i = 0; i < kinds.size(); ++i) write_result(kinds[i], stack[i]);
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] == 'w') write_tensor(arguments[i].tensor);
  }
}

}  // namespace
}  // namespace vfi::player

int main(int count, char** words) {
  const int64_t times = count > 1 ? std::atoll(words[1]) : 1;
  while (true) {
    vfi::player::play(times);
    std::fflush(stdout);
  }
}
