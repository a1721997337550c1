// Trigonometric and hyperbolic functions and their inverses, in double: the C library's differ in the last bit from machine to
// machine. Series are cut off where the next term is below 1e-10 of the result, far below half a unit of a float.
#include <cmath>
#include <limits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The argument is reduced to [-pi/4, pi/4] by multiples of pi/2, exact as long as |x| < 2^27; beyond that a float has no phase to
// speak of.
struct Angle {
  double sine, cosine;
};
Angle turn(double x) {
  if (!(std::fabs(x) < 134217728.0)) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  constexpr double kHigh = 1.57079632673412561417, kLow = 6.07710050650619224932e-11;  // of pi / 2
  const double turns = std::nearbyint(x * 0.63661977236758134308);
  const double r = (x - turns * kHigh) - turns * kLow, z = r * r;
  const double s = r * (1 + z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z / 39916800)))));
  const double c = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z / 479001600)))));
  switch (int64_t(turns) & 3) {
    case 0: return {s, c};
    case 1: return {c, -s};
    case 2: return {-s, -c};
    default: return {-c, s};
  }
}
double sine(double x) { return turn(x).sine; }
double cosine(double x) { return turn(x).cosine; }
double tangent(double x) {
  const Angle a = turn(x);
  return a.sine / a.cosine;
}

// x + s x^3/3 + x^5/5 + s x^7/7 ...: with s = -1 the arc tangent, with s = 1 that of the hyperbolic tangent. |x| < 0.42
double arc_series(double x, double s) {
  const double z = s * x * x;
  double sum = 0;
  for (int k = 12; k >= 0; --k) sum = sum * z + 1.0 / (2 * k + 1);
  return x * sum;
}

double arc_tangent(double x) {
  const double a = std::fabs(x), inner = a > 1 ? 1 / a : a;
  constexpr double kEighth = 0.41421356237309503;  // tan(pi/8)
  const double angle = inner > kEighth ? kPi / 4 + arc_series((inner - 1) / (inner + 1), -1) : arc_series(inner, -1);
  return std::copysign(a > 1 ? kPi / 2 - angle : angle, x);
}
double arc_sine(double x) { return arc_tangent(x / std::sqrt((1 - x) * (1 + x))); }
double arc_cosine(double x) { return 2 * arc_tangent(std::sqrt((1 - x) / (1 + x))); }

double exponential(double x) {
  if (!(std::fabs(x) < 700)) return x != x ? x : x > 0 ? std::numeric_limits<double>::infinity() : 0;
  constexpr double kHigh = 0.693147180369123816490, kLow = 1.90821492927058770002e-10;  // of ln 2
  const double powers = std::nearbyint(x * 1.44269504088896338700), r = (x - powers * kHigh) - powers * kLow;
  double sum = 1;
  for (int k = 12; k > 0; --k) sum = 1 + r / k * sum;
  return std::ldexp(sum, int(powers));
}

// x > 0
double logarithm(double x) {
  if (!(x <= std::numeric_limits<double>::max())) return x;
  int exponent;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752) m *= 2, --exponent;
  return 2 * arc_series((m - 1) / (m + 1), 1) + exponent * 0.69314718055994530942;
}

double hyperbolic_sine(double x) {
  if (std::fabs(x) > 0.5) return (exponential(x) - exponential(-x)) / 2;
  const double z = x * x;
  return x * (1 + z / 6 * (1 + z / 20 * (1 + z / 42 * (1 + z / 72))));
}
double hyperbolic_cosine(double x) { return (exponential(x) + exponential(-x)) / 2; }

double area_sine(double x) {
  const double a = std::fabs(x);
  return a < 1e-3 ? x - x * x * x / 6 : std::copysign(logarithm(a + std::sqrt(a * a + 1)), x);
}
double area_cosine(double x) {
  return x >= 1 ? logarithm(x + std::sqrt((x - 1) * (x + 1))) : std::numeric_limits<double>::quiet_NaN();
}
double area_tangent(double x) {
  const double a = std::fabs(x);
  if (a < 0.4) return arc_series(x, 1);
  if (a == 1) return std::copysign(std::numeric_limits<double>::infinity(), x);
  return a < 1 ? logarithm((1 + x) / (1 - x)) / 2 : std::numeric_limits<double>::quiet_NaN();
}

Inferred infer_f32(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != DType::f32) return bad_type(ctx, 0);
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

template <double (*kFunction)(double)>
Status eval(const EvalContext& ctx) {
  const float* x = f32(ctx.inputs[0]);
  std::transform(x, x + ctx.inputs[0].count(), f32_out(ctx.outputs[0]), [](float v) { return float(kFunction(double(v))); });
  return {};
}

constexpr OpInfo kOps[] = {
    {"Sin", "", infer_f32, eval<sine>},
    {"Cos", "", infer_f32, eval<cosine>},
    {"Tan", "", infer_f32, eval<tangent>},
    {"Asin", "", infer_f32, eval<arc_sine>},
    {"Acos", "", infer_f32, eval<arc_cosine>},
    {"Atan", "", infer_f32, eval<arc_tangent>},
    {"Sinh", "", infer_f32, eval<hyperbolic_sine>},
    {"Cosh", "", infer_f32, eval<hyperbolic_cosine>},
    {"Asinh", "", infer_f32, eval<area_sine>},
    {"Acosh", "", infer_f32, eval<area_cosine>},
    {"Atanh", "", infer_f32, eval<area_tangent>},
};

}  // namespace

std::span<const OpInfo> trigonometric_ops() noexcept { return kOps; }

}  // namespace octavo::ops
