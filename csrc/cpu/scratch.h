// Memory for one call of a CPU kernel, aligned to a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "base/host_device.h"
#include "cpu/fresh_memory.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr size_t kCacheLine = 64;

// Grows to the most that is asked for; what was in it is lost then.
class Scratch {
 public:
  VFI_INLINE Scratch() = default;
  VFI_INLINE explicit Scratch(int64_t bytes) { at_least(bytes); }
  VFI_INLINE ~Scratch() { ::operator delete(data_, std::align_val_t{kCacheLine}); }
  VFI_INLINE Scratch(Scratch&& other)
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Scratch& operator=(Scratch&&) = delete;

  VFI_INLINE void* data() const { return data_; }
  VFI_INLINE int64_t bytes() const { return bytes_; }
  VFI_INLINE void* at_least(int64_t bytes) {
    if (bytes <= bytes_ && data_ != nullptr) return data_;
    ::operator delete(data_, std::align_val_t{kCacheLine});
    data_ = nullptr;
    data_ = ::operator new(static_cast<size_t>(bytes), std::align_val_t{kCacheLine});
    bytes_ = bytes;
    use_huge_pages(data_, static_cast<size_t>(bytes));
    return data_;
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// The parts of a piece of scratch memory. One function takes them, twice: of no memory, which gives the size, then of the
// memory itself, which WithScratch does.
//
//   struct Parts {
//     float* sums;
//     int32_t* places;
//     int64_t lay_out(const Args& a, void* memory) {
//       Layout layout(memory);
//       sums = layout.take<float>(a.n), places = layout.take<int32_t>(a.n);
//       return layout.bytes();
//     }
//   };
//   const WithScratch<Parts> parts(a);
class Layout {
 public:
  VFI_INLINE explicit Layout(void* memory) : memory_(static_cast<char*>(memory)) {}

  // Room for n elements, aligned to a cache line; null where there is no memory.
  template <class T>
  VFI_INLINE T* take(int64_t n) {
    T* const part = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ +=
        (n * static_cast<int64_t>(sizeof(T)) + int64_t{kCacheLine} - 1) / int64_t{kCacheLine} * int64_t{kCacheLine};
    return part;
  }
  VFI_INLINE int64_t bytes() const { return bytes_; }

 private:
  char* memory_;
  int64_t bytes_ = 0;
};

template <class Parts>
struct WithScratch : Parts {
  Scratch scratch;

  template <class Args>
  VFI_INLINE explicit WithScratch(const Args& a) : scratch(this->lay_out(a, nullptr)) {
    this->lay_out(a, scratch.data());
  }
};

}  // namespace VFI_LEVEL
}  // namespace vfi
