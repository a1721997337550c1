#include "octavo/gemm.h"

#include "plan_test_util.h"

namespace octavo {
namespace {
using namespace test;

void check_gemm(Noise& noise, const KernelInfo* kernel, DType a, DType out, int64_t m, int64_t n, int64_t k) {
  const bool transposed = noise.integer(0, 1), dense = noise.integer(0, 1);
  const int64_t gap = dense ? 0 : noise.integer(1, 9);
  RandomNumerics numerics(noise, a, out, n, k, noise.integer(0, 1));
  numerics.add_function(noise);
  const DType b = a == DType::f32 ? DType::f32 : DType::s8, r = numerics.value.residual_dtype;
  const int64_t a_row = k * int64_t(size_of(a)), c_row = n * int64_t(size_of(out)), r_row = n * int64_t(size_of(r));
  Operand A(noise, m, a_row, a_row + gap, a), B(noise, 1, k * n * int64_t(size_of(b)), 0, b),
      C(noise, m, c_row, c_row + gap, DType::u8), R(noise, m, r_row, r_row + gap, r);
  GemmDesc d;
  d.n = n, d.k = k, d.a = a, d.b = B.data, d.numerics = numerics.value, d.kernel = kernel,
  d.choice = random_choice(noise);
  d.b_row_stride = transposed ? 1 : n;
  d.b_col_stride = transposed ? k : 1;
  GemmArgs g{m, A.data, a_row + gap, C.data, c_row + gap, nullptr, 0};
  if (numerics.value.has_residual) g.residual = R.data, g.residual_stride_bytes = r_row + gap;
  const std::string before = C.str();
  reference::gemm(d, g);
  const std::string expected = C.str();
  const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(a) + "->" + name_of(out) + " " +
                           std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " residual " +
                           std::to_string(numerics.value.has_residual);
  const Expected<GemmPlan> plan = GemmPlan::create(d);
  if (!expect_plan(plan, what)) return;
  if (kernel) {
    EXPECT_STREQ(plan->kernel().name, kernel->name);
  }
  expect_every_way(*plan, g, plan->tiles(m), C.data, before, expected, what + " " + plan->describe());
}

TEST(Gemm, EqualsReference) {
  Noise noise(1);
  const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33, 35, 63, 64, 65};
  const auto size = [&] { return sizes[noise.integer(0, std::size(sizes) - 1)]; };
  for (DType a : {DType::u8, DType::s8, DType::f32})
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a))
      for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8}) {
        if (a == DType::f32 && out != DType::f32) continue;
        for (int i = 0; i < thinned(40); ++i) check_gemm(noise, kernel, a, out, size(), size(), size());
      }
}

TEST(Gemm, Large) {
  Noise noise(2);
  for (DType a : {DType::u8, DType::s8, DType::f32}) {
    for (DType out : {DType::f32, DType::u8}) {
      if (a == DType::f32 && out == DType::u8) continue;
      check_gemm(noise, nullptr, a, out, 300, 130, 259);  // many blocks
      check_gemm(noise, nullptr, a, out, 3, 1030, 129);   // few rows
      check_gemm(noise, nullptr, a, out, 1000, 5, 17);    // few columns
      check_gemm(noise, nullptr, a, out, 65, 33, 5000);   // deep
    }
  }
}

TEST(Gemm, WorstCaseSums) {
  // 255 * -128 and -128 * -128 over the largest k that a plan takes, less the bias.
  for (DType a : {DType::u8, DType::s8}) {
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a)) {
      const int64_t k = a == DType::u8 ? 65793 : 131071;
      const std::vector<uint8_t> A(size_t(k), a == DType::u8 ? 255 : 0x80);
      const std::vector<int8_t> B(size_t(k), -128);
      int32_t c = 0;
      GemmDesc d;
      d.n = 1, d.k = k, d.a = a, d.b = B.data(), d.b_row_stride = 1, d.b_col_stride = k, d.numerics.out = DType::s32,
      d.kernel = kernel;
      const Expected<GemmPlan> plan = GemmPlan::create(d);
      ASSERT_TRUE(expect_plan(plan, name_of(a)));
      ASSERT_TRUE(plan->run({1, A.data(), k, &c, 4, nullptr, 0}, nullptr, single_thread()).ok());
      EXPECT_EQ(c, int32_t(k * (a == DType::u8 ? 255 * -128 : 128 * 128))) << plan->kernel().name;
      d.k = k + 1;
      expect_error(GemmPlan::create(d).status(), Code::overflow, "k");
    }
  }
}

