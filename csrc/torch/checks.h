// Argument checks and layout helpers of the registration files (*_cpu.cpp, *_cuda.cu). An error is one sentence, the
// same as from the fake kernels in Python: "backward_warp: expected flow of shape (B, 2, H, W), got (2, 1, 7, 9)".
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "base/host_device.h"
#include "base/options.h"
#include "cpu/fresh_memory.h"
#include "torch/parallel.h"

namespace vfi {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::string text;
  ((text += parts), ...);
  throw std::runtime_error(text);
}

// As Python prints a tuple: (), (3,), (2, 3).
inline std::string shape_text(const std::vector<int64_t>& sizes) {
  std::string text = "(";
  for (size_t i = 0; i < sizes.size(); ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + (sizes.size() == 1 ? ",)" : ")");
}

inline std::string shape_text(const Tensor& t) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < t.dim(); ++i) sizes.push_back(t.size(i));
  return shape_text(sizes);
}

inline std::string device_text(const Tensor& t) {
  if (t.is_cpu()) return "cpu";
  return (t.is_cuda() ? "cuda:" : "device:") + std::to_string(t.get_device_index());
}

inline std::string dtype_text(ScalarType type) {
  switch (type) {
    case ScalarType::Double: return "float64";
    case ScalarType::Float: return "float32";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Byte: return "uint8";
    case ScalarType::Char: return "int8";
    case ScalarType::Short: return "int16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Bool: return "bool";
    case ScalarType::ComplexFloat: return "complex64";
    case ScalarType::ComplexDouble: return "complex128";
    default: return torch::headeronly::toString(type);
  }
}

// The dtype of a tensor that must be floating point.
inline Dtype check_dtype(const char* op, const char* name, const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Double: return Dtype::kFloat64;
    case ScalarType::Float: return Dtype::kFloat32;
    case ScalarType::Half: return Dtype::kFloat16;
    case ScalarType::BFloat16: return Dtype::kBFloat16;
    default:
      fail(op, ": expected ", name, " of dtype float64, float32, float16 or bfloat16, got ",
           dtype_text(t.scalar_type()));
  }
}

// `ok` says whether the shape is right; `expected` describes the right one.
inline void check_shape(bool ok, const char* op, const char* name, const std::string& expected, const Tensor& t) {
  if (!ok) fail(op, ": expected ", name, " of shape ", expected, ", got ", shape_text(t));
}

inline bool same_device(const Tensor& a, const Tensor& b) {
  return a.is_cpu() == b.is_cpu() && a.is_cuda() == b.is_cuda() && a.get_device_index() == b.get_device_index();
}

inline void check_device(const char* op, const char* name, const Tensor& t, const char* first_name,
                         const Tensor& first) {
  if (!same_device(t, first)) {
    fail(op, ": expected ", name, " on device ", device_text(first), " as ", first_name, " is, got ", device_text(t));
  }
}

// A floating dtype, that of `first`, and its device.
inline void check_like(const char* op, const char* name, const Tensor& t, const char* first_name, const Tensor& first) {
  check_dtype(op, name, t);
  if (t.scalar_type() != first.scalar_type()) {
    fail(op, ": expected ", name, " of dtype ", dtype_text(first.scalar_type()), " as ", first_name, " has, got ",
         dtype_text(t.scalar_type()));
  }
  check_device(op, name, t, first_name, first);
}

// A tensor that is written in place: no two of its elements are one in memory, as an expanded tensor's are. From the
// smallest stride up, each must reach beyond all that lies between steps of it.
inline void check_written(const char* op, const char* name, const Tensor& t) {
  std::vector<int64_t> strides;
  std::vector<std::pair<int64_t, int64_t>> axes;
  for (int64_t i = 0; i < t.dim(); ++i) {
    strides.push_back(t.stride(i));
    axes.emplace_back(t.stride(i), t.size(i));
  }
  std::sort(axes.begin(), axes.end());
  int64_t reach = 0;
  bool nested = true;
  for (const auto& [stride, n] : axes) {
    nested = nested && (n <= 1 || stride > reach);
    reach += (n - 1) * stride;
  }
  if (!nested && t.numel() > 0) {
    fail(op, ": expected ", name, " whose elements do not share memory, got strides ", shape_text(strides));
  }
}

