// Local correlation of points that are neighbouring pixels, with displacements Step pixels apart; see
// correlation_kernels.cuh.
//
// A block has a tile of points and some rows of displacements, one for each warp; a thread the sums of kStagedPixels points
// and D displacements along x. Some channels of both maps are in shared memory, the next ones on their way.
#pragma once

#include "cuda/async_copy.cuh"
#include "ops/correlation/correlation_kernels.cuh"

namespace vfi::cuda {

constexpr int kStagedAcross = 4, kStagedRows = 8;  // threads of a warp
constexpr int kMostLayers = 9;                     // rows of displacements of a block
constexpr int kMostStagedThreads = 512;            // fewer; so many leave 128 registers to each
template <class A>
constexpr int kStagedPixels = 32 / sizeof(A);

// Rows in shared memory: an odd number of 16 bytes, so that eight lanes, two rows of four, meet all banks once.
template <class A, int D, int Step>
struct StageShape {
  static constexpr int kPack = 16 / sizeof(A), kChannels = kPack, kPixels = kStagedPixels<A>;
  static constexpr int kWidth = kStagedAcross * kPixels, kFirstPitch = kWidth + kPack;
  static constexpr int kWindow = (kPixels + (D - 1) * Step + kPack - 1) / kPack * kPack;  // what a thread reads
  static constexpr int kColumns = kWidth - kPixels + kWindow;
  static constexpr int kPitch = kColumns + (kColumns / kPack % 2 == 0 ? kPack : 0);
  static constexpr int kFirst = kStagedRows * kFirstPitch;  // elements of a channel
  static constexpr int kSecond = (kStagedRows + (kMostLayers - 1) * Step) * kPitch;
  static constexpr int kElements = kChannels * (kFirst + kSecond);
  static constexpr int kSpots = kStagedRows * kWidth / kPack;
  VFI_HOST_DEVICE static int spots(int layers) {
    return kSpots + (kStagedRows + (layers - 1) * Step) * kColumns / kPack;
  }
};

// kPack neighbours of one of the maps and where they go, for kChannels channels and then for the next ones.
template <class Shape, class T, class A>
struct StageSpot {
  const T* from;
  int to, bytes;  // to: in shared memory; bytes: 0 where the spot is outside the map
  int32_t x;      // negative where the row is outside the map

  __device__ __forceinline__ StageSpot(unsigned i, const T* first, const T* second, const CorrelationArgsGpu& a,
                                       const TilePlace& at, int32_t down, int32_t right) {
    constexpr unsigned kQuads = Shape::kWidth / Shape::kPack, kSecondQuads = Shape::kColumns / Shape::kPack;
    const bool is_first = i < Shape::kSpots;
    const unsigned j = is_first ? i : i - Shape::kSpots, row = is_first ? j / kQuads : j / kSecondQuads;
    const unsigned column = (is_first ? j % kQuads : j % kSecondQuads) * Shape::kPack;
    const int32_t y = a.v.pixel(at.y) + static_cast<int32_t>(row) + (is_first ? 0 : down);
    x = a.h.pixel(at.x) + static_cast<int32_t>(column) + (is_first ? 0 : right);
    from = (is_first ? first : second) + int64_t{y} * a.h.size + x;
    to = is_first ? row * Shape::kFirstPitch + column : Shape::kChannels * Shape::kFirst + row * Shape::kPitch + column;
    if (!a.v.is_inside(y)) x = -Shape::kPack;
    bytes = a.h.is_inside(x) ? 16 : 0;
  }
  // Channels from `start` on, at `from`; zeros beyond the last. `aligned`: a spot's neighbours are inside or outside together.
  __device__ __forceinline__ void copy(A* stage, const CorrelationArgsGpu& a, int32_t start, bool aligned) {
    const int step = to < Shape::kChannels * Shape::kFirst ? Shape::kFirst : Shape::kSecond;
    A* at = stage + to;
#pragma unroll
    for (int c = 0; c < Shape::kChannels; ++c, from += a.plane(), at += step) {
      const bool exists = start + c < a.channels;
      if constexpr (std::is_same_v<T, A>) {
        if (aligned) {
          copy_async<16>(at, from, exists ? bytes : 0);
          continue;
        }
      }
#pragma unroll
      for (int i = 0; i < Shape::kPack; ++i) {
        const bool inside = exists && a.h.is_inside(x + i);
        if constexpr (std::is_same_v<T, A>) {
          copy_async<sizeof(A)>(at + i, from + i, inside ? sizeof(A) : 0);
        } else {
          at[i] = inside ? widen<A>(from[i]) : A(0);
        }
      }
    }
  }
};

template <Cost kCost, int D, int Step, class A>
__device__ __forceinline__ void add_staged(const A* stage, A (&sums)[D][kStagedPixels<A>]) {
  using Shape = StageShape<A, D, Step>;
  constexpr int kPack = Shape::kPack, kPixels = Shape::kPixels, kPacks = Shape::kWindow / kPack;
  const int across = threadIdx.x % kStagedAcross * kPixels, row = threadIdx.x / kStagedAcross;
  const A* first = stage + row * Shape::kFirstPitch + across;
  const A* second = stage + Shape::kChannels * Shape::kFirst + (row + threadIdx.y * Step) * Shape::kPitch + across;
#pragma unroll 1  // the sums leave registers for one channel
  for (int c = 0; c < Shape::kChannels; ++c, first += Shape::kFirst, second += Shape::kSecond) {
    Pack<A, kPack> v[kPixels / kPack], window[kPacks];
#pragma unroll
    for (int k = 0; k < kPixels / kPack; ++k) v[k] = load_pack<A, kPack>(first + k * kPack);
#pragma unroll
    for (int k = 0; k < kPacks; ++k) window[k] = load_pack<A, kPack>(second + k * kPack);
#pragma unroll
    for (int d = 0; d < D; ++d) {
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        const int i = p + d * Step;
        sums[d][p] += cost_of<kCost>(v[p / kPack].at[p % kPack], window[i / kPack].at[i % kPack]);
      }
    }
  }
}

