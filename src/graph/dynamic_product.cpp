#include "dynamic_product.h"

#include <cmath>

namespace octavo {
namespace {

constexpr int64_t kRowGrain = 8;  // rows in one unit of parallel work

}  // namespace

QParams dynamic_params(float lo, float hi) noexcept {
  lo = std::min(lo, 0.0f);
  hi = std::max(hi, 0.0f);
  // Zeros alone have no range: any scale represents them.
  const float scale = lo == hi ? 1 : (hi - lo) / 255;
  return {scale, int32_t(std::max(0.0f, std::min(255.0f, std::nearbyint(-lo / scale))))};
}

DynamicProduct::DynamicProduct(const EltwiseKernels& k, const RowMatrixKernels& rows, GemmPlan plan, const net::Linear& linear,
                               DType a)
    : k_(&k), sum_row_(a == DType::u8 ? rows.columns_u8 : rows.columns_s8), plan_(std::move(plan)), w_scale_(linear.w_scale) {
  const size_t n = size_t(linear.oc);
  w_scale_.resize(n, w_scale_[0]);
  column_sums_.resize(n);
  const int8_t* w = linear.weight.as<int8_t>();
  for (int64_t i = 0; i < linear.weight.count(); ++i)
    column_sums_[size_t(linear.transposed ? i / linear.ic : i % linear.oc)] += w[i];
  if (!linear.w_zero.empty()) {
    w_zero_ = linear.w_zero;
    w_zero_.resize(n, w_zero_[0]);
    ones_.resize(size_t((linear.ic + kRowMatrixPad - 1) / kRowMatrixPad * kRowMatrixPad));
    std::fill_n(ones_.begin(), linear.ic, int16_t(1));
  }
  offset_bytes_ = (n * sizeof(int32_t) + 63) / 64 * 64;
}

Expected<DynamicProduct> DynamicProduct::create(const net::Linear& linear, DType a, Isa isa) {
  const float one = 1;
  GemmDesc desc;
  desc.n = linear.oc;
  desc.k = linear.ic;
  desc.a = a;
  desc.b = linear.weight.data();
  desc.b_row_stride = linear.transposed ? 1 : linear.oc;
  desc.b_col_stride = linear.transposed ? linear.ic : 1;
  desc.numerics.w_scale = &one;
  desc.numerics.w_scale_count = 1;
  desc.numerics.out = DType::s32;
  desc.isa = isa;
  desc.use_isa = true;
  Expected<GemmPlan> plan = GemmPlan::create(desc);
  if (!plan) return plan.status();
  return DynamicProduct(eltwise(isa), row_matrix_kernels(isa), *std::move(plan), linear, a);
}

Status DynamicProduct::run(const Args& args, const Frame& f) const noexcept {
  const size_t n = size_t(plan_.n());
  // The offsets lie in the first thread's scratch; the plan has the rest.
  int32_t* offset = reinterpret_cast<int32_t*>(f.scratch);
  const uint32_t zero = uint32_t(args.zero);
  for (size_t j = 0; j < n; ++j) offset[j] = int32_t(zero * uint32_t(column_sums_[j]));
  GemmArgs g;
  g.m = args.m;
  g.a = args.a;
  g.a_stride_bytes = plan_.k();
  g.c = args.sums;
  g.c_stride_bytes = ptrdiff_t(n * sizeof(int32_t));
  void* workspace = f.scratch + offset_bytes_;
  const Status status =
      f.parallel.threads > 1 ? plan_.run(g, workspace, f.parallel) : plan_.run(g, 0, plan_.tiles(g.m), workspace);
  if (!status.ok()) return status;
  split(f, args.m, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int32_t* sums = args.sums + size_t(i) * n;
      if (!w_zero_.empty()) take_off(static_cast<const char*>(args.a) + i * plan_.k(), zero, sums);
      k_->dequantize_sums(sums, offset, args.scale[i * args.scale_step], w_scale_.data(), args.bias + i * args.bias_step,
                          args.y + size_t(i) * n, n, args.lo, args.hi);
    }
  });
  return {};
}

// From the sums of row a the columns' zero points times the sum of a - zero. The kernel calls such a row a column of a matrix.
void DynamicProduct::take_off(const char* a, uint32_t zero, int32_t* sums) const noexcept {
  int32_t sum = 0;
  const RowMatrixArgs product{ones_.data(), a, plan_.k(), plan_.k(), 1, &sum};
  sum_row_(&product);
  const uint32_t row = uint32_t(sum) - uint32_t(plan_.k()) * zero;
  for (size_t j = 0; j < w_zero_.size(); ++j) sums[j] = int32_t(uint32_t(sums[j]) - uint32_t(w_zero_[j]) * row);
}

}  // namespace octavo
