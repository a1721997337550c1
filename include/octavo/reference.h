// The normative definition of what every plan computes, as plain loops: slow, and right by inspection. Plans equal it
// bit for bit on every ISA. Descriptors and arguments are those of the plans, and are not checked; strides of 0 mean dense.
// Integer accumulators wrap modulo 2^32, so that a zero point may be folded anywhere.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/conv.h"
#include "octavo/conv_transpose.h"
#include "octavo/eltwise.h"
#include "octavo/gemm.h"
#include "octavo/matmul.h"
#include "octavo/quant.h"
#include "octavo/types.h"

namespace octavo::reference {

template <class T>
T load(const void* p, ptrdiff_t index) {
  T v;
  std::memcpy(&v, static_cast<const char*>(p) + index * ptrdiff_t(sizeof(T)), sizeof v);
  return v;
}
template <class T>
void store(void* p, ptrdiff_t index, T v) {
  std::memcpy(static_cast<char*>(p) + index * ptrdiff_t(sizeof(T)), &v, sizeof v);
}
inline int32_t load_q(const void* p, ptrdiff_t index, DType t) {
  return t == DType::u8 ? int32_t(load<uint8_t>(p, index)) : int32_t(load<int8_t>(p, index));
}
inline void store_q(void* p, ptrdiff_t index, int32_t q) { store(p, index, uint8_t(q)); }

inline int32_t add_wrap(int32_t a, int32_t b) { return int32_t(uint32_t(a) + uint32_t(b)); }

// NaN becomes lo.
inline float clamp(float v, float lo, float hi) {
  v = v > lo ? v : lo;
  return v < hi ? v : hi;
}
// q = rne(clamp(v, lo - zp, hi - zp)) + zp. Round first, then add the zero point.
inline int32_t round_q(float v, int32_t lo, int32_t hi, int32_t zp) {
  return int32_t(std::nearbyint(clamp(v, float(lo - zp), float(hi - zp)))) + zp;
}
// q = clamp(rne(x / scale) + zero_point); NaN as 0.
inline int32_t quantize(float x, QParams q, DType t) {
  const float v = std::nearbyint(x / q.scale);
  const float lo = float(qmin_of(t) - q.zero_point), hi = float(qmax_of(t) - q.zero_point);
  return int32_t(clamp(v == v ? v : 0.0f, lo, hi)) + q.zero_point;
}
inline float dequantize(int32_t q, QParams p) { return float(q - p.zero_point) * p.scale; }

inline float weight_scale(const Numerics& n, int64_t j) { return n.w_scale[n.w_scale_count == 1 ? 0 : j]; }

// Where a function follows, an element of the output is made of the float v. Functions are those of the scalar routines.
inline void apply_function(const Numerics& n, int64_t j, float v, void* c) {
  const EltwiseKernels& k = eltwise(Isa::scalar);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  v = clamp(v, -kInf, kInf);
  k.unary(n.function->op, &v, &v, 1, n.function->alpha, n.function->beta);
  if (n.lo > -kInf || n.hi < kInf) k.clamp(&v, &v, 1, n.lo, n.hi);
  n.out == DType::f32 ? store(c, j, v) : store_q(c, j, quantize(v, n.out_q, n.out));
}

// What the int32 sum of column j starts from. A real bias of f32 output, or before a function, is added after scaling instead.
inline int32_t seed(const Numerics& n, int64_t j) {
  if (n.bias_s32) return n.bias_s32[j];
  if (n.bias_f32 && n.out != DType::f32 && !n.function) return int32_t(quantize_bias(n.bias_f32[j], n.a.scale, weight_scale(n, j)));
  return 0;
}

// Column j of one output row: c and residual point at the row. acc of u8 and s8 activations, seed and zero point included.
inline void epilogue(const Numerics& n, int64_t j, int32_t acc, void* c, const void* residual) {
  if (n.out == DType::s32) return store(c, j, acc);
  if (n.out == DType::f32 || n.function) {
    const float bias = n.bias_f32 ? n.bias_f32[j] : 0.0f;
    float v = std::fma(float(acc), accumulator_scale(n.a.scale, weight_scale(n, j)), bias);
    if (n.function) return apply_function(n, j, v, c);
    if (n.has_residual) v = v + load<float>(residual, j);
    return store(c, j, clamp(v, n.lo, n.hi));
  }
  const float m = requantize_multiplier(n.a.scale, weight_scale(n, j), n.out_q.scale);
  float v = float(acc) * m;
  if (n.has_residual) {
    const int32_t r = load_q(residual, j, n.residual_dtype) - n.residual_q.zero_point;
    v = std::fma(float(acc), m, float(r) * rescale_multiplier(n.residual_q.scale, n.out_q.scale));
  }
  store_q(c, j, round_q(v, quantize_bound(n.lo, n.out_q, n.out), quantize_bound(n.hi, n.out_q, n.out), n.out_q.zero_point));
}
// The same for f32 activations and weights: c = clamp((acc + bias) + r, lo, hi).
inline void epilogue(const Numerics& n, int64_t j, float acc, void* c, const void* residual) {
  float v = acc + (n.bias_f32 ? n.bias_f32[j] : 0.0f);
  if (n.function) return apply_function(n, j, v, c);
  if (n.has_residual) v = v + load<float>(residual, j);
  store(c, j, clamp(v, n.lo, n.hi));
}

// C[i][j] = epilogue(seed[j] + sum_p (A[i][p] - a_zp) * B[p][j]). f32: one fma for each p, in order, from 0.
inline void gemm_element(const GemmDesc& d, const GemmArgs& g, int64_t i, int64_t j) {
  const char* a = static_cast<const char*>(g.a) + i * g.a_stride_bytes;
  char* c = static_cast<char*>(g.c) + i * g.c_stride_bytes;
  const char* r = g.residual ? static_cast<const char*>(g.residual) + i * g.residual_stride_bytes : nullptr;
  if (d.a == DType::f32) {
    float acc = 0;
    for (int64_t p = 0; p < d.k; ++p)
      acc = std::fma(load<float>(a, p), load<float>(d.b, p * d.b_row_stride + j * d.b_col_stride), acc);
    return epilogue(d.numerics, j, acc, c, r);
  }
  int32_t acc = seed(d.numerics, j);
  for (int64_t p = 0; p < d.k; ++p) {
    const int32_t w = load<int8_t>(d.b, p * d.b_row_stride + j * d.b_col_stride);
    acc = add_wrap(acc, (load_q(a, p, d.a) - d.numerics.a.zero_point) * w);
  }
  epilogue(d.numerics, j, acc, c, r);
}

inline void gemm(const GemmDesc& d, const GemmArgs& g) {
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < d.n; ++j) gemm_element(d, g, i, j);
}