// The tile of a block, in units of the tiles that StageShape has.
template <class Shape>
__device__ __forceinline__ TilePlace staged_place(const CorrelationArgsGpu& a, int32_t parts) {
  const int32_t across = (a.h.points + Shape::kWidth - 1) / Shape::kWidth;
  const int32_t down = (a.v.points + kStagedRows - 1) / kStagedRows, tile = blockIdx.x / parts, row = tile / across;
  return {row / down, row % down * kStagedRows, tile % across * Shape::kWidth, static_cast<int32_t>(blockIdx.x) % parts};
}

template <class T, class A, Cost kCost, int D, int Step>
__global__ __launch_bounds__(kMostStagedThreads, 1) void correlation_staged_kernel(const T* __restrict__ first,
                                                                                 const T* __restrict__ second,
                                                                                 T* __restrict__ out, CorrelationArgsGpu a,
                                                                                 bool aligned) {
  using Shape = StageShape<A, D, Step>;
  VFI_DYNAMIC_SHARED(A, shared);
  const int32_t layers = blockDim.y, chunks = (a.h.count + D - 1) / D, groups = (a.v.count + layers - 1) / layers;
  const TilePlace at = staged_place<Shape>(a, chunks * groups);
  const int32_t column = at.part % chunks * D, top = at.part / chunks * layers;
  const int32_t down = a.v.displacement(top), right = a.h.displacement(column);
  first += at.b * a.channels * a.plane();
  second += at.b * a.channels * a.plane();
  const int thread = threadIdx.y * 32 + threadIdx.x, threads = 32 * layers, spots = Shape::spots(layers);
  using Spot = StageSpot<Shape, T, A>;
  Spot own(thread, first, second, a, at, down, right);  // the only one, where there are many layers
  const auto copy = [&](A* stage, int32_t start) {
    if (thread < spots) own.copy(stage, a, start, aligned);
    for (int i = thread + threads; i < spots; i += threads) {
      Spot(i, first + start * a.plane(), second + start * a.plane(), a, at, down, right).copy(stage, a, start, aligned);
    }
    end_copies();
  };
  A sums[D][Shape::kPixels] = {};
  A *stage = shared, *next = shared + Shape::kElements;
  if (a.channels > 0) copy(stage, 0);
  for (int32_t start = 0; start < a.channels; start += Shape::kChannels) {
    if (start + Shape::kChannels < a.channels) copy(next, start + Shape::kChannels);
    else end_copies();
    wait_for_copies<1>();
    __syncthreads();
    add_staged<kCost, D, Step>(stage, sums);
    __syncthreads();
    A* const other = stage;
    stage = next, next = other;
  }
  const int32_t x = at.x + threadIdx.x % kStagedAcross * Shape::kPixels, y = at.y + threadIdx.x / kStagedAcross;
  const int32_t k = top + static_cast<int32_t>(threadIdx.y);
  if (y >= a.v.points || x >= a.h.points || k >= a.v.count) return;
  out += ((at.b * a.v.count + k) * a.h.count + column) * a.points() + int64_t{y} * a.h.points + x;
#pragma unroll
  for (int d = 0; d < D; ++d) {
    if (column + d >= a.h.count) break;
    store_sums<kCost>(out + d * a.points(), a, y, x, a.v.displacement(k), a.h.displacement(column + d), sums[d]);
  }
}

template <Cost kCost, int D, int Step, class T, class A>
void launch_correlation_staged(const T* first, const T* second, T* out, const CorrelationArgsGpu& a, cudaStream_t stream,
                               A) {
  using Shape = StageShape<A, D, Step>;
  static_assert(2 * Shape::kElements * sizeof(A) <= 48 << 10);
  const int64_t groups = ceil_div(a.v.count, kMostLayers), chunks = ceil_div(a.h.count, D);
  const int layers = static_cast<int>(ceil_div(a.v.count, groups));
  const bool steady = chunks == 1 || D * Step % Shape::kPack == 0;
  const bool aligned = steady && a.h.start % Shape::kPack == 0 && has_aligned_rows(first, a, Shape::kPack) &&
                       has_aligned_rows(second, a, Shape::kPack);
  const Grid blocks(a.batch * ceil_div(a.v.points, kStagedRows) * ceil_div(a.h.points, Shape::kWidth) * groups * chunks);
  VFI_LAUNCH((correlation_staged_kernel<T, A, kCost, D, Step>), blocks, dim3(32, layers),
             2 * Shape::kElements * sizeof(A), stream, first, second, out, a, aligned);
}

}  // namespace vfi::cuda
