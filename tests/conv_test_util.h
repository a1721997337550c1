// What the tests of ConvPlan and DepthwisePlan share.
#pragma once

#include <cstdio>
#include <string>

#include "plan_test_util.h"

namespace octavo::test {

struct Shape {
  Window window;
  int64_t ic, oc, groups, batch;
};

inline std::string describe(const Shape& s) {
  const Window& w = s.window;
  char text[256];
  std::snprintf(text, sizeof text, "%dx%dx%d->%d groups %d batch %d kernel %dx%d stride %dx%d dilation %dx%d pads %d %d %d %d",
                int(w.ih), int(w.iw), int(s.ic), int(s.oc), int(s.groups), int(s.batch), int(w.kh), int(w.kw), int(w.stride_h),
                int(w.stride_w), int(w.dilation_h), int(w.dilation_w), int(w.pad_top), int(w.pad_left), int(w.pad_bottom),
                int(w.pad_right));
  return text;
}

// One convolution against the reference: random numerics, random gaps between pixels. Plan: ConvPlan or DepthwisePlan.
template <class Plan>
void check_conv(Noise& noise, const KernelInfo* kernel, DType a, DType out, const Shape& s) {
  const Window& w = s.window;
  const int64_t icg = s.ic / s.groups, k = icg * w.kh * w.kw, pixels_in = s.batch * w.ih * w.iw,
                pixels_out = s.batch * w.oh() * w.ow();
  RandomNumerics numerics(noise, a, out, s.oc, k, noise.integer(0, 1));
  numerics.add_function(noise);
  const DType b = a == DType::f32 ? DType::f32 : DType::s8, r = numerics.value.residual_dtype;
  const int64_t a_row = s.ic * int64_t(size_of(a)), c_row = s.oc * int64_t(size_of(out)), r_row = s.oc * int64_t(size_of(r));
  const auto gap = [&] { return noise.integer(0, 1) ? 0 : noise.integer(1, 9); };
  const int64_t a_gap = gap(), c_gap = gap(), r_gap = gap();
  Operand A(noise, pixels_in, a_row, a_row + a_gap, a), W(noise, 1, s.oc * k * int64_t(size_of(b)), 0, b),
      C(noise, pixels_out, c_row, c_row + c_gap, DType::u8), R(noise, pixels_out, r_row, r_row + r_gap, r);
  ConvDesc d;
  d.window = w, d.ic = s.ic, d.oc = s.oc, d.groups = s.groups, d.a = a, d.w = W.data, d.numerics = numerics.value,
  d.kernel = kernel, d.choice = random_choice(noise);
  ConvArgs v;
  v.batch = s.batch, v.a = A.data, v.c = C.data;
  if (a_gap) v.a_pixel_stride_bytes = a_row + a_gap;
  if (c_gap) v.c_pixel_stride_bytes = c_row + c_gap;
  if (numerics.value.has_residual) v.residual = R.data, v.residual_pixel_stride_bytes = r_gap ? r_row + r_gap : 0;
  const std::string before = C.str();
  reference::conv(d, v);
  const std::string expected = C.str();
  const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(a) + "->" + name_of(out) + " " +
                           describe(s) + " gaps " + std::to_string(a_gap) + " " + std::to_string(c_gap) + " residual " +
                           std::to_string(numerics.value.has_residual);
  const Expected<Plan> plan = Plan::create(d);
  if (!expect_plan(plan, what)) return;
  EXPECT_EQ(plan->macs(), w.oh() * w.ow() * s.oc * k);
  expect_every_way(*plan, v, plan->tiles(s.batch), C.data, before, expected, what + " " + plan->describe());
}

inline Shape random_shape(Noise& noise) {
  const auto pick = [&](int64_t lo, int64_t hi) { return noise.integer(lo, hi); };
  for (;;) {
    Shape s;
    Window& w = s.window;
    const bool flat = pick(0, 7) == 0, line = pick(0, 5) == 0;
    w.ih = line ? 1 : pick(1, 12), w.iw = pick(1, 19);
    w.kh = line || flat ? 1 : pick(1, 4), w.kw = flat ? 1 : pick(1, 4);
    if (!flat) w.stride_h = pick(1, 3), w.stride_w = pick(1, 3);
    w.dilation_h = pick(0, 2) ? 1 : pick(1, 3), w.dilation_w = pick(0, 2) ? 1 : pick(1, 3);
    if (!flat && pick(0, 3))
      w.pad_top = line ? 0 : pick(0, 3), w.pad_left = pick(0, 3), w.pad_bottom = line ? 0 : pick(0, 3), w.pad_right = pick(0, 3);
    s.groups = pick(0, 2) ? 1 : pick(1, 9);
    s.ic = s.groups * (pick(0, 3) ? pick(1, 9) : pick(10, 40));
    s.oc = s.groups * (pick(0, 3) ? pick(1, 9) : pick(10, 40));
    s.batch = pick(1, 3);
    if (w.dilation_h * (w.kh - 1) + 1 <= w.ih + w.pad_top + w.pad_bottom &&
        w.dilation_w * (w.kw - 1) + 1 <= w.iw + w.pad_left + w.pad_right)
      return s;
  }
}

inline Window window(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation = 1) {
  return {size, size, kernel, kernel, stride, stride, dilation, dilation, pad, pad, pad, pad};
}

}  // namespace octavo::test
