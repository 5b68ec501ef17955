// Memory for one call of a CPU kernel, aligned to a cache line.
#pragma once

#include <memory>

#include "cpu/fresh_memory.h"

namespace vfi {

class Scratch {
 public:
  explicit Scratch(size_t bytes) : memory_(new char[bytes + kAlign]) {
    void* p = memory_.get();
    size_t space = bytes + kAlign;
    data_ = std::align(kAlign, bytes, p, space);
    use_huge_pages(data_, bytes);
  }
  void* data() const { return data_; }

 private:
  static constexpr size_t kAlign = 64;
  std::unique_ptr<char[]> memory_;
  void* data_;
};

}  // namespace vfi
