// Scratch memory of one thread within one call, aligned to 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace vfi {

class ThreadMemory {
 public:
  explicit ThreadMemory(int64_t bytes)
      : data_(::operator new(static_cast<size_t>(bytes), std::align_val_t{64})) {}
  ~ThreadMemory() { ::operator delete(data_, std::align_val_t{64}); }
  ThreadMemory(const ThreadMemory&) = delete;
  ThreadMemory& operator=(const ThreadMemory&) = delete;

  void* data() const { return data_; }

 private:
  void* data_;
};

}  // namespace vfi
