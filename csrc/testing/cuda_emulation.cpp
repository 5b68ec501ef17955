// The scheduler of the CUDA emulation. One OS thread; a CUDA thread runs on a fiber, and a fiber runs one thread after
// another until one blocks, so that a kernel without barriers is a plain loop. Threads and blocks run in a seeded
// order, which exposes missing barriers and sums that depend on the order. Fibers start as contexts and go on by
// longjmp, which spares the system calls of swapcontext. AddressSanitizer, which has its own longjmp, is told of every
// switch of stacks.
#include "testing/cuda_emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace vfi::emulation {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kSharedLimit = 227 * 1024;

struct Stack {
  const void* bottom = nullptr;
  size_t size = 0;
};

#if defined(__SANITIZE_ADDRESS__)
// `fake` is where ASan keeps the stack that is left; null says that it will never be entered again.
struct Place {
  ucontext_t context;
};
void jump(Place& from, Place& to, bool) { swapcontext(&from.context, &to.context); }
void before_switch(void** fake, const Stack& to) { __sanitizer_start_switch_fiber(fake, to.bottom, to.size); }
void after_switch(void* fake, Stack* from) {
  __sanitizer_finish_switch_fiber(fake, from ? &from->bottom : nullptr, from ? &from->size : nullptr);
}
#else
struct Place {
  ucontext_t context;
  jmp_buf buffer;
};
void jump(Place& from, Place& to, bool starts) {
  if (_setjmp(from.buffer) != 0) return;
  if (starts) setcontext(&to.context);
  _longjmp(to.buffer, 1);
}
void before_switch(void**, const Stack&) {}
void after_switch(void*, Stack*) {}
#endif

struct Fiber {
  std::unique_ptr<char[]> memory{new char[kStackBytes]};
  Place place;
  void* fake = nullptr;
  bool starts = false;  // it has not run since its context was made
  bool busy = false;    // a suspended thread lives on it
  Stack stack() const { return {memory.get(), kStackBytes}; }
};

enum class State { kReady, kAtWarpBarrier, kAtBlockBarrier, kDone };

struct Thread {
  State state = State::kReady;
  Fiber* fiber = nullptr;
  uint64_t slot[2] = {0, 0};  // two: a lane may be one exchange ahead of another that has still to read
  unsigned exchanges = 0;
};

struct Block {
  const std::function<void()>* body = nullptr;
  std::vector<Thread> threads;
  std::vector<int> order;  // of running
  size_t started = 0;
  int current = -1;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber* fiber = nullptr;
  Place scheduler;
  Stack scheduler_stack;
  void* scheduler_fake = nullptr;
  std::exception_ptr error;
  std::unique_ptr<unsigned char[]> shared;
};

Block* g_block = nullptr;
unsigned g_seed = 0;
bool g_idle = false;
int64_t g_launches = 0;

Thread& current_thread() { return g_block->threads[g_block->current]; }

void set_thread(int t) {
  g_block->current = t;
  const unsigned i = static_cast<unsigned>(t), x = blockDim.x, y = blockDim.y;
  threadIdx = {i % x, i / x % y, i / (x * y)};
}

void leave_fiber(bool for_good) {
  Fiber* fiber = g_block->fiber;
  before_switch(for_good ? nullptr : &fiber->fake, g_block->scheduler_stack);
  jump(fiber->place, g_block->scheduler, false);
  after_switch(fiber->fake, &g_block->scheduler_stack);
}

void fiber_main() {
  after_switch(nullptr, &g_block->scheduler_stack);
  Fiber* fiber = g_block->fiber;
  while (g_block->started < g_block->order.size()) {
    set_thread(g_block->order[g_block->started++]);
    try {
      (*g_block->body)();
    } catch (...) {
      g_block->error = std::current_exception();
    }
    current_thread().state = State::kDone;
    if (fiber->busy || g_block->error) break;  // it was suspended and resumed: the other threads have gone on elsewhere
  }
  fiber->busy = false;
  leave_fiber(true);
}

void enter_fiber(Fiber* fiber) {
  g_block->fiber = fiber;
  before_switch(&g_block->scheduler_fake, fiber->stack());
  const bool starts = fiber->starts;
  fiber->starts = false;
  jump(g_block->scheduler, fiber->place, starts);
  after_switch(g_block->scheduler_fake, nullptr);
  if (g_block->error) std::rethrow_exception(g_block->error);
}

Fiber* idle_fiber() {
  auto& fibers = g_block->fibers;
  auto free_fiber = std::find_if(fibers.begin(), fibers.end(), [](const auto& f) { return !f->busy; });
  if (free_fiber == fibers.end()) free_fiber = fibers.insert(fibers.end(), std::make_unique<Fiber>());
  Fiber* fiber = free_fiber->get();
  ucontext_t& context = fiber->place.context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber->memory.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, fiber_main, 0);
  fiber->starts = true;
  return fiber;
}