TEST(Gemm, HonoursIsa) {
  const int8_t b = 1;
  for (const IsaName& isa : isa_names()) {
    GemmDesc d;
    d.n = d.k = 1, d.b = &b, d.numerics.out = DType::s32, d.use_isa = true, d.isa = isa.implies;
    const Expected<GemmPlan> plan = GemmPlan::create(d);
    if (!covers(detected_isa(), isa.implies)) {
      expect_error(plan.status(), Code::unsupported, "isa");
    } else {
      ASSERT_TRUE(expect_plan(plan, isa.name));
      EXPECT_EQ(&plan->kernel(), best_kernel(Op::brgemm, DType::u8, DType::s8, isa.implies));
    }
  }
}

class GemmErrors : public ::testing::Test {
 protected:
  GemmErrors() {
    d.n = 4, d.k = 4, d.b = b, d.b_row_stride = 4, d.b_col_stride = 1;
    d.numerics.w_scale = scale, d.numerics.w_scale_count = 4;
  }
  void expect(Code code, const char* argument) { expect_error(GemmPlan::create(d).status(), code, argument); }
  GemmDesc d;
  int8_t b[16] = {};
  float scale[4] = {1, 1, 1, 1}, bias[4] = {};
  int32_t bias_s32[4] = {};
};

