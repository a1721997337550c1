#include "conv_test_util.h"

namespace octavo {
namespace {
using namespace test;

bool sees_pixels(const Window& w) {
  const auto all = [](int64_t out, int64_t stride, int64_t pad, int64_t taps, int64_t dilation, int64_t size) {
    for (int64_t o = 0; o < out; ++o) {
      int64_t real = 0;
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t at = o * stride - pad + t * dilation;
        real += at >= 0 && at < size;
      }
      if (real == 0) return false;
    }
    return true;
  };
  return all(w.oh(), w.stride_h, w.pad_top, w.kh, w.dilation_h, w.ih) &&
         all(w.ow(), w.stride_w, w.pad_left, w.kw, w.dilation_w, w.iw);
}

TEST(Pool, EqualsReference) {
  Noise noise(7);
  for (const IsaName& isa : isa_names()) {
    if (!covers(detected_isa(), isa.implies)) continue;
    for (DType t : {DType::u8, DType::s8, DType::f32}) {
      for (int i = 0; i < thinned(150); ++i) {
        PoolDesc d;
        // Common windows of so many channels that there are whole blocks of registers, then any.
        constexpr int kCommon = 4, kWide = 6;
        const Window common[kCommon] = {window(7, 7, 1, 0), window(14, 3, 2, 1), window(8, 2, 2, 0), window(9, 3, 1, 1)};
        constexpr int64_t wide[kWide] = {32, 64, 96, 130, 256, 300};
        const bool first = i < kCommon * kWide;
        d.window = first ? common[i % kCommon] : random_shape(noise).window;
        d.channels = first ? wide[i / kCommon] : noise.integer(1, 70), d.dtype = t, d.use_isa = true, d.isa = isa.implies;
        d.kind = noise.integer(0, 1) ? PoolKind::max : PoolKind::average;
        d.count_include_pad = noise.integer(0, 1);
        if (t != DType::f32) {
          d.in_q = {noise.real(0.01f, 1), int32_t(noise.integer(qmin_of(t), qmax_of(t)))};
          d.out_q = d.kind == PoolKind::max
                        ? d.in_q
                        : QParams{d.in_q.scale * noise.real(0.3f, 2), int32_t(noise.integer(qmin_of(t), qmax_of(t)))};
        }
        const std::string what = std::string(isa.name) + " " + name_of(t) + (d.kind == PoolKind::max ? " max" : " average") +
                                 (d.count_include_pad ? " with padding " : " ") +
                                 describe({d.window, d.channels, d.channels, 1, 2});
        if (!sees_pixels(d.window)) {
          expect_error(PoolPlan::create(d).status(), Code::invalid_argument, "window.pad");
          continue;
        }
        const int64_t batch = noise.integer(1, 3), row = d.channels * int64_t(size_of(t)), gap = noise.integer(0, 1) * 4;
        Operand A(noise, batch * d.window.ih * d.window.iw, row, row + gap, t),
            C(noise, batch * d.window.oh() * d.window.ow(), row, row + gap, DType::u8);
        ConvArgs v;
        v.batch = batch, v.a = A.data, v.c = C.data;
        if (gap) v.a_pixel_stride_bytes = v.c_pixel_stride_bytes = row + gap;
        const std::string before = C.str();
        reference::pool(d, v);
        const std::string expected = C.str();
        const Expected<PoolPlan> plan = PoolPlan::create(d);
        if (!expect_plan(plan, what)) continue;
        expect_every_way(*plan, v, plan->tiles(batch), C.data, before, expected, what);
      }
    }
  }
}

TEST(Pool, Errors) {
  PoolDesc good;
  good.window = window(4, 2, 2, 0), good.channels = 3, good.dtype = DType::u8;
  EXPECT_TRUE(bool(PoolPlan::create(good)));
  const auto with = [&](auto change, Code code, const char* argument) {
    PoolDesc d = good;
    change(d);
    expect_error(PoolPlan::create(d).status(), code, argument);
  };
  with([](PoolDesc& d) { d.channels = 0; }, Code::invalid_argument, "channels is 0");
  with([](PoolDesc& d) { d.dtype = DType::s32; }, Code::unsupported, "dtype is s32");
  with([](PoolDesc& d) { d.window.kh = 5; }, Code::invalid_argument, "window.kh");
  with([](PoolDesc& d) { d.window.pad_left = 2; }, Code::invalid_argument, "window.pad_left");
  with([](PoolDesc& d) { d.window.pad_bottom = 4; }, Code::invalid_argument, "window.pad_bottom");
  with([](PoolDesc& d) { d.out_q.zero_point = 1; }, Code::unsupported, "in_q and out_q");
  with([](PoolDesc& d) { d.kind = PoolKind::average, d.in_q.scale = 0; }, Code::invalid_argument, "in_q.scale");
  with([](PoolDesc& d) { d.kind = PoolKind::average, d.out_q.zero_point = -1; }, Code::invalid_argument, "out_q.zero_point");
  with([](PoolDesc& d) { d.use_isa = true, d.isa = Isa(~0u); }, Code::unsupported, "isa");
}

}  // namespace
}  // namespace octavo