// If every live thread of [begin, end) waits in `state`, makes them ready.
bool release(int begin, int end, State state) {
  auto& threads = g_block->threads;
  bool any = false;
  for (int t = begin; t < end; ++t) {
    if (threads[t].state == State::kDone) continue;
    if (threads[t].state != state) return false;
    any = true;
  }
  for (int t = begin; any && t < end; ++t) {
    if (threads[t].state == state) threads[t].state = State::kReady;
  }
  return any;
}

void run_block(int n) {
  g_block->threads.assign(n, Thread{});
  g_block->started = 0;
  while (g_block->started < g_block->order.size()) enter_fiber(idle_fiber());
  const auto live = [](const Thread& t) { return t.state != State::kDone; };
  while (std::any_of(g_block->threads.begin(), g_block->threads.end(), live)) {
    bool progress = false;
    for (int w = 0; w < n; w += warpSize) progress |= release(w, std::min(n, w + warpSize), State::kAtWarpBarrier);
    if (!progress) progress = release(0, n, State::kAtBlockBarrier);
    if (!progress) {
      throw std::runtime_error(
          "cuda emulation: divergent barrier: some live threads of the block or warp never reach it");
    }
    for (int t : g_block->order) {
      if (g_block->threads[t].state != State::kReady) continue;
      set_thread(t);
      enter_fiber(g_block->threads[t].fiber);
    }
  }
}

}  // namespace

void set_seed(unsigned seed) { g_seed = seed; }
void set_idle(bool idle) { g_idle = idle; }
int64_t launches() { return g_launches; }
unsigned char* dynamic_shared() { return g_block->shared.get(); }
int lane() { return g_block->current % warpSize; }

void wait(Barrier barrier) {
  Thread& thread = current_thread();
  const int t = g_block->current;
  thread.state = barrier == Barrier::kWarp ? State::kAtWarpBarrier : State::kAtBlockBarrier;
  thread.fiber = g_block->fiber;
  thread.fiber->busy = true;
  leave_fiber(false);
  set_thread(t);
}

namespace {

// Leaves `value` where the other lanes of the warp find it; returns which of the two slots it is in.
unsigned publish(uint64_t value) {
  Thread& thread = current_thread();
  const unsigned parity = thread.exchanges++ & 1;
  thread.slot[parity] = value;
  wait(Barrier::kWarp);
  return parity;
}

}  // namespace

uint64_t exchange(uint64_t value, int lane) {
  const unsigned parity = publish(value);
  const size_t source = g_block->current / warpSize * warpSize + lane;
  if (source >= g_block->threads.size() || g_block->threads[source].exchanges < current_thread().exchanges) {
    throw std::runtime_error("cuda emulation: a warp primitive reads a lane that does not take part in it");
  }
  return g_block->threads[source].slot[parity];
}

unsigned ballot(bool predicate) {
  const unsigned parity = publish(predicate);
  const size_t base = g_block->current / warpSize * warpSize;
  unsigned mask = 0;
  for (size_t i = 0; i < warpSize && base + i < g_block->threads.size(); ++i) {
    const Thread& thread = g_block->threads[base + i];
    if (thread.exchanges >= current_thread().exchanges && thread.slot[parity]) mask |= 1u << i;
  }
  return mask;
}

void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  const int n = static_cast<int>(block.x * block.y * block.z);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (n < 1 || n > 1024 || blocks == 0 || grid.y > 65535 || grid.z > 65535 || shared_bytes > kSharedLimit) {
    throw std::runtime_error("cuda emulation: invalid launch configuration");
  }
  ++g_launches;
  if (g_idle) return;
  Block state;
  g_block = &state;
  struct Reset {
    ~Reset() { g_block = nullptr; }
  } reset;
  state.body = &body;
  state.shared.reset(new unsigned char[shared_bytes]);
  gridDim = grid;
  blockDim = block;
  state.order.resize(n);
  std::iota(state.order.begin(), state.order.end(), 0);
  std::vector<uint64_t> block_order(blocks);
  std::iota(block_order.begin(), block_order.end(), 0);
  std::mt19937 random(g_seed);
  if (g_seed) std::shuffle(block_order.begin(), block_order.end(), random);
  for (const uint64_t k : block_order) {
    if (g_seed) std::shuffle(state.order.begin(), state.order.end(), random);
    blockIdx = {static_cast<unsigned>(k % grid.x), static_cast<unsigned>(k / grid.x % grid.y),
                static_cast<unsigned>(k / (uint64_t{grid.x} * grid.y))};
    std::memset(state.shared.get(), 0xff, shared_bytes);  // NaN: a read before any write shows
    run_block(n);
  }
}

}  // namespace vfi::emulation
