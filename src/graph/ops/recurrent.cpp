#include "ops/recurrent.h"

#include <cmath>

namespace octavo::ops {
namespace {

Cell cell_of(const Node& node) { return node.op_type == "LSTM" ? Cell::lstm : node.op_type == "GRU" ? Cell::gru : Cell::rnn; }

struct ActivationName {
  std::string_view name;
  Activation activation;
};
constexpr ActivationName kActivations[] = {
    {"Sigmoid", {Unary::sigmoid}},   {"Tanh", {Unary::tanh}},
    {"Relu", {Unary::relu}},         {"LeakyRelu", {Unary::leaky_relu, 0.01f}},
    {"Elu", {Unary::elu, 1}},        {"HardSigmoid", {Unary::hardsigmoid, 0.2f, 0.5f}},
    {"Softplus", {Unary::softplus}},
};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

Status read_activations(const Node& node, Recurrent& r) {
  const int count = r.cell == Cell::lstm ? 3 : r.cell == Cell::gru ? 2 : 1;
  const auto* names = attribute<std::vector<std::string>>(node, "activations");
  const auto* alphas = attribute<std::vector<float>>(node, "activation_alpha");
  const auto* betas = attribute<std::vector<float>>(node, "activation_beta");
  if (names && int64_t(names->size()) != count * r.directions)
    return fail(node, Code::invalid_argument, "%zu activations, not %lld", names->size(),
                static_cast<long long>(count * r.directions));
  for (int64_t d = 0; d < r.directions; ++d)
    for (int i = 0; i < count; ++i) {
      const size_t at = size_t(d * count + i);
      const char* fallback = (r.cell == Cell::rnn || i > 0) ? "Tanh" : "Sigmoid";
      const std::string_view name = names ? std::string_view((*names)[at]) : fallback;
      const ActivationName* found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                                 [&](const auto& a) { return equal_ignoring_case(a.name, name); });
      if (found == std::end(kActivations))
        return fail(node, Code::unsupported, "activation %.40s is not supported", std::string(name).c_str());
      r.activation[d][i] = found->activation;
      if (alphas && at < alphas->size()) r.activation[d][i].alpha = (*alphas)[at];
      if (betas && at < betas->size()) r.activation[d][i].beta = (*betas)[at];
    }
  return {};
}

void activate(const EltwiseKernels& k, const Activation& a, float* x, int64_t n) {
  k.unary(a.op, x, x, size_t(n), a.alpha, a.beta);
}

void clip(const Recurrent& r, const EltwiseKernels& k, float* x, int64_t n) {
  if (r.clip > 0) k.clamp(x, x, size_t(n), -r.clip, r.clip);
}

// y[j] += w[j] . x for `rows` rows
void add_product(const EltwiseKernels& k, const float* w, const float* x, float* y, int64_t rows, int64_t n) {
  k.add_products(w, size_t(rows), size_t(n), x, 0, y, 0, 1);
}

// Inputs of so many steps meet W together, so that it is read once for all of them.
constexpr int64_t kStepsAtOnce = 16;

Inferred infer_recurrent(const InferContext& ctx) {
  const Cell cell = cell_of(ctx.node);
  if (Status s = expect_inputs(ctx, 3, cell == Cell::lstm ? 8 : 6); !s.ok()) return s;
  for (size_t i = 0; i < ctx.inputs.size(); ++i)
    if (ctx.inputs[i] && ctx.inputs[i]->dtype != (i == kRecurrentLengths ? DType::s32 : DType::f32)) return bad_type(ctx, i);
  for (size_t i = 0; i < 3; ++i)
    if (ctx.inputs[i]->shape.size() != 3) return misshapen(ctx, "X, W and R need three dimensions");
  Recurrent r;
  if (Status s = read_recurrent(ctx.node, ctx.opset, ctx.inputs[0]->shape.data(), ctx.inputs[1]->shape.data(),
                                ctx.inputs[2]->shape.data(), r);
      !s.ok())
    return s;
  const Shape state = r.batch_first ? Shape{r.batch, r.directions, r.hidden} : Shape{r.directions, r.batch, r.hidden};
  const struct {
    size_t input;
    Shape shape;
  } optional[] = {{kRecurrentBias, {r.directions, 2 * r.gates * r.hidden}},
                  {kRecurrentLengths, {r.batch}},
                  {kRecurrentH, state},
                  {kRecurrentC, state},
                  {kRecurrentPeephole, {r.directions, 3 * r.hidden}}};
  for (const auto& o : optional)
    if (input_of(ctx, o.input) && ctx.inputs[o.input]->shape != o.shape)
      return fail(ctx.node, Code::invalid_argument, "input %zu is %s, not %s", o.input,
                  to_string(ctx.inputs[o.input]->shape).c_str(), to_string(o.shape).c_str());
  const Shape y =
      r.batch_first ? Shape{r.batch, r.steps, r.directions, r.hidden} : Shape{r.steps, r.directions, r.batch, r.hidden};
  std::vector<TypeShape> outputs = {{DType::f32, y}, {DType::f32, state}};
  if (cell == Cell::lstm) outputs.push_back({DType::f32, state});
  return outputs;
}

// One sequence at a time: gates of some steps, R h^T of a GRU, h, c.
size_t recurrent_scratch(const EvalContext& ctx) {
  const int64_t rows = ctx.inputs[2].dims[1], hidden = ctx.inputs[2].dims[2];
  return size_t((kStepsAtOnce + 1) * rows + 2 * hidden) * sizeof(float);
}

Status eval_recurrent(const EvalContext& ctx) {
  Recurrent r;
  if (Status s = read_recurrent(ctx.node, ctx.opset, ctx.inputs[0].dims, ctx.inputs[1].dims, ctx.inputs[2].dims, r); !s.ok())
    return s;
  const View bias = view_of(ctx, kRecurrentBias), lengths = view_of(ctx, kRecurrentLengths), h0 = view_of(ctx, kRecurrentH);
  const View c0 = view_of(ctx, kRecurrentC), peephole = view_of(ctx, kRecurrentPeephole);
  const auto output = [&](size_t i) { return i < ctx.outputs.size() ? f32_out(ctx.outputs[i]) : nullptr; };
  const int64_t n = r.hidden, rows = r.gates * n;
  float *some_gates = static_cast<float*>(ctx.scratch), *product = some_gates + kStepsAtOnce * rows, *h = product + rows, *c = h + n;
  if (output(0)) std::fill_n(output(0), ctx.outputs[0].count(), 0.0f);
  for (int64_t d = 0; d < r.directions; ++d) {
    const float *w = f32(ctx.inputs[1]) + d * rows * r.in, *u = f32(ctx.inputs[2]) + d * rows * n;
    const float* wb = bias.data ? f32(bias) + d * 2 * rows : nullptr;
    const float* rb = wb ? wb + rows : nullptr;
    const Activation* f = r.activation[d];
    for (int64_t b = 0; b < r.batch; ++b) {
      const int64_t length = lengths.data ? static_cast<const int32_t*>(lengths.data)[b] : r.steps;
      if (length < 0 || length > r.steps)
        return fail(ctx.node, Code::invalid_argument, "a sequence of %lld steps", static_cast<long long>(length));
      for (int64_t i = 0; i < n; ++i) {
        h[i] = h0.data ? f32(h0)[r.state_at(d, b) + i] : 0;
        c[i] = c0.data ? f32(c0)[r.state_at(d, b) + i] : 0;
      }
      const bool backwards = d == 1 || r.reverse;
      const auto time_of = [&](int64_t step) { return backwards ? length - 1 - step : step; };
      for (int64_t step = 0; step < length; ++step) {
        const int64_t t = time_of(step);
        if (step % kStepsAtOnce == 0) {
          const int64_t some = std::min(kStepsAtOnce, length - step), stride = r.x_at(1, 0) - r.x_at(0, 0);
          for (int64_t j = 0; j < some * rows; ++j) some_gates[j] = wb ? wb[j % rows] : 0;
          ctx.eltwise.add_products(w, size_t(rows), size_t(r.in), f32(ctx.inputs[0]) + r.x_at(t, b), backwards ? -stride : stride,
                                   some_gates, rows, size_t(some));
        }
        float* gates = some_gates + step % kStepsAtOnce * rows;
        for (int64_t j = 0; j < rows; ++j) product[j] = rb ? rb[j] : 0;
        const int64_t direct = r.cell == Cell::gru && !r.reset_after ? 2 * n : rows;  // rows of R that meet h itself
        add_product(ctx.eltwise, u, h, product, direct, n);
        for (int64_t j = 0; j < (r.cell == Cell::gru ? 2 * n : rows); ++j) gates[j] += product[j];
        if (r.cell == Cell::lstm) {
          lstm_cell(r, ctx.eltwise, f, peephole.data ? f32(peephole) + d * 3 * n : nullptr, gates, h, c);
        } else if (r.cell == Cell::rnn) {
          rnn_cell(r, ctx.eltwise, f, gates, h);
        } else {
          gru_reset(r, ctx.eltwise, f, gates, h, c);
          float* candidate = gates + 2 * n;
          if (r.reset_after) {
            for (int64_t i = 0; i < n; ++i) candidate[i] += gates[n + i] * product[2 * n + i];
          } else {
            add_product(ctx.eltwise, u + 2 * n * n, c, product + 2 * n, n, n);
            for (int64_t i = 0; i < n; ++i) candidate[i] += product[2 * n + i];
          }
          gru_cell(r, ctx.eltwise, f, gates, candidate, h);
        }
        if (output(0)) std::memcpy(output(0) + r.y_at(t, d, b), h, size_t(n) * sizeof(float));
      }
      if (output(1)) std::memcpy(output(1) + r.state_at(d, b), h, size_t(n) * sizeof(float));
      if (output(2)) std::memcpy(output(2) + r.state_at(d, b), c, size_t(n) * sizeof(float));
    }
  }
  return {};
}

constexpr OpInfo kOps[] = {
    {"LSTM", "", infer_recurrent, eval_recurrent, 0, recurrent_scratch, true},
    {"GRU", "", infer_recurrent, eval_recurrent, 0, recurrent_scratch, true},
    {"RNN", "", infer_recurrent, eval_recurrent, 0, recurrent_scratch, true},
};

}  // namespace

