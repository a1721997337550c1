// Affine quantization: q = clamp(rne(x / scale) + zero_point, qmin, qmax); x = (q - zero_point) * scale.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

#include "octavo/types.h"
#include "octavo/unary.h"

namespace octavo {

struct QParams {
  float scale = 1;
  int32_t zero_point = 0;
  friend bool operator==(const QParams&, const QParams&) = default;
};

constexpr int32_t qmin_of(DType t) { return t == DType::s8 ? -128 : 0; }
constexpr int32_t qmax_of(DType t) { return t == DType::s8 ? 127 : 255; }

// QParams for the real range [lo, hi] on q in [qmin, qmax]. 0 is forced into the range, so that it is exact.
//   affine:    scale = (hi - lo) / (qmax - qmin), zero_point = clamp(qmin - rne(lo / scale))
//   symmetric: scale = max(|lo|, |hi|) / ((qmax - qmin) / 2), zero_point = 0 (s8) or 128 (u8)
// scale is at least eps. Computed in double, rounded once. As PyTorch's UniformQuantizationObserverBase has it.
QParams choose_qparams(float lo, float hi, int32_t qmin, int32_t qmax, bool symmetric, float eps = 1.0f / 4096) noexcept;

// The constants that plans and reference.h derive from scales: computed in double, rounded once. rne = round half to even
// (the default floating-point environment is assumed).
// f32 output: scale[j] = a.scale * w_scale[j].
inline float accumulator_scale(float a, float w) { return float(double(a) * double(w)); }
// u8, s8 output: m[j] = a.scale * w_scale[j] / out.scale.
inline float requantize_multiplier(float a, float w, float out) { return float(double(a) * double(w) / double(out)); }
// Residual: m_r = residual.scale / out.scale.
inline float rescale_multiplier(float in, float out) { return float(double(in) / double(out)); }
// A real bias in units of the accumulator: rne(bias / (a.scale * w_scale[j])).
inline double quantize_bias(float bias, float a, float w) { return std::nearbyint(double(bias) / (double(a) * double(w))); }
// A real clamp bound in the quantized domain, zero point not subtracted: clamp(rne(real / scale) + zero_point, qmin, qmax).
inline int32_t quantize_bound(float real, QParams q, DType t) {
  const double v = std::nearbyint(double(real) / double(q.scale)) + q.zero_point;
  return v > qmin_of(t) ? (v < qmax_of(t) ? int32_t(v) : qmax_of(t)) : qmin_of(t);
}

// How the accumulators of a GEMM or a convolution become the output: what the plans take.
// Pointers are read during plan creation only. n = output columns (channels).
struct Numerics {
  QParams a;                          // activations; ignored for f32
  const float* w_scale = nullptr;     // [w_scale_count] weight scales; ignored for f32
  int64_t w_scale_count = 0;          // 1 or n
  const float* bias_f32 = nullptr;    // [n] real-valued; u8, s8 and s32 outputs round it by quantize_bias()
  const int32_t* bias_s32 = nullptr;  // [n] in units of a.scale*w_scale[j]; at most one of the two is set
  DType out = DType::f32;             // s32 (raw accumulators), f32, u8, s8
  QParams out_q;                      // u8, s8 output
  // Real-valued clamp after bias and residual: relu = {0, inf}, relu6 = {0, 6}. Ignored for s32. u8 and s8 outputs clamp
  // to [quantize_bound(lo), quantize_bound(hi)].
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  // v = function(v) on the float v that f32 output would be without it, then the clamp in float; u8 and s8 outputs then are
  // clamp(rne(v / out_q.scale) + zero_point), as ONNX QuantizeLinear has it. u8, s8 and f32 outputs, without a residual.
  std::optional<Function> function;
  // Residual: u8 or s8 (with residual_q) where the output is u8 or s8; f32 where the output is f32.
  bool has_residual = false;
  DType residual_dtype = DType::u8;
  QParams residual_q;
};

}  // namespace octavo
