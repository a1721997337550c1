#include "octavo/matmul.h"

#include "plan_test_util.h"

namespace octavo {
namespace {
using namespace test;

void check_matmul(Noise& noise, const KernelInfo* kernel, DType a, DType b, DType out, int64_t m, int64_t n, int64_t k) {
  const auto gap = [&] { return noise.integer(0, 1) ? 0 : 4 * noise.integer(1, 3); };
  const int64_t batch = noise.integer(1, 2), heads = noise.integer(1, 3), a_size = int64_t(size_of(a)),
                b_size = int64_t(size_of(b)), c_size = int64_t(size_of(out));
  RandomNumerics numerics(noise, a, out, n, k, noise.integer(0, 1));
  const DType r = numerics.value.residual_dtype;
  const int64_t r_size = int64_t(size_of(r));
  MatmulDesc d;
  d.n = n, d.k = k, d.a = a, d.b = b, d.numerics = numerics.value, d.kernel = kernel,
  d.choice = random_choice(noise);
  if (b != DType::f32) {
    const int32_t points[] = {qmin_of(b), qmin_of(b) + 128, qmax_of(b), int32_t(noise.integer(qmin_of(b), qmax_of(b)))};
    d.b_zero_point = points[noise.integer(0, 3)];
  }
  MatmulArgs g;
  g.batch = batch, g.heads = heads, g.m = m;
  // A, C: heads beside each other in a row, as projections leave them; or one behind the other.
  const auto place = [&](int64_t rows, int64_t row_bytes, ptrdiff_t& row, MatrixStrides& s) {
    const int64_t space = gap();
    if (noise.integer(0, 1)) {
      row = heads * row_bytes + space;
      s = {rows * row, row_bytes};
    } else {
      row = row_bytes + space;
      s = {heads * rows * row, rows * row};
    }
    return (batch - 1) * s.batch + (heads - 1) * s.head + (rows - 1) * row + row_bytes;
  };
  Operand A(noise, 1, place(m, k * a_size, g.a_row_stride, g.a_strides), 0, a);
  ptrdiff_t along = 0;
  const bool transposed = noise.integer(0, 1), shared = noise.integer(0, 3) == 0;
  int64_t b_bytes = place(transposed ? n : k, (transposed ? k : n) * b_size, along, g.b_strides);
  g.b_row_stride = transposed ? b_size : along, g.b_col_stride = transposed ? along : b_size;
  if (shared) b_bytes -= (batch - 1) * g.b_strides.batch + (heads - 1) * g.b_strides.head, g.b_strides = {};
  Operand B(noise, 1, b_bytes, 0, b);
  Operand C(noise, 1, place(m, n * c_size, g.c_row_stride, g.c_strides), 0, DType::u8);
  Operand R(noise, 1, place(m, n * r_size, g.residual_row_stride, g.residual_strides), 0, r);
  g.a = A.data, g.b = B.data, g.c = C.data;
  if (d.numerics.has_residual) g.residual = R.data;
  const std::string before = C.str();
  reference::matmul(d, g);
  const std::string expected = C.str();
  const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(a) + name_of(b) + "->" + name_of(out) +
                           " " + std::to_string(batch) + "x" + std::to_string(heads) + " of " + std::to_string(m) + "x" +
                           std::to_string(n) + "x" + std::to_string(k) + " b_zero_point " + std::to_string(d.b_zero_point);
  const Expected<MatmulPlan> plan = MatmulPlan::create(d);
  if (!expect_plan(plan, what)) return;
  if (kernel) {
    EXPECT_STREQ(plan->kernel().name, kernel->name);
  }
  expect_every_way(*plan, g, plan->tiles(batch, heads, m), C.data, before, expected, what + " " + plan->describe());
}

TEST(Matmul, EqualsReference) {
  Noise noise(21);
  const int64_t sizes[] = {1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 33, 48, 64, 65, 130};
  const auto size = [&] { return sizes[noise.integer(0, std::size(sizes) - 1)]; };
  for (DType a : {DType::u8, DType::s8, DType::f32})
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a))
      for (DType b : {DType::u8, DType::s8, DType::f32})
        for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8}) {
          if ((a == DType::f32) != (b == DType::f32) || (a == DType::f32 && out != DType::f32)) continue;
          for (int i = 0; i < thinned(12); ++i) check_matmul(noise, kernel, a, b, out, size(), size(), size());
        }
}

