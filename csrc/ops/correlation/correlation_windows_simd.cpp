// The windows of correlation on the CPU: sums of sums, a vector of outputs at a time. Formulas in correlation.h.
#include "ops/correlation/correlation_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class F, class T>
void run_row(const CorrelationWindows& a, int64_t i) {
  using Scalar = typename Lanes<F>::Scalar;
  const int64_t y = i % a.v.outputs, plane = i / a.v.outputs;  // of all samples
  const int64_t b = plane / a.planes, to = b * a.all_planes + a.plane + plane % a.planes;
  const Scalar* const sums = static_cast<const Scalar*>(a.sums) + plane * a.v.points * a.h.points;
  T* const out = static_cast<T*>(a.out) + (to * a.v.outputs + y) * a.h.outputs;
  const F divisor = broadcast<F>(static_cast<Scalar>(a.divisor));
  for (int64_t x = 0; x < a.h.outputs; x += Lanes<F>::kCount) {
    F sum = zero<F>();
    for (int64_t r = 0; r < a.v.window; ++r) {
      const Scalar* const row = sums + (y * a.v.jump + r * a.v.spacing) * a.h.points;
      for (int64_t c = 0; c < a.h.window; ++c) {
        sum = sum + load_steps<F>(row, x * a.h.jump + c * a.h.spacing, a.h.jump, a.h.points);
      }
    }
    store(out + x, sum / divisor, a.h.outputs - x);
  }
}

}  // namespace

void correlation_windows(const CorrelationWindows& a, int64_t begin, int64_t end) {
  with_types(a.type, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    for (int64_t i = begin; i < end; ++i) run_row<F, T>(a, i);
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
