// sepconv on the CPU: tensors in, tensors out. The kernels, for every dtype, are in *_simd.cpp.
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "torch/checks.h"
#include "ops/sepconv/sepconv.h"
#include "ops/sepconv/sepconv_checks.h"

namespace vfi {
namespace {

using TileKernel = void(const SepconvArgs&, int64_t, int64_t);

// Over the tiles of a result of this size.
void for_all_tiles(const SepconvArgs& a, int64_t height, int64_t width, TileKernel* kernel) {
  const int64_t work = SepconvTiles::kRows * SepconvTiles::kColumns * a.taps_v * a.taps_h * (a.C + 1);
  const int64_t grain = 1 + (int64_t{1} << 20) / work;  // enough work to be worth a thread
  parallel_for(0, SepconvTiles(a.B, height, width).count, grain,
               [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

// What the kernels read, kept alive.
struct SepconvTensors {
  Tensor image, vertical, horizontal;

  SepconvTensors(const Tensor& image, const Tensor& vertical, const Tensor& horizontal)
      : image(with_layout(image, MemoryFormat::Contiguous)),
        vertical(with_layout(vertical, MemoryFormat::Contiguous)),
        horizontal(with_layout(horizontal, MemoryFormat::Contiguous)) {}

  SepconvArgs args() const {
    SepconvArgs a{};
    a.image = image.const_data_ptr(), a.image_type = check_dtype("sepconv", "image", image);
    a.vertical = vertical.const_data_ptr(), a.vertical_type = check_dtype("sepconv", "vertical", vertical);
    a.horizontal = horizontal.const_data_ptr(), a.horizontal_type = check_dtype("sepconv", "horizontal", horizontal);
    a.B = image.size(0), a.C = image.size(1), a.H = vertical.size(2), a.W = vertical.size(3);
    a.taps_v = vertical.size(1), a.taps_h = horizontal.size(1);
    return a;
  }
};

Tensor sepconv(const Tensor& image, const Tensor& vertical, const Tensor& horizontal) {
  check_sepconv(image, vertical, horizontal);
  const SepconvTensors factors(image, vertical, horizontal);
  SepconvArgs a = factors.args();
  const Tensor out = result(image, {a.B, a.C, a.H, a.W}, image.scalar_type());
  a.out = out.mutable_data_ptr();
  if (out.numel() > 0) for_all_tiles(a, a.H, a.W, VFI_CPU_KERNEL(sepconv_tiles));
  return with_layout(out, layout_of(image));
}

std::tuple<Tensor, Tensor, Tensor> sepconv_grad(const Tensor& grad_out, const Tensor& image, const Tensor& vertical,
                                                const Tensor& horizontal, bool need_image, bool need_vertical,
                                                bool need_horizontal) {
  check_sepconv(image, vertical, horizontal);
  check_grad_out("sepconv_grad", grad_out, image, vertical);
  const SepconvTensors factors(image, vertical, horizontal);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  SepconvArgs a = factors.args();
  a.grad_out = g.const_data_ptr();
  const auto gradient = [&](bool needed, const Tensor& owner, TileKernel* kernel) {
    if (!needed) return nothing(owner, owner.scalar_type());
    const Tensor grad =
        empty(owner, {owner.size(0), owner.size(1), owner.size(2), owner.size(3)}, owner.scalar_type());
    a.out = grad.mutable_data_ptr();
    if (grad.numel() > 0) for_all_tiles(a, grad.size(2), grad.size(3), kernel);
    return with_layout(grad, layout_of(owner));
  };
  return {gradient(need_image, image, VFI_CPU_KERNEL(sepconv_grad_image_tiles)),
          gradient(need_vertical, vertical, VFI_CPU_KERNEL(sepconv_grad_vertical_tiles)),
          gradient(need_horizontal, horizontal, VFI_CPU_KERNEL(sepconv_grad_horizontal_tiles))};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("sepconv", TORCH_BOX(&vfi::sepconv));
  m.impl("sepconv_grad", TORCH_BOX(&vfi::sepconv_grad));
}
