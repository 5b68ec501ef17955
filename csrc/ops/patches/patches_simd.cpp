// Gathering and scattering patches on the CPU, compiled once per instruction set; what each computes is in patches.h.
//
// The unit of work of both is a row of a patch. The gradient of gather belongs to the cells of the grid: each adds the
// patches in reach in the order of the grid, whichever thread it is on.
#include "cpu/scratch.h"
#include "simd/simd_pixels.h"
#include "ops/patches/patches_cpu.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

PixelStrides pixels_of(const Strides& s) { return {s.column, s.channel}; }

template <class T>
void gather_row(const PatchArgs& a, int64_t k, int64_t i) {
  const Patch p = patch_at(a.indices, k, a.grid);
  const PixelStrides from = pixels_of(a.image_strides), to = pixels_of(a.patch_strides);
  T* const row = static_cast<T*>(a.patches) + a.patch_strides.offset(k, 0, i, 0);
  const int64_t y = p.row * a.patch - a.halo + i, x = p.column * a.patch - a.halo, side = a.side();
  if (!p.used || y < 0 || y >= a.H) return clear_pixels(row, to, side, a.C);
  const int64_t first = max(int64_t{0}, -x), last = min(side, a.W - x);  // the part inside the image
  clear_pixels(row, to, first, a.C);
  clear_pixels(row + last * to.pixel, to, side - last, a.C);
  const T* const image = static_cast<const T*>(a.image) + a.image_strides.offset(p.b, 0, y, x + first);
  copy_pixels<false>(image, from, row + first * to.pixel, to, last - first, a.C);
}

template <class T>
void scatter_row(const PatchArgs& a, int64_t k, int64_t i) {
  const Patch p = patch_at(a.indices, k, a.grid);
  if (!p.used) return;
  const PixelStrides to = pixels_of(a.result_strides);
  T* const row = static_cast<T*>(a.result) + a.result_strides.offset(p.b, 0, p.row * a.patch + i, p.column * a.patch);
  if (a.patches == nullptr) return clear_pixels(row, to, a.patch, a.C);
  const T* const from = static_cast<const T*>(a.patches) + a.patch_strides.offset(k, 0, i, 0);
  copy_pixels<false>(from, pixels_of(a.patch_strides), row, to, a.patch, a.C);
}

// One row of the gradient in a cell: the patches in reach of it, those above first, from left to right.
template <class T>
void gather_grad_row(const PatchArgs& a, int64_t b, int64_t y, int64_t column, SumOf<T>* sums) {
  const PixelStrides from = pixels_of(a.patch_strides), buffer = {a.C, 1};
  // The first and last cell whose halo reaches `at`.
  const auto first_of = [&](int64_t at) { return max(int64_t{0}, at - a.halo) / a.patch; };
  const auto last_of = [&](int64_t at, int64_t count) { return min(count - 1, (at + a.halo) / a.patch); };
  const int64_t x = column * a.patch;
  std::memset(sums, 0, a.patch * a.C * sizeof(SumOf<T>));
  for (int64_t r = first_of(y); r <= last_of(y, a.grid.rows); ++r) {
    for (int64_t c = first_of(x); c <= last_of(x + a.patch - 1, a.grid.columns); ++c) {
      const int32_t k = a.listed[(b * a.grid.rows + r) * a.grid.columns + c];
      if (k < 0) continue;
      const int64_t left = c * a.patch - a.halo;  // of the patch, in the image
      const int64_t first = max(x, left), last = min(x + a.patch, left + a.side());
      const T* const grad = static_cast<const T*>(a.patches) +
                            a.patch_strides.offset(k, 0, y - (r * a.patch - a.halo), first - left);
      copy_pixels<true>(grad, from, sums + (first - x) * a.C, buffer, last - first, a.C);
    }
  }
  T* const to = static_cast<T*>(a.result) + a.result_strides.offset(b, 0, y, x);
  copy_pixels<false>(sums, buffer, to, pixels_of(a.result_strides), a.patch, a.C);
}

void copy_bytes(const char* from, char* to, int64_t n, bool past_the_cache) {
  if (from == nullptr) std::memset(to, 0, n);
  if (from == nullptr) return;
  past_the_cache ? stream_bytes(from, to, n) : void(std::memcpy(to, from, n));
}

}  // namespace

void patch_rest_rows(const PatchArgs& a, int64_t begin, int64_t end) {
  constexpr int64_t kLarge = int64_t{4} << 20;  // what caches do not hold
  const int64_t element = a.type == Dtype::kFloat64 ? 8 : a.type == Dtype::kFloat32 ? 4 : 2;
  const int64_t width = a.by_pixel ? a.C : 1, planes = a.by_pixel ? 1 : a.C;
  const int64_t cell = a.patch * width * element, line = a.W * width * element;
  const bool past_the_cache = a.grid.B * a.C * a.H * a.W * element >= kLarge;
  const char* const from = static_cast<const char*>(a.image);
  char* const to = static_cast<char*>(a.result);
  const auto copy = [&](int64_t at, int64_t n) { copy_bytes(from == nullptr ? from : from + at, to + at, n, past_the_cache); };
  for (int64_t n = begin; n < end; ++n) {
    const int64_t row = n % a.grid.rows, b = n / a.grid.rows / planes, at = n * a.patch * line;
    const int32_t* const listed = a.listed + (b * a.grid.rows + row) * a.grid.columns;
    for (int64_t c = 0, last; c < a.grid.columns; c = last + 1) {
      for (last = c; last < a.grid.columns && listed[last] < 0;) ++last;
      if (last - c == a.grid.columns) {
        copy(at, a.patch * line);
      } else if (last > c) {
        for (int64_t i = 0; i < a.patch; ++i) copy(at + i * line + c * cell, (last - c) * cell);
      }
    }
  }
  if (past_the_cache) stream_fence();
}

void patch_gather_rows(const PatchArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    for (int64_t n = begin; n < end; ++n) gather_row<T>(a, n / a.side(), n % a.side());
  });
}

void patch_scatter_rows(const PatchArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    for (int64_t n = begin; n < end; ++n) scatter_row<T>(a, n / a.patch, n % a.patch);
  });
}

void patch_gather_grad_cells(const PatchArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    const Scratch sums(a.patch * a.C * sizeof(SumOf<T>));
    for (int64_t n = begin; n < end; ++n) {
      const int64_t columns = a.grid.columns, rows = a.grid.rows;
      const int64_t row = n / columns % rows, column = n % columns;
      for (int64_t i = 0; i < a.patch; ++i) {
        gather_grad_row<T>(a, n / (rows * columns), row * a.patch + i, column, static_cast<SumOf<T>*>(sums.data()));
      }
    }
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