// For each head h of each batch b: C[i][j] = epilogue(seed[j] + sum_p (A[i][p] - a_zp) * (B[p][j] - b_zp)). f32 as above.
inline void matmul_element(const MatmulDesc& d, const MatmulArgs& g, int64_t b, int64_t h, int64_t i, int64_t j) {
  const auto at = [&](const void* p, const MatrixStrides& s, ptrdiff_t row) {
    return static_cast<const char*>(p) + b * s.batch + h * s.head + i * row;
  };
  const char* a = at(g.a, g.a_strides, g.a_row_stride);
  const char* column = at(g.b, g.b_strides, 0) + j * g.b_col_stride;
  char* c = static_cast<char*>(g.c) + (at(g.c, g.c_strides, g.c_row_stride) - static_cast<const char*>(g.c));
  const char* r = g.residual ? at(g.residual, g.residual_strides, g.residual_row_stride) : nullptr;
  if (d.a == DType::f32) {
    float acc = 0;
    for (int64_t p = 0; p < d.k; ++p) acc = std::fma(load<float>(a, p), load<float>(column + p * g.b_row_stride, 0), acc);
    return epilogue(d.numerics, j, acc, c, r);
  }
  int32_t acc = seed(d.numerics, j);
  for (int64_t p = 0; p < d.k; ++p)
    acc = add_wrap(acc, (load_q(a, p, d.a) - d.numerics.a.zero_point) *
                            (load_q(column + p * g.b_row_stride, 0, d.b) - d.b_zero_point));
  epilogue(d.numerics, j, acc, c, r);
}

inline void matmul(const MatmulDesc& d, const MatmulArgs& g) {
  for (int64_t b = 0; b < g.batch; ++b)
    for (int64_t h = 0; h < g.heads; ++h)
      for (int64_t i = 0; i < g.m; ++i)
        for (int64_t j = 0; j < d.n; ++j) matmul_element(d, g, b, h, i, j);
}