Status read_recurrent(const Node& node, int64_t opset, const int64_t* x, const int64_t* w, const int64_t* r_dims, Recurrent& r) {
  r.cell = cell_of(node);
  r.gates = r.cell == Cell::lstm ? 4 : r.cell == Cell::gru ? 3 : 1;
  r.batch_first = opset >= 14 && int_attribute(node, "layout", 0) != 0;
  r.steps = x[r.batch_first ? 1 : 0];
  r.batch = x[r.batch_first ? 0 : 1];
  r.in = x[2];
  r.hidden = r_dims[2];
  const std::string_view direction = string_attribute(node, "direction", "forward");
  r.directions = direction == "bidirectional" ? 2 : 1;
  r.reverse = direction == "reverse";
  if (!r.reverse && r.directions == 1 && direction != "forward") return fail(node, Code::unsupported, "unknown direction");
  if (r.hidden < 1 || r.hidden > (int64_t(1) << 30) || w[0] != r.directions || r_dims[0] != r.directions || w[2] != r.in ||
      w[1] != r.gates * r.hidden || r_dims[1] != w[1] || int_attribute(node, "hidden_size", r.hidden) != r.hidden)
    return fail(node, Code::invalid_argument, "the shapes of X, W and R do not fit each other, hidden_size or direction");
  r.reset_after = r.cell == Cell::gru && int_attribute(node, "linear_before_reset", 0) != 0;
  r.couple = r.cell == Cell::lstm && int_attribute(node, "input_forget", 0) != 0;
  r.clip = float_attribute(node, "clip", 0);
  return read_activations(node, r);
}

