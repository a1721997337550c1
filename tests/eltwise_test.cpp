// Every elementwise table against the scalar one, bit for bit; the scalar one against plain formulas and libm in double.
#include "octavo/eltwise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "octavo/quant.h"
#include "test_util.h"

namespace octavo {
namespace {

using test::GuardedBuffer;
using test::Noise;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr Unary kUnary[] = {
    Unary::abs,  Unary::neg,   Unary::exp,       Unary::log,        Unary::sqrt,        Unary::reciprocal, Unary::floor,
    Unary::ceil, Unary::round, Unary::relu,      Unary::leaky_relu, Unary::elu,         Unary::sigmoid,    Unary::tanh,
    Unary::erf,  Unary::gelu,  Unary::gelu_tanh, Unary::silu,       Unary::hardsigmoid, Unary::hardswish,  Unary::softplus};
constexpr Binary kBinary[] = {Binary::add, Binary::sub, Binary::mul, Binary::div, Binary::max, Binary::min, Binary::pow};

std::vector<const EltwiseKernels*> eligible() {
  std::vector<const EltwiseKernels*> tables;
  for (const EltwiseKernels& t : eltwise_tables())
    if (covers(detected_isa(), t.needs)) tables.push_back(&t);
  return tables;
}
const EltwiseKernels& scalar() { return eltwise(Isa::scalar); }

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

// Every kind of float, in an order that puts different kinds beside each other.
float interesting(Noise& noise) {
  static const float special[] = {0.0f,    -0.0f,   kInf,        -kInf,      kNaN,   1,       -1,       0.5f,      -0.5f, 1.5f,
                                  2.5f,    -2.5f,   1e-45f,      -1e-45f,    1e-38f, 3.4e38f, -3.4e38f, 88.7f,     88.8f, -87.3f,
                                  -103.9f, -104.1f, 0.99999994f, 1.0000001f, 4,      -4,      16777216, 8388607.5f};
  switch (noise.next() >> 62) {
    case 0:
      return special[noise.integer(0, std::size(special) - 1)];
    case 1:
      return std::bit_cast<float>(uint32_t(noise.next() >> 32));
    case 2:
      return float(noise.integer(-600, 600)) * 0.5f;
    default:
      return noise.real(-12, 12);
  }
}

// A float array that ends where memory traps.
struct Floats {
  explicit Floats(size_t n) : memory(n * 4 + 64), p(reinterpret_cast<float*>(memory.right(n * 4))), n(n) {}
  void fill(Noise& noise) {
    for (size_t i = 0; i < n; ++i) p[i] = interesting(noise);
  }
  GuardedBuffer memory;
  float* p;
  size_t n;
};
struct Bytes {
  explicit Bytes(size_t n) : memory(n + 64), p(reinterpret_cast<uint8_t*>(memory.right(n))), n(n) {}
  GuardedBuffer memory;
  uint8_t* p;
  size_t n;
};

TapRows one_pixel(const void* const* taps, size_t count, size_t channels) { return {taps, count, 0, 0, 1, channels}; }

constexpr size_t kMost = 70;

// Runs `call(table, out)` on the scalar table and on every other one, and compares n floats.
void same_floats(size_t n, const std::string& what, const std::function<void(const EltwiseKernels&, float*)>& call) {
  Floats want(n), got(n);
  call(scalar(), want.p);
  for (const EltwiseKernels* t : eligible()) {
    for (size_t i = 0; i < n; ++i) got.p[i] = 12345;
    call(*t, got.p);
    for (size_t i = 0; i < n; ++i)
      ASSERT_TRUE(same(want.p[i], got.p[i]))
          << what << " " << t->name << " n=" << n << " i=" << i << ": " << got.p[i] << " is not " << want.p[i];
  }
}
void same_bytes(size_t n, const std::string& what, const std::function<void(const EltwiseKernels&, uint8_t*)>& call) {
  Bytes want(n), got(n);
  call(scalar(), want.p);
  for (const EltwiseKernels* t : eligible()) {
    for (size_t i = 0; i < n; ++i) got.p[i] = uint8_t(~want.p[i]);
    call(*t, got.p);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(int(want.p[i]), int(got.p[i])) << what << " " << t->name << " n=" << n << " i=" << i;
  }
}

TEST(Eltwise, TablesOfThisMachine) {
  for (const EltwiseKernels& t : eltwise_tables())
    std::printf("%s: %s\n", t.name, covers(detected_isa(), t.needs) ? "tested" : "not tested: this CPU lacks the instructions");
  EXPECT_STREQ(scalar().name, "eltwise_scalar");
  EXPECT_STREQ(eltwise(Isa::avx2 | Isa::avxvnni).name, eltwise(Isa::avx2).name);
}

TEST(Eltwise, UnarySameBits) {
  Noise noise(1);
  for (Unary op : kUnary)
    for (size_t n = 0; n <= kMost; ++n) {
      Floats x(n);
      x.fill(noise);
      same_floats(n, "unary " + std::to_string(int(op)),
                  [&](const EltwiseKernels& t, float* y) { t.unary(op, x.p, y, n, 0.2f, 0.5f); });
    }
}

TEST(Eltwise, UnarySameBitsManyValues) {
  Noise noise(2);
  const size_t n = size_t(test::thinned(20000));
  for (Unary op : kUnary) {
    Floats x(n);
    x.fill(noise);
    same_floats(n, "unary " + std::to_string(int(op)),
                [&](const EltwiseKernels& t, float* y) { t.unary(op, x.p, y, n, 1.5f, 0.25f); });
  }
}

TEST(Eltwise, UnaryInPlace) {
  Noise noise(3);
  for (const EltwiseKernels* t : eligible()) {
    Floats x(37), y(37);
    x.fill(noise);
    t->unary(Unary::gelu, x.p, y.p, x.n, 0, 0);
    t->unary(Unary::gelu, x.p, x.p, x.n, 0, 0);
    for (size_t i = 0; i < x.n; ++i) ASSERT_TRUE(same(x.p[i], y.p[i])) << t->name << i;
  }
}

TEST(Eltwise, BinarySameBits) {
  Noise noise(4);
  for (Binary op : kBinary)
    for (size_t n = 0; n <= kMost; ++n)
      for (int steps = 0; steps < 4; ++steps) {
        const int sa = steps & 1, sb = steps >> 1;
        Floats a(sa ? n : 1), b(sb ? n : 1);
        a.fill(noise), b.fill(noise);
        const bool bounded = n % 2;
        same_floats(n, "binary " + std::to_string(int(op)), [&](const EltwiseKernels& t, float* y) {
          t.binary(op, a.p, sa, b.p, sb, y, n, bounded ? 0 : -kInf, bounded ? 6 : kInf);
        });
      }
}

TEST(Eltwise, ClampScaleShiftTapsSameBits) {
  Noise noise(5);
  for (size_t n = 0; n <= kMost; ++n) {
    Floats x(n), s(n), b(n), z(n);
    x.fill(noise), s.fill(noise), b.fill(noise), z.fill(noise);
    same_floats(n, "clamp", [&](const EltwiseKernels& t, float* y) { t.clamp(x.p, y, n, -1.5f, 6); });
    same_floats(n, "scale_shift", [&](const EltwiseKernels& t, float* y) { t.scale_shift(x.p, s.p, b.p, y, n); });
    const void* taps[] = {x.p, s.p, b.p, z.p};
    for (size_t k = 1; k <= 4; ++k) {
      same_floats(n, "max_taps", [&](const EltwiseKernels& t, float* y) {
        t.max_taps(one_pixel(taps, k, n), y, DType::f32);
      });
      same_floats(n, "avg_taps_f32", [&](const EltwiseKernels& t, float* y) { t.avg_taps_f32(one_pixel(taps, k, n), y, float(k)); });
    }
  }
}

TEST(Eltwise, RowsSameBits) {
  Noise noise(6);
  for (size_t n = 1; n <= kMost; ++n)
    for (int kind = 0; kind < 2; ++kind) {
      Floats x(n), g(n), b(n);
      if (kind) {
        x.fill(noise);
      } else {
        noise.fill(x.p, n);
      }
      noise.fill(g.p, n), noise.fill(b.p, n);
      same_floats(1, "sum", [&](const EltwiseKernels& t, float* y) { *y = t.sum(x.p, n); });
      same_floats(1, "sum_squares", [&](const EltwiseKernels& t, float* y) { *y = t.sum_squares(x.p, n, 0.25f); });
      same_floats(2, "min_max", [&](const EltwiseKernels& t, float* y) { t.min_max(x.p, n, y, y + 1); });
      same_floats(n, "softmax", [&](const EltwiseKernels& t, float* y) { t.softmax(x.p, y, n); });
      same_floats(n, "layer_norm", [&](const EltwiseKernels& t, float* y) { t.layer_norm(x.p, g.p, b.p, y, n, 1e-5f); });
      same_floats(n, "rms_norm", [&](const EltwiseKernels& t, float* y) { t.rms_norm(x.p, g.p, y, n, 1e-5f); });
      same_floats(n, "layer_norm", [&](const EltwiseKernels& t, float* y) { t.layer_norm(x.p, nullptr, nullptr, y, n, 1e-5f); });
    }
}

TEST(Eltwise, ProductsOfRowsSameBits) {
  Noise noise(8);
  for (const size_t n : {1, 7, 16, 17, 31, 64, 70})
    for (const size_t rows : {1, 3, 4, 8, 13})
      for (const ptrdiff_t m : {1, 3}) {
        Floats w(rows * n), x(size_t(m) * n), start(size_t(m) * rows);
        noise.fill(w.p, rows * n), noise.fill(x.p, size_t(m) * n), noise.fill(start.p, size_t(m) * rows);
        same_floats(size_t(m) * rows, "add_products", [&](const EltwiseKernels& t, float* y) {
          std::memcpy(y, start.p, size_t(m) * rows * sizeof(float));
          t.add_products(w.p, rows, n, x.p, ptrdiff_t(n), y, ptrdiff_t(rows), size_t(m));
        });
        // Last vector first.
        same_floats(size_t(m) * rows, "add_products", [&](const EltwiseKernels& t, float* y) {
          std::memcpy(y, start.p, size_t(m) * rows * sizeof(float));
          t.add_products(w.p, rows, n, x.p + (m - 1) * ptrdiff_t(n), -ptrdiff_t(n), y + (m - 1) * ptrdiff_t(rows), -ptrdiff_t(rows),
                         size_t(m));
        });
        std::vector<float> y(start.p, start.p + size_t(m) * rows);
        eltwise(Isa::scalar).add_products(w.p, rows, n, x.p, ptrdiff_t(n), y.data(), ptrdiff_t(rows), size_t(m));
        for (size_t i = 0; i < y.size(); ++i) {
          double want = double(start.p[i]), size = std::fabs(want);
          for (size_t p = 0; p < n; ++p) {
            const double e = double(w.p[i % rows * n + p]) * double(x.p[i / rows * n + p]);
            want += e, size += std::fabs(e);
          }
          EXPECT_NEAR(double(y[i]), want, 1e-6 * size);  // n / 16 + 5 roundings of half an ulp
        }
      }
}

TEST(Eltwise, SumIsInTheSixteenLaneOrder) {
  Noise noise(7);
  for (size_t n = 0; n <= kMost; ++n) {
    std::vector<float> x(n);
    noise.fill(x.data(), n);
    float lane[16] = {};
    for (size_t i = 0; i < n; ++i) lane[i % 16] += x[i];
    for (int w = 8; w; w /= 2)
      for (int l = 0; l < w; ++l) lane[l] += lane[l + w];
    for (const EltwiseKernels* t : eligible()) ASSERT_TRUE(same(t->sum(x.data(), n), lane[0])) << t->name << " " << n;
  }
}

TEST(Eltwise, MinMaxSkipsNaN) {
  for (const EltwiseKernels* t : eligible())
    for (size_t n = 1; n <= kMost; ++n) {
      Floats x(n);
      for (size_t i = 0; i < n; ++i) x.p[i] = kNaN;
      float lo, hi;
      t->min_max(x.p, n, &lo, &hi);
      ASSERT_EQ(lo, kInf);
      ASSERT_EQ(hi, -kInf);
      x.p[n / 2] = 3;
      x.p[n - 1] = -4;
      t->min_max(x.p, n, &lo, &hi);
      ASSERT_EQ(lo, -4);
      ASSERT_EQ(hi, n / 2 == n - 1 ? -4 : 3);
    }
}

int clamp_q(double v, DType t) { return int(std::fmin(std::fmax(v, qmin_of(t)), qmax_of(t))); }

TEST(Eltwise, QuantizeDividesAndRoundsTiesToEven) {
  const float scales[] = {1, 0.1f, 0.05f, 1.0f / 3, 2, 7.7e-3f, 1e30f, 1e-30f, 0, kInf, kNaN};
  for (DType q : {DType::u8, DType::s8})
    for (float scale : scales)
      for (int32_t zp : {qmin_of(q), 7, qmax_of(q)}) {
        std::vector<float> x{kInf, -kInf, kNaN, 0, -0.0f};  // in whole registers; further down in a tail
        for (int k = -1200; k <= 1200; ++k)  // every tie and its neighbours
          for (float d : {-kInf, 0.0f, kInf}) {
            const float tie = float(k) * 0.5f * scale;
            x.push_back(d == 0 ? tie : std::nextafter(tie, d));
          }
        for (float v : {kInf, -kInf, kNaN, 3.4e38f, -3.4e38f, 1e-45f}) x.push_back(v);
        for (const EltwiseKernels* t : eligible()) {
          std::vector<uint8_t> y(x.size());
          t->quantize(x.data(), y.data(), q, x.size(), scale, zp);
          for (size_t i = 0; i < x.size(); ++i) {
            const float quotient = x[i] / scale, v = std::isnan(quotient) ? 0 : std::nearbyint(quotient);
            const int want = clamp_q(double(v) + zp, q), got = q == DType::s8 ? int8_t(y[i]) : y[i];
            ASSERT_EQ(got, want) << t->name << " x=" << x[i] << " scale=" << scale << " zp=" << zp;
          }
        }
      }
}

TEST(Eltwise, QuantizedSameBits) {
  Noise noise(8);
  const DType types[] = {DType::u8, DType::s8};
  for (size_t n = 0; n <= kMost; ++n)
    for (int round = 0; round < 4; ++round) {
      const DType ta = types[round & 1], tb = types[round >> 1], tc = types[(round ^ n) & 1];
      const auto zp = [&](DType t) { return int32_t(noise.integer(qmin_of(t), qmax_of(t))); };
      Floats x(n);
      Bytes a(n), b(n), c(n);
      x.fill(noise), noise.fill(a.p, n), noise.fill(b.p, n), noise.fill(c.p, n);
      std::vector<int32_t> s32(n);
      noise.fill(s32.data(), n);
      const int32_t za = zp(ta), zb = zp(tb), zc = zp(tc);
      const float m = noise.real(0.01f, 2);
      const QOperand qa{a.p, ta, za, m}, qb{b.p, tb, zb, 0.7f};
      const float lo = float(qmin_of(tc) - zc), hi = float(qmax_of(tc) - zc);
      same_bytes(n, "quantize", [&](const EltwiseKernels& t, uint8_t* y) { t.quantize(x.p, y, tc, n, m, zc); });
      same_floats(n, "dequantize", [&](const EltwiseKernels& t, float* y) { t.dequantize(a.p, ta, y, n, m, za); });
      same_floats(n, "dequantize s32",
                  [&](const EltwiseKernels& t, float* y) { t.dequantize(s32.data(), DType::s32, y, n, m, za); });
      Floats scales(n), biases(n);
      noise.fill(scales.p, n), noise.fill(biases.p, n);
      const std::vector<int32_t> offsets(s32.rbegin(), s32.rend());
      same_floats(n, "dequantize_sums", [&](const EltwiseKernels& t, float* y) {
        t.dequantize_sums(s32.data(), offsets.data(), m, scales.p, biases.p, y, n, -40, 50);
      });
      same_bytes(n, "requantize", [&](const EltwiseKernels& t, uint8_t* y) { t.requantize(qa, {y, tc, zc, lo, hi}, n); });
      same_bytes(n, "add", [&](const EltwiseKernels& t, uint8_t* y) { t.add_quantized(qa, qb, {y, tc, zc, lo, hi}, n); });
      same_bytes(n, "scale_shift_quantized", [&](const EltwiseKernels& t, uint8_t* y) {
        t.scale_shift_quantized(a.p, ta, scales.p, biases.p, {y, tc, zc, lo, hi}, n);
      });
      same_bytes(n, "mul", [&](const EltwiseKernels& t, uint8_t* y) { t.mul_quantized(qa, qb, {y, tc, zc, 0, hi}, n); });
      const void* taps[] = {a.p, b.p, c.p};
      for (size_t k = 1; k <= 3; ++k) {
        same_bytes(n, "max_taps", [&](const EltwiseKernels& t, uint8_t* y) { t.max_taps(one_pixel(taps, k, n), y, ta); });
        same_bytes(n, "avg_taps", [&](const EltwiseKernels& t, uint8_t* y) {
          t.avg_taps_quantized(one_pixel(taps, k, n), ta, za, m / float(k), {y, tc, zc, lo, hi});
        });
      }
    }
}

TEST(Eltwise, QuantizedFormulas) {
  // All pairs of bytes against the formulas of eltwise.h.
  std::vector<uint8_t> a(65536), b(65536), y(65536);
  for (int i = 0; i < 65536; ++i) a[size_t(i)] = uint8_t(i), b[size_t(i)] = uint8_t(i >> 8);
  const auto as = [](uint8_t v, DType t) { return t == DType::s8 ? int(int8_t(v)) : int(v); };
  for (DType t : {DType::u8, DType::s8})
    for (const EltwiseKernels* k : eligible()) {
      const float lo = float(qmin_of(t) - 5), hi = float(qmax_of(t) - 5), ma = 0.37f, mb = 1.61f;
      const auto finish = [&](float v) { return int(std::nearbyint(v > lo ? v < hi ? v : hi : lo)) + 5; };
      k->add_quantized({a.data(), t, 3, ma}, {b.data(), t, -2, mb}, {y.data(), t, 5, lo, hi}, y.size());
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(as(y[i], t), finish(std::fma(float(as(a[i], t) - 3), ma, float(as(b[i], t) + 2) * mb))) << k->name << i;
      std::vector<float> scale(y.size()), bias(y.size());
      for (size_t i = 0; i < y.size(); ++i) scale[i] = float(i % 251) * 0.02f - 2, bias[i] = float(i % 509) - 200;
      k->scale_shift_quantized(a.data(), t, scale.data(), bias.data(), {y.data(), t, 5, lo, hi}, y.size());
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(as(y[i], t), finish(std::fma(float(as(a[i], t)), scale[i], bias[i]))) << k->name << i;
      k->mul_quantized({a.data(), t, 3, 0.011f}, {b.data(), t, -2, 0}, {y.data(), t, 5, lo, hi}, y.size());
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(as(y[i], t), finish(float((as(a[i], t) - 3) * (as(b[i], t) + 2)) * 0.011f)) << k->name << i;
      for (float m : {ma, 4e6f, 9e6f, 1e30f, -1e30f, kInf}) {  // up to, around and past int32
        k->requantize({a.data(), t, 3, m}, {y.data(), t, 5, lo, hi}, 256);
        for (size_t i = 0; i < 256; ++i) ASSERT_EQ(as(y[i], t), finish(float(as(a[i], t) - 3) * m)) << k->name << i << ' ' << m;
      }
      const void* taps[] = {a.data(), b.data()};
      k->max_taps(one_pixel(taps, 2, y.size()), y.data(), t);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(as(y[i], t), std::max(as(a[i], t), as(b[i], t)));
    }
}

TEST(Eltwise, Lut) {
  Noise noise(9);
  uint8_t table[256];
  noise.fill(table, 256);
  for (const EltwiseKernels* t : eligible())
    for (size_t n : {0, 1, 15, 31, 32, 33, 63, 64, 65, 256, 300}) {
      Bytes x(n), y(n);
      for (size_t i = 0; i < n; ++i) x.p[i] = uint8_t(i * 7 + n);
      t->lut(x.p, y.p, n, table);
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(y.p[i], table[x.p[i]]) << t->name << " " << n;
    }
}

template <class T>
void transposes(size_t rows, size_t cols, ptrdiff_t gap) {
  const ptrdiff_t si = ptrdiff_t(cols) + 3, so = ptrdiff_t(rows) + gap;
  GuardedBuffer in(rows * size_t(si) * sizeof(T)), out(cols * size_t(so) * sizeof(T));
  const size_t used_in = ((rows - 1) * size_t(si) + cols) * sizeof(T), used_out = ((cols - 1) * size_t(so) + rows) * sizeof(T);
  T* x = reinterpret_cast<T*>(in.right(used_in));
  T* y = reinterpret_cast<T*>(out.right(used_out));
  Noise(10).fill(x, used_in / sizeof(T));
  for (const EltwiseKernels* t : eligible()) {
    std::memset(y, 0x5a, used_out);
    T untouched;
    std::memset(&untouched, 0x5a, sizeof untouched);
    t->transpose(x, si, y, so, rows, cols, sizeof(T));
    for (size_t j = 0; j < cols; ++j) {
      for (size_t i = 0; i < rows; ++i)
        ASSERT_EQ(y[ptrdiff_t(j) * so + ptrdiff_t(i)], x[ptrdiff_t(i) * si + ptrdiff_t(j)]) << t->name;
      for (ptrdiff_t i = ptrdiff_t(rows); j + 1 < cols && i < so; ++i) ASSERT_EQ(y[ptrdiff_t(j) * so + i], untouched) << t->name;
    }
  }
}
TEST(Eltwise, Transpose) {
  for (ptrdiff_t gap : {0, 5})
    for (size_t rows : {1, 2, 3, 4, 8, 15, 16, 17, 33, 140})
      for (size_t cols : {1, 2, 8, 16, 19, 40, 97}) {
        transposes<uint8_t>(rows, cols, gap);
        transposes<uint32_t>(rows, cols, gap);
      }
}

// Largest error of op in units in the last place of the true result, over every 1021st float of [lo, hi] (where sweeps are thinned,
// fewer).
double worst_ulp(Unary op, double (*f)(double), float lo, float hi) {
  double worst = 0;
  std::vector<float> x;
  for (uint64_t b = 0; b < uint64_t(1) << 32; b += 1021 * test::thinning()) {
    const float v = std::bit_cast<float>(uint32_t(b));
    if (v >= lo && v <= hi) x.push_back(v);
  }
  std::vector<float> y(x.size());
  scalar().unary(op, x.data(), y.data(), x.size(), 1, 0);
  float where = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = f(double(x[i]));
    const float rounded = float(want);
    if (std::isinf(rounded)) {
      EXPECT_EQ(y[i], rounded) << x[i];
      continue;
    }
    const float a = std::fabs(rounded);
    const double ulp = double(std::nextafter(a, kInf)) - double(a), error = std::fabs(double(y[i]) - want) / ulp;
    if (!(error <= worst)) worst = error, where = x[i];
  }
  std::printf("  worst %.2f ulp at %.9g\n", worst, double(where));
  return worst;
}

TEST(EltwiseAccuracy, Exp) {
  EXPECT_LE(worst_ulp(Unary::exp, [](double x) { return std::exp(x); }, -110, 89), 1.5);
}
TEST(EltwiseAccuracy, Log) {
  EXPECT_LE(worst_ulp(Unary::log, [](double x) { return std::log(x); }, 0x1p-149f, 3.4e38f), 1.5);
}
TEST(EltwiseAccuracy, Elu) {
  EXPECT_LE(worst_ulp(Unary::elu, [](double x) { return x < 0 ? std::expm1(x) : x; }, -kInf, kInf), 1.5);
}
TEST(EltwiseAccuracy, Sigmoid) {
  // What would be denormal is 0.
  EXPECT_LE(worst_ulp(Unary::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -87, kInf), 2.5);
}
TEST(EltwiseAccuracy, Tanh) {
  EXPECT_LE(worst_ulp(Unary::tanh, [](double x) { return std::tanh(x); }, -kInf, kInf), 3);
}
TEST(EltwiseAccuracy, Erf) {
  EXPECT_LE(worst_ulp(Unary::erf, [](double x) { return std::erf(x); }, -kInf, kInf), 2);
}
TEST(EltwiseAccuracy, Silu) {
  EXPECT_LE(worst_ulp(Unary::silu, [](double x) { return x / (1 + std::exp(-x)); }, -80, kInf), 3);
}
TEST(EltwiseAccuracy, GeluTanh) {
  // The argument of the exponential is rounded: its error is multiplied by the argument, up to 87 for negative x.
  const auto f = [](double x) { return x / (1 + std::exp(-2 * 0.79788456080286541 * (x + 0.044715 * x * x * x))); };
  EXPECT_LE(worst_ulp(Unary::gelu_tanh, f, -1, kInf), 6);
}
TEST(EltwiseAccuracy, Softplus) {
  EXPECT_LE(worst_ulp(Unary::softplus, [](double x) { return x > 40 ? x : std::log1p(std::exp(x)); }, -110, 3e38f), 3);
}
TEST(EltwiseAccuracy, Gelu) {
  const auto f = [](double x) { return 0.5 * x * std::erfc(-x * 0.70710678118654752); };
  EXPECT_LE(worst_ulp(Unary::gelu, f, 0, kInf), 3);
  // Negative x: 1 + erf cancels, so the bound is absolute, as it is for every gelu that is written with erf.
  std::vector<float> x, y;
  for (float v = -20; v < 0; v += 1.0f / 4096) x.push_back(v);
  y.resize(x.size());
  scalar().unary(Unary::gelu, x.data(), y.data(), x.size(), 0, 0);
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], f(double(x[i])), 1.8e-7 * std::fabs(double(x[i]))) << x[i];
}

