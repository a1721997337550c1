// Fake quantization: the formulas, finite differences, and figures of PyTorch's (scripts: tests/qat_torch.py prints them).
#include "octavo/qat.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "octavo/eltwise.h"
#include "test_util.h"

namespace octavo {
namespace {

constexpr FakeQuantizer kU8 = {{0.5f, 10}, 0, 255};
constexpr FakeQuantizer kS4 = {{0.25f, 0}, -8, 7};

FakeQuantizeShape whole(size_t n) { return {1, 1, int64_t(n)}; }

std::vector<float> noise(size_t n, uint64_t seed, float size) {
  test::Noise random(seed);
  std::vector<float> v(n);
  for (float& x : v) x = random.real(-size, size);
  return v;
}

std::vector<float> forward(const FakeQuantizer& f, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  fake_quantize(&f, whole(x.size()), x.data(), y.data());
  return y;
}

TEST(FakeQuantize, ForwardHasTheBitsOfQuantizeAndDequantize) {
  std::vector<float> x = noise(1000, 1, 100);
  x.insert(x.end(), {0.25f, 0.75f, -0.25f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, 0.0f});
  for (const float scale : {0.5f, 0.1f, 3e-3f})
    for (const DType t : {DType::u8, DType::s8}) {
      const FakeQuantizer f = {{scale, t == DType::u8 ? 128 : -5}, qmin_of(t), qmax_of(t)};
      std::vector<uint8_t> q(x.size());
      std::vector<float> y(x.size());
      const EltwiseKernels& k = eltwise(Isa::scalar);
      k.quantize(x.data(), q.data(), t, x.size(), f.q.scale, f.q.zero_point);
      k.dequantize(q.data(), t, y.data(), x.size(), f.q.scale, f.q.zero_point);
      const std::vector<float> fake = forward(f, x);
      for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(fake[i], y[i]) << x[i];
    }
}

TEST(FakeQuantize, ChannelsHaveTheirOwn) {
  const FakeQuantizer f[] = {kU8, kS4, {{1, 0}, -128, 127}};
  const std::vector<float> x = noise(2 * 3 * 5, 2, 30);
  std::vector<float> y(x.size()), dx(x.size()), ones(x.size(), 1);
  fake_quantize(f, {2, 3, 5}, x.data(), y.data());
  fake_quantize_backward(f, {2, 3, 5}, x.data(), ones.data(), dx.data());
  for (size_t run = 0; run < 6; ++run) {
    const std::vector<float> part(x.begin() + long(run) * 5, x.begin() + long(run) * 5 + 5);
    const std::vector<float> expected = forward(f[run % 3], part);
    std::vector<float> gradient(5);
    fake_quantize_backward(&f[run % 3], whole(5), part.data(), ones.data(), gradient.data());
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(y[run * 5 + i], expected[i]);
      EXPECT_EQ(dx[run * 5 + i], gradient[i]);
    }
  }
}

TEST(FakeQuantize, StraightThroughInsideOfTheRangeOnly) {
  // kS4 represents [-2, 1.75]; rounding puts the borders at -2.125 (to even, -8.5 -> -8: inside) and 1.875 (7.5 -> 8: outside).
  const std::vector<float> x = {-2.2f, -2.125f, -2, 0.1f, 1.75f, 1.874f, 1.875f, 5, NAN}, dy = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::vector<float> dx(x.size());
  fake_quantize_backward(&kS4, whole(x.size()), x.data(), dy.data(), dx.data());
  EXPECT_EQ(dx, (std::vector<float>{0, 2, 3, 4, 5, 6, 0, 0, 0}));
}

// Outside of the range y is a linear function of the scale and of the zero point, and finite differences are exact. Inside, LSQ takes
// the rounding for a constant offset: y = (x / s + r) * s with r = n - x / s held fixed at first order in s,
// dy/ds = n - x / s, where differences of y itself (n fixed) give n. Both parts are checked.
TEST(LearnedScale, FiniteDifferences) {
  const std::vector<float> x = noise(400, 3, 6);
  const std::vector<float> dy = noise(400, 4, 1);
  for (const FakeQuantizer& f : {FakeQuantizer{{0.031f, 37}, 0, 127}, FakeQuantizer{{0.25f, 0}, -8, 7}}) {
    const double s = double(f.q.scale), h = 1e-3;
    double by_scale = 0, by_zero = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double n = std::nearbyint(x[i] / f.q.scale), lo = f.qmin - f.q.zero_point, hi = f.qmax - f.q.zero_point;
      const bool below = n < lo, above = n > hi;
      // The surrogate that LSQ differentiates: rounding is x / s plus a constant.
      const auto surrogate = [&](double scale, double zero) {
        const double offset = n - double(x[i]) / s;
        if (below) return (f.qmin - f.q.zero_point - zero) * scale;
        if (above) return (f.qmax - f.q.zero_point - zero) * scale;
        return (double(x[i]) / scale + offset) * scale;
      };
      by_scale += double(dy[i]) * (surrogate(s + h, 0) - surrogate(s - h, 0)) / (2 * h);
      by_zero += double(dy[i]) * (surrogate(s, h) - surrogate(s, -h)) / (2 * h);
    }
    std::vector<float> dx(x.size());
    float scale = 0, zero = 0;
    fake_quantize_learned_backward(&f, whole(x.size()), 1, x.data(), dy.data(), dx.data(), &scale, &zero);
    EXPECT_NEAR(scale, by_scale, 1e-4 * std::max(1.0, std::fabs(by_scale)));
    EXPECT_NEAR(zero, by_zero, 1e-4 * std::max(1.0, std::fabs(by_zero)));
    std::vector<float> straight(x.size());
    fake_quantize_backward(&f, whole(x.size()), x.data(), dy.data(), straight.data());
    EXPECT_EQ(dx, straight);
  }
}

