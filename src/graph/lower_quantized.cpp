// Elementwise steps on quantized tensors.
#include <cmath>
#include <cstring>

#include "ops/common.h"
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

// The factors of operands and result; lo, hi: clamp of the real value.
void set_multipliers(Kind kind, Tensor8 a, Tensor8 b, Tensor8 y, float lo, float hi, QOperand (&operands)[2], QResult& result) {
  const double scale = double(y.q.scale);
  operands[0].m = kind == Kind::mul ? float(double(a.q.scale) * double(b.q.scale) / scale) : float(double(a.q.scale) / scale);
  operands[1].m = float(double(b.q.scale) / scale);
  const double qmin = qmin_of(y.dtype) - y.q.zero_point, qmax = qmax_of(y.dtype) - y.q.zero_point;
  result = {nullptr, y.dtype, y.q.zero_point, float(std::min(std::max(double(lo) / scale, qmin), qmax)),
            float(std::min(std::max(double(hi) / scale, qmin), qmax))};
}

// Requantize, quantized Add and Mul of one shape: one or two operands, one result.
class ResultStep : public Step {
 public:
  ResultStep(const EltwiseKernels& k, Kind kind, Tensor8 a, Tensor8 b, Tensor8 y, float lo, float hi, int64_t n)
      : k_(k), kind_(kind), a_{nullptr, a.dtype, a.q.zero_point, 0}, b_{nullptr, b.dtype, b.q.zero_point, 0}, n_(n) {
    work = n;
    in_place = 0;
    QOperand operands[] = {a_, b_};
    set_multipliers(kind, a, b, y, lo, hi, operands, y_);
    a_ = operands[0], b_ = operands[1];
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

// Add and Mul with one operand broadcast: rows of the result, in which an operand runs along or stays.
class BroadcastStep : public Step {
 public:
  BroadcastStep(const EltwiseKernels& k, Kind kind, Tensor8 a, Tensor8 b, Tensor8 y, float lo, float hi, const Shape (&shapes)[3])
      : k_(k), kind_(kind), operands_{{nullptr, a.dtype, a.q.zero_point, 0}, {nullptr, b.dtype, b.q.zero_point, 0}},
        loop_(view(shapes[2]), {view(shapes[0]), view(shapes[1])}) {
    work = product(shapes[2]);
    scratch_bytes = size_t(loop_.dims[loop_.rank - 1]);
    set_multipliers(kind, a, b, y, lo, hi, operands_, y_);
  }
  Status run(const Frame& f) const noexcept override {
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    const std::byte* data[] = {static_cast<const std::byte*>(f.at(in[0])), static_cast<const std::byte*>(f.at(in[1]))};
    loop_.for_rows([&](int64_t at, const int64_t(&from)[2], int64_t n, const int64_t(&step)[2]) {
      QOperand operands[] = {operands_[0], operands_[1]};
      for (int i = 0; i < 2; ++i) {
        operands[i].data = data[i] + from[i];
        if (step[i] != 0 || n == 1) continue;
        std::memset(f.scratch, int(data[i][from[i]]), size_t(n));  // never both: some operand runs along each row
        operands[i].data = f.scratch;
      }
      QResult r = y_;
      r.data = y + at;
      if (kind_ == Kind::add)
        k_.add_quantized(operands[0], operands[1], r, size_t(n));
      else
        k_.mul_quantized(operands[0], operands[1], r, size_t(n));
    });
    return {};
  }

 private:
  static ops::View view(const Shape& shape) {
    ops::View v;
    v.rank = int(shape.size());
    std::copy(shape.begin(), shape.end(), v.dims);
    return v;
  }

  const EltwiseKernels& k_;
  Kind kind_;
  QOperand operands_[2];
  QResult y_;
  ops::BroadcastLoop<2> loop_;
};

// clamp(x * scale + bias) by channel, from bytes to bytes: in pieces that stay in the first cache.
class AffineStep : public Step {
 public:
  AffineStep(const EltwiseKernels& k, const net::Op& op, Tensor8 x, Tensor8 y, int64_t pixels)
      : k_(k), scale_(op.channel_scale), bias_(op.channel_bias), lo_(op.lo), hi_(op.hi), x_(x), y_(y), pixels_(pixels) {
    work = 4 * pixels_ * int64_t(scale_.size());
    if (x.dtype == y.dtype) in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    const void* x = f.at(in[0]);
    void* y = f.at(out[0]);
    const int64_t channels = int64_t(scale_.size());
    split(f, pixels_, std::max<int64_t>(1, kGrain / channels), [&](int64_t begin, int64_t end) {
      float piece[kPiece];
      for (int64_t pixel = begin; pixel < end; ++pixel)
        for (int64_t c = 0; c < channels; c += kPiece) {
          const size_t n = size_t(std::min(kPiece, channels - c));
          k_.dequantize(offset(x, pixel * channels + c, x_.dtype), x_.dtype, piece, n, x_.q.scale, x_.q.zero_point);
          k_.scale_shift(piece, scale_.data() + c, bias_.data() + c, piece, n);
          if (lo_ > -net::kInf || hi_ < net::kInf) k_.clamp(piece, piece, n, lo_, hi_);
          k_.quantize(piece, offset(y, pixel * channels + c, y_.dtype), y_.dtype, n, y_.q.scale, y_.q.zero_point);
        }
    });
    return {};
  }

 private:
  static constexpr int64_t kPiece = 1024;
  const EltwiseKernels& k_;
  std::vector<float> scale_, bias_;
  float lo_, hi_;
  Tensor8 x_, y_;
  int64_t pixels_;
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
      if (net.values[op.in[0]].shape != net.values[op.in[1]].shape) {
        const Shape shapes[] = {net.values[op.in[0]].shape, net.values[op.in[1]].shape, y.shape};
        return std::make_unique<BroadcastStep>(k, op.kind, operand(0), operand(1), result, op.lo, op.hi, shapes);
      }
      return std::make_unique<ResultStep>(k, op.kind, operand(0), operand(1), result, op.lo, op.hi, n);
    case Kind::affine:
      if (op.in_q.empty() || n == 0) return nullptr;
      return std::make_unique<AffineStep>(k, op, operand(0), result, n / y.shape.back());
    case Kind::table:
      return std::make_unique<TableStep>(k, op.table, n);
    default:
      return nullptr;
  }
}

}  // namespace octavo
