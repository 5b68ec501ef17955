// The ops of torch that the library's glue calls: copies, views, and sums and products one element after another.
#include <functional>
#include <string_view>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/stableivalue_conversions.h>

#include "base/half.h"
#include "testing/player/tensor.h"

namespace vfi::player {
namespace {

using torch::headeronly::MemoryFormat;
using torch::stable::detail::from;
using torch::stable::detail::to;
using Sizes = std::vector<int64_t>;
using Owner = torch::stable::Tensor;  // of a handle

double number(const char* p, ScalarType type) {
  const auto as = [&]<class T>(T value) { return std::memcpy(&value, p, sizeof value), value; };
  switch (type) {
    case ScalarType::Double: return as(double());
    case ScalarType::Float: return as(float());
    case ScalarType::Half: return to_float(as(vfi::Half()));
    case ScalarType::BFloat16: return to_float(as(vfi::BFloat16()));
    case ScalarType::Int: return as(int32_t());
    case ScalarType::Long: return static_cast<double>(as(int64_t()));
    default: return as(uint8_t());
  }
}

void set_number(char* p, ScalarType type, double x) {
  const auto put = [&](auto value) { std::memcpy(p, &value, sizeof value); };
  switch (type) {
    case ScalarType::Double: return put(x);
    case ScalarType::Float: return put(static_cast<float>(x));
    case ScalarType::Half: return put(to_half(static_cast<float>(x)));
    case ScalarType::BFloat16: return put(to_bfloat16(static_cast<float>(x)));
    case ScalarType::Int: return put(static_cast<int32_t>(x));
    case ScalarType::Long: return put(static_cast<int64_t>(x));
    default: return put(static_cast<uint8_t>(x));
  }
}

char* element(const Tensor& t, const Sizes& index) {
  int64_t at = 0;
  for (int64_t i = 0; i < t.dim(); ++i) at += index[i] * t.strides[i];
  return t.data() + at * bytes_of(t.type);
}

// use(index) for every element of these sizes, the last index fastest.
void for_each_index(const Sizes& sizes, const std::function<void(const Sizes&)>& use) {
  Sizes index(sizes.size(), 0);
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  for (int64_t n = 0; n < count; ++n) {
    use(index);
    for (size_t i = sizes.size(); i-- > 0;) {
      if (++index[i] < sizes[i]) break;
      index[i] = 0;
    }
  }
}

void copy(const Tensor& from, const Tensor& into) {
  for_each_index(into.sizes, [&](const Sizes& index) {
    Sizes source(index.end() - from.dim(), index.end());  // broadcasts
    for (int64_t i = 0; i < from.dim(); ++i) source[i] = from.sizes[i] == 1 ? 0 : source[i];
    set_number(element(into, index), into.type, number(element(from, source), from.type));
  });
}

Sizes strides_of(const Sizes& n, MemoryFormat format) {
  if (format == MemoryFormat::ChannelsLast) return {n[1] * n[2] * n[3], 1, n[1] * n[3], n[1]};
  return contiguous_strides(n);
}

Tensor copied(const Tensor& t, ScalarType type, MemoryFormat format) {
  const Tensor made = empty(t.sizes, strides_of(t.sizes, format), type);
  copy(t, made);
  return made;
}

Owner owned(Tensor t) { return Owner(new Tensor(std::move(t))); }
const Tensor& tensor(const Owner& t) { return *t.get(); }

Tensor viewed(Tensor t, Sizes sizes) {
  t.strides = contiguous_strides(sizes);
  t.sizes = std::move(sizes);
  return t;
}

// left [n, k] right [k, m] into `out`, whose old values are part of the sums where they are to be.
void add_product(const Tensor& out, const Tensor& left, const Tensor& right, bool add) {
  for_each_index(out.sizes, [&](const Sizes& at) {
    double sum = add ? number(element(out, at), out.type) : 0.0;
    for (int64_t k = 0; k < left.sizes[1]; ++k) {
      sum += number(element(left, {at[0], k}), left.type) * number(element(right, {k, at[1]}), right.type);
    }
    set_number(element(out, at), out.type, sum);
  });
}

Tensor concatenated(const std::vector<Owner>& parts, int64_t dim) {
  Sizes sizes = tensor(parts[0]).sizes;
  sizes[dim] = 0;
  for (const Owner& part : parts) sizes[dim] += tensor(part).sizes[dim];
  const Tensor made = empty(sizes, contiguous_strides(sizes), tensor(parts[0]).type);
  Tensor place = made;
  for (const Owner& part : parts) {
    place.sizes[dim] = tensor(part).sizes[dim];
    copy(tensor(part), place);
    place.first += place.sizes[dim] * place.strides[dim];
  }
  return made;
}

Tensor transposed(Tensor t, int64_t a, int64_t b) {
  std::swap(t.sizes[a], t.sizes[b]);
  std::swap(t.strides[a], t.strides[b]);
  return t;
}

Tensor unsqueezed(Tensor t, int64_t dim) {
  t.sizes.insert(t.sizes.begin() + dim, 1);
  t.strides.insert(t.strides.begin() + dim, 1);
  return t;
}

Tensor selected(Tensor t, int64_t dim, int64_t index) {
  t.first += index * t.strides[dim];
  t.sizes.erase(t.sizes.begin() + dim);
  t.strides.erase(t.strides.begin() + dim);
  return t;
}

// Over the first dimension of a matrix.
void sum_rows(const Tensor& matrix, const Tensor& out) {
  for (int64_t column = 0; column < matrix.sizes[1]; ++column) {
    double sum = 0;
    for (int64_t row = 0; row < matrix.sizes[0]; ++row) sum += number(element(matrix, {row, column}), matrix.type);
    set_number(element(out, {column}), out.type, sum);
  }
}

ScalarType type_or(std::optional<ScalarType> type, const Tensor& t) { return type ? *type : t.type; }

}  // namespace

bool call_aten(const char* name, StableIValue* stack) {
  const std::string_view op(name);
  if (op == "aten::empty") {
    const Sizes sizes = to<Sizes>(stack[0]);
    const auto type = to<std::optional<ScalarType>>(stack[1]);
    const auto format = to<std::optional<MemoryFormat>>(stack[5]);
    stack[0] = from(owned(empty(sizes, strides_of(sizes, format.value_or(MemoryFormat::Contiguous)), *type)));
    return true;
  }
  if (op == "aten::cat") {
    stack[0] = from(owned(concatenated(to<std::vector<Owner>>(stack[0]), to<int64_t>(stack[1]))));
    return true;
  }
  const Owner self = to<Owner>(stack[0]);
  const Tensor& t = tensor(self);
  if (op == "aten::contiguous") {
    stack[0] = from(owned(copied(t, t.type, to<MemoryFormat>(stack[1]))));
  } else if (op == "aten::to") {
    stack[0] = from(owned(copied(t, type_or(to<std::optional<ScalarType>>(stack[1]), t), MemoryFormat::Contiguous)));
  } else if (op == "aten::copy_") {
    copy(tensor(to<Owner>(stack[1])), t);
    stack[0] = from(self);
  } else if (op == "aten::zero_") {
    for_each_index(t.sizes, [&](const Sizes& index) { set_number(element(t, index), t.type, 0.0); });
    stack[0] = from(self);
  } else if (op == "aten::reshape") {
    const bool dense = t.strides == contiguous_strides(t.sizes);
    stack[0] = from(owned(viewed(dense ? t : copied(t, t.type, MemoryFormat::Contiguous), to<Sizes>(stack[1]))));
  } else if (op == "aten::transpose") {
    stack[0] = from(owned(transposed(t, to<int64_t>(stack[1]), to<int64_t>(stack[2]))));
  } else if (op == "aten::unsqueeze") {
    stack[0] = from(owned(unsqueezed(t, to<int64_t>(stack[1]))));
  } else if (op == "aten::select") {
    stack[0] = from(owned(selected(t, to<int64_t>(stack[1]), to<int64_t>(stack[2]))));
  } else if (op == "aten::sum") {
    to<std::optional<Sizes>>(stack[1]);
    const Owner out = to<Owner>(stack[4]);
    sum_rows(t, tensor(out));
    stack[0] = from(out);
  } else {
    return false;
  }
  return true;
}

}  // namespace vfi::player

extern "C" {
AOTITorchError aoti_torch_aten_fill__Scalar(AtenTensorHandle t, double value) {
  using namespace vfi::player;
  for_each_index(t->sizes, [&](const Sizes& index) { set_number(element(*t, index), t->type, value); });
  return 0;
}
AOTITorchError aoti_torch_aten_narrow(AtenTensorHandle t, int64_t dim, int64_t start, int64_t length, AtenTensorHandle* made) {
  *made = new vfi::player::Tensor(*t);
  (*made)->first += start * t->strides[dim];
  (*made)->sizes[dim] = length;
  return 0;
}
AOTITorchError aoti_torch_cpu_addmm_out(AtenTensorHandle out, AtenTensorHandle, AtenTensorHandle left,
                                        AtenTensorHandle right, double beta, double) {
  return vfi::player::add_product(*out, *left, *right, beta != 0.0), 0;
}
}
