// From Numerics (real-valued, checked here) to EpilogueArgs (what a kernel takes).
#pragma once

#include <cstdint>

#include "octavo/quant.h"
#include "octavo/ukernel.h"
#include "src/buffer.h"
#include "src/function.h"

namespace octavo::detail {

// A scale and zero point for u8 or s8. Errors name `name`.scale or `name`.zero_point.
Status check_qparams(const char* name, QParams q, DType t) noexcept;

// `n` output columns, `k` products summed into each, of weights (less their zero point) of at most `max_w`. Errors name the field
// as the user wrote it: numerics.out_q.scale, ...
Status check_numerics(const Numerics&, DType a, int64_t n, int64_t k, int64_t max_w = 128) noexcept;

// The arrays that a plan's EpilogueArgs point into.
class Epilogue {
 public:
  Epilogue() = default;
  // column_sums: [variants][n] sums of the weights that take part. Variants differ in nothing but the folded bias: rows of a
  // convolution whose window hangs over the edge skip the padding, zero point and all. Null for f32. largest_weight_sum:
  // no column's weights have a larger sum of magnitudes; 0 if not known. kernels: for the numerics' function, if they have one.
  Epilogue(const Numerics&, DType a, int64_t n, const int32_t* column_sums, int64_t variants, int32_t a_offset,
           int64_t largest_weight_sum = 0, const EltwiseKernels* kernels = nullptr);

  // For the columns from `column` on, without a residual pointer.
  EpilogueArgs args(int64_t column, int64_t variant = 0) const noexcept {
    EpilogueArgs e = base_;
    if (e.bias) e.bias += variant * n_ + column;
    if (e.scale) e.scale += column;
    if (e.bias_f32) e.bias_f32 += column;
    return e;
  }
  DType out() const noexcept { return out_; }  // of the plan: its kernels' is args().out
  const FunctionCalls& function() const noexcept { return function_; }
  size_t bytes() const noexcept { return bias_.bytes() + scale_.bytes() + bias_f32_.bytes(); }

 private:
  int64_t n_ = 0;
  Buffer<int32_t> bias_;
  Buffer<float> scale_, bias_f32_;
  EpilogueArgs base_;
  DType out_ = DType::s32;
  FunctionCalls function_;
};

}  // namespace octavo::detail