TEST(Matmul, WorstCaseSums) {
  // 255 * 255 over the largest k that a plan takes, and one more.
  const int64_t k = 33025;
  std::vector<uint8_t> A(size_t(k), 255), B(size_t(k), 255);
  for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, DType::u8)) {
    int32_t c = 0;
    MatmulDesc d;
    d.n = 1, d.k = k, d.b = DType::u8, d.numerics.out = DType::s32, d.kernel = kernel;
    const Expected<MatmulPlan> plan = MatmulPlan::create(d);
    ASSERT_TRUE(expect_plan(plan, "k = 33025"));
    GuardedBuffer workspace(plan->workspace_bytes() + 64);
    MatmulArgs g;
    g.m = 1, g.a = A.data(), g.a_row_stride = k, g.b = B.data(), g.b_row_stride = 1, g.b_col_stride = k, g.c = &c,
    g.c_row_stride = 4;
    ASSERT_TRUE(plan->run(g, workspace.right(plan->workspace_bytes(), 64), single_thread()).ok());
    EXPECT_EQ(c, int32_t(k * 255 * 255)) << plan->kernel().name;
    d.k = k + 1;
    expect_error(MatmulPlan::create(d).status(), Code::overflow, "k is 33026");
  }
}

TEST(Matmul, Errors) {
  const float scale = 1;
  MatmulDesc good;
  good.n = 4, good.k = 4, good.numerics.w_scale = &scale, good.numerics.w_scale_count = 1;
  const auto expect = [&](auto change, Code code, const char* argument) {
    MatmulDesc d = good;
    change(d);
    expect_error(MatmulPlan::create(d).status(), code, argument);
  };
  expect([](MatmulDesc& d) { d.n = 0; }, Code::invalid_argument, "n is 0");
  expect([](MatmulDesc& d) { d.k = -1; }, Code::invalid_argument, "k is -1");
  expect([](MatmulDesc& d) { d.a = DType::s32; }, Code::unsupported, "a is s32");
  expect([](MatmulDesc& d) { d.b = DType::f32; }, Code::unsupported, "b is f32");
  expect([](MatmulDesc& d) { d.a = DType::f32; }, Code::unsupported, "b is s8");
  expect([](MatmulDesc& d) { d.a = d.b = DType::f32, d.b_zero_point = 1; }, Code::invalid_argument, "b_zero_point");
  expect([](MatmulDesc& d) { d.b_zero_point = 128; }, Code::invalid_argument, "b.zero_point");
  expect([](MatmulDesc& d) { d.numerics.w_scale_count = 3; }, Code::invalid_argument, "numerics.w_scale_count");
  expect([](MatmulDesc& d) { d.n = INT64_MAX / 2, d.numerics.out = DType::s32; }, Code::overflow, "n * k");

  const MatmulPlan plan = *MatmulPlan::create(good);
  uint8_t a[16] = {}, b[16] = {};
  float c[16];
  alignas(64) char workspace[4096];
  ASSERT_LE(plan.workspace_bytes(), sizeof workspace);
  MatmulArgs args;
  args.m = 4, args.a = a, args.a_row_stride = 4, args.b = b, args.b_row_stride = 4, args.b_col_stride = 1, args.c = c,
  args.c_row_stride = 16;
  EXPECT_TRUE(plan.run(args, workspace, single_thread()).ok());
  const auto expect_run = [&](auto change, Code code, const char* argument) {
    MatmulArgs g = args;
    change(g);
    expect_error(plan.run(g, workspace, single_thread()), code, argument);
    expect_error(plan.run(g, 0, 0, workspace), code, argument);
  };
  expect_run([](MatmulArgs& g) { g.batch = -1; }, Code::invalid_argument, "batch is -1");
  expect_run([](MatmulArgs& g) { g.heads = -1; }, Code::invalid_argument, "heads is -1");
  expect_run([](MatmulArgs& g) { g.m = -1; }, Code::invalid_argument, "m is -1");
  expect_run([](MatmulArgs& g) { g.m = g.batch = INT64_MAX; }, Code::overflow, "batch * heads * m");
  expect_run([](MatmulArgs& g) { g.a = nullptr; }, Code::invalid_argument, "a is null");
  expect_run([](MatmulArgs& g) { g.b = nullptr; }, Code::invalid_argument, "b is null");
  expect_run([](MatmulArgs& g) { g.c = nullptr; }, Code::invalid_argument, "c is null");
  expect_run([](MatmulArgs& g) { g.a_row_stride = 3; }, Code::invalid_argument, "a: the stride is 3");
  expect_run([](MatmulArgs& g) { g.c_row_stride = 15; }, Code::invalid_argument, "c: the stride is 15");
  expect_run([](MatmulArgs& g) { g.b_col_stride = INT64_MAX; }, Code::overflow, "b: ");
  expect_run([](MatmulArgs& g) { g.batch = 3, g.b_strides.batch = INT64_MAX / 2; }, Code::overflow, "b_strides");
  expect_run([&](MatmulArgs& g) { g.residual = a; }, Code::invalid_argument, "residual");
  expect_error(plan.run(args, 0, 2, workspace), Code::invalid_argument, "tile_end");
  expect_error(plan.run(args, nullptr, single_thread()), Code::invalid_argument, "workspace is null");
  expect_error(plan.run(args, workspace, {0, nullptr, nullptr}), Code::invalid_argument, "parallel.threads");
  args.m = 0;
  EXPECT_TRUE(plan.run(args, workspace, single_thread()).ok());
}

}  // namespace
}  // namespace octavo
