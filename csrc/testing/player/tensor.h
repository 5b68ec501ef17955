// A tensor as the library's glue sees it through torch's stable ABI, without torch.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/c/shim.h>
#include <torch/headeronly/core/ScalarType.h>

namespace vfi::player {

using torch::headeronly::ScalarType;

inline int64_t bytes_of(ScalarType type) {
  switch (type) {
    case ScalarType::ComplexDouble: return 16;
    case ScalarType::Double:
    case ScalarType::ComplexFloat:
    case ScalarType::Long: return 8;
    case ScalarType::Float:
    case ScalarType::Int: return 4;
    case ScalarType::Half:
    case ScalarType::BFloat16: return 2;
    default: return 1;
  }
}

}  // namespace vfi::player

struct AtenTensorOpaque {
  std::shared_ptr<char[]> memory;
  std::vector<int64_t> sizes, strides;  // in elements
  int64_t first = 0;                    // element
  vfi::player::ScalarType type;

  int64_t dim() const { return static_cast<int64_t>(sizes.size()); }
  int64_t numel() const {
    int64_t n = 1;
    for (const int64_t size : sizes) n *= size;
    return n;
  }
  // Elements from the first to the last, whatever lies between.
  int64_t extent() const {
    int64_t last = 0;
    for (int64_t i = 0; i < dim(); ++i) last += (sizes[i] - 1) * strides[i];
    return numel() == 0 ? 0 : last + 1;
  }
  int64_t bytes() const { return extent() * vfi::player::bytes_of(type); }
  char* data() const { return memory.get() + first * vfi::player::bytes_of(type); }
};

namespace vfi::player {

using Tensor = AtenTensorOpaque;

inline std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  for (size_t i = sizes.size(); i-- > 0; step *= std::max<int64_t>(sizes[i], 1)) strides[i] = step;
  return strides;
}

// Memory in which every bit is set: a NaN in each floating type, should anybody read what nobody wrote.
inline Tensor empty(std::vector<int64_t> sizes, std::vector<int64_t> strides, ScalarType type) {
  constexpr size_t kAligned = 64;  // as torch's allocator does
  Tensor t{nullptr, std::move(sizes), std::move(strides), 0, type};
  const size_t bytes = static_cast<size_t>(t.bytes());
  char* const memory = static_cast<char*>(::operator new(bytes, std::align_val_t{kAligned}));
  std::memset(memory, 0xff, bytes);
  t.memory = std::shared_ptr<char[]>(memory, [](char* p) { ::operator delete(p, std::align_val_t{kAligned}); });
  return t;
}

// An op of torch that the glue calls by its name; false if it is none of those that are here.
bool call_aten(const char* name, StableIValue* stack);

}  // namespace vfi::player
