// torch's threads: as torch::stable::parallel_for, which says of an exception only that the call failed.
#pragma once

#include <exception>
#include <mutex>

#include <torch/csrc/stable/ops.h>

namespace vfi {

// f(begin, end) for parts of [begin, end); the first exception of a part is thrown again when all have ended.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  std::exception_ptr thrown;
  std::mutex mutex;
  torch::stable::parallel_for(begin, end, grain, [&](int64_t first, int64_t last) {
    try {
      f(first, last);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!thrown) thrown = std::current_exception();
    }
  });
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace vfi
