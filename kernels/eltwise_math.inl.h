// Transcendental functions on a vector vocabulary V: one polynomial each, so that all instruction sets give the same bits.
//
// V is a struct of static functions over
//   V::F floats, V::I int32, V::M masks, N lanes each; F and I have + - * / (I: + - ^ and shifts) and construct from a scalar
//   fma(a, b, c) fused; min(a, b) = a < b ? a : b; max(a, b) = a > b ? a : b (so a NaN in either gives b)
//   sqrt floor ceil rint abs copysign(magnitude, sign); lt(a, b), is_nan(a); select(mask, then, else)
//   to_int(v): rne, |v| < 2^22 or any result; to_float(i); bits(v), from_bits(i)
// Coefficients: minimax fits (Lawson's iteration in double, rounded to float), with the error that is left after rounding.
// The bounds in ulp are measured against double over all ranges by tests/eltwise_test.cpp.

template <class V, class... C>
OCTAVO_INLINE typename V::F horner(typename V::F x, float c0, C... c) {  // c0 + x*(c1 + x*(...))
  if constexpr (sizeof...(c) == 0) {
    return typename V::F(c0);
  } else {
    return V::fma(x, horner<V>(x, c...), typename V::F(c0));
  }
}

// (e^r - 1 - r) / r^2 for |r| <= ln2/2: times r^2, error 2^-27.7.
template <class V>
OCTAVO_INLINE typename V::F exp_rest(typename V::F r) {
  return horner<V>(r, 0x1.000000p-1f, 0x1.55548ep-3f, 0x1.55545ep-5f, 0x1.123be0p-7f, 0x1.6db4e4p-10f);
}

// Added to x, this leaves 127 + n in the low bits, n = x rounded: all that it takes to make 2^n, and n without a conversion.
constexpr float kRound = 0x1.8p23f + 127;
// 2^n of x + kRound, -127 <= n (which gives 0) and n <= 128 (infinity).
template <class V>
OCTAVO_INLINE typename V::F power_of_two(typename V::F rounded) {
  return V::from_bits(V::bits(rounded) << 23);
}
// x - n*ln2, n whole.
template <class V>
OCTAVO_INLINE typename V::F less_ln2(typename V::F x, typename V::F n) {
  const typename V::F r = V::fma(n, typename V::F(-0x1.62e4p-1f), x);  // ln2 to 14 bits: n times it is exact
  return V::fma(n, typename V::F(-0x1.7f7d1cp-20f), r);
}

// exp, <= 1.1 ulp (denormal results: 1 unit). inf -> inf, -inf -> 0.
template <class V>
OCTAVO_INLINE typename V::F exp(typename V::F x) {
  using F = typename V::F;
  using I = typename V::I;
  constexpr float round = 0x1.8p23f + 2 * 127;
  x = V::min(F(89.0f), V::max(F(-105.0f), x));
  const F t = V::fma(x, F(0x1.715476p+0f), F(round));
  const F r = less_ln2<V>(x, t - F(round));
  const F p = V::fma(r, V::fma(r, exp_rest<V>(r), F(1.0f)), F(1.0f));
  // 2^n in two steps, so that denormal results come out right.
  const I half = V::bits(t) >> 1;
  return p * V::from_bits(half << 23) * V::from_bits((V::bits(t) - half) << 23);
}

// 2^t for |t| <= 1/2: error 2^-28.9.
template <class V>
OCTAVO_INLINE typename V::F exp2_near_zero(typename V::F t) {
  return horner<V>(t, 1.0f, 0x1.62e430p-1f, 0x1.ebfbdcp-3f, 0x1.c6aee8p-5f, 0x1.3b2d4cp-7f, 0x1.5f3e52p-10f, 0x1.41fbbcp-13f);
}
// 2^t, -127.4 <= t <= 128. What would be denormal is 0; so is 2^-126.5, and 2^127.5 is infinity.
template <class V>
OCTAVO_INLINE typename V::F exp2_flushed(typename V::F t) {
  using F = typename V::F;
  const F rounded = t + F(kRound);
  return exp2_near_zero<V>(t - (rounded - F(kRound))) * power_of_two<V>(rounded);
}
// exp(-x) for x >= -88.7: from 87.7 on 0, below -88.4 infinity.
template <class V>
OCTAVO_INLINE typename V::F exp_of_minus(typename V::F x) {
  using F = typename V::F;
  x = V::min(F(88.0f), x);
  const F t = V::fma(x, F(-0x1.715476p+0f), F(kRound)), n = t - F(kRound);
  F r = V::fma(n, F(0x1.62e4p-1f), x);  // -x = n*ln2 - r
  r = V::fma(n, F(0x1.7f7d1cp-20f), r);
  return horner<V>(r, 1.0f, -1.0f, 0x1.000000p-1f, -0x1.55548ep-3f, 0x1.55545ep-5f, -0x1.123be0p-7f, 0x1.6db4e4p-10f) *
         power_of_two<V>(t);
}