inline ptrdiff_t pixel_stride(ptrdiff_t given, int64_t channels, DType t) {
  return given ? given : ptrdiff_t(channels) * ptrdiff_t(size_of(t));
}

// Output channel o of pixel (y, x) of image b:
//   acc = seed[o] + sum_{ky, kx, i} (in(b, y*stride_h - pad_top + ky*dilation_h, x*..., group(o)*ic/groups + i) - a_zp)
//                                   * W[o][i][ky][kx]
// Padding is real zero. f32: one fma for each (ky, kx, i), in order, from 0; padding takes part with the value 0 (which shows
// only where a weight is not finite, or in the sign of 0).
inline void conv_element(const ConvDesc& d, const ConvArgs& v, int64_t b, int64_t y, int64_t x, int64_t o) {
  const Window& w = d.window;
  const ptrdiff_t a_stride = pixel_stride(v.a_pixel_stride_bytes, d.ic, d.a);
  const int64_t icg = d.ic / d.groups, first = o / (d.oc / d.groups) * icg;
  const int64_t pixel = (b * w.oh() + y) * w.ow() + x;
  char* c = static_cast<char*>(v.c) + pixel * pixel_stride(v.c_pixel_stride_bytes, d.oc, d.numerics.out);
  const char* r = v.residual ? static_cast<const char*>(v.residual) +
                                   pixel * pixel_stride(v.residual_pixel_stride_bytes, d.oc, d.numerics.residual_dtype)
                             : nullptr;
  float facc = 0;
  int32_t acc = d.a == DType::f32 ? 0 : seed(d.numerics, o);
  for (int64_t ky = 0; ky < w.kh; ++ky) {
    for (int64_t kx = 0; kx < w.kw; ++kx) {
      const int64_t iy = y * w.stride_h - w.pad_top + ky * w.dilation_h, ix = x * w.stride_w - w.pad_left + kx * w.dilation_w;
      const bool real = iy >= 0 && iy < w.ih && ix >= 0 && ix < w.iw;
      const char* in = real ? static_cast<const char*>(v.a) + ((b * w.ih + iy) * w.iw + ix) * a_stride : nullptr;
      for (int64_t i = 0; i < icg; ++i) {
        const ptrdiff_t at = ((o * icg + i) * w.kh + ky) * w.kw + kx;
        if (d.a == DType::f32) {
          facc = std::fma(real ? load<float>(in, first + i) : 0.0f, load<float>(d.w, at), facc);
        } else if (real) {
          acc = add_wrap(acc, (load_q(in, first + i, d.a) - d.numerics.a.zero_point) * load<int8_t>(d.w, at));
        }
      }
    }
  }
  if (d.a == DType::f32) return epilogue(d.numerics, o, facc, c, r);
  epilogue(d.numerics, o, acc, c, r);
}

// A depthwise convolution is groups = ic = oc.
inline void conv(const ConvDesc& d, const ConvArgs& v) {
  for (int64_t b = 0; b < v.batch; ++b)
    for (int64_t y = 0; y < d.window.oh(); ++y)
      for (int64_t x = 0; x < d.window.ow(); ++x)
        for (int64_t o = 0; o < d.oc; ++o) conv_element(d, v, b, y, x, o);
}

