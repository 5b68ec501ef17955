// The scatter-add of splat_landing.cuh in a fixed order, for torch.use_deterministic_algorithms(True):
//
//   sums[b, t, c] = sum over the source pixels that land on t of weight * values
//
// Work: a warp owns a tile of targets, whose sums are in shared memory. It goes through the rows of pixels that may land
// there, which the bounds of splat_bounds_kernels.cuh tell, in the order of that tree, and adds 32 pixels at a time, corner by
// corner: no two of them have the same corner on one target, unless they have the same cell, and those take turns in the
// order of their lanes. So every sum has one order, and is bitwise equal from run to run; nothing is sorted. Where a tile
// has all channels at once, it writes the result instead of the sums.
#pragma once

#include "ops/splat/splat_bounds_kernels.cuh"
#include "ops/splat/splat_finish_kernels.cuh"

namespace vfi::cuda {

constexpr int kTileWarps = 4;
constexpr size_t names_bytes(int rows) { return (kTileColumns + 1) * (rows + 1) * sizeof(int); }

// A tile of G groups of channels: Pack<A, 4> [G, rows, kTileColumns], and for each cell a lane that adds to it.
template <class A, int G>
struct TargetTile {
  static constexpr int kRows = kTileRows<A> / G;
  Pack<A, 4>* sums;
  int* names;    // [kRows + 1, kTileColumns + 1]
  int32_t x, y;  // of its first target

  static constexpr size_t bytes() {
    return kTileWarps * (G * kRows * kTileColumns * sizeof(Pack<A, 4>) + names_bytes(kRows));
  }
  __device__ __forceinline__ bool meets(Bounds bounds) const {
    return (bounds.at[0] < x + kTileColumns) & (bounds.at[1] < y + kRows) & (bounds.at[2] <= 1 - x) & (bounds.at[3] <= 1 - y);
  }
  // Whether a cell has a corner in the tile: it may be one to the left, or one above.
  __device__ __forceinline__ bool touches(int32_t cell_x, int32_t cell_y) const {
    return (static_cast<uint32_t>(cell_x) - (x - 1) <= static_cast<uint32_t>(kTileColumns)) &
           (static_cast<uint32_t>(cell_y) - (y - 1) <= static_cast<uint32_t>(kRows));
  }
};

// The corners that are targets of the tile, of a cell that has any.
template <class A, int G>
__device__ __forceinline__ unsigned corners_in_tile(int32_t x, int32_t y) {
  const unsigned columns = (x >= 0 ? 5u : 0u) | (x < kTileColumns - 1 ? 10u : 0u);
  return columns & ((y >= 0 ? 3u : 0u) | (y < TargetTile<A, G>::kRows - 1 ? 12u : 0u));
}

// When a lane may add to its cell, and how often lanes of the warp have to.
struct Turn {
  int own, count;
};

// Lanes with one cell take turns in their order. They find that by writing their names there, of which one remains.
__device__ __forceinline__ Turn find_turn(int* names, int cell, bool adds) {
  const int lane = threadIdx.x;
  if (adds) atomicExch(names + cell, lane);
  __syncwarp();
  Turn turn{0, 1};
  for (unsigned lost = __ballot_sync(kFullWarp, adds && names[cell] != lane); lost != 0;) {
    const bool same = __shfl_sync(kFullWarp, cell, __ffs(static_cast<int>(lost)) - 1) == cell;
    const unsigned lanes = __ballot_sync(kFullWarp, adds && same);
    if (same) turn.own = __popc(lanes & ((1u << lane) - 1));
    turn.count = max(turn.count, __popc(lanes));
    lost &= ~lanes;
  }
  return turn;
}

// Adds the pixels of the lanes to the tile, each to those of its four corners that `corners` has; (x, y) is its cell.
template <class A, int G>
__device__ __forceinline__ void add_to_tile(const TargetTile<A, G>& tile, unsigned corners, int32_t x, int32_t y,
                                            const A (&weight)[4], const A (&v)[G][4]) {
  constexpr int kRows = TargetTile<A, G>::kRows;
  const Turn turn = find_turn(tile.names, (y + 1) * (kTileColumns + 1) + x + 1, corners != 0);
  Pack<A, 4>* const first = tile.sums + y * kTileColumns + x;
  int n = 0;
#pragma unroll 1
  do {
    const unsigned now = n == turn.own ? corners : 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if ((now & (1u << k)) != 0) {
#pragma unroll
        for (int g = 0; g < G; ++g) {
          Pack<A, 4>* const at = first + (g * kRows + (k >> 1)) * kTileColumns + (k & 1);
          Pack<A, 4> sum = *at;
#pragma unroll
          for (int c = 0; c < 4; ++c) sum.at[c] = std::fma(weight[k], v[g][c], sum.at[c]);
          *at = sum;
        }
      }
      __syncwarp();
    }
  } while (++n < turn.count);
}

