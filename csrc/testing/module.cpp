// The Python module vfi_kernels_testing, for tests only. Importing it registers the emulated CUDA kernels as
// vfi_emulated::<op> for CPU tensors; its functions reach what no op exposes: the order of the emulated threads,
// kernels with planted mistakes, and the scalar math that host and device share.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <iterator>

#include "testing/cuda_emulation.h"

#include "sampling/bilinear.h"
#include "base/half.h"
#include "base/indexing.h"
#include "cuda/products.cuh"
#include "testing/planted_bugs.h"

namespace py = pybind11;

namespace {

using Floats = py::array_t<float, py::array::c_style>;

Floats like(const Floats& in) { return Floats(in.size()); }

py::dict axis_dict(const vfi::Axis<double>& a) {
  py::dict d;
  d["at"] = a.at;
  d["l"] = a.l;
  d["r"] = a.r;
  d["in0"] = a.in0;
  d["in1"] = a.in1;
  d["slope"] = a.slope;
  return d;
}

template <class T>
vfi::Axis<double> axis_of(const std::string& padding, double f, int32_t x, int32_t size) {
  const auto& words = vfi::Option<vfi::Padding>::words;
  const auto rule = static_cast<vfi::Padding>(std::find(std::begin(words), std::end(words), padding) - std::begin(words));
  const vfi::Axis<T> a = vfi::padded_axis(rule, static_cast<T>(f), x, size);
  return {a.at, a.l, a.r, a.in0, a.in1, a.slope};
}

void add_emulation(py::module_& m) {
  m.def("set_seed", &vfi::emulation::set_seed, "Order of the emulated threads and blocks; 0 is the natural one.");
  m.def("set_idle", &vfi::emulation::set_idle, "Whether launches are only checked and counted.");
  m.def("launches", &vfi::emulation::launches, "How many launches there were in this process.");
  m.def("check_grid", [](int64_t x, int64_t y, int64_t z) { vfi::cuda::checked_grid({x, y, z}); });
  m.def("reverse", [](const Floats& in, bool with_barrier) {
    Floats out = like(in);
    vfi::testing::reverse(in.data(), out.mutable_data(), with_barrier);
    return out;
  });
  m.def("divergent_block", [](Floats out) { vfi::testing::divergent_block(out.mutable_data()); });
  m.def("divergent_warp", [](Floats out) { vfi::testing::divergent_warp(out.mutable_data()); });
  m.def("out_of_bounds", [](Floats out, int offset) { vfi::testing::out_of_bounds(out.mutable_data(), offset); });
  m.def("ordered_sum", [](const Floats& in) {
    float sum = 0;
    vfi::testing::ordered_sum(in.data(), &sum);
    return sum;
  });
  // The emulation's conversions are not those of base/half.h: each checks the other.
  m.def("round_to_half", [](float x) { return __half2float(__float2half_rn(x)); });
  m.def("round_to_bfloat16", [](float x) { return __bfloat162float(__float2bfloat16_rn(x)); });
  m.def("round_to_tf32", [](uint32_t bits) {
    vfi::cuda::Tf32 rounded;
    vfi::cuda::narrow(__uint_as_float(bits), rounded);
    return __float_as_uint(rounded.value);
  });
  m.def("host_round_to_half", [](float x) { return vfi::to_float(vfi::to_half(x)); });
  m.def("host_round_to_bfloat16", [](float x) { return vfi::to_float(vfi::to_bfloat16(x)); });
}

template <class E>
void add_words(py::list& to) {
  py::list words;
  for (const char* word : vfi::Option<E>::words) words.append(word);
  to.append(py::make_tuple(vfi::Option<E>::name, py::tuple(words)));
}

void add_shared_math(py::module_& m) {
  m.def("options", [] {
    py::list options;
    add_words<vfi::Padding>(options), add_words<vfi::Boundary>(options), add_words<vfi::Mode>(options);
    add_words<vfi::Holes>(options), add_words<vfi::Edge>(options), add_words<vfi::Border>(options);
    add_words<vfi::Cost>(options), add_words<vfi::Activation>(options);
    return options;
  });
  m.def("axis", [](const std::string& padding, double f, int32_t x, int32_t size, bool float64) {
    return axis_dict(float64 ? axis_of<double>(padding, f, x, size) : axis_of<float>(padding, f, x, size));
  });
  m.def("corners",
        [](const std::string& padding, double fx, double fy, int32_t x, int32_t y, int32_t width, int32_t height) {
          const auto ax = axis_of<double>(padding, fx, x, width), ay = axis_of<double>(padding, fy, y, height);
          py::list corners;
          vfi::for_each_corner(ax, ay,
                               [&](int j, int i, double w) { corners.append(py::make_tuple(ay.at + j, ax.at + i, w)); });
          return corners;
        });
  using Size = int64_t;
  m.def("dense_offset", [](Size batch, Size channels, Size height, Size width, bool channels_last, Size b, Size c,
                           int32_t y, int32_t x) {
    const vfi::DenseShape s = vfi::dense_shape(batch, channels, height, width, channels_last);
    return s.offset(b, y, x) + c * s.channel_stride();
  });
  m.def("dense_elements", [](Size batch, Size channels, Size height, Size width) {
    return vfi::dense_shape(batch, channels, height, width, false).elements();
  });
  m.def("strided_offset", [](std::array<Size, 4> strides, Size b, Size c, int32_t y, int32_t x) {
    return vfi::Strides{strides[0], strides[1], strides[2], strides[3]}.offset(b, c, y, x);
  });
}

}  // namespace

PYBIND11_MODULE(vfi_kernels_testing, m) {
  m.doc() = "Test-only: the CUDA kernels emulated on the CPU, and the scalar math that host and device share.";
  add_emulation(m);
  add_shared_math(m);
}