TEST_F(GemmErrors, Accepts) { EXPECT_TRUE(bool(GemmPlan::create(d))); }
TEST_F(GemmErrors, Sizes) {
  d.n = 0;
  expect(Code::invalid_argument, "n is 0");
  d.n = INT64_MAX / 2, d.numerics.w_scale_count = 1;
  d.numerics.out = DType::s32;
  expect(Code::overflow, "n * k");
  d.n = 4, d.k = -1;
  expect(Code::invalid_argument, "k is -1");
  d.k = 65794;
  expect(Code::overflow, "65793");
}
TEST_F(GemmErrors, Operands) {
  d.b = nullptr;
  expect(Code::invalid_argument, "b is null");
  d.b = b, d.a = DType::s32;
  expect(Code::unsupported, "a is s32");
  d.a = DType::u8, d.kernel = find_kernel("brgemm_s8s8_scalar_4x4x1");
  expect(Code::invalid_argument, "kernel is brgemm_s8s8");
  d.kernel = nullptr, d.a = DType::f32, d.numerics.out = DType::u8;
  expect(Code::unsupported, "numerics.out");
  d.numerics.out = DType::f32, d.numerics.bias_s32 = bias_s32;
  expect(Code::invalid_argument, "numerics.bias_s32");
}
TEST_F(GemmErrors, Scales) {
  for (float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    scale[2] = bad;
    expect(Code::invalid_argument, "numerics.w_scale");
    scale[2] = 1, d.numerics.a.scale = bad;
    expect(Code::invalid_argument, "numerics.a.scale");
    d.numerics.a.scale = 1, d.numerics.out = DType::u8, d.numerics.out_q.scale = bad;
    expect(Code::invalid_argument, "numerics.out_q.scale");
    d.numerics.out_q.scale = 1, d.numerics.has_residual = true, d.numerics.residual_q.scale = bad;
    expect(Code::invalid_argument, "numerics.residual_q.scale");
    d.numerics.residual_q.scale = 1, d.numerics.has_residual = false, d.numerics.out = DType::f32;
  }
  d.numerics.w_scale_count = 3;
  expect(Code::invalid_argument, "numerics.w_scale_count");
  d.numerics.w_scale = nullptr;
  expect(Code::invalid_argument, "numerics.w_scale is null");
  d.numerics.w_scale = scale, d.numerics.w_scale_count = 4, scale[3] = 1e30f, d.numerics.a.scale = 1e30f;
  expect(Code::overflow, "column 3");
}
TEST_F(GemmErrors, ZeroPoints) {
  d.numerics.a.zero_point = 256;
  expect(Code::invalid_argument, "numerics.a.zero_point");
  d.numerics.a.zero_point = 0, d.numerics.out = DType::s8, d.numerics.out_q.zero_point = 128;
  expect(Code::invalid_argument, "numerics.out_q.zero_point");
}
TEST_F(GemmErrors, Output) {
  d.numerics.out = DType::s64;
  expect(Code::unsupported, "numerics.out is s64");
  d.numerics.out = DType::f32, d.numerics.lo = 1, d.numerics.hi = 0;
  expect(Code::invalid_argument, "numerics.lo");
  d.numerics.lo = -1, d.numerics.hi = std::nanf("");
  expect(Code::invalid_argument, "numerics.hi");
  d.numerics.hi = 1, d.numerics.has_residual = true, d.numerics.residual_dtype = DType::u8;
  expect(Code::unsupported, "numerics.residual_dtype");
  d.numerics.out = DType::u8, d.numerics.residual_dtype = DType::f32;
  expect(Code::unsupported, "numerics.residual_dtype");
  d.numerics.out = DType::s32;
  expect(Code::unsupported, "numerics.has_residual");
}
TEST_F(GemmErrors, Function) {
  d.numerics.function = Function{Unary::silu};
  d.numerics.out = DType::s32;
  expect(Code::unsupported, "numerics.function: s32 output");
  d.numerics.out = DType::u8, d.numerics.has_residual = true;
  expect(Code::unsupported, "numerics.function: not with a residual");
  d.numerics.has_residual = false, d.numerics.function->op = Unary(200);
  expect(Code::invalid_argument, "numerics.function.op is 200");
  d.numerics.function->op = Unary::silu, d.numerics.out_q.scale = 0;
  expect(Code::invalid_argument, "numerics.out_q.scale");
  d.numerics.out_q.scale = 1;
  const GemmPlan plan = *GemmPlan::create(d);
  ASSERT_GT(plan.workspace_bytes(), 0u);
  uint8_t a[16] = {}, c[16];
  expect_error(plan.run({4, a, 4, c, 4}, nullptr, single_thread()), Code::invalid_argument, "workspace");
  expect_error(plan.run({4, a, 4, c, 4}, 0, 1, nullptr), Code::invalid_argument, "workspace");
}
TEST_F(GemmErrors, Bias) {
  d.numerics.bias_f32 = bias, d.numerics.bias_s32 = bias_s32;
  expect(Code::invalid_argument, "numerics.bias_f32 and numerics.bias_s32");
  d.numerics.bias_s32 = nullptr, d.numerics.out = DType::u8, bias[1] = 3e9f;
  expect(Code::overflow, "numerics.bias_f32[1]");
}
TEST_F(GemmErrors, Run) {
  d.numerics.out = DType::u8, d.numerics.has_residual = true;
  const GemmPlan plan = *GemmPlan::create(d);
  uint8_t a[16] = {}, c[16], r[16] = {};
  const GemmArgs good{4, a, 4, c, 4, r, 4};
  const Parallel one = single_thread();
  EXPECT_TRUE(plan.run(good, nullptr, one).ok());
  const auto expect_run = [&](auto change, Code code, const char* argument) {
    GemmArgs g = good;
    change(g);
    expect_error(plan.run(g, nullptr, one), code, argument);
    expect_error(plan.run(g, 0, 1, nullptr), code, argument);
  };
  expect_run([](GemmArgs& g) { g.m = -1; }, Code::invalid_argument, "m is -1");
  expect_run([](GemmArgs& g) { g.a = nullptr; }, Code::invalid_argument, "a is null");
  expect_run([](GemmArgs& g) { g.c = nullptr; }, Code::invalid_argument, "c is null");
  expect_run([](GemmArgs& g) { g.residual = nullptr; }, Code::invalid_argument, "residual is null");
  expect_run([](GemmArgs& g) { g.a_stride_bytes = 3; }, Code::invalid_argument, "a: the stride is 3");
  expect_run([](GemmArgs& g) { g.c_stride_bytes = 0; }, Code::invalid_argument, "c: the stride is 0");
  expect_run([](GemmArgs& g) { g.m = INT64_MAX; }, Code::overflow, "a: ");
  expect_error(plan.run(good, 0, plan.tiles(4) + 1, nullptr), Code::invalid_argument, "tile_end");
  expect_error(plan.run(good, -1, 0, nullptr), Code::invalid_argument, "tile_begin");
  expect_error(plan.run(good, nullptr, {0, nullptr, nullptr}), Code::invalid_argument, "parallel.threads");
  expect_error(plan.run(good, nullptr, {2, nullptr, nullptr}), Code::invalid_argument, "parallel.run");
  GemmArgs none = good;
  none.m = 0;
  EXPECT_TRUE(plan.run(none, nullptr, one).ok());
  EXPECT_EQ(plan.tiles(0), 0);
}

}  // namespace
}  // namespace octavo
