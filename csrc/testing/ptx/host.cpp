#include "testing/ptx/host.h"

#include <dlfcn.h>

#include <algorithm>

#include "testing/ptx/launch.h"

namespace vfi::ptx {
namespace {

// "(patch_indices_kernel)" -> "20patch_indices_kernelE", as names in a namespace are spelled in symbols.
std::string spelled(const std::string& text) {
  const size_t begin = text.find_first_not_of("( "), end = std::min(text.find_first_of("<), ", begin), text.size());
  const std::string name = text.substr(begin, end - begin);
  return std::to_string(name.size()) + name + "E";
}

std::string name_of(const HostKernel& kernel) {
  Dl_info info{};
  if (dladdr(kernel.function, &info) != 0 && info.dli_sname != nullptr && info.dli_saddr == kernel.function) {
    return info.dli_sname;
  }
  std::vector<std::string> found;
  for (const std::string& name : kernel_names()) {
    if (name.find(spelled(kernel.text)) != std::string::npos) found.push_back(name);
  }
  if (found.size() != 1)
    fail("expected one static kernel like " + std::string(kernel.text) + ", got " + std::to_string(found.size()));
  return found[0];
}

}  // namespace

void launch_function(const HostKernel& kernel, const Triple& grid, const Triple& block, size_t shared_bytes,
                     std::vector<Bytes> arguments) {
  launch(name_of(kernel), {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared_bytes, arguments);
}

void allow_shared_of(const HostKernel& kernel, size_t bytes) { allow_shared(name_of(kernel), bytes); }

void set_memory(void* data, int value, size_t bytes) {
  std::memset(data, value, bytes);
  count_memset(reinterpret_cast<uintptr_t>(data), bytes);
}

// By the numbers of cudaDeviceAttr.
int device_attribute(int attribute) {
  const Device& d = settings().device;
  switch (attribute) {
    case 16:
      note_device_asked();
      return d.multiprocessors;
    case 97: return static_cast<int>(d.shared_bytes);
    case 75: return d.capability / 10;
    case 76: return d.capability % 10;
    default: fail("device attribute " + std::to_string(attribute) + " is not known here");
  }
}

int resident_blocks(const HostKernel& kernel, int threads, size_t shared_bytes) {
  const Kernel& k = kernel_of(name_of(kernel));
  const int warps = (threads + kLanes - 1) / kLanes,
            registers = std::max(8, (k.registers + 7) / 8 * 8) * kLanes * warps;
  const size_t shared = shared_bytes + static_cast<size_t>(k.entry->shared_bytes) + kSharedStart;
  return std::min({65536 / registers, 2048 / (warps * kLanes),
                   static_cast<int>((settings().device.shared_bytes + kSharedStart) / shared)});
}

}  // namespace vfi::ptx
