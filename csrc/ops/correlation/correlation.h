// The local cost volume: with n = 2 r + 1, and for every displacement -r <= dy, dx <= r,
//
//   out[b, (dy + r) n + dx + r, y, x] = 1/C sum over c of first[b, c, y, x] second[b, c, y + dy, x + dx]
//
// and exactly 0 where (y + dy, x + dx) is outside `second`; 0 where C is. Its gradients, with g_d = grad_out of channel d:
//
//   grad_first[c, y, x]  = 1/C sum over d of g_d[y, x] second[c, y + dy, x + dx]
//   grad_second[c, y, x] = 1/C sum over d of g_d[y - dy, x - dx] first[c, y - dy, x - dx]
//
// over the displacements that stay inside. Each is a gather. With -d for d the second is the first with `first` and
// `second` exchanged and with g_{-d}[y + dy, x + dx] for g_d[y, x]: `mirrored`.
//
// Source: Dosovitskiy et al., FlowNet, ICCV 2015, eq. 1 (patches of one pixel); Sun et al., PWC-Net, CVPR 2018, eq. 2.
// Derived in docs/derivations.md#correlation.
#pragma once

#include "cpu/cpu_dispatch.h"

namespace vfi {

// Contiguous tensors of one type.
struct CorrelationArgs {
  const void* first;     // [B, C, H, W]; forward only
  const void* second;    // [B, C, H, W]; in a gradient the map that it is not the gradient of
  const void* grad_out;  // [B, n n, H, W]; gradients only
  void* out;             // [B, n n, H, W]; in a gradient [B, C, H, W]
  int64_t B, C, H, W;
  int64_t radius;
  Dtype type;
  bool mirrored;  // the gradient is that of `second`

  VFI_INLINE int64_t side() const { return 2 * radius + 1; }  // n
};

// The work is cut into tiles of output pixels, the same for any number of threads.
struct CorrelationTiles {
  static constexpr int64_t kRows = 16, kColumns = 64;
  int64_t down, across, count;

  VFI_INLINE explicit CorrelationTiles(const CorrelationArgs& a)
      : down((a.H + kRows - 1) / kRows), across((a.W + kColumns - 1) / kColumns), count(a.B * down * across) {}
};

// Tiles begin ... end - 1; float64 too.
VFI_DECLARE_CPU_KERNEL(correlation_tiles, const CorrelationArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(correlation_grad_tiles, const CorrelationArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