float one(Unary op, float x) {
  float y;
  scalar().unary(op, &x, &y, 1, 0.1f, 0.5f);
  return y;
}
TEST(Eltwise, Limits) {
  EXPECT_EQ(one(Unary::exp, -kInf), 0);
  EXPECT_EQ(one(Unary::exp, kInf), kInf);
  EXPECT_EQ(one(Unary::log, 0), -kInf);
  EXPECT_EQ(one(Unary::log, -0.0f), -kInf);
  EXPECT_EQ(one(Unary::log, kInf), kInf);
  EXPECT_TRUE(std::isnan(one(Unary::log, -1)));
  EXPECT_EQ(one(Unary::sigmoid, -kInf), 0);
  EXPECT_EQ(one(Unary::sigmoid, kInf), 1);
  EXPECT_EQ(one(Unary::sigmoid, 0), 0.5f);
  EXPECT_EQ(one(Unary::tanh, -kInf), -1);
  EXPECT_EQ(one(Unary::tanh, kInf), 1);
  EXPECT_TRUE(same(one(Unary::tanh, -0.0f), -0.0f));
  EXPECT_EQ(one(Unary::erf, -kInf), -1);
  EXPECT_EQ(one(Unary::erf, kInf), 1);
  for (Unary op : {Unary::gelu, Unary::gelu_tanh, Unary::silu, Unary::softplus, Unary::relu}) {
    EXPECT_EQ(one(op, -kInf), 0) << int(op);
    EXPECT_EQ(one(op, kInf), kInf) << int(op);
  }
  EXPECT_EQ(one(Unary::elu, -kInf), -0.1f);
  EXPECT_EQ(one(Unary::round, 0.5f), 0);
  EXPECT_EQ(one(Unary::round, -1.5f), -2);
  EXPECT_EQ(one(Unary::hardsigmoid, kInf), 1);
  for (Unary op : kUnary) EXPECT_TRUE(std::isnan(one(op, kNaN))) << int(op);
}

