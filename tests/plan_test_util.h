// What the tests of the plans share: random numerics, operands between trapping pages, and a plan run in every way it can be.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "octavo/conv.h"
#include "octavo/gemm.h"
#include "octavo/reference.h"
#include "octavo/registry.h"
#include "octavo/threads.h"
#include "test_util.h"

namespace octavo::test {

// Every kernel for (op, a) that this machine can run, those of odd layouts included; then null, the plan's own choice.
inline std::vector<const KernelInfo*> runnable_kernels(Op op, DType a) {
  std::vector<const KernelInfo*> rows;
  for (const KernelInfo& k : kernels())
    if (k.op == op && k.a == a && covers(detected_isa(), k.needs)) rows.push_back(&k);
  rows.push_back(nullptr);
  return rows;
}

// Numerics of every kind, and the arrays they point to. `k` sets the scale of the output, so that it is not all clamped.
struct RandomNumerics {
  std::vector<float> w_scale, bias_f32;
  std::vector<int32_t> bias_s32;
  Numerics value;

  RandomNumerics(Noise& noise, DType a, DType out, int64_t n, int64_t k, bool residual) {
    value.out = out;
    const double spread = std::sqrt(double(k));
    bias_f32.resize(size_t(n));
    bias_s32.resize(size_t(n));
    if (a != DType::f32) {
      const int32_t u8_points[] = {0, 7, 255, 128}, s8_points[] = {0, 7, -128, 127};
      value.a = {noise.real(0.001f, 0.1f), (a == DType::u8 ? u8_points : s8_points)[noise.integer(0, 3)]};
      w_scale.resize(noise.integer(0, 1) ? size_t(n) : 1);
      for (float& s : w_scale) s = noise.real(0.001f, 0.01f);
      value.w_scale = w_scale.data();
      value.w_scale_count = int64_t(w_scale.size());
    }
    const float unit = a == DType::f32 ? 1.0f : value.a.scale * 0.005f;
    const int64_t kind = noise.integer(0, a == DType::f32 ? 1 : 2);
    for (float& b : bias_f32) b = unit * float(spread) * noise.real(-3000, 3000);
    for (int32_t& b : bias_s32) b = int32_t(noise.integer(-5000, 5000));
    if (kind == 1) value.bias_f32 = bias_f32.data();
    if (kind == 2) value.bias_s32 = bias_s32.data();
    if (out == DType::u8 || out == DType::s8) {
      value.out_q = {unit * float(spread) * noise.real(40, 400), int32_t(noise.integer(qmin_of(out), qmax_of(out)))};
    }
    const int64_t clamp = noise.integer(0, 2);
    if (clamp >= 1) value.lo = 0;
    if (clamp == 2) value.hi = 6;
    value.has_residual = residual && out != DType::s32;
    value.residual_dtype = out == DType::f32 ? DType::f32 : noise.integer(0, 1) ? DType::u8 : DType::s8;
    value.residual_q = {value.out_q.scale * noise.real(0.2f, 3),
                        int32_t(noise.integer(qmin_of(value.residual_dtype), qmax_of(value.residual_dtype)))};
  }