// (B, C, H, W) of a floating dtype.
inline void check_image(const char* op, const char* name, const Tensor& t) {
  check_shape(t.dim() == 4, op, name, "(B, C, H, W)", t);
  check_dtype(op, name, t);
}

// (B, channels, H, W) beside `image`, which the caller's argument `owner` is.
inline void check_planes(const char* op, const char* name, const Tensor& t, int64_t channels, const Tensor& image,
                         const char* owner) {
  const auto wrong = [&](const std::string& batch) {
    fail(op, ": expected ", name, " of shape (B, ", std::to_string(channels), ", H, W)", batch, ", got ",
         shape_text(t));
  };
  if (t.dim() != 4 || t.size(1) != channels) wrong("");
  if (t.size(0) != image.size(0)) wrong(" with B = " + std::to_string(image.size(0)) + " as " + owner + " has");
  check_dtype(op, name, t);
  check_device(op, name, t, owner, image);
}

inline std::string size_text(const Tensor& t) { return shape_text({t.size(2), t.size(3)}); }

// The height and width of `image`, which the caller's argument `owner` is.
inline void check_size(const char* op, const char* name, const Tensor& t, const Tensor& image, const char* owner) {
  if (t.size(2) == image.size(2) && t.size(3) == image.size(3)) return;
  fail(op, ": expected ", name, " of height and width ", size_text(image), " as ", owner, " has, got ", shape_text(t));
}

// The gradient of an output that has the image's channels and dtype and the flow's size.
inline void check_grad_out(const char* op, const Tensor& grad_out, const Tensor& image, const Tensor& flow) {
  const bool right = grad_out.dim() == 4 && grad_out.size(0) == image.size(0) && grad_out.size(1) == image.size(1) &&
                     grad_out.size(2) == flow.size(2) && grad_out.size(3) == flow.size(3);
  check_shape(right, op, "grad_out", "(B, C, H, W) as the output has", grad_out);
  check_like(op, "grad_out", grad_out, "image", image);
}

// The word of an option that has this number.
template <class E>
E check_option(const char* op, int64_t number) {
  const int64_t count = std::size(Option<E>::words);
  if (number >= 0 && number < count) return static_cast<E>(number);
  std::string listed;
  for (int64_t i = 0; i < count; ++i) {
    listed += (i == 0 ? "" : i + 1 < count ? ", " : " or ") + std::to_string(i) + " ('" + Option<E>::words[i] + "')";
  }
  fail(op, ": expected ", Option<E>::name, " ", listed, ", got ", std::to_string(number));
}

// An image that is read somewhere must have pixels.
inline void check_has_pixels(const char* op, const char* name, const Tensor& image, const Tensor& flow) {
  if (image.size(2) * image.size(3) == 0 && flow.numel() > 0) {
    fail(op, ": expected ", name, " with at least one pixel where flow has any, got ", shape_text(image));
  }
}

// torch's is_contiguous(memory_format=channels_last): a dimension of size 1 puts no condition on its stride.
inline bool is_contiguous_channels_last(const Tensor& t) {
  if (t.dim() != 4) return false;
  int64_t expected = 1;
  for (const int dim : {1, 3, 2, 0}) {
    if (t.size(dim) == 1) continue;
    if (t.stride(dim) != expected) return false;
    expected *= t.size(dim);
  }
  return true;
}

// The layout of whatever belongs to X (its output, its gradient): channels_last iff X is that and not contiguous.
inline MemoryFormat layout_of(const Tensor& t) {
  if (t.is_contiguous() || !is_contiguous_channels_last(t)) return MemoryFormat::Contiguous;
  return MemoryFormat::ChannelsLast;
}