TEST(Eltwise, PowAgainstLibm) {
  Noise noise(11);
  for (int i = 0; i < test::thinned(200000); ++i) {
    float x = interesting(noise), e = interesting(noise), y;
    if (i % 3 == 0) e = float(noise.integer(-20, 20)) * 0.5f;
    scalar().binary(Binary::pow, &x, 1, &e, 1, &y, 1, -kInf, kInf);
    const double want = std::pow(double(x), double(e));
    const float rounded = float(want);
    if (std::isnan(want) || std::isinf(rounded) || rounded == 0) {
      ASSERT_TRUE(same(y, rounded)) << x << "^" << e << " = " << y << " not " << rounded;
      continue;
    }
    const float a = std::fabs(rounded);
    ASSERT_LE(std::fabs(double(y) - want), 0.5001 * (double(std::nextafter(a, kInf)) - double(a))) << x << "^" << e;
  }
  for (int base = -9; base <= 9; ++base)
    for (int e = 0; e <= 7; ++e) {
      float x = float(base), k = float(e), y;
      scalar().binary(Binary::pow, &x, 0, &k, 0, &y, 1, -kInf, kInf);
      EXPECT_EQ(y, float(std::pow(base, e))) << base << "^" << e;
    }
}

TEST(Eltwise, DequantizedSumsAreTheFormula) {
  const int32_t sums[] = {100, -7, 1 << 20, 5}, offset[] = {40, 3, 0, 5};
  const float scale[] = {0.5f, 0.25f, 1, 2}, bias[] = {1, -1, 0, 0.5f};
  float y[4];
  scalar().dequantize_sums(sums, offset, 0.1f, scale, bias, y, 4, -1.125f, 1000);
  EXPECT_EQ(y[0], std::fma(60.0f, 0.1f * 0.5f, 1.0f));
  EXPECT_EQ(y[1], -1.125f);
  EXPECT_EQ(y[2], 1000);
  EXPECT_EQ(y[3], 0.5f);
}

