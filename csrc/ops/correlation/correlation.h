// The local cost volume. With p = o stride - padding the first pixel of output o's window, i the pixels of the window,
// `dilation` apart, and d the displacements, `patch_dilation` apart:
//
//   out[b, d, o] = 1/divisor sum over c, i of cost(first[b, c, p + i], second[b, c, p + i + d])
//
// cost dot: the product, and exactly 0 where a pixel is outside its map. cost l1: the absolute difference of the maps with
// zeros around them. The cost at a pixel does not depend on the window that it is in: a window of several pixels is a sum
// of E[d, p] = sum over c of cost(first[p], second[p + d]), taken once for each p. Gradients, with g_d[p] the sum of
// grad_out[d, o] / divisor over the windows that hold p:
//
//   grad_first[c, p]  = sum over d of g_d[p] second[c, p + d]
//   grad_second[c, q] = sum over d of g_d[q - d] first[c, q - d]
//
// over the displacements that stay inside. Each is a gather: from the `other` map to the `owner` of the gradient, the second
// one `mirrored`. With cost l1 the other map's pixel is replaced by sign(owner - other) in both.
//
// Source: Dosovitskiy et al., FlowNet, ICCV 2015, eq. 1; Sun et al., PWC-Net, CVPR 2018, eq. 2; Hu et al., M2M, CVPR 2022 (l1).
// Derived in docs/derivations.md#correlation.
#pragma once

#include "base/options.h"
#include "cpu/cpu_dispatch.h"

namespace vfi {

template <class I>
VFI_HOST_DEVICE I ceil_quotient(I a, I b) {  // b > 0
  return a / b + (a % b > 0);
}

template <class I = int64_t>
struct CorrelationSpan {
  I begin, end;
  VFI_HOST_DEVICE bool holds(I i) const { return i >= begin && i < end; }
};

// What happens along y, or along x.
template <class I = int64_t>
struct CorrelationAxis {
  I size;                                     // pixels of both maps
  I points, stride, padding;                  // E is taken at pixel(p), 0 <= p < points
  I count, start, step;                       // displacements
  I outputs, window, spacing, jump;           // output o sums points o jump + i spacing, 0 <= i < window

  VFI_HOST_DEVICE I pixel(I point) const { return point * stride - padding; }
  VFI_HOST_DEVICE I displacement(I k) const { return start + k * step; }
  VFI_HOST_DEVICE CorrelationSpan<I> within(I low, I high) const {
    const I begin = ceil_quotient(low + padding, stride), end = ceil_quotient(high + padding, stride);
    return {begin, end < points ? end : points};
  }
  // The points whose pixels are inside the first map, and those that, displaced, are inside the second as well.
  VFI_HOST_DEVICE CorrelationSpan<I> inside() const { return within(0, size); }
  VFI_HOST_DEVICE CorrelationSpan<I> meeting(I k) const {
    const I d = displacement(k);
    return within(d < 0 ? -d : 0, d > 0 ? size - d : size);
  }
  VFI_HOST_DEVICE bool is_inside(I pixel) const { return pixel >= 0 && pixel < size; }
};

// Contiguous tensors of one type.
struct CorrelationArgs {
  const void* first;     // [B, C, H, W]; in a gradient its owner, which cost l1 needs
  const void* second;    // [B, C, H, W]; in a gradient the other map
  const void* grad_out;  // [B, displacements, outputs]; gradients only
  void* out;             // [B, displacements, points]; in a gradient [B, C, H, W]
  int64_t B, C;
  CorrelationAxis<> v, h;
  double divisor;
  int64_t groups;  // forward: parts of the displacements along y, each with tiles of its own
  Dtype type;
  Cost cost;
  bool wide;      // forward: `out` holds sums that are added further, in what the arithmetic is done in
  bool mirrored;  // the gradient is that of `second`

  // What tiles divide: points, or the pixels of `second`, h.stride neighbours of which are one column.
  VFI_INLINE int64_t rows() const { return mirrored ? v.size : v.points; }
  VFI_INLINE int64_t columns() const { return mirrored ? ceil_quotient(h.size, h.stride) : h.points; }
};

// Results depend on a tile's rows and columns only, never on which thread has it.
struct CorrelationTiles {
  static constexpr int64_t kRows = 16, kColumns = 64;
  int64_t down, across, count;

  VFI_INLINE explicit CorrelationTiles(const CorrelationArgs& a)
      : down(ceil_quotient(a.rows(), kRows)),
        across(ceil_quotient(a.columns(), kColumns)),
        count(a.B * down * across * a.groups) {}
};

// Sums of windows, 1/divisor of them: out[b, plane + i, o] of sums[b, i, p], 0 <= i < planes.
struct CorrelationWindows {
  const void* sums;  // [B, planes, points], float32 or float64
  void* out;         // [B, all_planes, outputs]
  int64_t plane, planes, all_planes;
  CorrelationAxis<> v, h;
  double divisor;
  Dtype type;  // of out
};

// Tiles begin ... end - 1; rows begin ... end - 1 of the B planes v.outputs rows of sums. float64 too.
VFI_DECLARE_CPU_KERNEL(correlation_tiles, const CorrelationArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(correlation_windows, const CorrelationWindows& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(correlation_grad_tiles, const CorrelationArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
