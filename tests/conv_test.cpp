#include "octavo/conv.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "conv_test_util.h"

namespace octavo {
namespace {
using namespace test;

TEST(Conv, RandomShapesEqualReference) {
  Noise noise(3);
  for (DType a : {DType::u8, DType::s8, DType::f32})
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a))
      for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8}) {
        if (a == DType::f32 && out != DType::f32) continue;
        for (int i = 0; i < thinned(60); ++i) check_conv<ConvPlan>(noise, kernel, a, out, random_shape(noise));
      }
}

TEST(Conv, NamedShapesEqualReference) {
  const Shape shapes[] = {
      {window(29, 7, 2, 3), 3, 64, 1, 1},                       // first layer: kernel rows of 21 bytes
      {window(14, 3, 1, 1), 64, 70, 1, 1},                      // 3x3
      {window(7, 3, 1, 1), 64, 64, 1, 2},                       // rows narrower than a tile
      {window(14, 1, 2, 0), 32, 64, 1, 1},                      // 1x1 with a stride: no copy
      {window(14, 1, 1, 0), 24, 144, 1, 3},                     // flat
      {window(15, 1, 1, 0), 24, 12, 3, 1},                      // flat with groups
      {window(9, 3, 1, 1), 128, 128, 32, 1},                    // 4 channels a group
      {window(9, 3, 2, 1), 256, 256, 32, 2},                    // 8 channels a group
      {window(11, 3, 1, 2, 2), 28, 56, 7, 1},                   // 4 to 8 channels, the last vector is not full
      {window(8, 1, 1, 0), 20, 40, 5, 1},                       // 4 to 8 channels, flat
      {window(8, 3, 1, 1), 16, 64, 4, 1},                       // 4 to 16 channels
      {window(8, 3, 2, 1), 36, 48, 3, 1},                       // 12 to 16 channels
      {window(8, 3, 1, 1), 36, 36, 18, 1},                      // 2 channels a group
      {window(8, 5, 1, 2), 24, 24, 3, 1},                       // 8 channels in 3 groups
      {window(17, 3, 1, 1), 64, 64, 4, 1},                      // 16 channels a group
      {window(9, 3, 1, 1), 20, 20, 5, 1},                       // an odd number of groups of 4
      {window(7, 3, 1, 0), 36, 36, 9, 2},                       // ... behind a whole panel
      {window(9, 3, 1, 1), 45, 45, 9, 1},                       // groups that do not divide a panel
      {window(9, 3, 2, 1), 40, 40, 40, 1},                      // depthwise
      {window(9, 3, 1, 2, 2), 10, 30, 10, 1},                   // depthwise with a multiplier, dilated
      {window(9, 3, 1, 1), 66, 130, 2, 1},                      // groups wider than a panel
      {window(6, 6, 1, 0), 8, 10, 1, 3},                        // the kernel covers the image
      {window(4, 3, 1, 5), 8, 10, 1, 1},                        // rows that see nothing but padding
      {window(5, 3, 1, 8, 7), 8, 10, 1, 1},                     // taps that step over the image
      {window(5, 3, 1, 8, 8), 8, 10, 1, 1},                     // only the middle column of the kernel sees anything
      {window(25, 3, 1, 9, 9), 24, 20, 1, 1},                   // far dilation: rows are cut in three
      {window(19, 3, 2, 6, 6), 16, 20, 2, 2},                   // ... with a stride and groups
      {{20, 4, 5, 1, 2, 1, 3, 1, 7, 0, 5, 0}, 20, 20, 1, 1},    // padding above and below only
      {{12, 9, 3, 4, 1, 1, 7, 1, 9, 0, 9, 0}, 3, 20, 1, 1},     // ... with kernel rows as taps, far from each other
      {{40, 9, 3, 2, 1, 1, 7, 1, 5, 1, 5, 0}, 16, 20, 1, 1},    // kernel rows far from each other, copied
      {window(16, 5, 1, 2), 24, 40, 1, 1},                      // kernels that are several of 3x3
      {window(19, 5, 2, 2), 17, 20, 1, 2},                      // ... of every second pixel
      {window(23, 7, 2, 3), 32, 16, 2, 1},                      // ... in groups
      {{13, 30, 4, 6, 1, 2, 1, 1, 2, 0, 1, 3}, 20, 33, 1, 1},   // ... not square
      {window(37, 3, 1, 2, 2), 24, 20, 1, 2},                   // every second pixel by itself
      {{26, 41, 3, 3, 1, 1, 2, 3, 2, 0, 1, 3}, 16, 40, 2, 1},   // ... every second row, third column, in groups
      {{1, 1000, 1, 5, 1, 2, 1, 1, 0, 2, 0, 2}, 16, 20, 1, 2},  // 1-D
      {{1, 3000, 1, 9, 1, 1, 1, 4, 0, 0, 0, 0}, 64, 8, 1, 1},   // 1-D, more than one segment
  };
  Noise noise(4);
  for (const Shape& s : shapes)
    for (DType a : {DType::u8, DType::s8, DType::f32})
      for (DType out : {DType::s32, DType::f32, DType::u8})
        if (a != DType::f32 || out == DType::f32) check_conv<ConvPlan>(noise, nullptr, a, out, s);
}

