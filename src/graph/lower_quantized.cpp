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

// Elements of a step's operands and result of `channels` a row. body(pointers, n) sees n elements of each, on the threads of
// the frame: a row, or many at once where every row follows the one before.
template <size_t N, class Body>
void for_elements(const Frame& f, const Place* const (&places)[N], const DType (&types)[N], int64_t n, int64_t channels,
                  const Body& body) {
  std::byte* base[N];
  bool dense = true;
  for (size_t i = 0; i < N; ++i) {
    base[i] = static_cast<std::byte*>(f.at(*places[i]));
    dense &= places[i]->stride == 0;
  }
  const auto call = [&](int64_t row, int64_t at, int64_t count) {
    std::byte* p[N];
    for (size_t i = 0; i < N; ++i) {
      const ptrdiff_t size = ptrdiff_t(size_of(types[i])), stride = places[i]->stride != 0 ? places[i]->stride : channels * size;
      p[i] = base[i] + row * stride + at * size;
    }
    body(p, size_t(count));
  };
  if (dense)
    split(f, n, kGrain, [&](int64_t begin, int64_t end) { call(0, begin, end - begin); });
  else
    split(f, n / channels, std::max<int64_t>(1, kGrain / channels), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) call(row, 0, channels);
    });
}

class QuantizeStep : public Step {
 public:
  QuantizeStep(const EltwiseKernels& k, Tensor8 q, int64_t n, int64_t channels) : k_(k), q_(q), n_(n), channels_(channels) {
    work = n;
  }
  Status run(const Frame& f) const noexcept override {
    for_elements<2>(f, {&in[0], &out[0]}, {DType::f32, q_.dtype}, n_, channels_, [&](auto& p, size_t n) {
      k_.quantize(reinterpret_cast<const float*>(p[0]), p[1], q_.dtype, n, q_.q.scale, q_.q.zero_point);
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Tensor8 q_;
  int64_t n_, channels_;
};

// Floats [n][c][pixels] -> bytes [n][pixels][c], piece by piece: the bytes change places in the first cache.
class QuantizeToLastStep : public Step {
 public:
  QuantizeToLastStep(const EltwiseKernels& k, Tensor8 q, int64_t batch, int64_t channels, int64_t pixels)
      : k_(k), q_(q), batch_(batch), channels_(channels), pixels_(pixels) {
    work = 2 * batch * channels * pixels;
  }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    const int64_t pieces = (pixels_ + kPixels - 1) / kPixels;
    split(f, batch_ * pieces, 1, [&](int64_t begin, int64_t end) {
      std::byte bytes[kChannels * kPixels];
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / pieces, pixel = i % pieces * kPixels, count = std::min(kPixels, pixels_ - pixel);
        for (int64_t c = 0; c < channels_; c += kChannels) {
          const int64_t channels = std::min(kChannels, channels_ - c);
          for (int64_t r = 0; r < channels; ++r)
            k_.quantize(x + (image * channels_ + c + r) * pixels_ + pixel, bytes + r * kPixels, q_.dtype, size_t(count),
                        q_.q.scale, q_.q.zero_point);
          k_.transpose(bytes, kPixels, y + (image * pixels_ + pixel) * channels_ + c, channels_, size_t(channels), size_t(count),
                       1);
        }
      }
    });
    return {};
  }

 private:
  static constexpr int64_t kChannels = 32, kPixels = 512;
  const EltwiseKernels& k_;
  Tensor8 q_;
  int64_t batch_, channels_, pixels_;
};

class DequantizeStep : public Step {
 public:
  DequantizeStep(const EltwiseKernels& k, Tensor8 q, int64_t n, int64_t channels) : k_(k), q_(q), n_(n), channels_(channels) {
    work = n;
  }
  Status run(const Frame& f) const noexcept override {
    for_elements<2>(f, {&in[0], &out[0]}, {q_.dtype, DType::f32}, n_, channels_, [&](auto& p, size_t n) {
      k_.dequantize(p[0], q_.dtype, reinterpret_cast<float*>(p[1]), n, q_.q.scale, q_.q.zero_point);
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Tensor8 q_;
  int64_t n_, channels_;
};

// lo, hi: clamp of the real value.
QResult result_of(Tensor8 y, float lo, float hi) {
  const double scale = double(y.q.scale), qmin = qmin_of(y.dtype) - y.q.zero_point, qmax = qmax_of(y.dtype) - y.q.zero_point;
  return {nullptr, y.dtype, y.q.zero_point, float(std::min(std::max(double(lo) / scale, qmin), qmax)),
          float(std::min(std::max(double(hi) / scale, qmin), qmax))};
}

// The factors of operands and result.
void set_multipliers(Kind kind, Tensor8 a, Tensor8 b, Tensor8 y, float lo, float hi, QOperand (&operands)[2], QResult& result) {
  const double scale = double(y.q.scale);
  operands[0].m = kind == Kind::mul ? float(double(a.q.scale) * double(b.q.scale) / scale) : float(double(a.q.scale) / scale);
  operands[1].m = float(double(b.q.scale) / scale);
  result = result_of(y, lo, hi);
}

// Requantize, quantized Add and Mul of one shape: one or two operands, one result.
class ResultStep : public Step {
 public:
  ResultStep(const EltwiseKernels& k, Kind kind, Tensor8 a, Tensor8 b, Tensor8 y, float lo, float hi, int64_t n, int64_t channels)
      : k_(k),
        kind_(kind),
        a_{nullptr, a.dtype, a.q.zero_point, 0},
        b_{nullptr, b.dtype, b.q.zero_point, 0},
        n_(n),
        channels_(channels) {
    work = n;
    in_place = 0;
    QOperand operands[] = {a_, b_};
    set_multipliers(kind, a, b, y, lo, hi, operands, y_);
    a_ = operands[0], b_ = operands[1];
  }
  Status run(const Frame& f) const noexcept override {
    // Of one operand the second is not looked at.
    for_elements<3>(f, {&in[0], &in.back(), &out[0]}, {a_.dtype, b_.dtype, y_.dtype}, n_, channels_, [&](auto& p, size_t n) {
      QOperand a = a_, b = b_;
      QResult y = y_;
      a.data = p[0], b.data = p[1], y.data = p[2];
      if (kind_ == Kind::requantize)
        k_.requantize(a, y, n);
      else if (kind_ == Kind::add)
        k_.add_quantized(a, b, y, n);
      else
        k_.mul_quantized(a, b, y, n);
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Kind kind_;
  QOperand a_, b_;
  QResult y_;
  int64_t n_, channels_;
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
    in_place = shapes[0] == shapes[2] ? 0 : 1;
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

// clamp(x * scale + bias) by channel, from bytes to bytes; each channel of x has parameters of its own.
class AffineStep : public Step {
 public:
  AffineStep(const EltwiseKernels& k, const net::Op& op, DType x, Tensor8 y, int64_t pixels)
      : k_(k), scale_(op.channel_scale.size()), bias_(scale_.size()), x_(x), pixels_(pixels) {
    work = 2 * pixels_ * int64_t(scale_.size());
    if (x == y.dtype) in_place = 0;
    const double scale = double(y.q.scale);
    for (size_t c = 0; c < scale_.size(); ++c) {
      const QParams& q = op.in_q[op.in_q.size() == 1 ? 0 : c];
      const double m = double(q.scale) * double(op.channel_scale[c]) / scale;
      scale_[c] = float(m);
      bias_[c] = float(double(op.channel_bias[c]) / scale - double(q.zero_point) * m);
    }
    y_ = result_of(y, op.lo, op.hi);
  }
  Status run(const Frame& f) const noexcept override {
    const ptrdiff_t channels = ptrdiff_t(scale_.size());
    const ptrdiff_t x_stride = in[0].stride != 0 ? in[0].stride : channels,
                    y_stride = out[0].stride != 0 ? out[0].stride : channels;
    const std::byte* x = static_cast<const std::byte*>(f.at(in[0]));
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    split(f, pixels_, std::max<int64_t>(1, kGrain / channels), [&](int64_t begin, int64_t end) {
      QResult row = y_;
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        row.data = y + pixel * y_stride;
        k_.scale_shift_quantized(x + pixel * x_stride, x_, scale_.data(), bias_.data(), row, size_t(channels));
      }
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  std::vector<float> scale_, bias_;
  DType x_;
  QResult y_;
  int64_t pixels_;
};

class TableStep : public Step {
 public:
  TableStep(const EltwiseKernels& k, std::vector<uint8_t> table, int64_t n, int64_t channels)
      : k_(k), table_(std::move(table)), n_(n), channels_(channels) {
    work = n;
    in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    for_elements<2>(f, {&in[0], &out[0]}, {DType::u8, DType::u8}, n_, channels_,
                    [&](auto& p, size_t n) { k_.lut(p[0], p[1], n, table_.data()); });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  std::vector<uint8_t> table_;
  int64_t n_, channels_;
};

}  // namespace

std::unique_ptr<Step> lower_quantized(const Net& net, const net::Op& op, const EltwiseKernels& k) {
  const auto operand = [&](size_t i) { return Tensor8{net.values[op.in[i]].dtype, op.in_q[i]}; };
  const net::Value& y = net.values[op.out[0]];
  const int64_t n = product(y.shape), channels = y.shape.empty() ? 1 : y.shape.back();
  const Tensor8 result{y.dtype, op.out_q};
  switch (op.kind) {
    case Kind::quantize:
      if (const net::Value& x = net.values[op.in[0]];
          y.channels_last && !x.channels_last && x.shape[1] > 1 && n > x.shape[0] * x.shape[1])
        return std::make_unique<QuantizeToLastStep>(k, result, x.shape[0], x.shape[1], product(x.shape, 2, x.shape.size()));
      return std::make_unique<QuantizeStep>(k, result, n, channels);
    case Kind::dequantize:
      return std::make_unique<DequantizeStep>(k, operand(0), n, channels);
    case Kind::requantize:
      return std::make_unique<ResultStep>(k, op.kind, operand(0), operand(0), result, op.lo, op.hi, n, channels);
    case Kind::add:
    case Kind::mul:
      if (net.values[op.in[0]].shape != net.values[op.in[1]].shape) {
        const Shape shapes[] = {net.values[op.in[0]].shape, net.values[op.in[1]].shape, y.shape};
        return std::make_unique<BroadcastStep>(k, op.kind, operand(0), operand(1), result, op.lo, op.hi, shapes);
      }
      return std::make_unique<ResultStep>(k, op.kind, operand(0), operand(1), result, op.lo, op.hi, n, channels);
    case Kind::affine:
      if (op.in_q.empty() || n == 0) return nullptr;
      return std::make_unique<AffineStep>(k, op, net.values[op.in[0]].dtype, result, n / channels);
    case Kind::table:
      return std::make_unique<TableStep>(k, op.table, n, channels);
    default:
      return nullptr;
  }
}

}  // namespace octavo
