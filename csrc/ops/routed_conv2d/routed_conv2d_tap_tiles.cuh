// Products of a warp for the gradient of the weight: for every tap, 16 output channels by 16 input channels,
// sums[n][c] += sum over pixels of grad[pixel][n] input[pixel, tap][c]. Both factors have channels inside and pixels, the
// k of the product, in lines; a tap moves the lines of the input.
#pragma once

#include "cuda/row_tiles.cuh"

namespace vfi::cuda {

constexpr int kTapColumns = 3;  // taps of a row, at most: each_tap names them

// From one line of `channels` factors to the next, in bytes: lines 4 apart, or 8 of 16 bits, lie in different banks.
template <class F>
constexpr int32_t tap_pitch(int32_t channels) {
  return channels * static_cast<int32_t>(sizeof(F)) + (sizeof(F) == 2 ? 16 : 32);
}

// Some pixels, and what their taps read.
struct TapFactors {
  const unsigned char *grad, *input;
  const int32_t* lines;  // where the input of a pixel begins, for the first tap, in bytes
  int32_t zeros;         // where kTapColumns lines of zeros begin, for pixels beyond `count`
  int32_t count, row_bytes, down, across;  // pixels; from a row of input to the next; taps

  // Where the input of pixel n begins, and from one row of taps to the next.
  __device__ __forceinline__ int32_t line(int32_t n) const {
    const int32_t at = lines[n];
    return n < count ? at : zeros;
  }
  __device__ __forceinline__ int32_t row(int32_t n) const { return n < count ? row_bytes : 0; }
};

// A lane has eight sums of every tap.
template <class F, int kTapRows, int kGradPitch, int kInputPitch>
struct TapSums {
  Sum<F> sums[kTapRows * kTapColumns][8];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kTapRows * kTapColumns * 8; ++i) sums[i / 8][i % 8] = Sum<F>(0);
  }
  // run(sums, behind) for the taps of row y: how far their lines are behind those of the first one, a constant. kAll: none
  // of them is missing.
  template <bool kAll, class Run>
  __device__ __forceinline__ void each_tap(const TapFactors& f, int y, const Run& run) {
    const auto one = [&](auto x) {
      if (kAll || x < f.across) run(sums[y * kTapColumns + x], std::integral_constant<int, x * kInputPitch>());
    };
    one(std::integral_constant<int, 0>());
    one(std::integral_constant<int, 1>());
    one(std::integral_constant<int, 2>());
  }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
};

template <class F, int kTapRows, int kGradPitch, int kInputPitch, bool kTensor = kRowsOnTensorCores<F>>
struct TapTiles : TapSums<F, kTapRows, kGradPitch, kInputPitch> {
  using Base = TapSums<F, kTapRows, kGradPitch, kInputPitch>;
  using Base::lane;

  static __device__ __forceinline__ int row(int i) { return lane() / 8 * 4 + i / 2; }
  static __device__ __forceinline__ int column(int i) { return lane() % 8 * 2 + i % 2; }
  // Of the output channels from n on, and the input channels from c on.
  __device__ __forceinline__ void multiply_add(const TapFactors& f, int n, int c) {
    constexpr int N = sizeof(F) == 8 ? 2 : 4;
    const unsigned char* const left = f.grad + (n + row(0)) * sizeof(F);
    const unsigned char* const right = f.input + (c + column(0)) * sizeof(F);
#pragma unroll 1
    for (int32_t k = 0; k < f.count; ++k) {
      Pack<F, N> a[4 / N];
#pragma unroll
      for (int i = 0; i < 4 / N; ++i) a[i] = load_pack<F, N>(reinterpret_cast<const F*>(left + k * kGradPitch) + i * N);
#pragma unroll
      for (int y = 0; y < kTapRows; ++y) {
        if (y >= f.down) break;
        const unsigned char* const line = right + f.lines[k] + y * f.row_bytes;
        Base::template each_tap<false>(f, y, [&](Sum<F>(&sums)[8], int behind) {
          const Pack<F, 2> b = load_pack<F, 2>(reinterpret_cast<const F*>(line + behind));
#pragma unroll
          for (int i = 0; i < 8; ++i) sums[i] += widen<Sum<F>>(a[i / 2 / N].at[i / 2 % N]) * widen<Sum<F>>(b.at[i % 2]);
        });
      }
    }
  }
};

