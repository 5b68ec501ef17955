// Windows of a cost volume on the CPU, compiled once per instruction set; formulas in correlation_lookup.h.
//
// Work: by tiles of pixels, level after level, so that neighbouring windows find their rows in the second-level cache. The
// products with the whole neighbours are made for a few pixels of a row together wherever the box around all of their
// windows is not much larger than one window (positions are smooth), otherwise for one pixel. Lanes are channels. The
// blend's lanes are displacements along y.
#include "simd/simd_pixels.h"
#include "ops/correlation_lookup/correlation_lookup_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Of one thread.
template <class F>
struct LookupMemory {
  Number<F>* products;  // [kPixels][box]
  Number<F>* stage;     // [kColumns][n n], each row with room for a vector more
  LookupList list;

  static VFI_INLINE int64_t largest_box(const LookupArgs& a) { return 2 * (a.side() + 1) * (a.side() + 1); }
  static VFI_INLINE int64_t stage_step(const LookupArgs& a) { return a.side() * a.side() + Lanes<F>::kCount; }

  VFI_INLINE int64_t lay_out(const LookupArgs& a, void* memory) {
    constexpr int64_t kCount = Lanes<F>::kCount;
    Layout layout(memory);
    products = layout.take<Number<F>>(kPixels<F> * largest_box(a) + 2 * kCount);
    stage = layout.take<Number<F>>(LookupTiles::kColumns * stage_step(a));
    list.offsets = layout.take<int64_t>(largest_box(a)), list.places = layout.take<int32_t>(largest_box(a));
    return layout.bytes();
  }
};

// The n n results of a window out of its products, [x][y] in a box of `height`. A vector may be written beyond them.
template <class F>
VFI_INLINE void blend(const Number<F>* products, int64_t height, const LookupWindow<Number<F>>& w, int64_t n,
                      Number<F> scale, Number<F>* to) {
  const F near_x = broadcast<F>(w.x.near * scale), far_x = broadcast<F>(w.x.far * scale);
  const F near_y = broadcast<F>(w.y.near), far_y = broadcast<F>(w.y.far);
  const auto along_y = [&](const Number<F>* p) VFI_INLINE_LAMBDA {
    const F v = near_y * load<F>(p);
    return w.y.far == 0 ? v : fma(far_y, load<F>(p + 1), v);
  };
  for (int64_t i = 0; i < n; ++i, products += height) {
    for (int64_t j = 0; j < n; j += Lanes<F>::kCount) {
      const F v = near_x * along_y(products + j);
      store(to + i * n + j, w.x.far == 0 ? v : fma(far_x, along_y(products + height + j), v));
    }
  }
}

template <class F, class T>
struct LookupRow {
  using A = Number<F>;
  const LookupArgs& a;
  const LookupMemory<F>& memory;
  int64_t b, level;

  // P pixels together, the first `count` of which are wanted.
  template <int P, int N>
  VFI_INLINE void look_up(const int64_t* pixels, const LookupWindow<A>* windows, int count, A* to) const {
    const LookupLevel& from = a.levels[level];
    LookupBox box(windows[0], a.side());
    for (int p = 1; p < P; ++p) box.unite(LookupBox(windows[p], a.side()));
    const int64_t step = box.width() * box.height(), height = box.height();
    LookupList list = memory.list;
    list.fill(box, from, a.C, height, 1);
    if (list.count < step) std::memset(memory.products, 0, P * step * sizeof(A));
    const T* at[P];
    for (int p = 0; p < P; ++p) at[p] = static_cast<const T*>(a.first) + (b * a.H * a.W + pixels[p]) * a.C;
    with_level<T, F>(level, from.data, [&](const auto* data) VFI_INLINE_LAMBDA {
      multiply_list<F, P, N>(at, data + b * from.height * from.width * a.C, list, a.C, memory.products, step);
    });
    const A scale = A(1) / std::sqrt(static_cast<A>(max(a.C, int64_t{1})));
    for (int p = 0; p < count; ++p) {
      const LookupWindow<A>& w = windows[p];
      const A* const own = memory.products + p * step + (w.x.at - box.x0) * height + w.y.at - box.y0;
      blend<F>(own, height, w, a.side(), scale, to + p * memory.stage_step(a));
    }
  }