// Groups first ... first + G - 1 of a pixel; those that do not exist are 0.
template <int G, class T, class A>
__device__ __forceinline__ void load_groups(const T* (&at)[1], const SumLayout& l, int32_t first, A (&v)[G][4]) {
#pragma unroll
  for (int g = 0; g < G; ++g) {
    A group[1][4] = {};
    if (g == 0 || first + g < l.groups) load_group(at, l, first + g, group);
#pragma unroll
    for (int c = 0; c < 4; ++c) v[g][c] = group[0][c];
  }
}

// A column of source pixels: what is found once for those of its rows that a tile visits.
template <bool kPath, class T>
struct SourceColumn {
  int32_t x, last_x;  // last_x is read where x is beyond the image
  int64_t flow;       // element of row 0
  const T* values;    // row 0, the first channel in work

  __device__ __forceinline__ SourceColumn(const T* all, const ScatterArgsGpu& s, const SumLayout& l, int64_t b, int32_t first,
                                          int32_t x)
      : x(x), last_x(min(x, s.W - 1)), flow(kPath ? 0 : s.flow.strides.offset(b, 0, 0, last_x)) {
    values = all + l.values.offset(owner_of<kPath>(s, b), 0, last_x) + 4 * first * l.values.channel_stride();
  }
  template <class A>
  __device__ __forceinline__ void load_flow(const ScatterArgsGpu& s, int64_t b, int32_t y, A (&to)[2]) const {
    if constexpr (kPath) {
      load_flow_of<true>(s, b, y, last_x, to);
    } else {
      load_from(s.flow, flow + y * s.flow.strides.row, to);
    }
  }
};

// The pixels of the lanes in row y. Of those that do not touch the tile no more is found than that.
template <bool kPath, int G, class T, class A>
__device__ __forceinline__ void add_row_to_tile(const SourceColumn<kPath, T>& from, const ScatterArgsGpu& s, const SumLayout& l,
                                                const SampleShift<A>& shift, const TargetTile<A, G>& tile, int64_t b,
                                                int32_t first, int32_t y) {
  A flow[2], weight[4], v[G][4];  // of lanes that add nothing, both remain as they are
  from.load_flow(s, b, y, flow);
  const InnerPosition<A> at(s, flow, y, from.x);
  bool touches = from.x <= from.last_x;
  if (s.padding == Padding::kZeros) touches = touches & tile.touches(at.x.at, at.y.at);
  if (!__any_sync(kFullWarp, touches)) return;
  unsigned corners = 0;
  int32_t column = 0, row = 0;  // addresses are made of them
  if (touches) {
    Landing<A> landing = land_at(s, at, y, from.x, flow);
    if (tile.touches(landing.x, landing.y)) {
      column = landing.x - tile.x, row = landing.y - tile.y;
      if (s.factor != Factor::kOne) {
        A metric[1];
        load(s.metric, owner_of<kPath>(s, b), y, from.last_x, metric);
        multiply_factor(s, shift, b, metric[0], landing);
      }
      corners = landing.used & corners_in_tile<A, G>(column, row);
      const T* pixel[1] = {from.values + y * l.values.row_stride()};
      load_groups<G>(pixel, l, first, v);
#pragma unroll
      for (int k = 0; k < 4; ++k) weight[k] = landing.weight[k];
    }
  }
  add_to_tile<A, G>(tile, corners, column, row, weight, v);
}

