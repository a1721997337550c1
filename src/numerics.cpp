#include "src/numerics.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

namespace octavo::detail {
namespace {

Status check_scale(const char* name, float scale) noexcept {
  if (std::isfinite(scale) && scale > 0) return {};
  return Status::error(Code::invalid_argument, "%s is %g: a scale must be finite and greater than 0", name, double(scale));
}

bool is_8bit(DType t) { return t == DType::u8 || t == DType::s8; }

float scale_of(const Numerics& n, int64_t j) { return n.w_scale[n.w_scale_count == 1 ? 0 : j]; }

// Everything that only 8-bit activations have.
Status check_quantized(const Numerics& m, DType a, int64_t n, int64_t k, int64_t max_w) noexcept {
  if (Status s = check_qparams("numerics.a", m.a, a); !s.ok()) return s;
  const int64_t zp = m.a.zero_point;
  const int64_t max_a = std::max<int64_t>(a == DType::u8 ? 255 : 128, std::max(qmax_of(a) - zp, zp - qmin_of(a)));
  const int64_t max_k = INT32_MAX / (max_a * max_w);
  if (k > max_k)
    return Status::error(Code::overflow,
                         "k is %lld products: more than %lld could overflow int32 (%s activations, zero point %lld)",
                         static_cast<long long>(k), static_cast<long long>(max_k), name_of(a), static_cast<long long>(zp));
  if (m.bias_f32 && m.bias_s32)
    return Status::error(Code::invalid_argument, "numerics.bias_f32 and numerics.bias_s32 are both set: at most one may be");
  const bool needs_scale = m.out != DType::s32 || m.bias_f32;
  if (!needs_scale) return {};
  if (!m.w_scale) return Status::error(Code::invalid_argument, "numerics.w_scale is null");
  if (m.w_scale_count != 1 && m.w_scale_count != n)
    return Status::error(Code::invalid_argument, "numerics.w_scale_count is %lld: must be 1 or the %lld output columns",
                         static_cast<long long>(m.w_scale_count), static_cast<long long>(n));
  for (int64_t j = 0; j < m.w_scale_count; ++j)
    if (Status s = check_scale("numerics.w_scale", m.w_scale[j]); !s.ok()) return s;
  for (int64_t j = 0; j < n; ++j) {
    const float m_j = m.out == DType::f32 ? accumulator_scale(m.a.scale, scale_of(m, j))
                      : is_8bit(m.out)    ? requantize_multiplier(m.a.scale, scale_of(m, j), m.out_q.scale)
                                          : 1.0f;
    if (!std::isfinite(m_j))
      return Status::error(Code::overflow, "numerics.w_scale: the multiplier of column %lld overflows float",
                           static_cast<long long>(j));
  }
  const double limit = double(INT32_MAX - k * max_a * max_w);
  if (m.bias_f32 && m.out != DType::f32) {
    for (int64_t j = 0; j < n; ++j) {
      const double q = quantize_bias(m.bias_f32[j], m.a.scale, scale_of(m, j));
      if (!(std::fabs(q) <= limit))
        return Status::error(
            Code::overflow,
            "numerics.bias_f32[%lld] is %g, or %g units of a.scale * w_scale: more than %.0f could overflow int32",
            static_cast<long long>(j), double(m.bias_f32[j]), q, limit);
    }
  }
  return {};
}

// A float that is at least x, if x is below FLT_MAX.
float round_up(double x) { return x < FLT_MAX / 2 ? float(x * 1.000001) : FLT_MAX; }

// The rest is checked as that of the floats that the function takes.
Status check_function(const Numerics& m) noexcept {
  if (m.out == DType::s32) return Status::error(Code::unsupported, "numerics.function: s32 output takes none");
  if (m.has_residual) return Status::error(Code::unsupported, "numerics.function: not with a residual");
  if (m.function->op > Unary::softplus)
    return Status::error(Code::invalid_argument, "numerics.function.op is %d: no Unary", int(m.function->op));
  return {};
}

Status check_output(const Numerics& m) noexcept {
  if (m.out == DType::s32) {
    if (m.has_residual) return Status::error(Code::unsupported, "numerics.has_residual: s32 output takes no residual");
    return {};
  }
  if (std::isnan(m.lo) || std::isnan(m.hi) || m.lo > m.hi)
    return Status::error(Code::invalid_argument, "numerics.lo is %g and numerics.hi is %g: must be lo <= hi", double(m.lo),
                         double(m.hi));
  if (m.out != DType::f32)
    if (Status s = check_qparams("numerics.out_q", m.out_q, m.out); !s.ok()) return s;
  if (!m.has_residual) return {};
  if (m.out == DType::f32) {
    if (m.residual_dtype == DType::f32) return {};
    return Status::error(Code::unsupported, "numerics.residual_dtype is %s: must be f32 where the output is f32",
                         name_of(m.residual_dtype));
  }
  if (!is_8bit(m.residual_dtype))
    return Status::error(Code::unsupported, "numerics.residual_dtype is %s: must be u8 or s8 where the output is %s",
                         name_of(m.residual_dtype), name_of(m.out));
  if (Status s = check_qparams("numerics.residual_q", m.residual_q, m.residual_dtype); !s.ok()) return s;
  if (std::isfinite(rescale_multiplier(m.residual_q.scale, m.out_q.scale))) return {};
  return Status::error(Code::overflow, "numerics.residual_q.scale / numerics.out_q.scale overflows float");
}

}  // namespace

Status check_qparams(const char* name, QParams q, DType t) noexcept {
  char field[64];
  std::snprintf(field, sizeof field, "%s.scale", name);
  if (Status s = check_scale(field, q.scale); !s.ok()) return s;
  if (q.zero_point >= qmin_of(t) && q.zero_point <= qmax_of(t)) return {};
  return Status::error(Code::invalid_argument, "%s.zero_point is %d: outside [%d, %d], the range of %s", name, q.zero_point,
                       qmin_of(t), qmax_of(t), name_of(t));
}

Status check_numerics(const Numerics& m, DType a, int64_t n, int64_t k, int64_t max_w) noexcept {
  if (m.out != DType::s32 && m.out != DType::f32 && !is_8bit(m.out))
    return Status::error(Code::unsupported, "numerics.out is %s: must be s32, f32, u8 or s8", name_of(m.out));
  if (Status s = check_output(m); !s.ok()) return s;
  if (m.function)
    if (Status s = check_function(m); !s.ok()) return s;
  if (is_8bit(a)) return check_quantized(before_function(m), a, n, k, max_w);
  if (m.out != DType::f32)
    return Status::error(Code::unsupported, "numerics.out is %s: must be f32 where a is f32", name_of(m.out));
  if (m.bias_s32) return Status::error(Code::invalid_argument, "numerics.bias_s32 is set: f32 kernels take bias_f32");
  return {};
}

Epilogue::Epilogue(const Numerics& numerics, DType a, int64_t n, const int32_t* column_sums, int64_t variants, int32_t a_offset,
                   int64_t largest_weight_sum, const EltwiseKernels* kernels)
    : n_(n), out_(numerics.out) {
  if (numerics.function) function_ = FunctionCalls(numerics, *kernels);
  const Numerics m = before_function(numerics);
  base_.out = m.out;
  base_.lo = m.lo;
  base_.hi = m.hi;
  base_.residual_dtype = m.residual_dtype;
  if (m.bias_f32 && m.out == DType::f32) {
    bias_f32_ = Buffer<float>(size_t(n));
    std::memcpy(bias_f32_.get(), m.bias_f32, bias_f32_.bytes());
    base_.bias_f32 = bias_f32_.get();
  }
  if (a == DType::f32) return;

  bias_ = Buffer<int32_t>(size_t(n) * size_t(variants));
  const uint32_t offset = uint32_t(m.a.zero_point) + uint32_t(a_offset);
  for (int64_t j = 0; j < n; ++j) {
    uint32_t seed = 0;
    if (m.bias_s32) seed = uint32_t(m.bias_s32[j]);
    if (m.bias_f32 && m.out != DType::f32) seed = uint32_t(int32_t(quantize_bias(m.bias_f32[j], m.a.scale, scale_of(m, j))));
    for (int64_t v = 0; v < variants; ++v) bias_[size_t(v * n + j)] = int32_t(seed - offset * uint32_t(column_sums[v * n + j]));
  }
  base_.bias = bias_.get();
  if (m.out == DType::s32) return;

  scale_ = Buffer<float>(size_t(n));
  for (int64_t j = 0; j < n; ++j)
    scale_[size_t(j)] = m.out == DType::f32 ? accumulator_scale(m.a.scale, scale_of(m, j))
                                            : requantize_multiplier(m.a.scale, scale_of(m, j), m.out_q.scale);
  base_.scale = scale_.get();
  if (m.out == DType::f32) return;

  base_.zp = m.out_q.zero_point;
  base_.lo = float(quantize_bound(m.lo, m.out_q, m.out) - base_.zp);
  base_.hi = float(quantize_bound(m.hi, m.out_q, m.out) - base_.zp);
  if (largest_weight_sum > 0) {
    double bias = 0, scale = 0;
    for (int64_t i = 0; i < n * variants; ++i) bias = std::max(bias, std::fabs(double(bias_[size_t(i)])));
    for (int64_t j = 0; j < n; ++j) scale = std::max(scale, std::fabs(double(scale_[size_t(j)])));
    // What the kernel multiplies: A + a_offset.
    const double largest_a = std::max(std::fabs(double(qmin_of(a) + a_offset)), std::fabs(double(qmax_of(a) + a_offset)));
    const double acc = bias + double(largest_weight_sum) * largest_a;
    base_.largest_acc = round_up(acc);
    base_.largest_out = round_up(acc * scale);
  }
  if (!m.has_residual) return;
  base_.residual_scale = rescale_multiplier(m.residual_q.scale, m.out_q.scale);
  base_.residual_zp = m.residual_q.zero_point;
}

}  // namespace octavo::detail