// t itself where it already has that layout, else a copy in its own dtype.
inline Tensor with_layout(const Tensor& t, MemoryFormat layout) {
  const bool ready = layout == MemoryFormat::ChannelsLast ? is_contiguous_channels_last(t) : t.is_contiguous();
  return ready ? t : torch::stable::contiguous(t, layout);
}

using Sizes = std::initializer_list<int64_t>;

// Whether fresh memory comes through torch's own op, which fills it with NaN where
// torch.utils.deterministic.fill_uninitialized_memory says so, as in tests.
inline bool fills_memory() {
  static const bool fills = std::getenv("VFI_KERNELS_FILL_MEMORY") != nullptr;
  return fills;
}

// torch::stable::empty without the look-up of an op by its name, half a microsecond.
inline Tensor allocate(const Tensor& like, Sizes sizes, ScalarType type, MemoryFormat layout) {
  const int64_t n = static_cast<int64_t>(sizes.size()), *size = sizes.begin();
  std::array<int64_t, 4> strides{};
  if (layout == MemoryFormat::ChannelsLast) {
    strides = {size[1] * size[3] * size[2], 1, size[1] * size[3], size[1]};
  } else {
    int64_t step = 1;
    for (int64_t i = n - 1; i >= 0; --i) strides[i] = step, step *= std::max<int64_t>(size[i], 1);
  }
  AtenTensorHandle made = nullptr;
  int32_t kind = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &kind));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(n, size, strides.data(), static_cast<int32_t>(type), kind,
                                                  like.get_device_index(), &made));
  return Tensor(made);
}

// Fresh memory on the device of `like`.
inline Tensor empty(const Tensor& like, Sizes sizes, ScalarType type, MemoryFormat layout = MemoryFormat::Contiguous) {
  try {
    const bool plain = !fills_memory() && sizes.size() <= 4;
    const Tensor t = plain ? allocate(like, sizes, type, layout)
                           : torch::stable::empty(sizes, type, std::nullopt, like.device(), std::nullopt, layout);
    if (t.is_cpu()) use_huge_pages(t.mutable_data_ptr(), t.numel() * t.element_size());
    return t;
  } catch (const std::runtime_error&) {  // which says no more than that the call failed
    fail("vfi_kernels: expected memory for a tensor of shape ", shape_text(sizes), " and dtype ", dtype_text(type),
         ", got none from torch");
  }
}

// Tensors that the caller keeps for the results of this thread's next op, in their order (vfi_kernels/_out.py).
inline std::vector<Tensor>& given_results() {
  thread_local std::vector<Tensor> given;
  return given;
}

// Memory for a result: the first given tensor of just this shape, dtype, layout and device, else fresh memory. Nothing but
// results may ask, so that a given tensor that does not fit stays as it was.
inline Tensor result(const Tensor& like, Sizes sizes, ScalarType type, MemoryFormat layout = MemoryFormat::Contiguous) {
  std::vector<Tensor>& given = given_results();
  for (auto at = given.begin(); at != given.end(); ++at) {
    bool fits = at->dim() == static_cast<int64_t>(sizes.size()) && at->scalar_type() == type && same_device(*at, like);
    for (int64_t i = 0; fits && i < at->dim(); ++i) fits = at->size(i) == sizes.begin()[i];
    if (fits && layout_of(*at) == layout && (layout == MemoryFormat::ChannelsLast || at->is_contiguous())) {
      const Tensor taken = *at;
      given.erase(at);
      return taken;
    }
  }
  return empty(like, sizes, type, layout);
}

// Fresh memory for what belongs to X: X's shape, dtype and layout.
inline Tensor empty_like_layout(const Tensor& x) {
  return empty(x, {x.size(0), x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout_of(x));
}

// A result that was not asked for.
inline Tensor nothing(const Tensor& like, ScalarType type) { return empty(like, {0}, type); }

}  // namespace vfi