  // In some cases, where there may be one. Not one that makes NaNs, whose signs differ between instruction sets.
  void add_function(Noise& noise) {
    if (value.has_residual || value.out == DType::s32 || noise.integer(0, 3)) return;
    constexpr Unary kOps[] = {Unary::abs,  Unary::exp,         Unary::round,     Unary::relu,    Unary::leaky_relu,
                              Unary::elu,  Unary::sigmoid,     Unary::tanh,      Unary::gelu,    Unary::gelu_tanh,
                              Unary::silu, Unary::hardsigmoid, Unary::hardswish, Unary::softplus};
    value.function = Function{kOps[noise.integer(0, int64_t(std::size(kOps)) - 1)], noise.real(0.05f, 0.3f), 0.5f};
  }
};

// Nothing in half of the cases; else anything that a caller may decide.
inline Choice random_choice(Noise& noise) {
  Choice c;
  if (noise.integer(0, 1)) return c;
  for (std::optional<bool>* b : {&c.short_sums, &c.flat, &c.fused, &c.grouped, &c.winograd, &c.in_place, &c.rows_first, &c.packed})
    if (noise.integer(0, 1)) *b = noise.integer(0, 1);
  if (noise.integer(0, 1)) c.block_rows = noise.integer(1, 40);
  if (noise.integer(0, 1)) c.panel_group = noise.integer(1, 8);
  return c;
}

// Random elements, or (8-bit) now and then nothing but extremes.
inline void fill_elements(Noise& noise, char* p, size_t bytes, DType t) {
  if (t == DType::f32) {
    for (size_t i = 0; i < bytes; i += 4) {
      const float v = noise.real(-2, 2);
      std::memcpy(p + i, &v, 4);
    }
    return;
  }
  const bool extremes = noise.integer(0, 5) == 0;
  noise.fill(p, bytes);
  const char lo = t == DType::u8 ? 0 : char(-128), hi = t == DType::u8 ? char(255) : 127;
  if (extremes)
    for (size_t i = 0; i < bytes; ++i) p[i] = p[i] & 1 ? hi : lo;
}

// Runs a plan once over all tiles, then tile by tile, then split in two, then on 2 and 3 threads; the output must be `expected`
// each time, the bytes between its rows included. `c` holds `before` at the start of each run.
template <class Plan, class Args>
void expect_every_way(const Plan& plan, const Args& args, int64_t tiles, char* c, const std::string& before,
                      const std::string& expected, const std::string& what) {
  const size_t bytes = plan.workspace_bytes();
  GuardedBuffer workspace(bytes * 3 + 64);
  void* ws = bytes ? workspace.right(bytes, 64) : nullptr;
  const auto expect = [&](const char* how) {
    const std::string got(c, expected.size());
    if (got == expected) return;
    size_t at = 0;
    while (got[at] == expected[at]) ++at;
    ADD_FAILURE() << what << " " << how << ": byte " << at << " of " << expected.size() << " is " << int(uint8_t(got[at]))
                  << ", expected " << int(uint8_t(expected[at]));
  };
  const auto reset = [&] { std::memcpy(c, before.data(), before.size()); };
  const auto run = [&](int64_t begin, int64_t end) {
    const Status s = plan.run(args, begin, end, ws);
    ASSERT_TRUE(s.ok()) << what << ": " << s.text();
  };
  reset();
  run(0, tiles);
  expect("in one run");
  reset();
  for (int64_t t = tiles; t-- > 0;) run(t, t + 1);
  expect("tile by tile");
  reset();
  run(tiles / 3, tiles);
  run(0, tiles / 3);
  expect("in two runs");
  static std::vector<ThreadPool>* pools = [] {
    auto* p = new std::vector<ThreadPool>;
    for (int n = 1; n <= 3; ++n) p->push_back(*ThreadPool::create(n));
    return p;
  }();
  for (ThreadPool& pool : *pools) {
    reset();
    const Status s =
        plan.run(args, bytes ? workspace.right(bytes * size_t(pool.parallel().threads), 64) : nullptr, pool.parallel());
    ASSERT_TRUE(s.ok()) << what << ": " << s.text();
    expect("on threads");
  }
}

// An operand of `rows` rows: exactly as many bytes as may be touched, ending or beginning at a trap.
struct Operand {
  GuardedBuffer memory;
  char* data = nullptr;
  size_t bytes = 0;
  Operand(Noise& noise, int64_t rows, int64_t row_bytes, ptrdiff_t stride, DType t)
      : memory(size_t((rows - 1) * stride + row_bytes) + 8), bytes(size_t((rows - 1) * stride + row_bytes)) {
    data = noise.integer(0, 2) ? memory.right(bytes) : memory.left(bytes);
    fill_elements(noise, data, t == DType::f32 ? bytes / 4 * 4 : bytes, t);
  }
  std::string str() const { return std::string(data, bytes); }
};

// No error, or a failed test that says what it was.
template <class Plan>
bool expect_plan(const Expected<Plan>& plan, const std::string& what) {
  EXPECT_TRUE(bool(plan)) << what << ": " << plan.status().text();
  return bool(plan);
}

inline void expect_error(const Status& s, Code code, const std::string& argument) {
  EXPECT_EQ(int(s.code()), int(code)) << argument << ": " << s.text();
  EXPECT_NE(std::string(s.text()).find(argument), std::string::npos) << "\"" << s.text() << "\" does not name " << argument;
}

}  // namespace octavo::test
