// Elementwise steps on quantized tensors.
#include <cmath>

#include "step.h"

namespace octavo {
namespace {

using net::Kind;
using net::Net;

constexpr int64_t kGrain = 16384;  // elements in one unit of parallel work

struct Tensor8 {
  DType dtype;
  QParams q;
};

const std::byte* offset(const void* p, int64_t i, DType t) { return static_cast<const std::byte*>(p) + size_t(i) * size_of(t); }
std::byte* offset(void* p, int64_t i, DType t) { return static_cast<std::byte*>(p) + size_t(i) * size_of(t); }

class QuantizeStep : public Step {
 public:
  QuantizeStep(const EltwiseKernels& k, Tensor8 q, int64_t n) : k_(k), q_(q), n_(n) { work = n; }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    void* y = f.at(out[0]);
    split(f, n_, kGrain, [&](int64_t begin, int64_t end) {
      k_.quantize(x + begin, offset(y, begin, q_.dtype), q_.dtype, size_t(end - begin), q_.q.scale, q_.q.zero_point);
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Tensor8 q_;
  int64_t n_;
};

class DequantizeStep : public Step {
 public:
  DequantizeStep(const EltwiseKernels& k, Tensor8 q, int64_t n) : k_(k), q_(q), n_(n) { work = n; }
  Status run(const Frame& f) const noexcept override {
    const void* x = f.at(in[0]);
    float* y = static_cast<float*>(f.at(out[0]));
    split(f, n_, kGrain, [&](int64_t begin, int64_t end) {
      k_.dequantize(offset(x, begin, q_.dtype), q_.dtype, y + begin, size_t(end - begin), q_.q.scale, q_.q.zero_point);
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Tensor8 q_;
  int64_t n_;
};

// Requantize, quantized Add and Mul: one or two operands, one result.
class ResultStep : public Step {
 public:
  ResultStep(const EltwiseKernels& k, Kind kind, Tensor8 a, Tensor8 b, Tensor8 y, float lo, float hi, int64_t n)
      : k_(k), kind_(kind), a_{nullptr, a.dtype, a.q.zero_point, 0}, b_{nullptr, b.dtype, b.q.zero_point, 0}, n_(n) {
    work = n;
    in_place = 0;
    const double scale = double(y.q.scale);
    a_.m = kind == Kind::mul ? float(double(a.q.scale) * double(b.q.scale) / scale) : float(double(a.q.scale) / scale);
    b_.m = float(double(b.q.scale) / scale);
    const double qmin = qmin_of(y.dtype) - y.q.zero_point, qmax = qmax_of(y.dtype) - y.q.zero_point;
    y_ = {nullptr, y.dtype, y.q.zero_point, float(std::min(std::max(double(lo) / scale, qmin), qmax)),
          float(std::min(std::max(double(hi) / scale, qmin), qmax))};
  }
  Status run(const Frame& f) const noexcept override {
    const void* a = f.at(in[0]);
    const void* b = in.size() > 1 ? f.at(in[1]) : nullptr;
    void* y = f.at(out[0]);
    split(f, n_, kGrain, [&](int64_t begin, int64_t end) {
      const size_t n = size_t(end - begin);
      QOperand p = a_, q = b_;
      QResult r = y_;
      p.data = offset(a, begin, a_.dtype);
      r.data = offset(y, begin, y_.dtype);
      if (kind_ == Kind::requantize) return k_.requantize(p, r, n);
      q.data = offset(b, begin, b_.dtype);
      if (kind_ == Kind::add)
        k_.add_quantized(p, q, r, n);
      else
        k_.mul_quantized(p, q, r, n);
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Kind kind_;
  QOperand a_, b_;
  QResult y_;
  int64_t n_;
};

class TableStep : public Step {
 public:
  TableStep(const EltwiseKernels& k, std::vector<uint8_t> table, int64_t n) : k_(k), table_(std::move(table)), n_(n) {
    work = n;
    in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    const std::byte* x = static_cast<const std::byte*>(f.at(in[0]));
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    split(f, n_, kGrain, [&](int64_t begin, int64_t end) { k_.lut(x + begin, y + begin, size_t(end - begin), table_.data()); });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  std::vector<uint8_t> table_;
  int64_t n_;
};

}  // namespace

std::unique_ptr<Step> lower_quantized(const Net& net, const net::Op& op, const EltwiseKernels& k) {
  const auto operand = [&](size_t i) { return Tensor8{net.values[op.in[i]].dtype, op.in_q[i]}; };
  if (op.in.empty() || op.out.empty()) return nullptr;
  const net::Value& y = net.values[op.out[0]];
  const int64_t n = product(y.shape);
  const Tensor8 result{y.dtype, op.out_q};
  switch (op.kind) {
    case Kind::quantize:
      return std::make_unique<QuantizeStep>(k, result, n);
    case Kind::dequantize:
      return std::make_unique<DequantizeStep>(k, operand(0), n);
    case Kind::requantize:
      return std::make_unique<ResultStep>(k, op.kind, operand(0), operand(0), result, op.lo, op.hi, n);
    case Kind::add:
    case Kind::mul:
      return std::make_unique<ResultStep>(k, op.kind, operand(0), operand(1), result, op.lo, op.hi, n);
    case Kind::table:
      return std::make_unique<TableStep>(k, op.table, n);
    default:
      return nullptr;
  }
}

}  // namespace octavo
