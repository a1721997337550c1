// LSTM and GRU in int8: one product for the inputs of all steps, one for the state of each, the gates in float.
#include <cstring>
#include <optional>

#include "octavo/gemm.h"
#include "ops/recurrent.h"
#include "step.h"

namespace octavo {
namespace {

using net::Net;

class RecurrentStep : public Step {
 public:
  RecurrentStep(const EltwiseKernels& k, GemmPlan inputs, GemmPlan states, const ops::Recurrent& shape, DType dtype, QParams h_q)
      : k_(k), inputs_(std::move(inputs)), states_(std::move(states)), r_(shape), dtype_(dtype), h_q_(h_q) {
    rows_ = r_.gates * r_.hidden;
    const auto align = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    gates_at_ = align(std::max(inputs_.workspace_bytes(), states_.workspace_bytes()));
    product_at_ = gates_at_ + align(size_t(r_.steps * r_.batch * rows_) * sizeof(float));
    h_at_ = product_at_ + align(size_t(r_.batch * rows_) * sizeof(float));
    c_at_ = h_at_ + align(size_t(r_.batch * r_.hidden) * sizeof(float));
    first_at_ = c_at_ + align(size_t(r_.batch * r_.hidden) * sizeof(float));
    scratch_bytes = first_at_ + align(size_t(r_.batch * r_.hidden));
    work = r_.steps * r_.batch * rows_ * (r_.in + r_.hidden);
    weight_bytes = inputs_.packed_bytes() + states_.packed_bytes();
  }

  // A step waits for the one before it: one thread.
  Status run(const Frame& f) const noexcept override {
    float* gates = reinterpret_cast<float*>(f.scratch + gates_at_);
    float* product = reinterpret_cast<float*>(f.scratch + product_at_);
    float* h = reinterpret_cast<float*>(f.scratch + h_at_);
    float* c = out.size() > 1 ? static_cast<float*>(f.at(out[1])) : reinterpret_cast<float*>(f.scratch + c_at_);
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    const int64_t state = r_.batch * r_.hidden;
    const std::byte* last = static_cast<const std::byte*>(f.at(in[1]));
    if (!last) {
      std::memset(f.scratch + first_at_, h_q_.zero_point, size_t(state));
      last = f.scratch + first_at_;
    }
    k_.dequantize(last, dtype_, h, size_t(state), h_q_.scale, h_q_.zero_point);
    if (const float* first = static_cast<const float*>(f.at(in[2])))
      std::copy_n(first, state, c);
    else
      std::fill_n(c, state, 0.0f);

    GemmArgs args;
    args.m = r_.steps * r_.batch;
    args.a = f.at(in[0]);
    args.a_stride_bytes = ptrdiff_t(r_.in);
    args.c = gates;
    args.c_stride_bytes = ptrdiff_t(size_t(rows_) * sizeof(float));
    if (Status s = inputs_.run(args, 0, inputs_.tiles(args.m), f.scratch); !s.ok()) return s;
    args.m = r_.batch;
    args.a_stride_bytes = ptrdiff_t(r_.hidden);
    for (int64_t step = 0; step < r_.steps; ++step) {
      const int64_t t = r_.reverse ? r_.steps - 1 - step : step;
      float* now = gates + t * r_.batch * rows_;
      const bool lstm = r_.cell == ops::Cell::lstm;
      args.a = last;
      args.c = lstm ? now : product;  // the gates of an LSTM are one sum
      if (lstm) {
        args.residual = now;
        args.residual_stride_bytes = args.c_stride_bytes;
      }
      if (Status s = states_.run(args, 0, states_.tiles(args.m), f.scratch); !s.ok()) return s;
      for (int64_t b = 0; b < r_.batch; ++b) {
        float *g = now + b * rows_, *hb = h + b * r_.hidden, *cb = c + b * r_.hidden;
        if (lstm)
          ops::lstm_cell(r_, k_, r_.activation[0], nullptr, g, hb, cb);
        else
          gru(g, product + b * rows_, hb, cb);
      }
      std::byte* row = y + t * state;
      k_.quantize(h, row, dtype_, size_t(state), h_q_.scale, h_q_.zero_point);
      last = row;
    }
    return {};
  }

 private:
  void gru(float* gates, const float* product, float* h, float* spare) const noexcept {
    const int64_t n = r_.hidden;
    for (int64_t i = 0; i < 2 * n; ++i) gates[i] += product[i];
    ops::gru_reset(r_, k_, r_.activation[0], gates, h, spare);
    float* candidate = gates + 2 * n;
    for (int64_t i = 0; i < n; ++i) candidate[i] += gates[n + i] * product[2 * n + i];
    ops::gru_cell(r_, k_, r_.activation[0], gates, candidate, h);
  }

  const EltwiseKernels& k_;
  GemmPlan inputs_, states_;
  ops::Recurrent r_;
  DType dtype_;
  QParams h_q_;
  int64_t rows_;
  size_t gates_at_, product_at_, h_at_, c_at_, first_at_;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_recurrent(const Net& net, const net::Op& op, const EltwiseKernels& k, Isa isa,
                                                NodeReport& report) {
  const net::Recurrence& source = *op.recurrence;
  ops::Recurrent shape;
  if (Status s =
          ops::read_recurrent(op.node, net.opset, source.x_shape.data(), source.w.shape().data(), source.r.shape().data(), shape);
      !s.ok())
    return s;
  const int64_t rows = shape.gates * shape.hidden;
  const bool lstm = shape.cell == ops::Cell::lstm;
  std::vector<float> w_bias(source.bias.begin(), source.bias.begin() + rows),
      r_bias(source.bias.begin() + rows, source.bias.end());
  if (lstm)
    for (size_t i = 0; i < w_bias.size(); ++i) w_bias[i] += r_bias[i];
  GemmDesc desc;
  desc.isa = isa;
  desc.use_isa = true;
  desc.a = net.values[op.in[0]].dtype;
  desc.n = rows;
  desc.numerics.out = DType::f32;
  const auto plan = [&](const Tensor& weights, const std::vector<float>& scales, const float* bias, QParams a) {
    desc.k = weights.shape()[2];
    desc.b = weights.data();
    desc.b_row_stride = 1;
    desc.b_col_stride = desc.k;
    desc.numerics.a = a;
    desc.numerics.w_scale = scales.data();
    desc.numerics.w_scale_count = int64_t(scales.size());
    desc.numerics.bias_f32 = bias;
    return GemmPlan::create(desc);
  };
  Expected<GemmPlan> inputs = plan(source.w, source.w_scale, w_bias.data(), op.in_q[0]);
  if (!inputs) return inputs.status();
  desc.numerics.has_residual = lstm;
  desc.numerics.residual_dtype = DType::f32;
  Expected<GemmPlan> states = plan(source.r, source.r_scale, lstm ? nullptr : r_bias.data(), op.out_q);
  if (!states) return states.status();
  report.kernel = inputs->kernel().name;
  std::unique_ptr<Step> step =
      std::make_unique<RecurrentStep>(k, *std::move(inputs), *std::move(states), shape, desc.a, op.out_q);
  report.macs = step->work;
  return step;
}

}  // namespace octavo
