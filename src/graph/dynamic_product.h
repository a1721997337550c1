// Products of bytes whose range is known only at run time with constant weights, as floats.
#pragma once

#include <vector>

#include "octavo/gemm.h"
#include "octavo/rowmat.h"
#include "step.h"

namespace octavo {

// scale and zero point of u8 for values from lo to hi, as DynamicQuantizeLinear chooses them.
QParams dynamic_params(float lo, float hi) noexcept;

// A plan gives the int32 sums; a second pass over each row makes floats of them, while they are in the cache. What zero points
// add to the sums is taken off there: that of A times the sums of the columns, stored here, and those of the columns times the
// sum of the row:
//   sum_p (a - za)(w - zw) = sum_p a*w - za * sum_p w - zw * (sum_p a - k*za)
class DynamicProduct {
 public:
  // Weights and zero points of a Gemm or MatMul; bias and clamp are the caller's.
  static Expected<DynamicProduct> create(const net::Linear& linear, DType a, Isa isa);

  struct Args {
    int64_t m = 0;
    const void* a = nullptr;  // [m][k]
    int32_t zero = 0;
    const float* scale = nullptr;  // of row i: scale[i * scale_step]
    ptrdiff_t scale_step = 0;
    const float* bias = nullptr;  // of row i: [n] at bias + i * bias_step. May be y
    ptrdiff_t bias_step = 0;
    int32_t* sums = nullptr;  // [m][n]. May be y
    float* y = nullptr;       // [m][n]
    float lo = -net::kInf, hi = net::kInf;
  };
  // In the frame's scratch, of which the first thread's part is scratch_bytes() long.
  Status run(const Args& args, const Frame& frame) const noexcept;

  size_t scratch_bytes() const noexcept { return offset_bytes_ + plan_.workspace_bytes(); }
  size_t weight_bytes() const noexcept { return plan_.packed_bytes() + w_scale_.size() * (sizeof(float) + sizeof(int32_t)); }
  int64_t n() const noexcept { return plan_.n(); }
  const KernelInfo& kernel() const noexcept { return plan_.kernel(); }

 private:
  DynamicProduct(const EltwiseKernels& k, const RowMatrixKernels& rows, GemmPlan plan, const net::Linear& linear, DType a);
  void take_off(const char* a, uint32_t zero, int32_t* sums) const noexcept;

  const EltwiseKernels* k_;
  void (*sum_row_)(const RowMatrixArgs*);
  GemmPlan plan_;
  std::vector<float> w_scale_;
  std::vector<int32_t> column_sums_, w_zero_;
  std::vector<int16_t> ones_;
  size_t offset_bytes_;
};

}  // namespace octavo
