// What the *_cuda.cu files share: the device and stream of an op, and tensors as the kernels see them. The CUDA
// emulation of the tests compiles those files too, for CPU tensors, and registers them in a library of its own.
#pragma once

#include <initializer_list>
#include <optional>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include "torch/checks.h"
#include "cuda/launch.cuh"

#ifdef VFI_CUDA_EMULATION
#define VFI_LIBRARY_IMPL_IN(library, m) STABLE_TORCH_LIBRARY_IMPL(library, CPU, m)
#define VFI_CUDA_LIBRARY_IMPL(m) VFI_LIBRARY_IMPL_IN(VFI_EMULATED_LIBRARY, m)
#else
#include "torch/cuda_symbols.h"
#define VFI_CUDA_LIBRARY_IMPL(m) STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CUDA, m)
#endif

namespace vfi::cuda {

#ifdef VFI_CUDA_EMULATION
struct OnDevice {
  explicit OnDevice(const Tensor&) {}
  cudaStream_t stream = nullptr;
  void check_launches() const {}
};
#else
// Makes the tensor's device current for a scope, whichever one the caller has; `stream` is torch's current one there.
class OnDevice {
  torch::stable::accelerator::DeviceGuard guard_;

  static int32_t device_of(const Tensor& t) {
    check_cuda_symbols();
    return t.get_device_index();
  }

 public:
  explicit OnDevice(const Tensor& t) : guard_(device_of(t)) {
    stream = static_cast<cudaStream_t>(current_stream(t.get_device_index()));
  }
  cudaStream_t stream;
  void check_launches() const { STD_CUDA_KERNEL_LAUNCH_CHECK(); }
};
#endif

inline Dtype dtype_of(const Tensor& t) { return check_dtype("vfi_kernels", "a tensor", t); }

inline bool any_float64(std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* t : tensors) {
    if (t != nullptr && t->scalar_type() == ScalarType::Double) return true;
  }
  return false;
}

inline Strides strides_of(const Tensor& t) { return {t.stride(0), t.stride(1), t.stride(2), t.stride(3)}; }

inline ConstView view_of(const Tensor& t) { return {t.const_data_ptr(), dtype_of(t), strides_of(t)}; }
inline MutableView mutable_view_of(const Tensor& t) { return {t.mutable_data_ptr(), dtype_of(t), strides_of(t)}; }

// Of a tensor that with_layout or empty has made dense.
inline DenseShape dense_shape_of(const Tensor& t, MemoryFormat layout) {
  return dense_shape(t.size(0), t.size(1), t.size(2), t.size(3), layout == MemoryFormat::ChannelsLast);
}

// Fresh memory for a result that belongs to `x`: its shape, dtype, device and layout.
inline Tensor empty_for(const Tensor& x) {
  return empty(x, {x.size(0), x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout_of(x));
}
inline Tensor empty_for(const Tensor& x, bool needed) { return needed ? empty_for(x) : nothing(x, x.scalar_type()); }

// Fresh memory for `count` elements of a type that torch may not know.
template <class E>
Tensor scratch(const Tensor& like, int64_t count) {
  return empty(like, {count * static_cast<int64_t>(sizeof(E))}, ScalarType::Byte);
}
template <class E>
E* elements(const Tensor& scratch) {
  return static_cast<E*>(scratch.mutable_data_ptr());
}

// Vectors with a number for each output channel, or none.
inline const void* data_or_null(const std::optional<Tensor>& t) { return t ? t->const_data_ptr() : nullptr; }
// From one output channel to the next.
inline int64_t step_of(const std::optional<Tensor>& t) { return t && t->size(0) > 1 ? t->stride(0) : 0; }

// What reaches a gradient op from outside has to fit what the forward op returned.
inline void check_upstream(const char* op, const char* name, const Tensor& grad, Sizes sizes, const Tensor& like) {
  bool fits = grad.dim() == static_cast<int64_t>(sizes.size());
  std::string expected;
  int64_t i = 0;
  for (const int64_t size : sizes) {
    expected += (i ? ", " : "(") + std::to_string(size);
    fits = fits && grad.size(i) == size;
    ++i;
  }
  check_shape(fits, op, name, expected + ")", grad);
  if (grad.scalar_type() != like.scalar_type()) {
    fail(op, ": expected ", name, " of dtype ", dtype_text(like.scalar_type()), ", got ",
         dtype_text(grad.scalar_type()));
  }
  check_device(op, name, grad, "the input", like);
}

}  // namespace vfi::cuda
