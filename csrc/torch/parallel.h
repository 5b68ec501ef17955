// torch's threads: as torch::stable::parallel_for, which says of an exception only that the call failed.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <torch/csrc/stable/ops.h>

namespace vfi {

// Threads of a machine that is not at hand: the parts that torch would make for them run one after another, with the time of
// each (benchmarks/threads.py). 0: there are none.
struct SimulatedThreads {
  using Region = std::array<double, 4>;  // units, parts, seconds of the longest part, seconds of all parts

  int64_t count = 0;
  std::vector<Region> regions;

  template <class F>
  void run(int64_t begin, int64_t end, int64_t grain, const F& f) {
    const auto divided = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
    const int64_t threads = std::min(count, divided(end - begin, std::max(grain, int64_t{1})));
    const int64_t part = divided(end - begin, threads);
    struct Inside {  // what a part divides itself is one part
      int64_t &count, outer = std::exchange(count, 0);
      ~Inside() { count = outer; }
    } inside{count};
    Region region{static_cast<double>(end - begin), 0, 0, 0};
    for (int64_t first = begin; first < end; first += part) {
      const auto start = std::chrono::steady_clock::now();
      f(first, std::min(first + part, end));
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      region[1] += 1, region[2] = std::max(region[2], seconds), region[3] += seconds;
    }
    regions.push_back(region);
  }
};

inline SimulatedThreads& simulated_threads() {
  thread_local SimulatedThreads threads;
  return threads;
}

inline int64_t thread_count() {
  const int64_t simulated = simulated_threads().count;
  return simulated > 0 ? simulated : static_cast<int64_t>(torch::stable::get_num_threads());
}

// f(begin, end) for parts of [begin, end); the first exception of a part is thrown again when all have ended.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  if (simulated_threads().count > 0 && begin < end) return simulated_threads().run(begin, end, grain, f);
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
