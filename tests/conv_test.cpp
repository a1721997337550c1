#include "octavo/conv.h"

#include "plan_test_util.h"

namespace octavo {
namespace {
using namespace test;

struct Shape {
  Window window;
  int64_t ic, oc, groups, batch;
};

std::string describe(const Shape& s) {
  const Window& w = s.window;
  char text[256];
  std::snprintf(text, sizeof text, "%dx%dx%d->%d groups %d batch %d kernel %dx%d stride %dx%d dilation %dx%d pads %d %d %d %d", int(w.ih),
                int(w.iw), int(s.ic), int(s.oc), int(s.groups), int(s.batch), int(w.kh), int(w.kw), int(w.stride_h), int(w.stride_w),
                int(w.dilation_h), int(w.dilation_w), int(w.pad_top), int(w.pad_left), int(w.pad_bottom), int(w.pad_right));
  return text;
}

void check_conv(Noise& noise, const KernelInfo* kernel, DType a, DType out, const Shape& s) {
  const Window& w = s.window;
  const int64_t icg = s.ic / s.groups, k = icg * w.kh * w.kw, pixels_in = s.batch * w.ih * w.iw, pixels_out = s.batch * w.oh() * w.ow();
  RandomNumerics numerics(noise, a, out, s.oc, k, noise.integer(0, 1));
  const DType b = a == DType::f32 ? DType::f32 : DType::s8, r = numerics.value.residual_dtype;
  const int64_t a_row = s.ic * int64_t(size_of(a)), c_row = s.oc * int64_t(size_of(out)), r_row = s.oc * int64_t(size_of(r));
  const auto gap = [&] { return noise.integer(0, 1) ? 0 : noise.integer(1, 9); };
  const int64_t a_gap = gap(), c_gap = gap(), r_gap = gap();
  Operand A(noise, pixels_in, a_row, a_row + a_gap, a), W(noise, 1, s.oc * k * int64_t(size_of(b)), 0, b),
      C(noise, pixels_out, c_row, c_row + c_gap, DType::u8), R(noise, pixels_out, r_row, r_row + r_gap, r);
  ConvDesc d;
  d.window = w, d.ic = s.ic, d.oc = s.oc, d.groups = s.groups, d.a = a, d.w = W.data, d.numerics = numerics.value, d.kernel = kernel;
  ConvArgs v;
  v.batch = s.batch, v.a = A.data, v.c = C.data;
  if (a_gap) v.a_pixel_stride_bytes = a_row + a_gap;
  if (c_gap) v.c_pixel_stride_bytes = c_row + c_gap;
  if (numerics.value.has_residual) v.residual = R.data, v.residual_pixel_stride_bytes = r_gap ? r_row + r_gap : 0;
  const std::string before = C.str();
  reference::conv(d, v);
  const std::string expected = C.str();
  const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(a) + "->" + name_of(out) + " " + describe(s) + " gaps " +
                           std::to_string(a_gap) + " " + std::to_string(c_gap) + " residual " + std::to_string(numerics.value.has_residual);
  const Expected<ConvPlan> plan = ConvPlan::create(d);
  if (!expect_plan(plan, what)) return;
  EXPECT_EQ(plan->macs(), w.oh() * w.ow() * s.oc * k);
  expect_every_way(*plan, v, plan->tiles(s.batch), C.data, before, expected, what + " " + plan->describe());
}

Shape random_shape(Noise& noise) {
  const auto pick = [&](int64_t lo, int64_t hi) { return noise.integer(lo, hi); };
  for (;;) {
    Shape s;
    Window& w = s.window;
    const bool flat = pick(0, 7) == 0, line = pick(0, 5) == 0;
    w.ih = line ? 1 : pick(1, 12), w.iw = pick(1, 19);
    w.kh = line || flat ? 1 : pick(1, 4), w.kw = flat ? 1 : pick(1, 4);
    if (!flat) w.stride_h = pick(1, 3), w.stride_w = pick(1, 3);
    w.dilation_h = pick(0, 2) ? 1 : pick(1, 3), w.dilation_w = pick(0, 2) ? 1 : pick(1, 3);
    if (!flat && pick(0, 3)) w.pad_top = line ? 0 : pick(0, 3), w.pad_left = pick(0, 3), w.pad_bottom = line ? 0 : pick(0, 3), w.pad_right = pick(0, 3);
    s.groups = pick(0, 2) ? 1 : pick(1, 9);
    s.ic = s.groups * (pick(0, 3) ? pick(1, 9) : pick(10, 40));
    s.oc = s.groups * (pick(0, 3) ? pick(1, 9) : pick(10, 40));
    s.batch = pick(1, 3);
    if (w.dilation_h * (w.kh - 1) + 1 <= w.ih + w.pad_top + w.pad_bottom && w.dilation_w * (w.kw - 1) + 1 <= w.iw + w.pad_left + w.pad_right)
      return s;
  }
}

TEST(Conv, RandomShapesEqualReference) {
  Noise noise(3);
  for (DType a : {DType::u8, DType::s8, DType::f32})
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a))
      for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8}) {
        if (a == DType::f32 && out != DType::f32) continue;
        for (int i = 0; i < 60; ++i) check_conv(noise, kernel, a, out, random_shape(noise));
      }
}

Window window(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation = 1) {
  return {size, size, kernel, kernel, stride, stride, dilation, dilation, pad, pad, pad, pad};
}

TEST(Conv, NamedShapesEqualReference) {
  const Shape shapes[] = {
      {window(29, 7, 2, 3), 3, 64, 1, 1},         // first layer: kernel rows of 21 bytes
      {window(14, 3, 1, 1), 64, 70, 1, 1},        // 3x3
      {window(7, 3, 1, 1), 64, 64, 1, 2},         // rows narrower than a tile
      {window(14, 1, 2, 0), 32, 64, 1, 1},        // 1x1 with a stride: no copy
      {window(14, 1, 1, 0), 24, 144, 1, 3},       // flat
      {window(15, 1, 1, 0), 24, 12, 3, 1},        // flat with groups
      {window(9, 3, 1, 1), 128, 128, 32, 1},      // 4 channels a group
      {window(9, 3, 1, 1), 45, 45, 9, 1},         // groups that do not divide a panel
      {window(9, 3, 2, 1), 40, 40, 40, 1},        // depthwise
      {window(9, 3, 1, 2, 2), 10, 30, 10, 1},     // depthwise with a multiplier, dilated
      {window(9, 3, 1, 1), 66, 130, 2, 1},        // groups wider than a panel
      {window(6, 6, 1, 0), 8, 10, 1, 3},          // the kernel covers the image
      {window(4, 3, 1, 5), 8, 10, 1, 1},          // rows that see nothing but padding
      {window(5, 3, 1, 8, 7), 8, 10, 1, 1},       // taps that step over the image
      {{1, 1000, 1, 5, 1, 2, 1, 1, 0, 2, 0, 2}, 16, 20, 1, 2},    // 1-D
      {{1, 3000, 1, 9, 1, 1, 1, 4, 0, 0, 0, 0}, 64, 8, 1, 1},     // 1-D, more than one segment
  };
  Noise noise(4);
  for (const Shape& s : shapes)
    for (DType a : {DType::u8, DType::s8, DType::f32})
      for (DType out : {DType::s32, DType::f32, DType::u8})
        if (a != DType::f32 || out == DType::f32) check_conv(noise, nullptr, a, out, s);
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
  with([](ConvDesc& x) { x.ic = x.oc = INT32_MAX; x.window.kh = 1000, x.window.ih = 1000; }, Code::overflow, "oc * ic * kh * kw");
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