// Calls run(y, x, rows) for every 32 x 32 pixels from (y, x) on that may land on the tile: bit r of `rows` says whether row y + r
// may. All lanes are together.
template <class A, int G, class Run>
__device__ __forceinline__ void for_each_block(const BoundsTree& t, const TargetTile<A, G>& tile, int64_t b, Run&& run) {
  const int lane = threadIdx.x;
  const auto next = [](unsigned& lanes) {
    const int first = __ffs(static_cast<int>(lanes)) - 1;
    lanes &= lanes - 1;
    return first;
  };
  for (int64_t group = 0; group < t.groups(); group += 32) {
    const bool any = group + lane < t.groups() && tile.meets(t.of_groups[b * t.groups() + group + lane]);
    for (unsigned groups = __ballot_sync(kFullWarp, any); groups != 0;) {
      const int64_t of = group + next(groups), block = block_of_group(t, of, lane);
      const bool some = block >= 0 && tile.meets(t.of_blocks[b * t.blocks() + block]);
      for (unsigned blocks = __ballot_sync(kFullWarp, some); blocks != 0;) {
        const int64_t at = block_of_group(t, of, next(blocks));
        const bool meets = tile.meets(t.of_rows[(b * t.blocks() + at) * kBlockRows + lane]);
        const int32_t row = static_cast<int32_t>(whole_part(at, t.columns));
        const int32_t column = static_cast<int32_t>(at - row * static_cast<int64_t>(t.columns));
        run(row * kBlockRows, column * 32, __ballot_sync(kFullWarp, meets));
      }
    }
  }
}

// The result of a scatter that a tile finishes itself, where it is `wanted`: else it leaves the sums.
struct Direct {
  bool wanted;
  void* out;
  DenseShape shape;
  Finish finish;
};

// Writes the sums, or the result, of groups first ... first + G - 1 at P pixels `target`, `target` + `step` ... of sample b.
template <class T, int P, int G, class A>
__device__ __forceinline__ void write_targets(const ScatterArgsGpu& s, const SumLayout& l, const Direct& d, int64_t b,
                                              int64_t target, int64_t step, int32_t first, const Pack<A, 4> (&sums)[P][G]) {
  if (!d.wanted) {
    A* const at = sums_at<A>(s, l, b, first, 0, 0) + 4 * target;
#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (first + g >= l.groups) return;
#pragma unroll
      for (int i = 0; i < P; ++i) store_pack(at + 4 * (g * s.target_plane() + i * step), sums[i][g]);
    }
    return;
  }
  Quotient<A> by[P];
  if (d.finish.division != Division::kNone) {
#pragma unroll
    for (int i = 0; i < P; ++i) by[i] = quotient(d.finish.division, sums[i][G - 1].at[3]);
    if (d.finish.weight_out.data != nullptr) {
#pragma unroll
      for (int i = 0; i < P; ++i) write_weight(s, d.finish, b, target + i * step, sums[i][G - 1].at[3]);
    }
  }
  T* const out = static_cast<T*>(d.out) + b * d.shape.sample + target * d.shape.pixel_stride();
  store_quotients(out, step * d.shape.pixel_stride(), d.shape.channel_stride(), d.shape.channels, by, sums);
}

// P rows of a column of a tile from `row` on.
template <class T, int P, int G, class A>
__device__ __forceinline__ void write_rows(const ScatterArgsGpu& s, const SumLayout& l, const Direct& d,
                                           const TargetTile<A, G>& tile, int64_t b, int32_t first, int32_t row,
                                           int32_t column) {
  Pack<A, 4> sums[P][G];
#pragma unroll
  for (int i = 0; i < P * G; ++i) {
    sums[i / G][i % G] = tile.sums[(i % G * TargetTile<A, G>::kRows + row + i / G) * kTileColumns + column];
  }
  const int64_t target = static_cast<int64_t>(tile.y + row) * s.target_W + tile.x + column;
  write_targets<T>(s, l, d, b, target, s.target_W, first, sums);
}

