// Elementwise and row-wise routines, one table of functions per instruction set. All give the same bits on every ISA:
// transcendentals are one polynomial with explicit fma; float reductions sum in a fixed 16-lane order
// (lane l adds the elements l, l+16, ...; then lanes l and l+8, l+4, l+2, l+1 are added).
// A NaN stays a NaN unless a formula says otherwise; its payload and sign may differ between ISAs.
// Sizes are in elements. Buffers may have any alignment; out may be equal to an input of the same element size.
// No function checks its arguments: the graph layer and the plans do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/isa.h"
#include "octavo/quant.h"
#include "octavo/unary.h"

namespace octavo {

// A quantized operand or result. m is its multiplier in the formula of the function that takes it.
struct QOperand {
  const void* data;
  DType dtype;      // u8 or s8
  int32_t zp;
  float m;
};

// Where a quantized result goes: q = rne(clamp(v, lo, hi)) + zp, lo and hi with zp subtracted.
struct QResult {
  void* data;
  DType dtype;      // u8 or s8
  int32_t zp;
  float lo, hi;
};

// The windows of rows of output pixels that have the same number of real pixels under them, in the same places. Steps in bytes.
struct TapRows {
  const void* const* in;                  // [taps] real pixels under the window of the first output pixel
  size_t taps;                            // at least 1
  ptrdiff_t in_step, out_step;            // from the window of one output pixel of a row to the next, and between these pixels
  size_t pixels, channels;                // of a row, of a pixel
  size_t rows = 1;
  ptrdiff_t in_row_step = 0, out_row_step = 0;  // the same from one row to the next
};

enum class Binary : uint8_t { add, sub, mul, div, max, min, pow };

struct EltwiseKernels {
  const char* name;   // eltwise_<isa>
  Isa needs;

  // q = clamp(rne(x / scale) + zp) to the range of q's type. NaN gives zp clamped (as 0). ONNX QuantizeLinear.
  void (*quantize)(const float* x, void* q, DType q_dtype, size_t n, float scale, int32_t zp);
  // x = float(q - zp) * scale. q: u8, s8 or s32. ONNX DequantizeLinear.
  void (*dequantize)(const void* q, DType q_dtype, float* x, size_t n, float scale, int32_t zp);
  // v = float(in - in.zp) * in.m; result as QResult says. in.m = s_in / s_out.
  void (*requantize)(const QOperand& in, const QResult& out, size_t n);
  // v = fma(float(a - a.zp), a.m, float(b - b.zp) * b.m); m = s_x / s_out.
  void (*add_quantized)(const QOperand& a, const QOperand& b, const QResult& out, size_t n);
  // v = float((a - a.zp) * (b - b.zp)) * a.m; a.m = s_a*s_b / s_out.
  void (*mul_quantized)(const QOperand& a, const QOperand& b, const QResult& out, size_t n);
  // v = fma(float(in[c]), scale[c], bias[c]); result as QResult says. in: u8 or s8, its zero point in bias.
  void (*scale_shift_quantized)(const void* in, DType in_dtype, const float* scale, const float* bias, const QResult& out, size_t n);
  // out[i] = table[uint8_t(in[i])]
  void (*lut)(const void* in, void* out, size_t n, const uint8_t* table);
  // Smallest and largest of x; n >= 1. NaNs are skipped (all NaN: +inf, -inf). A zero comes out as +0.
  void (*min_max)(const float* x, size_t n, float* lo, float* hi);

  // y = op(x). alpha, beta as in Function.
  void (*unary)(Unary op, const float* x, float* y, size_t n, float alpha, float beta);
  // min(max(x, lo), hi)
  void (*clamp)(const float* x, float* y, size_t n, float lo, float hi);
  // y = op(a, b), then clamp(y, lo, hi). a_step, b_step: 1 = vector, 0 = one value for all.
  void (*binary)(Binary op, const float* a, int a_step, const float* b, int b_step, float* y, size_t n, float lo, float hi);

  // y[c] = fma(x[c], scale[c], bias[c])
  void (*scale_shift)(const float* x, const float* scale, const float* bias, float* y, size_t n);
  // Sum of x, sum of squares of (x - mean), in the 16-lane order.
  float (*sum)(const float* x, size_t n);
  float (*sum_squares)(const float* x, size_t n, float mean);
  // y[i][j] += x[i] . w[j] for m vectors x and `rows` rows w of n floats: one fma for each, in the 16-lane order. Strides in elements;
  // those of x and y may be negative.
  void (*add_products)(const float* w, size_t rows, size_t n, const float* x, ptrdiff_t x_stride, float* y, ptrdiff_t y_stride,
                       size_t m);
  // y = exp(x - max) * (1 / sum) over one row. y may be x.
  void (*softmax)(const float* x, float* y, size_t n);
  // y = fma((x - mean) * (1 / sqrt(var + eps)), gamma, beta) over one row; var divides by n. gamma, beta may be null.
  void (*layer_norm)(const float* x, const float* gamma, const float* beta, float* y, size_t n, float eps);
  // y = x * (1 / sqrt(mean(x^2) + eps)) * gamma over one row.
  void (*rms_norm)(const float* x, const float* gamma, float* y, size_t n, float eps);

  // One row of a product whose ranges are known only at run time:
  // y[j] = min(max(fma(float(sums[j] - offset[j]), row_scale * w_scale[j], bias[j]), lo), hi). y may be sums.
  void (*dequantize_sums)(const int32_t* sums, const int32_t* offset, float row_scale, const float* w_scale, const float* bias,
                          float* y, size_t n, float lo, float hi);

  // Pools of NHWC pixels: out[x][c] = max_t in[t][x][c]; u8, s8, f32.
  void (*max_taps)(const TapRows& rows, void* out, DType dtype);
  // out[x][c] = (sum_t in[t][x][c]) / divisor, summed in the order t.
  void (*avg_taps_f32)(const TapRows& rows, float* out, float divisor);
  // acc = sum_t (in[t][x][c] - zp) in int32; v = float(acc) * m; result as QResult says (out.data: the first pixel).
  void (*avg_taps_quantized)(const TapRows& rows, DType dtype, int32_t zp, float m, const QResult& out);

  // out[j][i] = in[i][j], elements of 1 or 4 bytes; strides in elements. NCHW <-> NHWC.
  void (*transpose)(const void* in, ptrdiff_t in_stride, void* out, ptrdiff_t out_stride, size_t rows, size_t cols, size_t elem_bytes);
};

// All tables in this binary, in priority order; the first whose needs are covered wins. The last one is scalar.
std::span<const EltwiseKernels> eltwise_tables() noexcept;
const EltwiseKernels& eltwise(Isa isa) noexcept;

}  // namespace octavo