// Output channel o of pixel (y, x) of image b:
//   acc = seed[o] + sum_{ky, kx, i} (in(b, iy, ix, group(o)*ic/groups + i) - a_zp) * W[group(o)*ic/groups + i][o % (oc/groups)][ky][kx]
// over the taps whose iy = (y + pad_top - ky*dilation_h) / stride_h and ix are whole, by rising iy and ix. Pixels beside the image are
// real zero. f32: one fma for each (iy, ix, i), in order, from 0.
inline void conv_transpose_element(const ConvTransposeDesc& d, const ConvArgs& v, int64_t b, int64_t y, int64_t x, int64_t o) {
  const TransposedWindow& w = d.window;
  const ptrdiff_t a_stride = pixel_stride(v.a_pixel_stride_bytes, d.ic, d.a);
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, first = o / ocg * icg;
  const int64_t pixel = (b * w.oh() + y) * w.ow() + x;
  char* c = static_cast<char*>(v.c) + pixel * pixel_stride(v.c_pixel_stride_bytes, d.oc, d.numerics.out);
  const char* r = v.residual ? static_cast<const char*>(v.residual) +
                                   pixel * pixel_stride(v.residual_pixel_stride_bytes, d.oc, d.numerics.residual_dtype)
                             : nullptr;
  float facc = 0;
  int32_t acc = d.a == DType::f32 ? 0 : seed(d.numerics, o);
  for (int64_t ky = w.kh; ky-- > 0;) {
    for (int64_t kx = w.kw; kx-- > 0;) {
      const int64_t at_y = y + w.pad_top - ky * w.dilation_h, at_x = x + w.pad_left - kx * w.dilation_w;
      if (at_y % w.stride_h != 0 || at_x % w.stride_w != 0) continue;
      const int64_t iy = at_y / w.stride_h, ix = at_x / w.stride_w;
      if (iy < 0 || iy >= w.ih || ix < 0 || ix >= w.iw) continue;
      const char* in = static_cast<const char*>(v.a) + ((b * w.ih + iy) * w.iw + ix) * a_stride;
      for (int64_t i = 0; i < icg; ++i) {
        const ptrdiff_t at = (((first + i) * ocg + o % ocg) * w.kh + ky) * w.kw + kx;
        if (d.a == DType::f32)
          facc = std::fma(load<float>(in, first + i), load<float>(d.w, at), facc);
        else
          acc = add_wrap(acc, (load_q(in, first + i, d.a) - d.numerics.a.zero_point) * load<int8_t>(d.w, at));
      }
    }
  }
  if (d.a == DType::f32) return epilogue(d.numerics, o, facc, c, r);
  epilogue(d.numerics, o, acc, c, r);
}

inline void conv_transpose(const ConvTransposeDesc& d, const ConvArgs& v) {
  for (int64_t b = 0; b < v.batch; ++b)
    for (int64_t y = 0; y < d.window.oh(); ++y)
      for (int64_t x = 0; x < d.window.ow(); ++x)
        for (int64_t o = 0; o < d.oc; ++o) conv_transpose_element(d, v, b, y, x, o);
}

// max over the real pixels under the window, starting with the first one: m = x > m ? x : m.
// average: see PoolPlan. f32: sum of the real pixels from 0, then one division.
inline void pool(const PoolDesc& d, const ConvArgs& v) {
  const Window& w = d.window;
  const ptrdiff_t a_stride = pixel_stride(v.a_pixel_stride_bytes, d.channels, d.dtype);
  const ptrdiff_t c_stride = pixel_stride(v.c_pixel_stride_bytes, d.channels, d.dtype);
  for (int64_t pixel = 0; pixel < v.batch * w.oh() * w.ow(); ++pixel) {
    const int64_t b = pixel / (w.oh() * w.ow()), y = pixel / w.ow() % w.oh(), x = pixel % w.ow();
    char* c = static_cast<char*>(v.c) + pixel * c_stride;
    for (int64_t ch = 0; ch < d.channels; ++ch) {
      int64_t count = 0;
      float best = 0, sum = 0;
      int32_t best_q = 0, sum_q = 0;
      for (int64_t ky = 0; ky < w.kh; ++ky) {
        for (int64_t kx = 0; kx < w.kw; ++kx) {
          const int64_t iy = y * w.stride_h - w.pad_top + ky * w.dilation_h, ix = x * w.stride_w - w.pad_left + kx * w.dilation_w;
          if (iy < 0 || iy >= w.ih || ix < 0 || ix >= w.iw) continue;
          const char* in = static_cast<const char*>(v.a) + ((b * w.ih + iy) * w.iw + ix) * a_stride;
          if (d.dtype == DType::f32) {
            const float e = load<float>(in, ch);
            best = count == 0 || e > best ? e : best;
            sum = sum + e;
          } else {
            const int32_t e = load_q(in, ch, d.dtype);
            best_q = count == 0 || e > best_q ? e : best_q;
            sum_q += e - d.in_q.zero_point;
          }
          ++count;
        }
      }
      const int64_t divisor = d.count_include_pad ? w.kh * w.kw : count;
      if (d.kind == PoolKind::max) {
        d.dtype == DType::f32 ? store(c, ch, best) : store_q(c, ch, best_q);
      } else if (d.dtype == DType::f32) {
        store(c, ch, sum / float(divisor));
      } else {
        const float m = float(double(d.in_q.scale) / (double(divisor) * double(d.out_q.scale)));
        store_q(c, ch, round_q(float(sum_q) * m, qmin_of(d.dtype), qmax_of(d.dtype), d.out_q.zero_point));
      }
    }
  }
}

}  // namespace octavo::reference