template <class T, int G, class A>
__device__ __forceinline__ void write_tile(const ScatterArgsGpu& s, const SumLayout& l, const Direct& d,
                                           const TargetTile<A, G>& tile, int64_t b, int32_t first) {
  constexpr int P = 4;  // at a time
  static_assert(TargetTile<A, G>::kRows % P == 0);
  const int32_t rows = min(TargetTile<A, G>::kRows, s.target_H - tile.y);
  const int32_t columns = min(kTileColumns, s.target_W - tile.x);
#pragma unroll 1
  for (int32_t column = threadIdx.x; column < columns; column += 32) {
    int32_t row = 0;
#pragma unroll 1
    for (; row + P <= rows; row += P) write_rows<T, P>(s, l, d, tile, b, first, row, column);
    for (; row < rows; ++row) write_rows<T, 1>(s, l, d, tile, b, first, row, column);
  }
}

// Groups first ... first + G - 1 of a tile.
template <bool kPath, int G, class T, class A>
__device__ __forceinline__ void sum_tile(const T* values, const ScatterArgsGpu& s, const SumLayout& l, const BoundsTree& t,
                                         const Direct& d, const TargetTile<A, G>& tile, int64_t b, int32_t first) {
  constexpr int kTargets = G * TargetTile<A, G>::kRows * kTileColumns;
#pragma unroll
  for (int i = 0; i < kTargets; i += 32) tile.sums[i + threadIdx.x] = Pack<A, 4>{};
  __syncwarp();
  const SampleShift<A> shift = shift_of<A>(s, b);
  for_each_block(t, tile, b, [&](int32_t y, int32_t x, unsigned rows) {
    const SourceColumn<kPath, T> from(values, s, l, b, first, x + threadIdx.x);
    for (; rows != 0; rows &= rows - 1) {
      add_row_to_tile<kPath, G>(from, s, l, shift, tile, b, first, y + __ffs(static_cast<int>(rows)) - 1);
    }
  });
  write_tile<T>(s, l, d, tile, b, first);
  __syncwarp();
}

// Blocks on one multiprocessor: as many as keep every register out of memory.
template <class A, bool kPath, int G>
constexpr int kTileResident = sizeof(A) == 8 ? 2 : kPath ? 3 : G == 2 ? 4 : 5;

template <class T, class A, bool kPath, int G>
__global__ __launch_bounds__(32 * kTileWarps, (kTileResident<A, kPath, G>)) void ordered_kernel(const T* __restrict__ values,
                                                                                         ScatterArgsGpu s, SumLayout l,
                                                                                         BoundsTree t, Direct d) {
  constexpr int kTargets = G * TargetTile<A, G>::kRows * kTileColumns;
  constexpr size_t kNames = names_bytes(TargetTile<A, G>::kRows) / sizeof(int);
  using Sums = Pack<A, 4>;
  VFI_DYNAMIC_SHARED(Sums, shared);
  TargetTile<A, G> tile;
  tile.sums = shared + threadIdx.y * kTargets;
  tile.names = reinterpret_cast<int*>(shared + kTileWarps * kTargets) + threadIdx.y * kNames;
  tile.x = (blockIdx.x * kTileWarps + threadIdx.y) * kTileColumns;
  if (tile.x >= s.target_W || t.is_wild(s.B)) return;
  const int32_t passes = (l.groups + G - 1) / G;
  for (int64_t z = blockIdx.z; z < s.B * passes; z += gridDim.z) {
    const int64_t b = z / passes;
    for (int64_t row = blockIdx.y; row * TargetTile<A, G>::kRows < s.target_H; row += gridDim.y) {
      tile.y = static_cast<int32_t>(row) * TargetTile<A, G>::kRows;
      sum_tile<kPath>(values, s, l, t, d, tile, b, static_cast<int32_t>(z - b * passes) * G);
    }
  }
}

}  // namespace vfi::cuda