#ifdef VFI_TENSOR_CORES
template <class F, int kTapRows, int kGradPitch, int kInputPitch>
struct TapTiles<F, kTapRows, kGradPitch, kInputPitch, true> : TapSums<F, kTapRows, kGradPitch, kInputPitch> {
  using Base = TapSums<F, kTapRows, kGradPitch, kInputPitch>;
  using Base::lane;

  static __device__ __forceinline__ int row(int i) { return lane() / 4 + i % 4 / 2 * 8; }
  static __device__ __forceinline__ int column(int i) { return i / 4 * 8 + lane() % 4 * 2 + i % 2; }

  __device__ __forceinline__ void multiply_add(const TapFactors& f, int n, int c) {
    if (f.down == kTapRows && f.across == kTapColumns) return multiply_add<true>(f, n, c);
    multiply_add<false>(f, n, c);
  }

 private:
  static __device__ __forceinline__ unsigned shared(const unsigned char* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
  }
  static __device__ __forceinline__ void multiply(float (&sums)[8], const unsigned (&a)[4], const unsigned (&b)[4]) {
    multiply_matrices<F>(sums, sums + 2, a, b[0], b[1]);
    multiply_matrices<F>(sums + 4, sums + 6, a, b[2], b[3]);
  }
  template <bool kAll>
  __device__ __forceinline__ void multiply_add(const TapFactors& f, int n, int c) {
    if constexpr (sizeof(F) == 2) {
      const int matrix = lane() / 8, line = lane() % 8;
      unsigned grad = shared(f.grad) + (line + matrix / 2 * 8) * kGradPitch + (n + matrix % 2 * 8) * 2;
      const unsigned input = shared(f.input) + (c + matrix / 2 * 8) * 2;
#pragma unroll 1
      for (int32_t k = 0; k < f.count; k += 16, grad += 16 * kGradPitch) {
        step_of_halves<kAll>(f, grad, input, k + line + matrix % 2 * 8);
      }
    } else {
#pragma unroll 1
      for (int32_t k = 0; k < f.count; k += 8) step_of_floats<kAll>(f, n, c, k);
    }
  }
  template <bool kAll>
  __device__ __forceinline__ void step_of_halves(const TapFactors& f, unsigned grad, unsigned input, int32_t pixel) {
    unsigned a[4];
    load_matrices<true>(a, grad);
    const int32_t down = f.row(pixel);
    unsigned at = input + f.line(pixel);
#pragma unroll
    for (int y = 0; y < kTapRows; ++y) {
      if (!kAll && y >= f.down) break;
      Base::template each_tap<kAll>(f, y, [&](float(&sums)[8], auto behind) {
        unsigned b[4];
        load_matrices<true, behind>(b, at);
        multiply(sums, a, b);
      });
      at += down;
    }
  }
  // Matrices of 32 bits cannot be turned on the way.
  template <bool kAll>
  __device__ __forceinline__ void step_of_floats(const TapFactors& f, int n, int c, int32_t k) {
    const int line = lane() % 4, channel = lane() / 4;
    const auto word = [](const unsigned char* p) { return *reinterpret_cast<const unsigned*>(p); };
    unsigned a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = word(f.grad + (k + line + i / 2 * 4) * kGradPitch + (n + channel + i % 2 * 8) * 4);
    const unsigned char* const from = f.input + (c + channel) * 4;
    const unsigned char *early = from + f.line(k + line), *late = from + f.line(k + line + 4);
#pragma unroll
    for (int y = 0; y < kTapRows; ++y) {
      if (!kAll && y >= f.down) break;
      Base::template each_tap<kAll>(f, y, [&](float(&sums)[8], int behind) {
        const unsigned b[4] = {word(early + behind), word(late + behind), word(early + behind + 32), word(late + behind + 32)};
        multiply(sums, a, b);
      });
      early += f.row(k + line), late += f.row(k + line + 4);
    }
  }
};
#endif

}  // namespace vfi::cuda
