// Float elementwise and row-wise steps.
#include <optional>
#include <string_view>

#include "rewrite.h"
#include "step.h"

namespace octavo {
namespace {

using net::Kind;
using net::kInf;
using net::Net;

constexpr int64_t kGrain = 8192;  // elements in one unit of parallel work

class UnaryStep : public Step {
 public:
  UnaryStep(const EltwiseKernels& k, Unary op, float alpha, float beta, int64_t n)
      : k_(k), op_(op), alpha_(alpha), beta_(beta), n_(n) {
    work = 8 * n;
    in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    float* y = static_cast<float*>(f.at(out[0]));
    split(f, n_, kGrain,
          [&](int64_t begin, int64_t end) { k_.unary(op_, x + begin, y + begin, size_t(end - begin), alpha_, beta_); });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Unary op_;
  float alpha_, beta_;
  int64_t n_;
};

class ClampStep : public Step {
 public:
  ClampStep(const EltwiseKernels& k, float lo, float hi, int64_t n) : k_(k), lo_(lo), hi_(hi), n_(n) {
    work = n;
    in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    float* y = static_cast<float*>(f.at(out[0]));
    split(f, n_, kGrain, [&](int64_t begin, int64_t end) { k_.clamp(x + begin, y + begin, size_t(end - begin), lo_, hi_); });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  float lo_, hi_;
  int64_t n_;
};

// The result as rows of `inner` elements in two loops; an operand moves by its strides, and by step within a row.
struct Broadcast {
  int64_t outer = 1, mid = 1, inner = 1;
  struct Operand {
    int64_t outer = 0, mid = 0;
    int step = 1;
  } operand[2];
};

// The innermost dimensions over which both operands are either dense or constant make a row; nothing if three loops do not do.
std::optional<Broadcast> broadcast(const Shape& a, const Shape& b, const Shape& y) {
  const Shape* in[2] = {&a, &b};
  struct Group {
    int64_t size = 1;
    bool dense[2] = {true, true};
  };
  std::vector<Group> groups;  // innermost first
  for (size_t d = y.size(); d-- > 0;) {
    if (y[d] == 1) continue;
    Group g;
    g.size = y[d];
    for (int i = 0; i < 2; ++i) {
      const size_t lead = y.size() - in[i]->size();
      const int64_t size = d < lead ? 1 : (*in[i])[d - lead];
      g.dense[i] = size == y[d];
      if (!g.dense[i] && size != 1) return std::nullopt;
    }
    if (!groups.empty() && groups.back().dense[0] == g.dense[0] && groups.back().dense[1] == g.dense[1])
      groups.back().size *= g.size;
    else
      groups.push_back(g);
  }
  if (groups.size() > 3) return std::nullopt;
  groups.resize(3);
  Broadcast r;
  r.inner = groups[0].size;
  r.mid = groups[1].size;
  r.outer = groups[2].size;
  for (int i = 0; i < 2; ++i) {
    Broadcast::Operand& o = r.operand[i];
    o.step = groups[0].dense[i] ? 1 : 0;
    int64_t stride = groups[0].dense[i] ? groups[0].size : 1;
    o.mid = groups[1].dense[i] ? stride : 0;
    if (groups[1].dense[i]) stride *= groups[1].size;
    o.outer = groups[2].dense[i] ? stride : 0;
  }
  return r;
}

class BinaryStep : public Step {
 public:
  BinaryStep(const EltwiseKernels& k, Binary op, const Broadcast& shape, float lo, float hi)
      : k_(k), op_(op), s_(shape), lo_(lo), hi_(hi) {
    work = 2 * s_.outer * s_.mid * s_.inner;
  }
  Status run(const Frame& f) const noexcept override {
    const float* a = static_cast<const float*>(f.at(in[0]));
    const float* b = static_cast<const float*>(f.at(in[1]));
    float* y = static_cast<float*>(f.at(out[0]));
    const auto &p = s_.operand[0], &q = s_.operand[1];
    const int64_t rows = s_.outer * s_.mid;
    if (rows == 1) {
      split(f, s_.inner, kGrain, [&](int64_t begin, int64_t end) {
        k_.binary(op_, a + p.step * begin, p.step, b + q.step * begin, q.step, y + begin, size_t(end - begin), lo_, hi_);
      });
      return {};
    }
    split(f, rows, std::max<int64_t>(1, kGrain / s_.inner), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t i = r / s_.mid, j = r % s_.mid;
        k_.binary(op_, a + i * p.outer + j * p.mid, p.step, b + i * q.outer + j * q.mid, q.step, y + r * s_.inner,
                  size_t(s_.inner), lo_, hi_);
      }
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  Binary op_;
  Broadcast s_;
  float lo_, hi_;
};

class AffineStep : public Step {
 public:
  AffineStep(const EltwiseKernels& k, const net::Op& op, int64_t pixels)
      : k_(k), scale_(op.channel_scale), bias_(op.channel_bias), lo_(op.lo), hi_(op.hi), pixels_(pixels) {
    work = 2 * pixels_ * int64_t(scale_.size());
    in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    float* y = static_cast<float*>(f.at(out[0]));
    const size_t c = scale_.size();
    split(f, pixels_, std::max<int64_t>(1, kGrain / int64_t(c)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* row = y + size_t(i) * c;
        k_.scale_shift(x + size_t(i) * c, scale_.data(), bias_.data(), row, c);
        if (lo_ > -kInf || hi_ < kInf) k_.clamp(row, row, c, lo_, hi_);
      }
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  std::vector<float> scale_, bias_;
  float lo_, hi_;
  int64_t pixels_;
};

class SoftmaxStep : public Step {
 public:
  SoftmaxStep(const EltwiseKernels& k, int64_t rows, int64_t n) : k_(k), rows_(rows), n_(n) {
    work = 16 * rows * n;
    in_place = 0;
  }
  Status run(const Frame& f) const noexcept override {
    const float* x = static_cast<const float*>(f.at(in[0]));
    float* y = static_cast<float*>(f.at(out[0]));
    split(f, rows_, std::max<int64_t>(1, kGrain / n_), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) k_.softmax(x + r * n_, y + r * n_, size_t(n_));
    });
    return {};
  }