// What floats are on padding shows: 0 times an infinite weight, and a bias of -0 behind products that are too small for a float.
TEST(Conv, FloatsOnPaddingEqualReference) {
  constexpr float kTiny = 1e-30f, kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> a(7 * 7 * 20, kTiny), w(24 * 20 * 3 * 3), c(7 * 7 * 24), expected(c.size());
  for (size_t i = 0; i < w.size(); ++i) w[i] = i % 9 < 6 ? -kTiny : kTiny;
  for (const bool infinite : {false, true})
    for (const float bias : {0.0f, -0.0f}) {
      w[1] = infinite ? kInfinity : -kTiny;
      const std::vector<float> biases(24, bias);
      ConvDesc d;
      d.window = window(7, 3, 1, 1), d.ic = 20, d.oc = 24, d.a = DType::f32, d.w = w.data();
      d.numerics.out = DType::f32, d.numerics.bias_f32 = biases.data();
      ConvArgs args;
      args.batch = 1, args.a = a.data(), args.c = c.data();
      const Expected<ConvPlan> plan = ConvPlan::create(d);
      ASSERT_TRUE(bool(plan)) << plan.status().text();
      GuardedBuffer workspace(plan->workspace_bytes() + 64);
      ASSERT_TRUE(plan->run(args, workspace.right(plan->workspace_bytes(), 64), single_thread()).ok());
      args.c = expected.data();
      reference::conv(d, args);
      for (size_t i = 0; i < c.size(); ++i)
        ASSERT_TRUE((std::isnan(c[i]) && std::isnan(expected[i])) ||
                    std::bit_cast<uint32_t>(expected[i]) == std::bit_cast<uint32_t>(c[i]))
            << "infinite=" << infinite << " bias " << bias << " element " << i << ": " << expected[i] << " and " << c[i] << ", "
            << plan->describe();
    }
}

class ConvErrors : public ::testing::Test {
 protected:
  ConvErrors() {
    d.window = window(4, 3, 1, 1);
    d.ic = d.oc = 2, d.w = w, d.numerics.w_scale = &scale, d.numerics.w_scale_count = 1, d.numerics.out = DType::u8;
  }
  void expect(Code code, const char* argument) { expect_error(ConvPlan::create(d).status(), code, argument); }
  ConvDesc d;
  int8_t w[36] = {};
  float scale = 1;
};