// x = {-3, -1.9, -0.3, 0.1, 0.6, 1.2, 4}, dy = {1, -2, 3, 0.5, -1, 2, 4}, scale 0.25, zero point 1, [-8, 7], factor 0.5. By hand from the
// formulas; torch._fake_quantize_learnable_per_tensor_affine of PyTorch 2.13 gives the same.
TEST(LearnedScale, FiguresOfPyTorch) {
  const FakeQuantizer f = {{0.25f, 1}, -8, 7};
  const std::vector<float> x = {-3, -1.9f, -0.3f, 0.1f, 0.6f, 1.2f, 4}, dy = {1, -2, 3, 0.5f, -1, 2, 4};
  EXPECT_EQ(forward(f, x), (std::vector<float>{-2.25f, -2, -0.25f, 0, 0.5f, 1.25f, 1.5f}));
  std::vector<float> dx(7);
  float scale = 0, zero = 0;
  fake_quantize_learned_backward(&f, whole(7), 0.5f, x.data(), dy.data(), dx.data(), &scale, &zero);
  EXPECT_EQ(dx, (std::vector<float>{0, -2, 3, 0.5f, -1, 2, 0}));
  // 0.5 * (-9 - 2 * -0.4 + 3 * 0.2 + 0.5 * -0.4 - 1 * -0.4 + 2 * 0.2 + 4 * 6)
  EXPECT_NEAR(scale, 8.5, 1e-5);
  EXPECT_FLOAT_EQ(zero, 0.5f * -(1 + 4) * 0.25f);
}

TEST(LearnedScale, InPlaceAndByChannel) {
  const FakeQuantizer f[] = {kU8, kS4};
  const std::vector<float> x = noise(2 * 2 * 6, 5, 20), dy = noise(2 * 2 * 6, 6, 1);
  std::vector<float> in_place = dy, dx(x.size());
  float scale[2], zero[2], again[2];
  fake_quantize_learned_backward(f, {2, 2, 6}, 1, x.data(), dy.data(), dx.data(), scale, zero);
  fake_quantize_learned_backward(f, {2, 2, 6}, 1, x.data(), in_place.data(), in_place.data(), again, nullptr);
  EXPECT_EQ(in_place, dx);
  EXPECT_EQ(again[0], scale[0]);
  EXPECT_EQ(again[1], scale[1]);
}

TEST(LearnedScale, LsqConstants) {
  EXPECT_FLOAT_EQ(lsq_gradient_factor(1000, 10), 0.01f);
  const float x[] = {1, -3, 2, 0};
  EXPECT_FLOAT_EQ(lsq_initial_scale(x, 4, 9), 1.0f);
  EXPECT_EQ(lsq_initial_scale(x, 0, 9), 1);
}

}  // namespace
}  // namespace octavo
