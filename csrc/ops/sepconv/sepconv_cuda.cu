// sepconv on CUDA: tensors and registration. The kernels are in sepconv_kernels.cuh and sepconv_grad_*kernels.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/sepconv/sepconv_checks.h"
#include "ops/sepconv/sepconv_grad_image_kernels.cuh"
#include "ops/sepconv/sepconv_grad_kernels.cuh"

namespace vfi::cuda {
namespace {

// Whether every four neighbouring pixels of the weights, counted from x = 0, are side by side and aligned.
bool packs_pixels(const Tensor& weights, const Tensor& image) {
  const auto even = [](int64_t n) { return n % kSepconvPixels == 0; };
  const auto address = reinterpret_cast<uintptr_t>(weights.const_data_ptr());
  const bool aligned = address % (kSepconvPixels * weights.element_size()) == 0 && even(weights.stride(0)) &&
                       even(weights.stride(1)) && even(weights.stride(2)) && even(weights.size(3));
  return aligned && weights.scalar_type() == image.scalar_type() && weights.stride(3) == 1;
}

SepconvArgsGpu sepconv_args(const Tensor& image, const Tensor& vertical, const Tensor& horizontal) {
  const auto narrow = [](int64_t x) { return static_cast<int32_t>(x); };
  return {image.size(0),
          narrow(image.size(1)),
          narrow(vertical.size(2)),
          narrow(vertical.size(3)),
          narrow(vertical.size(1)),
          narrow(horizontal.size(1)),
          view_of(vertical),
          view_of(horizontal),
          packs_pixels(vertical, image) && packs_pixels(horizontal, image)};
}

Tensor sepconv(Tensor image, Tensor vertical, Tensor horizontal) {
  check_sepconv(image, vertical, horizontal);
  const OnDevice device(image);
  const Tensor dense = with_layout(image, MemoryFormat::Contiguous);
  const Tensor out =
      result(image, {image.size(0), image.size(1), vertical.size(2), vertical.size(3)}, image.scalar_type());
  launch_sepconv(dense.const_data_ptr(), out.mutable_data_ptr(), dtype_of(image),
                 sepconv_args(image, vertical, horizontal), device.stream);
  device.check_launches();
  return with_layout(out, layout_of(image));
}

std::tuple<Tensor, Tensor, Tensor> sepconv_grad(Tensor grad_out, Tensor image, Tensor vertical, Tensor horizontal,
                                                bool need_image, bool need_vertical, bool need_horizontal) {
  check_sepconv(image, vertical, horizontal);
  check_grad_out("sepconv_grad", grad_out, image, vertical);
  const OnDevice device(image);
  const Tensor dense = with_layout(image, MemoryFormat::Contiguous), g = with_layout(grad_out, MemoryFormat::Contiguous);
  const SepconvArgsGpu args = sepconv_args(image, vertical, horizontal);
  Tensor grad_image = nothing(image, image.scalar_type());
  if (need_image) {
    grad_image = empty(image, {image.size(0), image.size(1), image.size(2), image.size(3)}, image.scalar_type());
    launch_sepconv_grad_image(g.const_data_ptr(), grad_image.mutable_data_ptr(), dtype_of(image), args, device.stream);
    grad_image = with_layout(grad_image, layout_of(image));
  }
  const auto gradient = [&](bool needed, const Tensor& kernel, bool along_columns) {
    const Tensor grad = empty_for(kernel, needed);
    if (needed) {
      launch_sepconv_grad_kernel(g.const_data_ptr(), dense.const_data_ptr(), mutable_view_of(grad), along_columns,
                                 dtype_of(image), args, device.stream);
    }
    return grad;
  };
  const Tensor grad_vertical = gradient(need_vertical, vertical, true);
  const Tensor grad_horizontal = gradient(need_horizontal, horizontal, false);
  device.check_launches();
  return {grad_image, grad_vertical, grad_horizontal};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("sepconv", TORCH_BOX(&vfi::cuda::sepconv));
  m.impl("sepconv_grad", TORCH_BOX(&vfi::cuda::sepconv_grad));
}
