#include "testing/ptx/launch.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace vfi::ptx {
namespace {

std::map<std::string, Counts> g_counts;
bool g_device_asked = false;
std::map<std::string, size_t> g_allowed;  // shared memory of kernels that opted in
constexpr size_t kUsualShared = 48 * 1024;
constexpr int64_t kRegisterFile = 65536;

void check_limits(const std::string& name, const Kernel& kernel, Dim3 grid, Dim3 block, size_t shared) {
  const auto refuse = [&](const std::string& why) { fail("a GPU refuses this launch of " + name + ": " + why); };
  const uint64_t threads = block.count();
  if (grid.count() == 0 || threads == 0) refuse("no blocks or no threads");
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) refuse("the grid is too large");
  if (threads > 1024 || block.z > 64) refuse(std::to_string(threads) + " threads in a block");
  const int64_t bound = kernel.entry->max_threads;
  if (bound != 0 && threads > static_cast<uint64_t>(bound)) {
    refuse(std::to_string(threads) + " threads, more than its __launch_bounds__ of " + std::to_string(bound));
  }
  const auto allowed = g_allowed.find(name);
  const size_t limit = allowed == g_allowed.end() ? kUsualShared : allowed->second;
  if (shared > limit) refuse(std::to_string(shared) + " bytes of shared memory, of " + std::to_string(limit));
  const int64_t registers =
      (kernel.registers + 7) / 8 * 8 * kLanes * static_cast<int64_t>((threads + kLanes - 1) / kLanes);
  if (registers > kRegisterFile) refuse(std::to_string(registers) + " registers");
}

std::vector<unsigned char> packed(const std::string& name, const Entry& entry, const Arguments& arguments) {
  if (arguments.size() != entry.parameters.size()) {
    fail(name + ": expected " + std::to_string(entry.parameters.size()) + " arguments, got " +
         std::to_string(arguments.size()));
  }
  std::vector<unsigned char> bytes(static_cast<size_t>(entry.parameter_bytes) + 16);
  for (size_t n = 0; n < arguments.size(); ++n) {
    const Parameter& p = entry.parameters[n];
    if (arguments[n].size() != static_cast<size_t>(p.bytes)) {
      fail(name + ": expected argument " + std::to_string(n) + " of " + std::to_string(p.bytes) + " bytes, got " +
           std::to_string(arguments[n].size()));
    }
    std::copy(arguments[n].begin(), arguments[n].end(), bytes.begin() + p.offset);
  }
  return bytes;
}

// The tensors of a launch: every pointer among its arguments leads into one.
void find_tensors(Storage& storage, const std::vector<unsigned char>& parameters) {
  for (size_t at = 0; at + sizeof(uintptr_t) <= parameters.size(); at += sizeof(uintptr_t)) {
    uintptr_t value;
    std::memcpy(&value, parameters.data() + at, sizeof(value));
    if (value != 0) add_allocation(storage, value);
  }
}

// The blocks that run, in the order of the seed.
std::vector<uint64_t> chosen_blocks(uint64_t blocks, std::mt19937& random) {
  const Settings& s = settings();
  const uint64_t count = s.sample > 0 ? std::min<uint64_t>(blocks, s.sample) : blocks;
  std::vector<uint64_t> order(count);
  for (uint64_t n = 0; n < count; ++n) order[n] = static_cast<uint64_t>(static_cast<__int128>(n) * blocks / count);
  if (s.seed) std::shuffle(order.begin(), order.end(), random);
  return order;
}

void run_blocks(Launch& launch, const std::vector<uint64_t>& blocks, std::mt19937& random) {
  Block block(launch);
  std::vector<int> warps((block.threads() + kLanes - 1) / kLanes);
  std::iota(warps.begin(), warps.end(), 0);
  for (const uint64_t n : blocks) {
    if (settings().seed) std::shuffle(warps.begin(), warps.end(), random);
    const Dim3 g = launch.grid;
    block.run({static_cast<uint32_t>(n % g.x), static_cast<uint32_t>(n / g.x % g.y),
               static_cast<uint32_t>(n / (uint64_t{g.x} * g.y))},
              n, warps);
  }
}