  // Pixels `pixel` ... `pixel` + count - 1 of a row, at most kPixels.
  VFI_INLINE void look_up_some(int64_t pixel, int count, A* to) const {
    constexpr int P = kPixels<F>;
    int64_t pixels[P];
    LookupWindow<A> windows[P];
    LookupBox all(LookupWindow<A>(a, b, pixel, level), a.side());
    for (int p = 0; p < P; ++p) {
      pixels[p] = pixel + (p < count ? p : count - 1);
      windows[p] = LookupWindow<A>(a, b, pixels[p], level);
      all.unite(LookupBox(windows[p], a.side()));
    }
    if (count > 1 && all.width() * all.height() <= memory.largest_box(a)) {
      return look_up<P, kNeighbours>(pixels, windows, count, to);
    }
    for (int p = 0; p < count; ++p) {
      look_up<1, kAlone<F>>(pixels + p, windows + p, 1, to + p * memory.stage_step(a));
    }
  }

  void run(int64_t y, int64_t x0, int64_t x1) const {
    const int64_t step = memory.stage_step(a), n2 = a.side() * a.side(), plane = a.H * a.W, pixel = y * a.W + x0;
    for (int64_t x = x0; x < x1; x += kPixels<F>) {
      look_up_some(y * a.W + x, static_cast<int>(min(int64_t{kPixels<F>}, x1 - x)), memory.stage + (x - x0) * step);
    }
    T* const out = static_cast<T*>(a.out) + b * a.planes() * plane;
    if (!a.out_channels_last) {
      return copy_turned<false, false, F>(memory.stage, step, out + level * n2 * plane + pixel, plane, x1 - x0, n2);
    }
    for (int64_t x = x0; x < x1; ++x) {
      copy_run<false, F>(memory.stage + (x - x0) * step, out + (y * a.W + x) * a.planes() + level * n2, n2);
    }
  }
};

// Means of 2 x 2 pixels, C channels each.
template <class F, class S>
void pool_row(const S* above, const S* below, int64_t width, int64_t C, Number<F>* to) {
  for (int64_t x = 0; x < width; ++x, above += 2 * C, below += 2 * C, to += C) {
    for (int64_t c = 0; c < C; c += Lanes<F>::kCount) {
      const int64_t n = C - c;
      const F sum = (load<F>(above + c, n) + load<F>(above + C + c, n)) + (load<F>(below + c, n) + load<F>(below + C + c, n));
      store(to + c, sum * broadcast<F>(Number<F>(0.25)), n);
    }
  }
}

}  // namespace

void lookup_pool_rows(const LookupArgs& a, int64_t level, void* to, int64_t begin, int64_t end) {
  const LookupLevel &from = a.levels[level - 1], &pooled = a.levels[level];
  with_lookup_types(a, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    with_level<T, F>(level - 1, from.data, [&](const auto* data) VFI_INLINE_LAMBDA {
      const int64_t step = from.width * a.C;
      for (int64_t i = begin; i < end; ++i) {
        const auto* const row = data + (i / pooled.height * from.height + i % pooled.height * 2) * step;
        pool_row<F>(row, row + step, pooled.width, a.C, static_cast<Number<F>*>(to) + i * pooled.width * a.C);
      }
    });
  });
}

void lookup_tiles(const LookupArgs& a, int64_t begin, int64_t end) {
  const LookupTiles tiles(a);
  with_lookup_types(a, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    const WithScratch<LookupMemory<F>> memory(a);
    for (int64_t i = begin; i < end; ++i) {
      const LookupTile tile(a, tiles, i);
      for (int64_t level = 0; level < a.count; ++level) {
        const LookupRow<F, T> row{a, memory, tile.b, level};
        for (int64_t y = tile.y0; y < tile.y1; ++y) row.run(y, tile.x0, tile.x1);
      }
    }
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
