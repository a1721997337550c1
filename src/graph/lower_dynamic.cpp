// Products of bytes whose range is known only at run time, and what makes such bytes of rows.
#include <algorithm>
#include <cmath>

#include "octavo/gemm.h"
#include "octavo/rowmat.h"
#include "step.h"

namespace octavo {
namespace {

using net::Net;

constexpr int64_t kRowGrain = 8;  // rows in one unit of parallel work

// A plan gives the int32 sums, in the place of the result; a second pass over each row makes floats of them, while they are in the
// cache. What zero points add to the sums is taken off there: that of A times the sums of the columns, stored here, and those of
// the columns times the sum of the row:
//   sum_p (a - za)(w - zw) = sum_p a*w - za * sum_p w - zw * (sum_p a - k*za)
class DynamicGemmStep : public Step {
 public:
  DynamicGemmStep(const EltwiseKernels& k, const RowMatrixKernels& rows, GemmPlan plan, const net::Op& op, int64_t m, bool per_row,
                  DType a_type, DType zero_type)
      : k_(k), sum_row_(a_type == DType::u8 ? rows.columns_u8 : rows.columns_s8), plan_(std::move(plan)), m_(m), per_row_(per_row),
        zero_type_(zero_type), lo_(op.lo), hi_(op.hi) {
    const net::Linear& linear = *op.linear;
    const size_t n = size_t(linear.oc);
    w_scale_ = linear.w_scale;
    bias_ = linear.bias;
    bias_.resize(n);
    column_sums_.resize(n);
    const int8_t* w = linear.weight.as<int8_t>();
    for (int64_t p = 0; p < linear.ic; ++p)
      for (size_t j = 0; j < n; ++j) column_sums_[j] += *w++;
    if (!linear.w_zero.empty()) {
      w_zero_ = linear.w_zero;
      w_zero_.resize(n, w_zero_[0]);
      ones_.resize(size_t((linear.ic + kRowMatrixPad - 1) / kRowMatrixPad * kRowMatrixPad));
      std::fill_n(ones_.begin(), linear.ic, int16_t(1));
    }
    offset_bytes_ = (n * sizeof(int32_t) + 63) / 64 * 64;
    scratch_bytes = offset_bytes_ + plan_.workspace_bytes();
    weight_bytes = plan_.packed_bytes() + n * (2 * sizeof(float) + sizeof(int32_t));
    work = m * linear.oc * linear.ic;
  }

  Status run(const Frame& f) const noexcept override {
    const size_t n = size_t(plan_.n());
    // The offsets lie in the first thread's scratch; the plan has the rest.
    int32_t* offset = reinterpret_cast<int32_t*>(f.scratch);
    const uint32_t zero = uint32_t(zero_point(f.at(in[2])));
    for (size_t j = 0; j < n; ++j) offset[j] = int32_t(zero * uint32_t(column_sums_[j]));
    const float* scale = static_cast<const float*>(f.at(in[1]));
    float* y = static_cast<float*>(f.at(out[0]));
    GemmArgs args;
    args.m = m_;
    args.a = f.at(in[0]);
    args.a_stride_bytes = plan_.k();
    args.c = y;
    args.c_stride_bytes = ptrdiff_t(n * sizeof(int32_t));
    void* workspace = f.scratch + offset_bytes_;
    const Status status =
        f.parallel.threads > 1 ? plan_.run(args, workspace, f.parallel) : plan_.run(args, 0, plan_.tiles(m_), workspace);
    if (!status.ok()) return status;
    split(f, m_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* row = y + size_t(i) * n;
        if (!w_zero_.empty()) take_off(static_cast<const char*>(args.a) + i * plan_.k(), zero, reinterpret_cast<int32_t*>(row));
        k_.dequantize_sums(reinterpret_cast<const int32_t*>(row), offset, scale[per_row_ ? i : 0], w_scale_.data(), bias_.data(),
                           row, n, lo_, hi_);
      }
    });
    return {};
  }

