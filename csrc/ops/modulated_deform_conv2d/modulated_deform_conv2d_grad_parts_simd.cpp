// The last steps of modulated_deform_conv2d's gradients on the CPU, compiled once per instruction set: the parts that units of
// work have left are added in their order, and grad_out is summed for the bias.
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Row 0, 1 and 2 of a tap's parts: y and x of its offset, and its mask.
template <class F>
void add_offset_parts(const DeformGradArgs& a, int64_t tap, int64_t row) {
  const DeformGeometry& g = a.g;
  const int64_t plane = g.pixels(), taps = g.B * g.offset_groups * g.taps();
  const int64_t count = a.spans[tap / g.taps() % g.offset_groups].count;
  const auto* const parts = static_cast<const typename Lanes<F>::Scalar*>(a.offset_parts) + (tap * 3 + row) * plane;
  for (int64_t i = 0; i < plane; i += Lanes<F>::kCount) {
    F sum = broadcast<F>(0);
    for (int64_t k = 0; k < count; ++k) sum = sum + load<F>(parts + k * taps * 3 * plane + i, plane - i);
    if (row < 2) store_as(a.grad_offset, a.offset_type, (2 * tap + row) * plane + i, sum, plane - i);
    if (row == 2) store_as(a.grad_mask, a.mask_type, tap * plane + i, sum, plane - i);
  }
}

// Of one block.
template <class F, class T>
void add_weight_parts(const DeformGradArgs& a, int64_t index) {
  using Scalar = typename Lanes<F>::Scalar;
  const DeformGeometry& g = a.g;
  const DeformBlock& block = a.blocks[index];
  const int64_t size = deform_weight_part_size(a), outs = g.group_out(), row = padded_columns<F>(block.count);
  const auto* const parts = static_cast<const Scalar*>(a.weight_parts) + index * size;
  const auto sum = [&](int64_t at) {
    Scalar total = 0;
    for (int64_t b = 0; b < g.B; ++b) total += parts[b * a.block_count * size + at];
    return Element<T>::from(total);
  };
  for (int64_t o = 0; o < outs; ++o) {
    const int64_t channel = (block.group * outs + o) * g.group_in() + block.first - block.group * g.group_in();
    T* to = static_cast<T*>(a.grad_weight) + channel * g.taps();
    for (int64_t c = 0; c < block.count; ++c) {
      for (int64_t t = 0; t < g.taps(); ++t) *to++ = sum((t * (outs + kDeformSlack) + o) * row + c);
    }
  }
}

// The output channels from o on, as many as a vector holds.
template <class F, class T>
void sum_pixels(const DeformGradArgs& a, int64_t o) {
  const DeformGeometry& g = a.g;
  const int64_t pixels = g.pixels();
  F sums = broadcast<F>(0);
  for (int64_t b = 0; b < g.B; ++b) {
    F sum = broadcast<F>(0);
    const T* p = static_cast<const T*>(a.grad_out) + b * pixels * g.C_out + o;
    for (int64_t i = 0; i < pixels; ++i, p += g.C_out) sum = sum + load<F>(p, g.C_out - o);
    sums = sums + sum;
  }
  store(static_cast<T*>(a.grad_bias) + o, sums, g.C_out - o);
}

// Output channel o.
template <class F, class T>
void sum_plane(const DeformGradArgs& a, int64_t o) {
  const DeformGeometry& g = a.g;
  const int64_t pixels = g.pixels();
  typename Lanes<F>::Scalar total = 0;
  for (int64_t b = 0; b < g.B; ++b) {
    F sum = broadcast<F>(0);
    const T* const plane = static_cast<const T*>(a.grad_out) + (b * g.C_out + o) * pixels;
    for (int64_t i = 0; i < pixels; i += Lanes<F>::kCount) sum = sum + load<F>(plane + i, pixels - i);
    total += sum_of_lanes(sum);
  }
  static_cast<T*>(a.grad_bias)[o] = Element<T>::from(total);
}

}  // namespace

void deform_grad_offsets(const DeformGradArgs& a, int64_t begin, int64_t end) {
  with_deform_types(a, [&]<class T, class F>(T, F) {
    for (int64_t tap = begin; tap < end; ++tap) {
      for (int64_t row = 0; row < 3; ++row) {
        if ((row < 2 ? a.grad_offset : a.grad_mask) != nullptr) add_offset_parts<F>(a, tap, row);
      }
    }
  });
}

void deform_grad_weights(const DeformGradArgs& a, int64_t begin, int64_t end) {
  with_deform_types(a, [&]<class T, class F>(T, F) {
    for (int64_t index = begin; index < end; ++index) add_weight_parts<F, T>(a, index);
  });
}

void deform_grad_bias(const DeformGradArgs& a, int64_t begin, int64_t end) {
  const int64_t first = begin * kDeformSlack, last = min(end * kDeformSlack, a.g.C_out);
  with_deform_types(a, [&]<class T, class F>(T, F) {
    if (a.grad_out_channels_last) {
      for (int64_t o = first; o < last; o += Lanes<F>::kCount) sum_pixels<F, T>(a, o);
    } else {
      for (int64_t o = first; o < last; ++o) sum_plane<F, T>(a, o);
    }
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