TEST_F(ConvErrors, Descriptor) {
  EXPECT_TRUE(bool(ConvPlan::create(d)));
  const ConvDesc good = d;
  const auto with = [&](auto change, Code code, const char* argument) {
    d = good;
    change(d);
    expect(code, argument);
  };
  with([](ConvDesc& x) { x.ic = 0; }, Code::invalid_argument, "ic is 0");
  with([](ConvDesc& x) { x.oc = -3; }, Code::invalid_argument, "oc is -3");
  with([](ConvDesc& x) { x.groups = 0; }, Code::invalid_argument, "groups is 0");
  with([](ConvDesc& x) { x.groups = 3; }, Code::invalid_argument, "groups is 3");
  with([](ConvDesc& x) { x.w = nullptr; }, Code::invalid_argument, "w is null");
  with([](ConvDesc& x) { x.a = DType::f64; }, Code::unsupported, "a is f64");
  with([](ConvDesc& x) { x.window.ih = 0; }, Code::invalid_argument, "window.ih");
  with([](ConvDesc& x) { x.window.iw = INT64_MAX; }, Code::invalid_argument, "window.iw");
  with([](ConvDesc& x) { x.window.kh = 0; }, Code::invalid_argument, "window.kh");
  with([](ConvDesc& x) { x.window.kw = 7; }, Code::invalid_argument, "window.kw");
  with([](ConvDesc& x) { x.window.stride_h = 0; }, Code::invalid_argument, "window.stride_h");
  with([](ConvDesc& x) { x.window.stride_w = -1; }, Code::invalid_argument, "window.stride_w");
  with([](ConvDesc& x) { x.window.dilation_h = 0; }, Code::invalid_argument, "window.dilation_h");
  with([](ConvDesc& x) { x.window.dilation_w = 9; }, Code::invalid_argument, "window.kw");
  with([](ConvDesc& x) { x.window.pad_top = -1; }, Code::invalid_argument, "window.pad_top");
  with([](ConvDesc& x) { x.window.pad_right = -1; }, Code::invalid_argument, "window.pad_right");
  with([](ConvDesc& x) { x.window.ih = x.window.iw = x.ic = x.oc = INT32_MAX; }, Code::overflow, "window.ih");
  with(
      [](ConvDesc& x) {
        x.ic = x.oc = INT32_MAX;
        x.window.kh = 1000, x.window.ih = 1000;
      },
      Code::overflow, "oc * ic * kh * kw");
  with([](ConvDesc& x) { x.ic = 65793; }, Code::overflow, "k is 592137");
  with([](ConvDesc& x) { x.numerics.w_scale_count = 5; }, Code::invalid_argument, "numerics.w_scale_count");
  with([](ConvDesc& x) { x.kernel = find_kernel("brgemm_f32f32_scalar_4x4x1"); }, Code::invalid_argument, "kernel");
}

TEST_F(ConvErrors, Run) {
  const ConvPlan plan = *ConvPlan::create(d);
  uint8_t a[32] = {}, c[32];
  alignas(64) char workspace[4096];
  ASSERT_LE(plan.workspace_bytes(), sizeof workspace);
  ConvArgs good;
  good.batch = 1, good.a = a, good.c = c;
  EXPECT_TRUE(plan.run(good, workspace, single_thread()).ok());
  const auto with = [&](auto change, Code code, const char* argument) {
    ConvArgs v = good;
    change(v);
    expect_error(plan.run(v, workspace, single_thread()), code, argument);
    expect_error(plan.run(v, 0, 0, workspace), code, argument);
  };
  with([](ConvArgs& v) { v.batch = -1; }, Code::invalid_argument, "batch");
  with([](ConvArgs& v) { v.batch = INT64_MAX; }, Code::overflow, "batch");
  with([](ConvArgs& v) { v.a = nullptr; }, Code::invalid_argument, "a is null");
  with([](ConvArgs& v) { v.c = nullptr; }, Code::invalid_argument, "c is null");
  with([](ConvArgs& v) { v.a_pixel_stride_bytes = 1; }, Code::invalid_argument, "a: the stride");
  with([](ConvArgs& v) { v.c_pixel_stride_bytes = -2; }, Code::invalid_argument, "c: the stride");
  with([&](ConvArgs& v) { v.residual = a; }, Code::invalid_argument, "residual");
  expect_error(plan.run(good, 0, plan.tiles(1) + 1, workspace), Code::invalid_argument, "tile_end");
  expect_error(plan.run(good, nullptr, single_thread()), Code::invalid_argument, "workspace is null");
  expect_error(plan.run(good, workspace + 8, single_thread()), Code::invalid_argument, "aligned");
}

}  // namespace
}  // namespace octavo