 private:
  // From the sums of row a the columns' zero points times the sum of a - zero. The kernel calls such a row a column of a matrix.
  void take_off(const char* a, uint32_t zero, int32_t* sums) const noexcept {
    int32_t sum = 0;
    const RowMatrixArgs product{ones_.data(), a, plan_.k(), plan_.k(), 1, &sum};
    sum_row_(&product);
    const uint32_t row = uint32_t(sum) - uint32_t(plan_.k()) * zero;
    for (size_t j = 0; j < w_zero_.size(); ++j) sums[j] = int32_t(uint32_t(sums[j]) - uint32_t(w_zero_[j]) * row);
  }

  int32_t zero_point(const void* p) const noexcept {
    if (!p) return 0;
    return zero_type_ == DType::u8 ? *static_cast<const uint8_t*>(p) : *static_cast<const int8_t*>(p);
  }

  const EltwiseKernels& k_;
  void (*sum_row_)(const RowMatrixArgs*);
  GemmPlan plan_;
  int64_t m_;
  bool per_row_;
  DType zero_type_;
  float lo_, hi_;
  std::vector<float> w_scale_, bias_;
  std::vector<int32_t> column_sums_, w_zero_;
  std::vector<int16_t> ones_;
  size_t offset_bytes_;
};

class QuantizeRowsStep : public Step {
 public:
  QuantizeRowsStep(const EltwiseKernels& k, const net::Op& op, int64_t rows, int64_t n)
      : k_(k), steps_(op.row_steps), least_(op.least_scale), rows_(rows), n_(n) {
    work = rows * n;
  }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    int8_t* q = static_cast<int8_t*>(f.at(out[0]));
    float* scales = static_cast<float*>(f.at(out[1]));
    split(f, rows_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float lo, hi;
        k_.min_max(x + i * n_, size_t(n_), &lo, &hi);
        const float largest = lo <= hi ? std::max(-lo, hi) : 0;
        scales[i] = std::max(largest / steps_, least_);
        k_.quantize(x + i * n_, q + i * n_, DType::s8, size_t(n_), scales[i], 0);
      }
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  float steps_, least_;
  int64_t rows_, n_;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_dynamic(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  if (op.linear->conv) return lower_dynamic_conv(net, op, isa, report);
  const net::Linear& linear = *op.linear;
  const float one = 1;
  GemmDesc desc;
  desc.n = linear.oc;
  desc.k = linear.ic;
  desc.a = net.values[op.in[0]].dtype;
  desc.b = linear.weight.data();
  desc.b_row_stride = linear.oc;
  desc.b_col_stride = 1;
  desc.numerics.w_scale = &one;
  desc.numerics.w_scale_count = 1;
  desc.numerics.out = DType::s32;
  desc.isa = isa;
  desc.use_isa = true;
  Expected<GemmPlan> plan = GemmPlan::create(desc);
  if (!plan) return plan.status();
  const int64_t m = product(net.values[op.in[0]].shape) / linear.ic;
  const bool per_row = product(net.values[op.in[1]].shape) > 1;
  report.kernel = plan->kernel().name;
  report.macs = m * linear.oc * linear.ic;
  const DType zero_type = op.in[2] >= 0 ? net.values[op.in[2]].dtype : DType::u8;
  return std::unique_ptr<Step>(std::make_unique<DynamicGemmStep>(eltwise(isa), row_matrix_kernels(isa), *std::move(plan), op, m,
                                                                 per_row, desc.a, zero_type));
}

std::unique_ptr<Step> lower_rows(const Net& net, const net::Op& op, const EltwiseKernels& kernels) {
  if (op.kind != net::Kind::quantize_rows) return nullptr;
  const int64_t n = net.values[op.in[0]].shape.back();
  return std::make_unique<QuantizeRowsStep>(kernels, op, product(net.values[op.in[0]].shape) / n, n);
}

}  // namespace octavo
