// Reading and writing tensors of any floating dtype one element at a time, for the CPU kernels that are not vectorised.
#pragma once

#include <utility>

#include "base/half.h"
#include "base/host_device.h"

namespace vfi {
namespace VFI_LEVEL {

// Element i of a tensor whose dtype is only known at run time.
template <class A>
VFI_INLINE A read_as(const void* p, Dtype type, int64_t i) {
  switch (type) {
    case Dtype::kFloat64: return static_cast<A>(static_cast<const double*>(p)[i]);
    case Dtype::kFloat32: return static_cast<A>(static_cast<const float*>(p)[i]);
    case Dtype::kFloat16: return static_cast<A>(to_float(static_cast<const Half*>(p)[i]));
    default: return static_cast<A>(to_float(static_cast<const BFloat16*>(p)[i]));
  }
}

template <class A>
VFI_INLINE void write_as(void* p, Dtype type, int64_t i, A value) {
  switch (type) {
    case Dtype::kFloat64: static_cast<double*>(p)[i] = static_cast<double>(value); break;
    case Dtype::kFloat32: static_cast<float*>(p)[i] = static_cast<float>(value); break;
    case Dtype::kFloat16: static_cast<Half*>(p)[i] = to_half(static_cast<float>(value)); break;
    default: static_cast<BFloat16*>(p)[i] = to_bfloat16(static_cast<float>(value));
  }
}

// Calls use(T{}) with the element type of `type`.
template <class Use>
void with_element_type(Dtype type, Use&& use) {
  switch (type) {
    case Dtype::kFloat64: return use(double{});
    case Dtype::kFloat32: return use(float{});
    case Dtype::kFloat16: return use(Half{});
    default: use(BFloat16{});
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