// exp(x) - 1 for -80 <= x <= 80.
template <class V>
OCTAVO_INLINE typename V::F expm1(typename V::F x) {
  using F = typename V::F;
  const F t = V::fma(x, F(0x1.715476p+0f), F(kRound)), r = less_ln2<V>(x, t - F(kRound));
  const F q = V::fma(r * r, exp_rest<V>(r), r);
  const F s = power_of_two<V>(t);  // s * (q + 1) - 1 = s * q + (s - 1)
  return V::fma(s, q, s - F(1.0f));
}

// Natural logarithm. 0 -> -inf, negative -> NaN, inf -> inf.
template <class V>
OCTAVO_INLINE typename V::F log(typename V::F x) {
  using F = typename V::F;
  using I = typename V::I;
  const auto tiny = V::lt(x, F(0x1p-126f));
  const F scaled = V::max(V::select(tiny, x * F(0x1p23f), x), F(0x1p-126f));  // normal and positive from here on
  const I sqrt_half(0x3f3504f3);
  const I e = (V::bits(scaled) - sqrt_half) >> 23;
  const F f = V::from_bits(V::bits(scaled) - (e << 23)) - F(1.0f);  // mantissa in [sqrt(1/2), sqrt(2)), minus 1
  const F n = V::to_float(e) - V::select(tiny, F(23.0f), F(0.0f));
  // (log(1 + f) - f + f^2/2) / f^3: error 2^-28.2
  const F q = horner<V>(f, 0x1.555548p-2f, -0x1.000006p-2f, 0x1.99a4b6p-3f, -0x1.555c4ep-3f, 0x1.233768p-3f, -0x1.fc2208p-4f,
                        0x1.e6f06ap-4f, -0x1.de3c16p-4f, 0x1.1457a6p-4f);
  const F f2 = f * f;
  const F low = V::fma(n, F(0x1.7f7d1cp-20f), V::fma(f2 * f, q, F(-0.5f) * f2));
  F y = V::fma(n, F(0x1.62e4p-1f), f + low);
  const F inf = V::from_bits(I(0x7f800000));
  y = V::select(V::lt(x, inf), y, x);  // inf and NaN
  y = V::select(V::lt(F(0.0f), V::abs(x)), y, V::select(V::is_nan(x), x, F(0.0f) - inf));
  return V::select(V::lt(x, F(0.0f)), V::from_bits(I(0x7fc00000)), y);
}

// 1 / (1 + exp(-x)). Below -88.4: 0.
template <class V>
OCTAVO_INLINE typename V::F sigmoid(typename V::F x) {
  using F = typename V::F;
  return F(1.0f) / (F(1.0f) + exp_of_minus<V>(V::max(F(-88.7f), x)));
}

// t / (t + 2), t = expm1(2|x|), with the sign of x. tanh(x) = 1 from 9.01 on.
template <class V>
OCTAVO_INLINE typename V::F tanh(typename V::F x) {
  using F = typename V::F;
  const F a = V::min(F(10.0f), V::abs(x));
  const F t = expm1<V>(a + a);
  return V::copysign(t / (t + F(2.0f)), x);
}

template <class V>
OCTAVO_INLINE typename V::F erf(typename V::F x) {
  using F = typename V::F;
  const F a = V::min(F(4.0f), V::abs(x));  // erf(4) rounds to 1
  // |x| <= 1: (erf(a) - a) / a in a^2, error 2^-28.2
  const F small = horner<V>(a * a, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2cf8p-4f, -0x1.b7f90ep-6f, 0x1.5405b8p-8f,
                            -0x1.a3f722p-11f, 0x1.496a86p-14f);
  // |x| > 1: log2(erfc(a)), error of erf 2^-29.3
  const F large = horner<V>(a, -0x1.0b8c90p-11f, -0x1.a03fe6p+0f, -0x1.d76e84p-1f, -0x1.307032p-3f, 0x1.01b51ap-5f,
                            -0x1.15ef74p-8f, 0x1.18bb56p-12f);
  const F y = V::select(V::lt(F(1.0f), a), F(1.0f) - exp2_flushed<V>(large), V::fma(a, small, a));
  return V::copysign(y, x);
}

