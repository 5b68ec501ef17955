// The functions of torch's stable C ABI that the library calls, for tensors of the CPU: enough to run its ops where there is
// no torch. An error of these is an end of the process: only tests run here.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include <torch/headeronly/core/DeviceType.h>
#include <torch/headeronly/core/Layout.h>
#include <torch/headeronly/core/MemoryFormat.h>

#include "testing/player/ops.h"
#include "testing/player/tensor.h"

using torch::headeronly::DeviceType;
using torch::headeronly::Layout;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using vfi::player::Tensor;

namespace vfi::player {
std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> registered;
  return registered;
}
}  // namespace vfi::player

struct StableListOpaque {
  std::vector<StableIValue> values;
};

#define VFI_CONSTANT(name, value) \
  int32_t name() { return static_cast<int32_t>(value); }

extern "C" {

VFI_CONSTANT(aoti_torch_dtype_uint8, ScalarType::Byte)
VFI_CONSTANT(aoti_torch_dtype_int8, ScalarType::Char)
VFI_CONSTANT(aoti_torch_dtype_int16, ScalarType::Short)
VFI_CONSTANT(aoti_torch_dtype_int32, ScalarType::Int)
VFI_CONSTANT(aoti_torch_dtype_int64, ScalarType::Long)
VFI_CONSTANT(aoti_torch_dtype_float16, ScalarType::Half)
VFI_CONSTANT(aoti_torch_dtype_float32, ScalarType::Float)
VFI_CONSTANT(aoti_torch_dtype_float64, ScalarType::Double)
VFI_CONSTANT(aoti_torch_dtype_complex32, ScalarType::ComplexHalf)
VFI_CONSTANT(aoti_torch_dtype_complex64, ScalarType::ComplexFloat)
VFI_CONSTANT(aoti_torch_dtype_complex128, ScalarType::ComplexDouble)
VFI_CONSTANT(aoti_torch_dtype_bool, ScalarType::Bool)
VFI_CONSTANT(aoti_torch_dtype_bfloat16, ScalarType::BFloat16)
VFI_CONSTANT(aoti_torch_dtype_float8_e5m2, ScalarType::Float8_e5m2)
VFI_CONSTANT(aoti_torch_dtype_float8_e4m3fn, ScalarType::Float8_e4m3fn)
VFI_CONSTANT(aoti_torch_dtype_float8_e5m2fnuz, ScalarType::Float8_e5m2fnuz)
VFI_CONSTANT(aoti_torch_dtype_float8_e4m3fnuz, ScalarType::Float8_e4m3fnuz)
VFI_CONSTANT(aoti_torch_dtype_uint16, ScalarType::UInt16)
VFI_CONSTANT(aoti_torch_dtype_uint32, ScalarType::UInt32)
VFI_CONSTANT(aoti_torch_dtype_uint64, ScalarType::UInt64)
VFI_CONSTANT(torch_dtype_float8_e8m0fnu, ScalarType::Float8_e8m0fnu)
VFI_CONSTANT(torch_dtype_float4_e2m1fn_x2, ScalarType::Float4_e2m1fn_x2)
VFI_CONSTANT(aoti_torch_device_type_cpu, DeviceType::CPU)
VFI_CONSTANT(aoti_torch_device_type_cuda, DeviceType::CUDA)
VFI_CONSTANT(aoti_torch_device_type_meta, DeviceType::Meta)
VFI_CONSTANT(aoti_torch_device_type_xpu, DeviceType::XPU)
VFI_CONSTANT(aoti_torch_device_type_mps, DeviceType::MPS)
VFI_CONSTANT(aoti_torch_device_type_privateuse1, DeviceType::PrivateUse1)
VFI_CONSTANT(aoti_torch_layout_strided, Layout::Strided)
VFI_CONSTANT(aoti_torch_layout_sparse_coo, Layout::Sparse)
VFI_CONSTANT(aoti_torch_layout_sparse_csr, Layout::SparseCsr)
VFI_CONSTANT(aoti_torch_layout_sparse_csc, Layout::SparseCsc)
VFI_CONSTANT(aoti_torch_layout_sparse_bsr, Layout::SparseBsr)
VFI_CONSTANT(aoti_torch_layout_sparse_bsc, Layout::SparseBsc)
VFI_CONSTANT(aoti_torch_layout__mkldnn, Layout::Mkldnn)
VFI_CONSTANT(aoti_torch_layout_jagged, Layout::Jagged)
VFI_CONSTANT(aoti_torch_memory_format_contiguous_format, MemoryFormat::Contiguous)
VFI_CONSTANT(aoti_torch_memory_format_preserve_format, MemoryFormat::Preserve)
VFI_CONSTANT(aoti_torch_memory_format_channels_last, MemoryFormat::ChannelsLast)
VFI_CONSTANT(aoti_torch_memory_format_channels_last_3d, MemoryFormat::ChannelsLast3d)

uint64_t aoti_torch_abi_version() { return TORCH_ABI_VERSION; }
size_t aoti_torch_dtype_element_size(int32_t type) { return vfi::player::bytes_of(static_cast<ScalarType>(type)); }

// Registration: the kernels by the names of the ops.
AOTITorchError aoti_torch_library_init_def(const char*, const char*, uint32_t, TorchLibraryHandle* made) {
  return *made = nullptr, 0;
}
AOTITorchError aoti_torch_library_init_fragment(const char*, const char*, uint32_t, TorchLibraryHandle* made) {
  return *made = nullptr, 0;
}
AOTITorchError aoti_torch_library_init_impl(const char*, const char*, const char*, uint32_t, TorchLibraryHandle* made) {
  return *made = nullptr, 0;
}
AOTITorchError aoti_torch_library_def(TorchLibraryHandle, const char*) { return 0; }
AOTITorchError aoti_torch_delete_library_object(TorchLibraryHandle) { return 0; }
AOTITorchError torch_library_impl(TorchLibraryHandle, const char* name, vfi::player::Kernel kernel, uint64_t) {
  vfi::player::kernels()[name] = kernel;
  return 0;
}
AOTITorchError torch_call_dispatcher(const char* name, const char*, StableIValue* stack, uint64_t) {
  if (vfi::player::call_aten(name, stack)) return 0;
  std::fprintf(stderr, "player: expected an op of aten.cpp, got %s\n", name);
  std::abort();
}

// Tensors.
AOTITorchError aoti_torch_empty_strided(int64_t dim, const int64_t* sizes, const int64_t* strides, int32_t type, int32_t,
                                        int32_t, AtenTensorHandle* made) {
  *made = new Tensor(vfi::player::empty({sizes, sizes + dim}, {strides, strides + dim}, static_cast<ScalarType>(type)));
  return 0;
}
AOTITorchError aoti_torch_new_tensor_handle(AtenTensorHandle t, AtenTensorHandle* made) { return *made = new Tensor(*t), 0; }
AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle t) { return delete t, 0; }
AOTITorchError aoti_torch_get_dim(AtenTensorHandle t, int64_t* dim) { return *dim = t->dim(), 0; }
AOTITorchError aoti_torch_get_numel(AtenTensorHandle t, int64_t* numel) { return *numel = t->numel(), 0; }
AOTITorchError aoti_torch_get_size(AtenTensorHandle t, int64_t d, int64_t* size) { return *size = t->sizes[d], 0; }
AOTITorchError aoti_torch_get_stride(AtenTensorHandle t, int64_t d, int64_t* stride) { return *stride = t->strides[d], 0; }
AOTITorchError aoti_torch_get_dtype(AtenTensorHandle t, int32_t* type) { return *type = static_cast<int32_t>(t->type), 0; }
AOTITorchError aoti_torch_get_device_type(AtenTensorHandle, int32_t* type) {
  return *type = aoti_torch_device_type_cpu(), 0;
}
AOTITorchError aoti_torch_get_device_index(AtenTensorHandle, int32_t* index) { return *index = -1, 0; }
AOTITorchError torch_get_const_data_ptr(AtenTensorHandle t, const void** data) { return *data = t->data(), 0; }
AOTITorchError torch_get_mutable_data_ptr(AtenTensorHandle t, void** data) { return *data = t->data(), 0; }
AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle t, bool* contiguous) {
  const std::vector<int64_t> expected = vfi::player::contiguous_strides(t->sizes);
  *contiguous = true;
  for (int64_t i = 0; i < t->dim() && t->numel() != 0; ++i) {
    *contiguous = *contiguous && (t->sizes[i] == 1 || t->strides[i] == expected[i]);
  }
  return 0;
}

// Lists.
AOTITorchError torch_new_list_reserve_size(size_t, StableListHandle* made) { return *made = new StableListOpaque, 0; }
AOTITorchError torch_delete_list(StableListHandle list) { return delete list, 0; }
AOTITorchError torch_list_size(StableListHandle list, size_t* size) { return *size = list->values.size(), 0; }
AOTITorchError torch_list_get_item(StableListHandle list, size_t i, StableIValue* value) {
  return *value = list->values[i], 0;
}
AOTITorchError torch_list_push_back(StableListHandle list, StableIValue value) {
  return list->values.push_back(value), 0;
}

// Work is cut as for two threads; one does the parts, one after another.
AOTITorchError torch_get_num_threads(uint32_t* threads) { return *threads = 2, 0; }
AOTITorchError torch_parallel_for(int64_t begin, int64_t end, int64_t grain, ParallelFunc run, void* context) {
  const int64_t step = std::max((end - begin + 1) / 2, std::max<int64_t>(grain, 1));
  for (; begin < end; begin += step) run(begin, std::min(end, begin + step), context);
  return 0;
}

// The module of ops.cpp, which nobody imports.
void* PyModule_Create2(void*, int) { return nullptr; }
}
