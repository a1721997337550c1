// A plan's create() under an allocator that fails, and run() under one that counts.
#include <cstdlib>
#include <new>

#include "conv_test_util.h"
#include "octavo/matmul.h"

namespace {

// Allocations left until one fails (negative: none fails), and allocations made.
long left_until_failure = -1, allocations = 0;

void* allocate(size_t bytes, size_t align) noexcept {
  ++allocations;
  if (left_until_failure == 0) return nullptr;
  if (left_until_failure > 0) --left_until_failure;
  return std::aligned_alloc(align, (bytes + align - 1) / align * align);
}
void* allocate_or_throw(size_t bytes, size_t align) {
  if (void* p = allocate(bytes ? bytes : 1, align)) return p;
  throw std::bad_alloc();
}

// Not inlined, so that the compiler sees no pair of unlike functions.
[[gnu::noinline]] void release(void* p) noexcept { std::free(p); }

}  // namespace

void* operator new(size_t n) { return allocate_or_throw(n, 16); }
void* operator new[](size_t n) { return allocate_or_throw(n, 16); }
void* operator new(size_t n, std::align_val_t a) { return allocate_or_throw(n, size_t(a)); }
void* operator new[](size_t n, std::align_val_t a) { return allocate_or_throw(n, size_t(a)); }
void* operator new(size_t n, const std::nothrow_t&) noexcept { return allocate(n ? n : 1, 16); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return allocate(n ? n : 1, 16); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, size_t) noexcept { release(p); }
void operator delete[](void* p, size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { release(p); }

namespace octavo {
namespace {
using namespace test;

// Fails the first allocation of create(), then the second, and so on until it gets through.
template <class Create>
void expect_out_of_memory(const Create& create) {
  for (long n = 0;; ++n) {
    ASSERT_LT(n, 1000);
    left_until_failure = n;
    const auto made = create();
    const bool failed = left_until_failure == 0;
    left_until_failure = -1;
    if (made) {
      EXPECT_GT(n, 0) << "create() allocates nothing";
      break;
    }
    ASSERT_TRUE(failed) << made.status().text();
    ASSERT_EQ(int(made.status().code()), int(Code::out_of_memory)) << made.status().text();
  }
}

template <class Plan, class Args>
void expect_no_allocation(const Plan& plan, const Args& args, int64_t tiles) {
  GuardedBuffer workspace(plan.workspace_bytes() * 2 + 64);
  void* ws = workspace.right(plan.workspace_bytes() * 2, 64);
  ThreadPool pool = *ThreadPool::create(2);
  const Parallel parallel = pool.parallel();
  const long before = allocations;
  EXPECT_TRUE(plan.run(args, 0, tiles, ws).ok());
  EXPECT_TRUE(plan.run(args, ws, parallel).ok());
  EXPECT_EQ(plan.tiles(1) > 0, true);
  EXPECT_EQ(allocations, before);
}

const float kScale = 0.01f;
Numerics numerics(const std::vector<float>& bias) {
  Numerics n;
  n.a = {0.02f, 7};
  n.w_scale = &kScale;
  n.w_scale_count = 1;
  n.bias_f32 = bias.data();
  n.out = DType::u8;
  n.out_q = {0.5f, 3};
  return n;
}

TEST(Allocation, Gemm) {
  const std::vector<int8_t> b(100 * 70, 3);
  const std::vector<float> bias(100, 1);
  GemmDesc d;
  d.n = 100, d.k = 70, d.b = b.data(), d.b_row_stride = 100, d.b_col_stride = 1, d.numerics = numerics(bias);
  expect_out_of_memory([&] { return GemmPlan::create(d); });
  const GemmPlan plan = *GemmPlan::create(d);
  std::vector<uint8_t> a(200 * 70, 9), c(200 * 100);
  expect_no_allocation(plan, GemmArgs{200, a.data(), 70, c.data(), 100, nullptr, 0}, plan.tiles(200));
}

TEST(Allocation, Matmul) {
  const std::vector<float> bias(100, 1);
  MatmulDesc d;
  d.n = 100, d.k = 70, d.b_zero_point = 3, d.numerics = numerics(bias);
  expect_out_of_memory([&] { return MatmulPlan::create(d); });
}

template <class Plan>
void check(int64_t groups) {
  const std::vector<int8_t> w(40 * 40 * 9, 3);
  const std::vector<float> bias(40, 1);
  ConvDesc d;
  d.window = window(20, 3, 1, 1), d.ic = d.oc = 40, d.groups = groups, d.w = w.data(), d.numerics = numerics(bias);
  expect_out_of_memory([&] { return Plan::create(d); });
  const Plan plan = *Plan::create(d);
  std::vector<uint8_t> a(400 * 40, 9), c(400 * 40);
  ConvArgs v;
  v.batch = 1, v.a = a.data(), v.c = c.data();
  expect_no_allocation(plan, v, plan.tiles(1));
}

TEST(Allocation, Conv) { check<ConvPlan>(1); }
TEST(Allocation, GroupedConv) { check<ConvPlan>(10); }
TEST(Allocation, Depthwise) { check<DepthwisePlan>(40); }

TEST(Allocation, Pool) {
  PoolDesc d;
  d.window = window(20, 3, 1, 1), d.channels = 40, d.dtype = DType::u8;
  expect_out_of_memory([&] { return PoolPlan::create(d); });
  const PoolPlan plan = *PoolPlan::create(d);
  std::vector<uint8_t> a(400 * 40, 9), c(400 * 40);
  ConvArgs v;
  v.batch = 1, v.a = a.data(), v.c = c.data();
  expect_no_allocation(plan, v, plan.tiles(1));
}

TEST(Allocation, ThreadPool) {
  expect_out_of_memory([] { return ThreadPool::create(1); });
}

}  // namespace
}  // namespace octavo
