// Where tensors lie. torch's CPU allocator is wrapped: an op's temporaries, which no caller sees, are known too.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <iterator>
#include <map>
#include <mutex>

#include "testing/ptx/storage.h"

namespace vfi::ptx {
namespace {

std::map<uintptr_t, size_t>& known() {
  static auto* map = new std::map<uintptr_t, size_t>;  // tensors may outlive everything
  return *map;
}
std::mutex g_known_mutex;

void release(void* data) {
  forget_allocation(reinterpret_cast<uintptr_t>(data));
  c10::free_cpu(data);
}

class Watcher final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = c10::alloc_cpu(bytes);
    if (data != nullptr) name_allocation(reinterpret_cast<uintptr_t>(data), bytes);
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};

}  // namespace

void watch_allocations() {
  static auto* watcher = new Watcher;
  c10::SetCPUAllocator(watcher, 1);
}

bool name_allocation(uintptr_t begin, size_t bytes) {
  const std::lock_guard<std::mutex> lock(g_known_mutex);
  return known().insert_or_assign(begin, bytes).second;
}

void forget_allocation(uintptr_t begin) {
  const std::lock_guard<std::mutex> lock(g_known_mutex);
  known().erase(begin);
}

bool add_allocation(Storage& storage, uintptr_t at) {
  const std::lock_guard<std::mutex> lock(g_known_mutex);
  auto next = known().upper_bound(at);
  if (next == known().begin()) return false;
  const auto [begin, bytes] = *std::prev(next);
  if (at >= begin + bytes) return false;
  storage.add(begin, bytes);
  return true;
}

}  // namespace vfi::ptx