// x/2 * (1 + erf(x / sqrt(2))) = max(x, 0) - |x| * erfc(|x| / sqrt(2)) / 2, which cancels nowhere. -inf -> 0.
template <class V>
OCTAVO_INLINE typename V::F gelu(typename V::F x) {
  using F = typename V::F;
  const F a = V::min(F(10.510f), V::abs(x));  // from here on 2^-127, which is 0
  // log2(erfc(a / sqrt(2)) / 2), relative error of the result 2^-25.5 where x > 0
  const F t = horner<V>(a, -1.0f, -0x1.26aedcp+0f, -0x1.d63900p-2f, -0x1.ae4bbap-5f, 0x1.d2f576p-8f, -0x1.a36568p-13f,
                        -0x1.40a8a4p-13f, 0x1.01d838p-15f, -0x1.080f58p-19f);
  return V::fma(F(-0.0f) - a, exp2_flushed<V>(t), V::max(F(0.0f), x));
}

// x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) = x / (1 + exp(-2 sqrt(2/pi) * (...))).
template <class V>
OCTAVO_INLINE typename V::F gelu_tanh(typename V::F x) {
  using F = typename V::F;
  const F c = V::max(F(-10.05f), x);  // its exponential is infinite
  return c / (F(1.0f) + exp_of_minus<V>(c * V::fma(c * c, F(0x1.2444eap-4f), F(0x1.988454p+0f))));
}

// x / (1 + exp(-x)). Below -88.4: -0.
template <class V>
OCTAVO_INLINE typename V::F silu(typename V::F x) {
  using F = typename V::F;
  const F c = V::max(F(-88.7f), x);
  return c / (F(1.0f) + exp_of_minus<V>(c));
}

// log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|); log1p(u) = log(w) + (u - (w - 1)) / w, w = 1 + u rounded.
template <class V>
OCTAVO_INLINE typename V::F softplus(typename V::F x) {
  using F = typename V::F;
  const F u = exp<V>(F(0.0f) - V::abs(x));
  const F w = F(1.0f) + u;
  return V::max(F(0.0f), x) + (log<V>(w) + (u - (w - F(1.0f))) / w);
}

// x to the power y, one lane. In double with error below 2^-44, so that results which are floats come out exactly.
inline double log2_of(double x) {  // finite, positive, normal
  uint64_t b;
  std::memcpy(&b, &x, 8);
  const int64_t e = int64_t(b - 0x3fe6a09e667f3bcdu) >> 52;
  b -= uint64_t(e) << 52;
  double m;  // in [sqrt(1/2), sqrt(2))
  std::memcpy(&m, &b, 8);
  // log(m) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), |s| <= 0.172
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double t = 0;
  for (int k = 23; k >= 1; k -= 2) t = __builtin_fma(t, s2, 1.0 / k);
  return __builtin_fma(2 * s * t, 0x1.71547652b82fep+0, double(e));
}
inline double exp2_of(double x) {  // |x| <= 1000
  const double n = (x + 0x1.8p52) - 0x1.8p52;
  const double r = (x - n) * 0x1.62e42fefa39efp-1;
  double t = 1;
  for (int k = 12; k >= 1; --k) t = __builtin_fma(t * (1.0 / k), r, 1.0);  // sum of r^k / k!
  const uint64_t b = uint64_t(int64_t(n) + 1023) << 52;
  double scale;
  std::memcpy(&scale, &b, 8);
  return t * scale;
}
inline float pow_of(float x, float y) {
  constexpr float inf = __builtin_huge_valf();
  if (y == 0 || x == 1) return 1;
  if (x != x || y != y) return x + y;
  if (y == 1) return x;
  if (y == 2) return x * x;
  if (y == -1) return 1 / x;
  const float a = __builtin_fabsf(x), b = __builtin_fabsf(y);
  if (y == 0.5f && x >= 0) return __builtin_sqrtf(a);
  if (b == inf) return a == 1 ? 1 : (a > 1) == (y > 0) ? inf : 0;
  const bool integer = b >= 0x1p24f || float(int32_t(b)) == b;
  const bool odd = b < 0x1p24f && integer && (int32_t(b) & 1);
  if (x < 0 && !integer && a != inf) return __builtin_nanf("");
  float r;
  if (a == 0 || a == inf) {
    r = (a == 0) == (y > 0) ? 0 : inf;
  } else {
    const double e = double(y) * log2_of(double(a));
    r = float(exp2_of(e > 300 ? 300 : e < -300 ? -300 : e));
  }
  return odd ? __builtin_copysignf(r, x) : r;
}
