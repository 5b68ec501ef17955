// mixture_lora on the CPU: products of torch's own library, put together so that the adapters cost little beside the
// base layer. What they give is written into the output first, with all biases, which a product takes along as columns
// times ones; the large product is then added to it.
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "ops/mixture_lora/matrices.h"
#include "ops/mixture_lora/mixture_lora_checks.h"

namespace vfi {
namespace {

using torch::stable::select;

// Tokens begin ... begin + count - 1 with their expert.
struct Run {
  int64_t begin, count, expert;
};

const int64_t* numbers(const Tensor& contiguous) { return static_cast<const int64_t*>(contiguous.const_data_ptr()); }

// The runs in order, without empty ones; checks the values.
std::vector<Run> runs_of(const LoraArguments& a, const LoraShape& s) {
  if (s.segments == 0) return {{0, s.tokens, s.expert}};
  const Tensor offsets = torch::stable::contiguous(*a.segments), experts = torch::stable::contiguous(*a.experts);
  const int64_t *const at = numbers(offsets), *const of = numbers(experts);
  bool right = at[0] == 0 && at[s.segments] == s.tokens;
  for (int64_t n = 0; n < s.segments; ++n) right = right && at[n] <= at[n + 1];
  if (!right) {
    fail("mixture_lora: expected segments that go up from 0 to ", std::to_string(s.tokens),
         ", the number of tokens, got ", shape_text(std::vector<int64_t>(at, at + s.segments + 1)));
  }
  std::vector<Run> runs;
  for (int64_t n = 0; n < s.segments; ++n) {
    if (of[n] < 1 || of[n] >= s.entries) {
      fail("mixture_lora: expected expert from 1 to ", std::to_string(s.entries - 1), ", got ", std::to_string(of[n]));
    }
    if (at[n] < at[n + 1]) runs.push_back({at[n], at[n + 1] - at[n], of[n]});
  }
  return runs;
}

Tensor rows(const Tensor& matrix, const Run& run) { return slice(matrix, 0, run.begin, run.count); }

// Entry 0 and that of the run: A as [2 r, in], a as [2 r].
Tensor both(const Tensor& entries, const Run& run) {
  return concatenated({select(entries, 0, 0), select(entries, 0, run.expert)}, 0);
}

// [out, 2 r], then a column for each bias.
Tensor both_b(const Tensor& lora_b, const Run& run, const Maybe& bias = {}, const Maybe& lora_b_bias = {}) {
  std::vector<Tensor> columns{select(lora_b, 0, 0), select(lora_b, 0, run.expert)};
  if (bias) columns.push_back(torch::stable::unsqueeze(*bias, 1));
  if (lora_b_bias) {
    for (const int64_t e : {int64_t{0}, run.expert}) {
      columns.push_back(torch::stable::unsqueeze(select(*lora_b_bias, 0, e), 1));
    }
  }
  return concatenated(columns, 1);
}

// s [tokens, 2 r] of the tokens x of a run.
void shrink(const Tensor& s, const Tensor& x, const LoraArguments& a, const Run& run) {
  Tensor to = s;
  if (a.lora_a_bias) torch::stable::copy_(to, both(*a.lora_a_bias, run));
  multiply(s, x, transposed(both(a.lora_a, run)), a.lora_a_bias.has_value());
}

Tensor mixture_lora(const Tensor& x, const Tensor& weight, const Maybe& bias, const Tensor& lora_a,
                    const Tensor& lora_b, const Maybe& lora_a_bias, const Maybe& lora_b_bias, int64_t expert,
                    const Maybe& experts, const Maybe& segments, bool) {
  const LoraArguments a{x, weight, lora_a, lora_b, lora_a_bias, expert, experts, segments};
  const LoraShape shape = check_mixture_lora(a);
  check_lora_biases(x, bias, lora_b_bias, shape);
  const Tensor tokens = rows_of(x, shape.tokens, shape.in);
  const Tensor out = result(x, {shape.tokens, shape.out}, x.scalar_type());
  for (const Run& run : runs_of(a, shape)) {
    const Tensor b = both_b(lora_b, run, bias, lora_b_bias);
    const int64_t columns = 2 * shape.rank;
    Tensor s = empty(x, {run.count, b.size(1)}, x.scalar_type()), ones = slice(s, 1, columns, b.size(1) - columns);
    shrink(slice(s, 1, 0, columns), rows(tokens, run), a, run);
    torch::stable::fill_(ones, 1);
    multiply(rows(out, run), s, transposed(b), false);
  }
  multiply(out, tokens, transposed(weight), true);
  return from_rows(out, x);
}

// The rows of the tokens that have an entry. Those of an expert with several runs are copied.
Tensor rows_with(const Tensor& matrix, const std::vector<Run>& runs, int64_t entry) {
  if (entry == 0) return matrix;
  std::vector<Tensor> rows_of_entry;
  for (const Run& run : runs) {
    if (run.expert == entry) rows_of_entry.push_back(rows(matrix, run));
  }
  if (rows_of_entry.empty()) return slice(matrix, 0, 0, 0);
  return rows_of_entry.size() == 1 ? rows_of_entry[0] : concatenated(rows_of_entry, 0);
}

// The half of s or q that belongs to an entry, for the tokens that have it.
Tensor half_with(const Tensor& both, const std::vector<Run>& runs, int64_t entry) {
  const int64_t rank = both.size(1) / 2;
  return rows_with(slice(both, 1, entry == 0 ? 0 : rank, rank), runs, entry);
}

void sum_rows(const Tensor& to, const Tensor& matrix) {
  Tensor sum = to;
  torch::stable::sum_out(sum, matrix, std::array<int64_t, 1>{0});
}

struct LoraNeeded {
  bool x, weight, bias, lora_a, lora_b, lora_a_bias, lora_b_bias;
};

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients mixture_lora_grad(const Tensor& grad_out, const Tensor& x, const Tensor& weight, const Tensor& lora_a,
                            const Tensor& lora_b, const Maybe& lora_a_bias, int64_t expert, const Maybe& experts,
                            const Maybe& segments, bool, bool need_x, bool need_weight, bool need_bias,
                            bool need_lora_a, bool need_lora_b, bool need_lora_a_bias, bool need_lora_b_bias) {
  const LoraArguments a{x, weight, lora_a, lora_b, lora_a_bias, expert, experts, segments};
  const LoraShape shape = check_mixture_lora(a);
  check_lora_grad_out(grad_out, x, shape);
  const ScalarType type = x.scalar_type();
  const auto fresh = [&](bool needed, Sizes sizes) { return needed ? empty(x, sizes, type) : nothing(x, type); };
  const Tensor tokens = rows_of(x, shape.tokens, shape.in), g = rows_of(grad_out, shape.tokens, shape.out);
  const std::vector<Run> runs = runs_of(a, shape);
  const bool needs_q = need_x || need_lora_a || need_lora_a_bias;
  const Tensor q = fresh(needs_q, {shape.tokens, 2 * shape.rank});
  const Tensor s = fresh(need_lora_b, {shape.tokens, 2 * shape.rank});
  const Tensor grad_x = fresh(need_x, {shape.tokens, shape.in});
  const Tensor grad_weight = fresh(need_weight, {shape.out, shape.in});
  for (const Run& run : runs) {
    if (needs_q) multiply(rows(q, run), rows(g, run), both_b(lora_b, run), false);
    if (need_x) multiply(rows(grad_x, run), rows(q, run), both(lora_a, run), false);
    if (need_lora_b) shrink(rows(s, run), rows(tokens, run), a, run);
  }
  if (need_x) multiply(grad_x, g, weight, true);
  if (need_weight) multiply(grad_weight, transposed(g), tokens, false);
  const Tensor grad_bias = fresh(need_bias, {shape.out});
  if (need_bias) sum_rows(grad_bias, g);
  const Tensor grad_a = fresh(need_lora_a, {shape.entries, shape.rank, shape.in});
  const Tensor grad_b = fresh(need_lora_b, {shape.entries, shape.out, shape.rank});
  const Tensor grad_a_bias = fresh(need_lora_a_bias, {shape.entries, shape.rank});
  const Tensor grad_b_bias = fresh(need_lora_b_bias, {shape.entries, shape.out});
  for (int64_t e = 0; e < shape.entries; ++e) {
    if (need_lora_a) {
      multiply(select(grad_a, 0, e), transposed(half_with(q, runs, e)), rows_with(tokens, runs, e), false);
    }
    if (need_lora_b) multiply(select(grad_b, 0, e), transposed(rows_with(g, runs, e)), half_with(s, runs, e), false);
    if (need_lora_a_bias) sum_rows(select(grad_a_bias, 0, e), half_with(q, runs, e));
    if (need_lora_b_bias) sum_rows(select(grad_b_bias, 0, e), rows_with(g, runs, e));
  }
  return {need_x ? from_rows(grad_x, x) : grad_x, grad_weight, grad_bias, grad_a, grad_b, grad_a_bias, grad_b_bias};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("mixture_lora", TORCH_BOX(&vfi::mixture_lora));
  m.impl("mixture_lora_grad", TORCH_BOX(&vfi::mixture_lora_grad));
}
