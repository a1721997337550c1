// LSTM with ranges found at run time: those of the inputs for the whole sequence, those of the state for each step.
#include <algorithm>
#include <cstring>

#include "dynamic_product.h"
#include "ops/recurrent.h"

namespace octavo {
namespace {

using net::Net;

class DynamicLstmStep : public Step {
 public:
  DynamicLstmStep(const EltwiseKernels& k, DynamicProduct inputs, DynamicProduct states, const ops::Recurrent& shape,
                  std::vector<float> bias)
      : k_(k), inputs_(std::move(inputs)), states_(std::move(states)), r_(shape), bias_(std::move(bias)) {
    rows_ = r_.gates * r_.hidden;
    const auto align = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    gates_at_ = align(std::max(inputs_.scratch_bytes(), states_.scratch_bytes()));
    sums_at_ = gates_at_ + align(size_t(r_.steps * r_.batch * rows_) * sizeof(float));
    h_at_ = sums_at_ + align(size_t(r_.batch * rows_) * sizeof(int32_t));
    c_at_ = h_at_ + align(size_t(r_.batch * r_.hidden) * sizeof(float));
    bytes_at_ = c_at_ + align(size_t(r_.batch * r_.hidden) * sizeof(float));
    scratch_bytes = bytes_at_ + align(size_t(r_.batch * r_.hidden));
    work = r_.steps * r_.batch * rows_ * (r_.in + r_.hidden);
    weight_bytes = inputs_.weight_bytes() + states_.weight_bytes() + bias_.size() * sizeof(float);
  }

  // A step waits for the one before it: one thread.
  Status run(const Frame& f) const noexcept override {
    const int64_t state = r_.batch * r_.hidden;
    float *gates = reinterpret_cast<float*>(f.scratch + gates_at_), *h = reinterpret_cast<float*>(f.scratch + h_at_),
          *c = reinterpret_cast<float*>(f.scratch + c_at_);
    Frame alone = f;
    alone.parallel = single_thread();
    start(f.at(in[3]), h, state);
    start(f.at(in[4]), c, state);

    DynamicProduct::Args args;
    args.m = r_.steps * r_.batch;
    args.a = f.at(in[0]);
    args.scale = static_cast<const float*>(f.at(in[1]));
    args.zero = *static_cast<const uint8_t*>(f.at(in[2]));
    args.bias = bias_.data();
    args.sums = reinterpret_cast<int32_t*>(gates);
    args.y = gates;
    if (Status s = inputs_.run(args, alone); !s.ok()) return s;

    float* y = static_cast<float*>(result(f, 0));
    args.m = r_.batch;
    args.a = f.scratch + bytes_at_;
    args.bias_step = rows_;
    args.sums = reinterpret_cast<int32_t*>(f.scratch + sums_at_);
    for (int64_t step = 0; step < r_.steps; ++step) {
      const int64_t t = r_.reverse ? r_.steps - 1 - step : step;
      float* now = gates + t * r_.batch * rows_;
      float lo, hi;
      k_.min_max(h, size_t(state), &lo, &hi);
      const QParams q = dynamic_params(lo, hi);
      k_.quantize(h, f.scratch + bytes_at_, DType::u8, size_t(state), q.scale, q.zero_point);
      args.scale = &q.scale;
      args.zero = q.zero_point;
      args.bias = args.y = now;  // the gates are one sum
      if (Status s = states_.run(args, alone); !s.ok()) return s;
      for (int64_t b = 0; b < r_.batch; ++b)
        ops::lstm_cell(r_, k_, r_.activation[0], nullptr, now + b * rows_, h + b * r_.hidden, c + b * r_.hidden);
      if (y) std::copy_n(h, state, y + t * state);
    }
    if (void* last = result(f, 1)) std::memcpy(last, h, size_t(state) * sizeof(float));
    if (void* last = result(f, 2)) std::memcpy(last, c, size_t(state) * sizeof(float));
    return {};
  }

 private:
  static void start(const void* from, float* to, int64_t n) noexcept {
    if (from)
      std::memcpy(to, from, size_t(n) * sizeof(float));
    else
      std::fill_n(to, n, 0.0f);
  }

  void* result(const Frame& f, size_t i) const noexcept { return i < out.size() ? f.at(out[i]) : nullptr; }

  const EltwiseKernels& k_;
  DynamicProduct inputs_, states_;
  ops::Recurrent r_;
  std::vector<float> bias_;
  int64_t rows_;
  size_t gates_at_, sums_at_, h_at_, c_at_, bytes_at_;
};

net::Linear linear_of(const Tensor& w, const std::vector<float>& scale, const std::vector<int32_t>& zero) {
  net::Linear linear;
  linear.oc = w.shape()[1];
  linear.ic = w.shape()[2];
  linear.weight = w;
  linear.transposed = true;
  linear.w_scale = scale;
  linear.w_zero = zero;
  return linear;
}

}  // namespace

Expected<std::unique_ptr<Step>> lower_dynamic_recurrent(const Net& net, const net::Op& op, const EltwiseKernels& k, Isa isa,
                                                        NodeReport& report) {
  const net::Recurrence& source = *op.recurrence;
  ops::Recurrent shape;
  if (Status s =
          ops::read_recurrent(op.node, net.opset, source.x_shape.data(), source.w.shape().data(), source.r.shape().data(), shape);
      !s.ok())
    return s;
  const size_t rows = source.bias.size() / 2;
  std::vector<float> bias(source.bias.begin(), source.bias.begin() + ptrdiff_t(rows));
  for (size_t i = 0; i < rows; ++i) bias[i] += source.bias[rows + i];
  Expected<DynamicProduct> inputs = DynamicProduct::create(linear_of(source.w, source.w_scale, source.w_zero), DType::u8, isa);
  if (!inputs) return inputs.status();
  Expected<DynamicProduct> states = DynamicProduct::create(linear_of(source.r, source.r_scale, source.r_zero), DType::u8, isa);
  if (!states) return states.status();
  report.kernel = inputs->kernel().name;
  std::unique_ptr<Step> step =
      std::make_unique<DynamicLstmStep>(k, *std::move(inputs), *std::move(states), shape, std::move(bias));
  report.macs = step->work;
  return step;
}

}  // namespace octavo