 private:
  const EltwiseKernels& k_;
  int64_t rows_, n_;
};

struct UnaryName {
  std::string_view op_type;
  Unary op;
  float alpha = 0, beta = 0;  // defaults of the attributes
};
constexpr UnaryName kUnary[] = {
    {"Relu", Unary::relu},         {"LeakyRelu", Unary::leaky_relu, 0.01f},
    {"Elu", Unary::elu, 1},        {"Sigmoid", Unary::sigmoid},
    {"Tanh", Unary::tanh},         {"HardSigmoid", Unary::hardsigmoid, 0.2f, 0.5f},
    {"Abs", Unary::abs},           {"HardSwish", Unary::hardswish},
    {"Softplus", Unary::softplus}, {"Neg", Unary::neg},
    {"Exp", Unary::exp},           {"Log", Unary::log},
    {"Sqrt", Unary::sqrt},         {"Reciprocal", Unary::reciprocal},
    {"Floor", Unary::floor},       {"Ceil", Unary::ceil},
    {"Round", Unary::round},       {"Erf", Unary::erf},
};

struct BinaryName {
  std::string_view op_type;
  Binary op;
};
constexpr BinaryName kBinary[] = {{"Add", Binary::add}, {"Sum", Binary::add}, {"Sub", Binary::sub}, {"Mul", Binary::mul},
                                  {"Div", Binary::div}, {"Max", Binary::max}, {"Min", Binary::min}, {"Pow", Binary::pow}};

std::unique_ptr<Step> lower_binary(const Net& net, const net::Op& op, Binary binary, const EltwiseKernels& k) {
  if (op.in.size() != 2 || op.in[0] < 0 || op.in[1] < 0) return nullptr;
  const net::Value &a = net.values[op.in[0]], &b = net.values[op.in[1]], &y = net.values[op.out[0]];
  if (a.dtype != DType::f32 || b.dtype != DType::f32 || a.shape.size() > y.shape.size() || b.shape.size() > y.shape.size())
    return nullptr;
  const std::optional<Broadcast> shape = broadcast(a.shape, b.shape, y.shape);
  // Rows of a few elements would be all call overhead.
  if (!shape || (shape->inner < 8 && shape->outer * shape->mid > 1)) return nullptr;
  std::unique_ptr<Step> step = std::make_unique<BinaryStep>(k, binary, *shape, op.lo, op.hi);
  if (a.shape == y.shape)
    step->in_place = 0;
  else if (b.shape == y.shape)
    step->in_place = 1;
  return step;
}

}  // namespace

std::unique_ptr<Step> lower_float(const Net& net, const net::Op& op, const EltwiseKernels& k) {
  const net::Value &x = net.values[op.in[0]], &y = net.values[op.out[0]];
  const int64_t n = product(y.shape);
  if (x.dtype != DType::f32 || y.dtype != DType::f32 || n == 0) return nullptr;
  if (op.kind == Kind::affine) return std::make_unique<AffineStep>(k, op, n / y.shape.back());
  if (op.kind != Kind::generic || !op.node.domain.empty()) return nullptr;
  if (op.node.op_type == "Clip") {
    const auto limits = net::clamp_of(net, op);
    return limits ? std::make_unique<ClampStep>(k, limits->first, limits->second, n) : nullptr;
  }
  if (op.node.op_type == "Softmax") {
    const int64_t rank = int64_t(y.shape.size());
    const int64_t axis = op.node.get_int("axis", net.opset >= 13 ? -1 : 1);
    const int64_t from = axis < 0 ? axis + rank : axis;
    if (from < 0 || from >= rank || (net.opset >= 13 && from != rank - 1)) return nullptr;
    const int64_t row = product(y.shape, size_t(from), size_t(rank));  // before opset 13 everything from the axis on is one row
    return std::make_unique<SoftmaxStep>(k, n / row, row);
  }
  if (op.node.op_type == "Gelu") {
    const bool tanh = op.node.get_string("approximate", "none") == "tanh";
    return std::make_unique<UnaryStep>(k, tanh ? Unary::gelu_tanh : Unary::gelu, 0.0f, 0.0f, n);
  }
  for (const UnaryName& u : kUnary)
    if (op.node.op_type == u.op_type)
      return std::make_unique<UnaryStep>(k, u.op, op.node.get_float("alpha", u.alpha), op.node.get_float("beta", u.beta), n);
  for (const BinaryName& b : kBinary)
    if (op.node.op_type == b.op_type) return lower_binary(net, op, b.op, k);
  return nullptr;
}

}  // namespace octavo
