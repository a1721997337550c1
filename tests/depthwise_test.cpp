#include <cstring>
#include <limits>
#include <vector>

#include "conv_test_util.h"

namespace octavo {
namespace {
using namespace test;

Shape depthwise(Window w, int64_t channels, int64_t batch) { return {w, channels, channels, channels, batch}; }

TEST(Depthwise, RandomShapesEqualReference) {
  Noise noise(5);
  for (DType a : {DType::u8, DType::s8, DType::f32})
    for (const KernelInfo* kernel : runnable_kernels(Op::dwconv, a))
      for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8}) {
        if (a == DType::f32 && out != DType::f32) continue;
        for (int i = 0; i < thinned(60); ++i) {
          const Shape s = random_shape(noise);
          const int64_t channels = noise.integer(1, 150), times = i % 4 ? 1 : noise.integer(2, 4);
          check_conv<DepthwisePlan>(noise, kernel, a, out, {s.window, channels, channels * times, channels, s.batch});
        }
      }
}

TEST(Depthwise, NamedShapesEqualReference) {
  const Shape shapes[] = {
      depthwise(window(28, 3, 1, 1), 32, 1),
      depthwise(window(28, 3, 2, 1), 96, 1),
      depthwise(window(14, 5, 1, 2), 40, 2),
      depthwise(window(14, 5, 2, 2), 80, 1),
      depthwise(window(15, 7, 1, 3), 70, 1),
      depthwise(window(7, 3, 1, 1), 960, 1),
      depthwise(window(9, 3, 1, 2, 2), 65, 1),
      depthwise(window(9, 3, 1, 0), 64, 3),
      depthwise(window(13, 3, 1, 1), 8, 2),
      depthwise(window(10, 5, 1, 2), 16, 1),
      depthwise(window(37, 3, 1, 2, 2), 1, 1),
      depthwise({30, 40, 3, 4, 2, 1, 1, 2, 1, 0, 2, 5}, 4, 1),
      depthwise(window(5, 3, 1, 5), 3, 1),
      depthwise({40, 23, 5, 4, 2, 3, 2, 2, 9, 8, 3, 7}, 33, 2),
      depthwise({50, 17, 3, 3, 1, 1, 1, 1, 0, 1, 0, 1}, 17, 1),
      depthwise({2, 30, 3, 3, 1, 1, 1, 1, 4, 0, 4, 2}, 64, 2),
      depthwise({25, 5, 10, 4, 2, 2, 1, 1, 4, 1, 5, 1}, 64, 1),
      depthwise({1, 300, 1, 7, 1, 1, 1, 3, 0, 9, 0, 9}, 20, 1),
  };
  Noise noise(6);
  for (const Shape& s : shapes)
    for (DType a : {DType::u8, DType::s8, DType::f32})
      for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8})
        if (a != DType::f32 || out == DType::f32) check_conv<DepthwisePlan>(noise, nullptr, a, out, s);
}

// Floats: padding is 0, of which products with an infinite weight are NaN, and which makes a sum of -0 one of 0.
TEST(Depthwise, PaddingTakesPart) {
  constexpr int kChannels = 20, kPixels = 25;
  constexpr float kTiny = -1e-30f, kInfinity = std::numeric_limits<float>::infinity();
  const struct {
    float a, w, last, bias;
  } cases[] = {{1, 2, 3, -0.0f}, {1, 2, kInfinity, 1}, {kTiny, 1e-30f, 1e-30f, -0.0f}, {kTiny, 1e-30f, 1e-30f, 0}};
  for (const auto& v : cases) {
    std::vector<float> a(kPixels * kChannels, v.a), w(9 * kChannels, v.w), bias(kChannels, v.bias), c(a.size()), want(a.size());
    w.back() = v.last;
    ConvDesc d;
    d.window = window(5, 3, 1, 1), d.ic = d.oc = d.groups = kChannels, d.a = d.numerics.out = DType::f32, d.w = w.data();
    d.numerics.bias_f32 = bias.data();
    const Expected<DepthwisePlan> plan = DepthwisePlan::create(d);
    ASSERT_TRUE(expect_plan(plan, "floats"));
    ConvArgs args;
    args.batch = 1, args.a = a.data(), args.c = want.data();
    reference::conv(d, args);
    args.c = c.data();
    std::vector<char> workspace(plan->workspace_bytes() + 64);
    char* aligned = workspace.data() + (64 - reinterpret_cast<uintptr_t>(workspace.data()) % 64);
    ASSERT_TRUE(plan->run(args, aligned, single_thread()).ok());
    EXPECT_EQ(0, std::memcmp(c.data(), want.data(), c.size() * 4)) << v.a << " " << v.last << " " << v.bias;
  }
}

TEST(Depthwise, Errors) {
  const int8_t w[36] = {};
  const float scale = 1;
  ConvDesc d;
  d.window = window(4, 3, 1, 1), d.ic = d.oc = d.groups = 2, d.w = w, d.numerics.w_scale = &scale, d.numerics.w_scale_count = 1;
  const Expected<DepthwisePlan> plan = DepthwisePlan::create(d);
  ASSERT_TRUE(expect_plan(plan, "depthwise"));
  uint8_t a[32] = {};
  float c[32];
  alignas(64) char workspace[4096];
  ASSERT_LE(plan->workspace_bytes(), sizeof workspace);
  ConvArgs v;
  v.batch = 1, v.a = a, v.c = c;
  EXPECT_TRUE(plan->run(v, workspace, single_thread()).ok());
  expect_error(plan->run(v, nullptr, single_thread()), Code::invalid_argument, "workspace is null");
  expect_error(plan->run(v, 0, 99, workspace), Code::invalid_argument, "tile_end");
  v.a = nullptr;
  expect_error(plan->run(v, workspace, single_thread()), Code::invalid_argument, "a is null");

  d.groups = 1;
  expect_error(DepthwisePlan::create(d).status(), Code::invalid_argument, "groups is 1");
  d.groups = 2, d.window.stride_w = 0;
  expect_error(DepthwisePlan::create(d).status(), Code::invalid_argument, "window.stride_w");
  d.window.stride_w = 1, d.kernel = find_kernel("brgemm_u8s8_scalar_4x4x1");
  expect_error(DepthwisePlan::create(d).status(), Code::invalid_argument, "kernel");
}

}  // namespace
}  // namespace octavo