TEST(Eltwise, SoftmaxAndLayerNormAreRight) {
  Noise noise(12);
  std::vector<float> x(1000), y(1000);
  for (float& v : x) v = noise.real(-8, 8);
  scalar().softmax(x.data(), y.data(), x.size());
  double sum = 0;
  for (float v : x) sum += std::exp(double(v));
  // The float sum of 1000 positive terms in 16 lanes: relative error below 1000/16 * 2^-24.
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(double(y[i]) / (std::exp(double(x[i])) / sum), 1, 4e-6);
  scalar().layer_norm(x.data(), nullptr, nullptr, y.data(), x.size(), 1e-5f);
  double mean = 0, var = 0;
  for (float v : x) mean += double(v) / 1000;
  for (float v : x) var += (v - mean) * (v - mean) / 1000;
  // |y| < 2: the mean and the deviation each carry the float rounding of a 16-lane sum, a few 2^-24 of it.
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(double(y[i]), (x[i] - mean) / std::sqrt(var + 1e-5), 2e-6);
}

TEST(ChooseQParams, Formulas) {
  EXPECT_EQ(choose_qparams(-1, 1, 0, 255, false), (QParams{2.0f / 255, 128}));  // rne(127.5) = 128
  EXPECT_EQ(choose_qparams(0, 2.55f, 0, 255, false), (QParams{float(double(2.55f) / 255), 0}));
  EXPECT_EQ(choose_qparams(1, 3, 0, 255, false), (QParams{float(3.0 / 255), 0}));  // 0 is forced in
  EXPECT_EQ(choose_qparams(-3, -1, 0, 255, false), (QParams{float(3.0 / 255), 255}));
  EXPECT_EQ(choose_qparams(-3, -1, -128, 127, false), (QParams{float(3.0 / 255), 127}));
  EXPECT_EQ(choose_qparams(-3, 1, -128, 127, true), (QParams{float(3.0 / 127.5), 0}));
  EXPECT_EQ(choose_qparams(-3, 1, -127, 127, true), (QParams{float(3.0 / 127), 0}));
  EXPECT_EQ(choose_qparams(-1, 4, 0, 255, true), (QParams{float(4 / 127.5), 128}));
}
TEST(ChooseQParams, AlwaysValid) {
  const float values[] = {0, -0.0f, 1, -1, 1e-45f, 3.4e38f, -3.4e38f, kInf, -kInf, kNaN};
  for (float lo : values)
    for (float hi : values)
      for (bool symmetric : {false, true})
        for (DType t : {DType::u8, DType::s8})
          for (float eps : {1.0f / 4096, 0.0f}) {
            const QParams q = choose_qparams(lo, hi, qmin_of(t), qmax_of(t), symmetric, eps);
            ASSERT_TRUE(std::isfinite(q.scale) && q.scale > 0) << lo << " " << hi;
            ASSERT_GE(q.scale, eps);
            ASSERT_TRUE(q.zero_point >= qmin_of(t) && q.zero_point <= qmax_of(t)) << lo << " " << hi;
          }
  EXPECT_EQ(choose_qparams(2, -1, 0, 255, false), choose_qparams(-1, 2, 0, 255, false));
  EXPECT_EQ(choose_qparams(0, 0, 0, 255, false), (QParams{1.0f / 4096, 0}));
}

}  // namespace
}  // namespace octavo
