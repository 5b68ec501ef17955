// The functions that a CPU build of torch lacks: weak, so that the library loads there, where nothing calls them. In a CUDA
// build they are in libtorch_cuda.so, which libtorch.so brings; so this library must need libtorch.so (build_backend).
// torch declares them where USE_CUDA is defined.
#pragma once

#include <stdexcept>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cuda.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/shim_utils.h>

#pragma weak aoti_torch_get_current_cuda_stream
#pragma weak aoti_torch_device_type_cuda
#pragma weak torch_c10_cuda_check_msg
#pragma weak torch_c10_cuda_free_error_msg
#pragma weak aoti_torch_cuda_addmm_out

namespace vfi::cuda {

// Before anything of CUDA: an unbound function would be a jump to address 0.
inline void check_cuda_symbols() {
  const bool bound = aoti_torch_get_current_cuda_stream != nullptr && torch_c10_cuda_check_msg != nullptr &&
                     torch_c10_cuda_free_error_msg != nullptr && aoti_torch_cuda_addmm_out != nullptr;
  if (!bound) {
    throw std::runtime_error(
        "vfi_kernels: expected torch's CUDA functions (libtorch_cuda.so), got none: this torch is a CPU build, or the "
        "library was linked without libtorch.so");
  }
}

// torch's current stream on a device.
inline void* current_stream(int32_t device) {
  check_cuda_symbols();
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return stream;
}

}  // namespace vfi::cuda