void note(const std::string& name, const Launch& l, uint64_t run, const SectorCounts& sectors) {
  Counts& c = g_counts[name];
  const uint64_t blocks = l.grid.count();
  const double weight = static_cast<double>(blocks) / static_cast<double>(run);
  const auto scaled = [=](int64_t n) { return static_cast<int64_t>(std::llround(static_cast<double>(n) * weight)); };
  c.kernel = &l.kernel;
  c.weight = weight;
  c.launches += 1;
  c.blocks += static_cast<int64_t>(blocks);
  c.threads += static_cast<int64_t>(blocks * l.block.count());
  c.block_threads = static_cast<int64_t>(l.block.count());
  c.most_blocks = std::max(c.most_blocks, static_cast<int64_t>(blocks));
  if (std::exchange(g_device_asked, false)) c.sized_by_device = true;
  c.shared_bytes = std::max<int64_t>(c.shared_bytes, l.shared_bytes);
  c.sectors.read += scaled(sectors.read);
  c.sectors.written += scaled(sectors.written);
  c.sectors.added += scaled(sectors.added);
  c.tallies.resize(l.tallies.size());
  for (size_t n = 0; n < l.tallies.size(); ++n) {
    const Tally& t = l.tallies[n];
    Tally& sum = c.tallies[n];
    sum.issued += scaled(t.issued);
    sum.lanes += scaled(t.lanes);
    sum.requests += scaled(t.requests);
    sum.sectors += scaled(t.sectors);
    sum.wavefronts += scaled(t.wavefronts);
    sum.least_wavefronts += scaled(t.least_wavefronts);
  }
}

}  // namespace

Settings& settings() {
  static Settings s;
  return s;
}

void launch(const std::string& name, Dim3 grid, Dim3 block, size_t dynamic_shared, const Arguments& arguments,
            Storage* given) {
  const Kernel& kernel = kernel_of(name);
  const Entry& entry = *kernel.entry;
  const size_t before = static_cast<size_t>(aligned(entry.shared_bytes, kernel.dynamic_alignment));
  const size_t shared = dynamic_shared > 0 ? before + dynamic_shared : static_cast<size_t>(entry.shared_bytes);
  check_limits(name, kernel, grid, block, shared);
  Storage own;
  Storage& storage = given != nullptr ? *given : own;
  Launch l{kernel,           grid, block, shared, packed(name, entry, arguments), storage, settings().races,
           settings().jumps, {}};
  if (given == nullptr) find_tensors(storage, l.parameters);
  for (const auto& [begin, bytes, constant] : kernel.variables) storage.add(begin, bytes, constant);
  l.tallies.resize(kernel.code.size());
  std::mt19937 random(settings().seed);
  const auto blocks = chosen_blocks(grid.count(), random);
  run_blocks(l, blocks, random);
  note(name, l, blocks.size(), storage.sectors());
}

void allow_shared(const std::string& name, size_t bytes) {
  const size_t most = settings().device.shared_bytes;
  if (bytes > most)
    fail("a GPU refuses " + name + ": " + std::to_string(bytes) + " bytes of shared memory, of " +
         std::to_string(most));
  g_allowed[name] = std::max(bytes, kUsualShared);
}

const std::map<std::string, Counts>& counts() { return g_counts; }
void forget_counts() { g_counts.clear(); }

void note_device_asked() { g_device_asked = true; }

void count_memset(uintptr_t begin, size_t bytes) {
  Counts& c = g_counts["memset"];
  ++c.launches;
  c.sectors.written += static_cast<int64_t>((begin + bytes + kSectorBytes - 1) / kSectorBytes - begin / kSectorBytes);
}

}  // namespace vfi::ptx
