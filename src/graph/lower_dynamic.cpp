// Products of bytes whose range is known only at run time, and what makes such bytes of rows.
#include <algorithm>
#include <cmath>

#include "dynamic_product.h"

namespace octavo {
namespace {

using net::Net;

constexpr int64_t kRowGrain = 8;  // rows in one unit of parallel work

class DynamicGemmStep : public Step {
 public:
  DynamicGemmStep(DynamicProduct product, const net::Op& op, int64_t m, bool per_row, DType zero_type)
      : product_(std::move(product)), m_(m), per_row_(per_row), zero_type_(zero_type), lo_(op.lo), hi_(op.hi),
        bias_(op.linear->bias) {
    bias_.resize(size_t(op.linear->oc));
    scratch_bytes = product_.scratch_bytes();
    weight_bytes = product_.weight_bytes() + bias_.size() * sizeof(float);
    work = m * op.linear->oc * op.linear->ic;
  }

  Status run(const Frame& f) const noexcept override {
    DynamicProduct::Args args;
    args.m = m_;
    args.a = f.at(in[0]);
    args.scale = static_cast<const float*>(f.at(in[1]));
    args.scale_step = per_row_;
    args.zero = zero_point(f.at(in[2]));
    args.bias = bias_.data();
    args.y = static_cast<float*>(f.at(out[0]));
    args.sums = reinterpret_cast<int32_t*>(args.y);
    args.lo = lo_;
    args.hi = hi_;
    return product_.run(args, f);
  }

 private:
  int32_t zero_point(const void* p) const noexcept {
    if (!p) return 0;
    return zero_type_ == DType::u8 ? *static_cast<const uint8_t*>(p) : *static_cast<const int8_t*>(p);
  }

  DynamicProduct product_;
  int64_t m_;
  bool per_row_;
  DType zero_type_;
  float lo_, hi_;
  std::vector<float> bias_;
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
  Expected<DynamicProduct> product_of_rows = DynamicProduct::create(linear, net.values[op.in[0]].dtype, isa);
  if (!product_of_rows) return product_of_rows.status();
  const int64_t m = product(net.values[op.in[0]].shape) / linear.ic;
  const bool per_row = product(net.values[op.in[1]].shape) > 1;
  report.kernel = product_of_rows->kernel().name;
  report.macs = m * linear.oc * linear.ic;
  const DType zero_type = op.in[2] >= 0 ? net.values[op.in[2]].dtype : DType::u8;
  return std::unique_ptr<Step>(std::make_unique<DynamicGemmStep>(*std::move(product_of_rows), op, m, per_row, zero_type));
}

std::unique_ptr<Step> lower_rows(const Net& net, const net::Op& op, const EltwiseKernels& kernels) {
  if (op.kind != net::Kind::quantize_rows) return nullptr;
  const int64_t n = net.values[op.in[0]].shape.back();
  return std::make_unique<QuantizeRowsStep>(kernels, op, product(net.values[op.in[0]].shape) / n, n);
}

}  // namespace octavo
