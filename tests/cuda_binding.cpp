// A library that is linked as vfi_kernels._C is, with the one function of it that matters here: what torch says when it is
// asked for its current CUDA stream. Compiled by test_cuda_binding.py.
#include "torch/cuda_symbols.h"

#include <cstring>

extern "C" __attribute__((visibility("default"))) const char* stream_or_error() {
  static char text[512];
  try {
    std::strcpy(text, reinterpret_cast<intptr_t>(vfi::cuda::current_stream(3)) == 42 ? "bound" : "another stream");
  } catch (const std::exception& error) {
    std::strncpy(text, error.what(), sizeof text - 1);
  }
  return text;
}