void lstm_cell(const Recurrent& r, const EltwiseKernels& k, const Activation* f, const float* peephole, float* gates, float* h,
               float* c) {
  const int64_t n = r.hidden;
  float *input = gates, *output = gates + n, *forget = gates + 2 * n, *candidate = gates + 3 * n;
  if (peephole)
    for (int64_t i = 0; i < n; ++i) {
      input[i] += peephole[i] * c[i];
      forget[i] += peephole[2 * n + i] * c[i];
    }
  clip(r, k, gates, 4 * n);
  activate(k, f[0], input, n);
  activate(k, f[0], forget, n);
  activate(k, f[1], candidate, n);
  for (int64_t i = 0; i < n; ++i) c[i] = (r.couple ? 1 - input[i] : forget[i]) * c[i] + input[i] * candidate[i];
  if (peephole) {
    for (int64_t i = 0; i < n; ++i) output[i] += peephole[n + i] * c[i];
    clip(r, k, output, n);
  }
  activate(k, f[0], output, n);
  std::memcpy(h, c, size_t(n) * sizeof(float));
  activate(k, f[2], h, n);
  for (int64_t i = 0; i < n; ++i) h[i] *= output[i];
}

void gru_reset(const Recurrent& r, const EltwiseKernels& k, const Activation* f, float* gates, const float* h, float* reset_h) {
  const int64_t n = r.hidden;
  clip(r, k, gates, 2 * n);
  activate(k, f[0], gates, 2 * n);
  for (int64_t i = 0; i < n; ++i) reset_h[i] = gates[n + i] * h[i];
}

void gru_cell(const Recurrent& r, const EltwiseKernels& k, const Activation* f, const float* gates, float* candidate, float* h) {
  clip(r, k, candidate, r.hidden);
  activate(k, f[1], candidate, r.hidden);
  for (int64_t i = 0; i < r.hidden; ++i) h[i] = (1 - gates[i]) * candidate[i] + gates[i] * h[i];
}

void rnn_cell(const Recurrent& r, const EltwiseKernels& k, const Activation* f, float* gates, float* h) {
  clip(r, k, gates, r.hidden);
  activate(k, f[0], gates, r.hidden);
  std::memcpy(h, gates, size_t(r.hidden) * sizeof(float));
}

std::span<const OpInfo> recurrent_ops() noexcept { return kOps; }

}  // namespace octavo::ops
