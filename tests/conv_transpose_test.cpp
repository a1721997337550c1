// ConvTransposePlan against the reference: strides, dilations and pads that leave phases without taps, in every type.
#include "octavo/conv_transpose.h"

#include "plan_test_util.h"

namespace octavo {
namespace {
using namespace test;

struct Shape {
  TransposedWindow w;
  int64_t ic, oc, groups, batch;
};

std::string describe(const Shape& s) {
  const TransposedWindow& w = s.w;
  char text[256];
  std::snprintf(text, sizeof text,
                "%dx%dx%d->%d groups %d batch %d kernel %dx%d stride %dx%d dilation %dx%d pads %d %d %d %d output pads %d %d", int(w.ih),
                int(w.iw), int(s.ic), int(s.oc), int(s.groups), int(s.batch), int(w.kh), int(w.kw), int(w.stride_h), int(w.stride_w),
                int(w.dilation_h), int(w.dilation_w), int(w.pad_top), int(w.pad_left), int(w.pad_bottom), int(w.pad_right),
                int(w.output_pad_h), int(w.output_pad_w));
  return text;
}

void check(Noise& noise, Isa isa, DType a, DType out, const Shape& s) {
  const int64_t ocg = s.oc / s.groups, taps = s.w.kh * s.w.kw;
  const int64_t pixels_in = s.batch * s.w.ih * s.w.iw, pixels_out = s.batch * s.w.oh() * s.w.ow();
  RandomNumerics numerics(noise, a, out, s.oc, s.ic / s.groups * taps, noise.integer(0, 1));
  numerics.add_function(noise);
  const DType b = a == DType::f32 ? DType::f32 : DType::s8, r = numerics.value.residual_dtype;
  const int64_t a_row = s.ic * int64_t(size_of(a)), c_row = s.oc * int64_t(size_of(out)), r_row = s.oc * int64_t(size_of(r));
  const auto gap = [&] { return noise.integer(0, 1) ? 0 : noise.integer(1, 9); };
  const int64_t a_gap = gap(), c_gap = gap(), r_gap = gap();
  Operand A(noise, pixels_in, a_row, a_row + a_gap, a), W(noise, 1, s.ic * ocg * taps * int64_t(size_of(b)), 0, b),
      C(noise, pixels_out, c_row, c_row + c_gap, DType::u8), R(noise, pixels_out, r_row, r_row + r_gap, r);
  ConvTransposeDesc d;
  d.window = s.w, d.ic = s.ic, d.oc = s.oc, d.groups = s.groups, d.a = a, d.w = W.data, d.numerics = numerics.value;
  d.isa = isa, d.use_isa = true;
  ConvArgs v;
  v.batch = s.batch, v.a = A.data, v.c = C.data;
  if (a_gap) v.a_pixel_stride_bytes = a_row + a_gap;
  if (c_gap) v.c_pixel_stride_bytes = c_row + c_gap;
  if (numerics.value.has_residual) v.residual = R.data, v.residual_pixel_stride_bytes = r_gap ? r_row + r_gap : 0;
  const std::string before = C.str();
  reference::conv_transpose(d, v);
  const std::string expected = C.str();
  const std::string what = std::string(name_of(a)) + "->" + name_of(out) + " " + describe(s) + " gaps " + std::to_string(a_gap) + " " +
                           std::to_string(c_gap) + " residual " + std::to_string(numerics.value.has_residual);
  const Expected<ConvTransposePlan> plan = ConvTransposePlan::create(d);
  if (!expect_plan(plan, what)) return;
  EXPECT_EQ(plan->macs(), s.w.ih * s.w.iw * s.ic * ocg * taps);
  EXPECT_EQ(plan->kernel().a, a);
  expect_every_way(*plan, v, plan->tiles(s.batch), C.data, before, expected, what + " " + plan->describe());
}

Shape random_shape(Noise& noise) {
  const auto pick = [&](int64_t lo, int64_t hi) { return noise.integer(lo, hi); };
  for (;;) {
    Shape s;
    TransposedWindow& w = s.w;
    const bool line = pick(0, 4) == 0;
    w.ih = line ? 1 : pick(1, 7), w.iw = pick(1, 11);
    w.kh = line ? 1 : pick(1, 5), w.kw = pick(1, 5);
    w.stride_h = line ? 1 : pick(1, 4), w.stride_w = pick(1, 4);
    w.dilation_h = pick(0, 2) || line ? 1 : pick(1, 3), w.dilation_w = pick(0, 2) ? 1 : pick(1, 3);
    if (pick(0, 3)) w.pad_top = line ? 0 : pick(0, 4), w.pad_left = pick(0, 4), w.pad_bottom = line ? 0 : pick(0, 4), w.pad_right = pick(0, 4);
    if (pick(0, 2) == 0) w.output_pad_h = line ? 0 : pick(0, 3), w.output_pad_w = pick(0, 3);
    s.groups = pick(0, 2) ? 1 : pick(1, 9);
    s.ic = s.groups * (pick(0, 3) ? pick(1, 9) : pick(10, 40));
    s.oc = s.groups * (pick(0, 3) ? pick(1, 9) : pick(10, 40));
    s.batch = pick(1, 2);
    if (w.oh() >= 1 && w.ow() >= 1) return s;
  }
}

std::vector<Isa> isas() {
  std::vector<Isa> v = {Isa::scalar};
  if (const Expected<Isa> best = active_isa(); best && *best != Isa::scalar) v.push_back(*best);
  return v;
}

TEST(ConvTranspose, RandomShapesEqualReference) {
  Noise noise(5);
  for (const Isa isa : isas())
    for (DType a : {DType::u8, DType::s8, DType::f32})
      for (DType out : {DType::s32, DType::f32, DType::u8, DType::s8}) {
        if (a == DType::f32 && out != DType::f32) continue;
        for (int i = 0; i < thinned(40); ++i) check(noise, isa, a, out, random_shape(noise));
      }
}

TEST(ConvTranspose, NamedShapesEqualReference) {
  const Shape shapes[] = {
      {{14, 14, 2, 2, 2, 2}, 64, 32, 1, 1},                                    // U-Net: each pixel becomes four
      {{7, 7, 4, 4, 2, 2, 1, 1, 1, 1, 1, 1}, 64, 48, 1, 1},                    // a generator's: two taps along each axis
      {{8, 8, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1}, 24, 16, 1, 2},              // phases of one tap and of two
      {{6, 6, 4, 4, 2, 2, 1, 1, 1, 1, 1, 1}, 12, 12, 12, 1},                   // bilinear: depthwise
      {{6, 6, 3, 3, 2, 2, 1, 1, 0, 0, 0, 0}, 12, 24, 12, 1},                   // depthwise with a multiplier
      {{5, 5, 1, 1, 3, 3}, 8, 8, 1, 1},                                        // most pixels see no tap
      {{4, 4, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2}, 8, 8, 2, 1},                      // the dilation meets every other phase only
      {{5, 5, 3, 3, 1, 1, 1, 1, 4, 4, 0, 0}, 8, 8, 1, 1},                      // more cut off than the kernel adds
      {{3, 3, 2, 2, 3, 3, 1, 1, 2, 2, 0, 0, 2, 2}, 8, 8, 1, 1},
      {{1, 200, 1, 16, 1, 8, 1, 1, 0, 4, 0, 4}, 32, 20, 1, 2},                 // 1-D, a vocoder's
      {{3, 3, 5, 5, 4, 4, 3, 3, 1, 2, 3, 4, 3, 1}, 5, 7, 1, 1},
  };
  Noise noise(6);
  for (const Shape& s : shapes)
    for (const Isa isa : isas())
      for (DType a : {DType::u8, DType::s8, DType::f32})
        for (DType out : {DType::s32, DType::f32, DType::u8})
          if (a != DType::f32 || out == DType::f32) check(noise, isa, a, out, s);
}

class ConvTransposeErrors : public ::testing::Test {
 protected:
  ConvTransposeErrors() {
    d.window = {4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1};
    d.ic = d.oc = 2, d.w = w, d.numerics.w_scale = &scale, d.numerics.w_scale_count = 1, d.numerics.out = DType::u8;
  }
  ConvTransposeDesc d;
  int8_t w[36] = {};
  float scale = 1;
};

TEST_F(ConvTransposeErrors, Descriptor) {
  EXPECT_TRUE(bool(ConvTransposePlan::create(d)));
  const ConvTransposeDesc good = d;
  const auto with = [&](auto change, Code code, const char* argument) {
    d = good;
    change(d);
    expect_error(ConvTransposePlan::create(d).status(), code, argument);
  };
  using D = ConvTransposeDesc;
  with([](D& x) { x.ic = 0; }, Code::invalid_argument, "ic is 0");
  with([](D& x) { x.oc = -3; }, Code::invalid_argument, "oc is -3");
  with([](D& x) { x.groups = 3; }, Code::invalid_argument, "groups is 3");
  with([](D& x) { x.w = nullptr; }, Code::invalid_argument, "w is null");
  with([](D& x) { x.a = DType::f64; }, Code::unsupported, "a is f64");
  with([](D& x) { x.window.ih = 0; }, Code::invalid_argument, "window.ih");
  with([](D& x) { x.window.stride_w = 0; }, Code::invalid_argument, "window.stride_w");
  with([](D& x) { x.window.dilation_h = -1; }, Code::invalid_argument, "window.dilation_h");
  with([](D& x) { x.window.pad_left = -1; }, Code::invalid_argument, "window.pad_left");
  with([](D& x) { x.window.output_pad_h = -1; }, Code::invalid_argument, "window.output_pad_h");
  with([](D& x) { x.window.pad_top = 9; }, Code::invalid_argument, "the output's height is -1");
  with([](D& x) { x.window.iw = x.window.stride_w = INT32_MAX; }, Code::invalid_argument, "the output's width");
  with([](D& x) { x.window.stride_h = x.window.stride_w = 33, x.window.ih = x.window.iw = 2; }, Code::unsupported, "33 x 33 phases");
  with([](D& x) { x.window.ih = x.window.iw = 1 << 29, x.ic = x.oc = INT32_MAX; }, Code::overflow, "window");
  with([](D& x) { x.numerics.w_scale_count = 5; }, Code::invalid_argument, "numerics.w_scale_count");
}

TEST_F(ConvTransposeErrors, Run) {
  const ConvTransposePlan plan = *ConvTransposePlan::create(d);
  uint8_t a[32] = {}, c[98];
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
  with([](ConvArgs& v) { v.c_pixel_stride_bytes = -2; }, Code::invalid_argument, "c: the stride");
  with([&](ConvArgs& v) { v.residual = a; }, Code::invalid_argument, "residual");
  expect_error(plan.run(good, 0, plan.tiles(1) + 1, workspace), Code::invalid_argument, "tile_end");
  expect_error(plan.run(good, nullptr, single_thread()), Code::invalid_argument, "workspace is null");
}

}  // namespace
}  // namespace octavo
