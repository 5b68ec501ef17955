// The library's ops, as they register themselves.
#pragma once

#include <map>
#include <string>

#include <torch/csrc/stable/c/shim.h>

namespace vfi::player {

using Kernel = void (*)(StableIValue* stack, uint64_t arguments, uint64_t results);
std::map<std::string, Kernel>& kernels();

}  // namespace vfi::player
