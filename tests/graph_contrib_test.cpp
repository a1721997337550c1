// Operators of com.microsoft: what they mean, that quantized ones run as one int8 step, and what has no standard form.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <span>

#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "octavo/reference.h"
#include "octavo/session.h"

namespace octavo {
namespace {

using Inputs = std::map<std::string, Tensor>;

constexpr QParams kA{0.02f, 120}, kB{0.03f, 7}, kY{0.05f, 133};

Tensor bytes(Shape shape, uint64_t seed) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  std::vector<uint8_t> v(static_cast<size_t>(n));
  test::Noise(seed).fill(v.data(), v.size());
  return Tensor::from(DType::u8, std::move(shape), v);
}

Tensor signed_bytes(Shape shape, uint64_t seed) {
  const Tensor t = bytes(shape, seed);
  return Tensor::from(DType::s8, std::move(shape), std::vector<int8_t>(t.as<int8_t>(), t.as<int8_t>() + t.count()));
}

std::vector<float> real(const Tensor& t, QParams q) {
  std::vector<float> v(size_t(t.count()));
  for (size_t i = 0; i < v.size(); ++i) v[i] = reference::dequantize(reference::load_q(t.data(), ptrdiff_t(i), t.dtype()), q);
  return v;
}

// A graph with one node of com.microsoft, as a file would bring it.
class OneNode {
 public:
  explicit OneNode(const std::string& op, std::map<std::string, Attribute> attributes = {}, int64_t opset = 13) {
    graph_.opset = opset;
    graph_.other_opsets["com.microsoft"] = 1;
    node_.op_type = op;
    node_.name = "n";
    node_.domain = "com.microsoft";
    node_.attributes = std::move(attributes);
    node_.outputs = {"y"};
  }
  OneNode& input(const Tensor& t) {
    const std::string name = "x" + std::to_string(inputs_.size());
    std::vector<Dim> dims;
    for (int64_t d : t.shape()) dims.push_back({d, ""});
    graph_.inputs.push_back({name, t.dtype(), dims, true});
    inputs_[name] = t;
    node_.inputs.push_back(name);
    return *this;
  }
  OneNode& constant(const Tensor& t) {
    node_.inputs.push_back(graph_.add_initializer("c" + std::to_string(node_.inputs.size()), t));
    return *this;
  }
  OneNode& params(QParams q, DType type = DType::u8) {
    constant(f32({}, {q.scale}));
    return constant(zero(q.zero_point, type));
  }
  static Tensor zero(int32_t z, DType type) {
    return type == DType::u8 ? Tensor::from(type, {}, std::vector<uint8_t>{uint8_t(z)}) : Tensor::from(type, {}, std::vector<int8_t>{int8_t(z)});
  }
  OneNode& absent() {
    node_.inputs.push_back("");
    return *this;
  }
  OneNode& outputs(std::vector<std::string> names) {
    node_.outputs = std::move(names);
    return *this;
  }

  OneNode& standard() {
    node_.domain = "";
    return *this;
  }

  std::string file(DType out) const {
    Graph g = graph_;
    g.nodes = {node_};
    for (const std::string& y : node_.outputs)
      if (!y.empty()) g.outputs.push_back({y, out, {}, false});
    const Expected<std::string> text = serialize_onnx(g);
    EXPECT_TRUE(text) << text.status().text();
    return text ? *text : "";
  }
  Expected<Graph> imported(DType out) const {
    const std::string text = file(out);
    return parse_onnx(std::as_bytes(std::span(text)));
  }

  std::vector<Tensor> run(DType out = DType::u8) {
    Expected<Graph> g = imported(out);
    EXPECT_TRUE(g) << node_.op_type << ": " << g.status().text();
    if (!g) return {};
    for (const Node& n : g->nodes) EXPECT_EQ(n.domain, "") << n.op_type;
    EXPECT_EQ(g->other_opsets.count("com.microsoft"), 0u);
    Expected<Session> s = Session::create(*g);
    const Expected<const Program*> p = s->program(inputs_);
    EXPECT_TRUE(p) << node_.op_type << ": " << p.status().text();
    if (!p) return {};
    report.assign((*p)->report().begin(), (*p)->report().end());
    const Expected<std::vector<Tensor>> y = s->run(inputs_);
    EXPECT_TRUE(y) << node_.op_type << ": " << y.status().text();
    return y ? *y : std::vector<Tensor>();
  }

  // Steps beside copies and changes of layout.
  std::vector<NodeReport> calls() const {
    std::vector<NodeReport> r;
    for (const NodeReport& step : report)
      if (step.precision != "copy") r.push_back(step);
    return r;
  }

  std::vector<NodeReport> report;

 private:
  Graph graph_;
  Node node_;
  Inputs inputs_;
};

// The bytes nearest to real values. Where a value lies in the middle between two of them, either will do: its float arithmetic is
// another than that of double here.
void expect_bytes(const Tensor& got, const std::vector<double>& want, QParams q, const char* what) {
  ASSERT_EQ(size_t(got.count()), want.size()) << what;
  for (size_t i = 0; i < want.size(); ++i) {
    const double exact = std::min(std::max(want[i] / double(q.scale) + q.zero_point, double(qmin_of(got.dtype()))), double(qmax_of(got.dtype())));
    const int32_t byte = reference::load_q(got.data(), ptrdiff_t(i), got.dtype());
    ASSERT_LE(std::fabs(byte - exact), 0.5 + 1e-3) << what << " at " << i;
  }
}

void expect_one_int8_call(const OneNode& node, const char* what) {
  const std::vector<NodeReport> calls = node.calls();
  ASSERT_EQ(calls.size(), 1u) << what;
  EXPECT_EQ(calls[0].precision, "int8") << what;
  EXPECT_EQ(calls[0].name, "n") << what;
}

TEST(Contrib, SumsAndProductsOfBytes) {
  for (const Shape& shape : {Shape{1, 4, 5, 6}, Shape{4, 1, 1}})
    for (const bool add : {true, false}) {
      const Tensor a = bytes({1, 4, 5, 6}, 1), b = bytes(shape, 2);
      OneNode n(add ? "QLinearAdd" : "QLinearMul");
      n.input(a).params(kA).input(b).params(kB).params(kY);
      const std::vector<Tensor> y = n.run();
      ASSERT_EQ(y.size(), 1u);
      const std::vector<float> x = real(a, kA), z = real(b, kB);
      std::vector<double> want;
      for (size_t i = 0; i < x.size(); ++i) {
        const double other = double(z[shape.size() == 4 ? i : i / 30]);
        want.push_back(add ? double(x[i]) + other : double(x[i]) * other);
      }
      expect_bytes(y[0], want, kY, add ? "add" : "mul");
      if (shape.size() == 4) expect_one_int8_call(n, "binary");
    }
}

TEST(Contrib, FunctionsOfOneElement) {
  const Tensor x = bytes({1, 4, 5, 6}, 1);
  const std::vector<float> v = real(x, kA);
  OneNode leaky("QLinearLeakyRelu", {{"alpha", 0.1f}});
  leaky.input(x).params(kA).params(kY);
  std::vector<double> want;
  for (float e : v) want.push_back(e < 0 ? 0.1 * double(e) : double(e));
  expect_bytes(leaky.run()[0], want, kY, "leaky");
  expect_one_int8_call(leaky, "leaky");
  OneNode sigmoid("QLinearSigmoid");
  sigmoid.input(x).params(kA).params({1 / 256.0f, 0});
  want.clear();
  for (float e : v) want.push_back(1 / (1 + std::exp(-double(e))));
  expect_bytes(sigmoid.run()[0], want, {1 / 256.0f, 0}, "sigmoid");
  expect_one_int8_call(sigmoid, "sigmoid");
}

TEST(Contrib, SoftmaxOfBytes) {
  const Tensor x = bytes({3, 17}, 1);
  const std::vector<float> v = real(x, kA);
  for (const int64_t opset : {12, 13}) {
    OneNode n("QLinearSoftmax", {{"axis", int64_t{1}}, {"opset", opset}});
    n.input(x).params(kA).params({1 / 256.0f, 0});
    std::vector<double> want;
    for (size_t i = 0; i < 3; ++i) {
      double sum = 0;
      for (size_t j = 0; j < 17; ++j) sum += std::exp(double(v[i * 17 + j]));
      for (size_t j = 0; j < 17; ++j) want.push_back(std::exp(double(v[i * 17 + j])) / sum);
    }
    expect_bytes(n.run()[0], want, {1 / 256.0f, 0}, "softmax");
    expect_one_int8_call(n, "softmax");
  }
}

TEST(Contrib, PoolsOfBytesInBothLayouts) {
  const int64_t h = 7, w = 8, c = 4;
  for (const int64_t last : {0, 1}) {
    const Tensor x = bytes(last ? Shape{1, h, w, c} : Shape{1, c, h, w}, 3);
    const std::vector<float> v = real(x, kA);
    const auto at = [&](int64_t k, int64_t i, int64_t j) { return double(v[size_t(last ? (i * w + j) * c + k : (k * h + i) * w + j)]); };
    OneNode all("QLinearGlobalAveragePool", {{"channels_last", last}});
    all.input(x).params(kA).params(kB);
    std::vector<double> want;
    for (int64_t k = 0; k < c; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < h; ++i)
        for (int64_t j = 0; j < w; ++j) sum += at(k, i, j);
      want.push_back(sum / double(h * w));
    }
    expect_bytes(all.run()[0], want, kB, "global");
    expect_one_int8_call(all, "global");
    OneNode some("QLinearAveragePool", {{"channels_last", last}, {"kernel_shape", std::vector<int64_t>{3, 3}}, {"strides", std::vector<int64_t>{2, 2}},
                                         {"pads", std::vector<int64_t>{1, 1, 1, 1}}});
    some.input(x).params(kA).params(kB);
    const std::vector<Tensor> y = some.run();
    ASSERT_EQ(y.size(), 1u);
    EXPECT_EQ(y[0].shape(), (last ? Shape{1, 4, 4, c} : Shape{1, c, 4, 4}));
    want.assign(size_t(c * 16), 0);
    for (int64_t k = 0; k < c; ++k)
      for (int64_t i = 0; i < 4; ++i)
        for (int64_t j = 0; j < 4; ++j) {
          double sum = 0;
          int count = 0;
          for (int64_t a = 2 * i - 1; a < 2 * i + 2; ++a)
            for (int64_t b = 2 * j - 1; b < 2 * j + 2; ++b)
              if (a >= 0 && a < h && b >= 0 && b < w) sum += at(k, a, b), ++count;
          want[size_t(last ? (i * 4 + j) * c + k : (k * 4 + i) * 4 + j)] = sum / count;
        }
    expect_bytes(y[0], want, kB, "average");
    expect_one_int8_call(some, "average");
  }
  // Of bytes on both sides; channels last is how the plan works anyway.
  const Tensor x = bytes({1, h, w, c}, 4);
  OneNode max("NhwcMaxPool", {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  max.input(x);
  const std::vector<Tensor> y = max.run();
  ASSERT_EQ(y.size(), 1u);
  ASSERT_EQ(y[0].shape(), (Shape{1, 3, 4, c}));
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 4; ++j)
      for (int64_t k = 0; k < c; ++k) {
        const auto p = [&](int64_t a, int64_t b) { return x.as<uint8_t>()[((2 * i + a) * w + 2 * j + b) * c + k]; };
        EXPECT_EQ(y[0].as<uint8_t>()[(i * 4 + j) * c + k], std::max({p(0, 0), p(0, 1), p(1, 0), p(1, 1)}));
      }
  EXPECT_EQ(max.report.size(), 1u);
  expect_one_int8_call(max, "max");
}

TEST(Contrib, MeansOverSpace) {
  const Tensor x = bytes({2, 3, 4, 5}, 5);
  const std::vector<float> v = real(x, kA);
  for (const int64_t opset : {13, 18}) {
    OneNode n("QLinearReduceMean", {{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", int64_t{1}}}, opset);
    n.input(x).params(kA).params(kB);
    std::vector<double> want(6, 0);
    for (size_t i = 0; i < v.size(); ++i) want[i / 20] += double(v[i]) / 20;
    expect_bytes(n.run()[0], want, kB, "mean");
    expect_one_int8_call(n, "mean");
  }
}

TEST(Contrib, ConcatAndWhereRequantize) {
  const Tensor a = bytes({1, 2, 3, 4}, 6), b = bytes({1, 3, 3, 4}, 7);
  OneNode concat("QLinearConcat", {{"axis", int64_t{1}}});
  concat.params(kY).input(a).params(kA).input(b).params(kB);
  std::vector<double> want;
  for (float v : real(a, kA)) want.push_back(double(v));
  for (float v : real(b, kB)) want.push_back(double(v));
  expect_bytes(concat.run()[0], want, kY, "concat");
  for (const NodeReport& r : concat.report) EXPECT_NE(r.precision, "float") << r.name;

  const Tensor c = bytes({1, 2, 3, 4}, 8);
  std::vector<uint8_t> chosen(24);
  for (size_t i = 0; i < 24; ++i) chosen[i] = uint8_t(i % 3 == 0);
  OneNode where("QLinearWhere");
  where.input(Tensor::from(DType::boolean, {1, 2, 3, 4}, chosen)).input(a).params(kA).input(c).params(kB).params(kY);
  const std::vector<float> x = real(a, kA), z = real(c, kB);
  want.clear();
  for (size_t i = 0; i < 24; ++i) want.push_back(double(chosen[i] ? x[i] : z[i]));
  expect_bytes(where.run()[0], want, kY, "where");
}

TEST(Contrib, WithoutAZeroPointTheTypeIsThatOfTheInput) {
  const Tensor a = signed_bytes({2, 3}, 1), b = signed_bytes({2, 3}, 2);
  OneNode n("QLinearAdd");
  n.input(a).constant(f32({}, {0.02f})).absent().input(b).constant(f32({}, {0.03f})).absent().constant(f32({}, {0.05f}));
  const std::vector<Tensor> y = n.run(DType::s8);
  ASSERT_EQ(y.size(), 1u);
  ASSERT_EQ(y[0].dtype(), DType::s8);
  const std::vector<float> x = real(a, {0.02f, 0}), z = real(b, {0.03f, 0});
  std::vector<double> want;
  for (size_t i = 0; i < 6; ++i) want.push_back(double(x[i]) + double(z[i]));
  expect_bytes(y[0], want, {0.05f, 0}, "add");
}

// ---- products

TEST(Contrib, ConvolutionsOfBytesRunOnPlans) {
  const Tensor w = signed_bytes({6, 4, 3, 3}, 9);
  std::vector<float> scales = {0.001f, 0.002f, 0.003f, 0.004f, 0.005f, 0.006f};
  std::vector<int32_t> bias = {-3000, -200, 0, 100, 2000, 3000};
  const QParams out{0.2f, 20};
  for (const std::string domain : {"", "com.microsoft"})
    for (const int64_t last : {0, 1}) {
      if (domain.empty() && last) continue;
      const Tensor x = bytes(last ? Shape{2, 7, 8, 4} : Shape{2, 4, 7, 8}, 10);
      OneNode n("QLinearConv", {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"channels_last", last}});
      n.input(x).params(kA).constant(w).constant(f32({6}, scales)).constant(Tensor::from(DType::s8, {6}, std::vector<int8_t>(6))).params(out)
          .constant(Tensor::from(DType::s32, {6}, bias));
      const std::vector<Tensor> y = n.run();
      ASSERT_EQ(y.size(), 1u);
      const std::vector<NodeReport> calls = n.calls();
      ASSERT_EQ(calls.size(), 1u);
      EXPECT_EQ(calls[0].precision, "int8");
      EXPECT_EQ(calls[0].kernel.rfind("brgemm_u8s8", 0), 0u) << calls[0].kernel;
      // The same bits as the plan's definition.
      ConvDesc d;
      d.window = {7, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
      d.ic = 4, d.oc = 6, d.w = w.data();
      d.numerics.a = kA, d.numerics.w_scale = scales.data(), d.numerics.w_scale_count = 6, d.numerics.bias_s32 = bias.data();
      d.numerics.out = DType::u8, d.numerics.out_q = out;
      std::vector<uint8_t> in(size_t(x.count())), want(2 * 56 * 6);
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t c = 0; c < 4; ++c)
          for (int64_t p = 0; p < 56; ++p)
            in[size_t((b * 56 + p) * 4 + c)] = x.as<uint8_t>()[last ? (b * 56 + p) * 4 + c : (b * 4 + c) * 56 + p];
      ConvArgs v;
      v.batch = 2, v.a = in.data(), v.c = want.data();
      reference::conv(d, v);
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t c = 0; c < 6; ++c)
          for (int64_t p = 0; p < 56; ++p)
            ASSERT_EQ(int(y[0].as<uint8_t>()[last ? (b * 56 + p) * 6 + c : (b * 6 + c) * 56 + p]), int(want[size_t((b * 56 + p) * 6 + c)]));
    }
}

TEST(Contrib, GemmOfBytes) {
  const int64_t m = 5, n = 9, k = 13;
  const Tensor a = bytes({m, k}, 11);
  std::vector<int32_t> c(static_cast<size_t>(n));
  std::vector<float> scales(static_cast<size_t>(n));
  test::Noise noise(12);
  for (size_t j = 0; j < c.size(); ++j) c[j] = int32_t(noise.integer(-3000, 3000)), scales[j] = noise.real(0.001f, 0.01f);
  for (const bool transposed : {false, true})
    for (const bool per_column : {false, true})
      for (const bool in_float : {false, true}) {
        const int8_t zero = in_float ? -77 : 0;  // of B
        const float alpha = per_column ? 1.0f : 0.5f;
        const Tensor b = signed_bytes(transposed ? Shape{n, k} : Shape{k, n}, 13);
        OneNode node("QGemm", {{"transB", int64_t{transposed}}, {"alpha", alpha}});
        node.input(a).params(kA).constant(b);
        if (per_column)
          node.constant(f32({n}, scales)).constant(Tensor::from(DType::s8, {n}, std::vector<int8_t>(size_t(n), zero)));
        else
          node.params({scales[0], zero}, DType::s8);
        node.constant(Tensor::from(DType::s32, {n}, c));
        if (!in_float) node.params(kY);
        const std::vector<Tensor> y = node.run(in_float ? DType::f32 : DType::u8);
        ASSERT_EQ(y.size(), 1u);
        std::vector<double> want;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            int64_t sum = c[size_t(j)];
            for (int64_t p = 0; p < k; ++p)
              sum += (int(a.as<uint8_t>()[i * k + p]) - kA.zero_point) * (b.as<int8_t>()[transposed ? j * k + p : p * n + j] - zero);
            want.push_back(double(alpha) * double(sum) * double(kA.scale) * double(scales[per_column ? size_t(j) : 0]));
          }
        if (in_float)
          for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(double(y[0].as<float>()[i]), want[i], 1e-6 * std::fabs(want[i]) + 1e-6);
        else
          expect_bytes(y[0], want, kY, "gemm");
        expect_one_int8_call(node, "gemm");
      }
}

TEST(Contrib, DynamicallyQuantizedProducts) {
  const int64_t m = 6, n = 9, k = 13;
  const Tensor a = noise({2, 3, k}, 14), bias = noise({n}, 15);
  const Tensor b = signed_bytes({k, n}, 16);
  const Tensor x = bytes({m, k}, 17);
  for (const int32_t zero : {0, 90}) {  // of B
    OneNode node("DynamicQuantizeMatMul");
    node.input(a).constant(b).params({0.01f, zero}, DType::s8).constant(bias);
    const std::vector<Tensor> y = node.run(DType::f32);
    ASSERT_EQ(y.size(), 1u);
    float lo = 0, hi = 0;
    for (int64_t i = 0; i < a.count(); ++i) lo = std::min(lo, a.as<float>()[i]), hi = std::max(hi, a.as<float>()[i]);
    const QParams q{(hi - lo) / 255, int32_t(std::nearbyint(-lo / ((hi - lo) / 255)))};
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        int64_t sum = 0;
        for (int64_t p = 0; p < k; ++p) sum += (reference::quantize(a.as<float>()[i * k + p], q, DType::u8) - q.zero_point) * (b.as<int8_t>()[p * n + j] - zero);
        const double want = double(sum) * double(q.scale) * 0.01 + double(bias.as<float>()[j]);
        EXPECT_NEAR(double(y[0].as<float>()[i * n + j]), want, 1e-5);  // two roundings of floats near 1
      }
    // The range, and the product with scales and bias.
    ASSERT_EQ(node.calls().size(), 2u);
    EXPECT_EQ(node.calls()[1].name, "n");
    EXPECT_EQ(node.calls()[1].precision, "int8");

    OneNode fixed("MatMulIntegerToFloat");
    fixed.input(x).constant(b).constant(f32({}, {kA.scale})).constant(f32({}, {0.01f})).constant(OneNode::zero(kA.zero_point, DType::u8))
        .constant(OneNode::zero(zero, DType::s8)).constant(bias);
    const std::vector<Tensor> z = fixed.run(DType::f32);
    ASSERT_EQ(z.size(), 1u);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        int64_t sum = 0;
        for (int64_t p = 0; p < k; ++p) sum += (x.as<uint8_t>()[i * k + p] - kA.zero_point) * (b.as<int8_t>()[p * n + j] - zero);
        EXPECT_NEAR(double(z[0].as<float>()[i * n + j]), double(sum) * double(kA.scale) * 0.01 + double(bias.as<float>()[j]), 1e-5);
      }
    expect_one_int8_call(fixed, "MatMulIntegerToFloat");
  }
}

// ---- fused float operators: equal to their parts

std::vector<float> run_float(OneNode& n, size_t output = 0) {
  const std::vector<Tensor> y = n.run(DType::f32);
  return output < y.size() ? values_of<float>(y[output]) : std::vector<float>();
}

void expect_near(const std::vector<float>& got, const std::vector<double>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(double(got[i]), want[i], 2e-5 * std::max(1.0, std::fabs(want[i]))) << what << " at " << i;
}

TEST(Contrib, GeluAndItsForms) {
  const Tensor x = noise({3, 40}, 20, 4), b = noise({40}, 21);
  for (const int64_t opset : {13, 20}) {
    std::vector<double> gelu, biased, fast, quick;
    for (size_t i = 0; i < 120; ++i) {
      const double v = double(x.as<float>()[i]), s = v + double(b.as<float>()[i % 40]);
      gelu.push_back(v / 2 * (1 + std::erf(v / std::sqrt(2.0))));
      biased.push_back(s / 2 * (1 + std::erf(s / std::sqrt(2.0))));
      fast.push_back(s / 2 * (1 + std::tanh(0.7978845608 * (s + 0.044715 * s * s * s))));
      quick.push_back(v / (1 + std::exp(-1.5 * v)));
    }
    expect_near(run_float(OneNode("Gelu", {}, opset).input(x)), gelu, "Gelu");
    expect_near(run_float(OneNode("BiasGelu", {}, opset).input(x).constant(b)), biased, "BiasGelu");
    expect_near(run_float(OneNode("FastGelu", {}, opset).input(x).constant(b)), fast, "FastGelu");
    expect_near(run_float(OneNode("QuickGelu", {{"alpha", 1.5f}}, opset).input(x)), quick, "QuickGelu");
  }
}

TEST(Contrib, NormalizationsOfSums) {
  const Tensor x = noise({2, 3, 16}, 22), s = noise({2, 3, 16}, 23), g = noise({16}, 24), b = noise({16}, 25), bias = noise({16}, 26);
  std::vector<double> sums, layer, rms;
  for (size_t row = 0; row < 6; ++row) {
    double mean = 0, square = 0, variance = 0;
    for (size_t i = 0; i < 16; ++i) {
      const size_t at = row * 16 + i;
      sums.push_back(double(x.as<float>()[at]) + double(s.as<float>()[at]) + double(bias.as<float>()[i]));
      mean += sums[at] / 16, square += sums[at] * sums[at] / 16;
    }
    for (size_t i = 0; i < 16; ++i) variance += (sums[row * 16 + i] - mean) * (sums[row * 16 + i] - mean) / 16;
    for (size_t i = 0; i < 16; ++i) {
      const double v = sums[row * 16 + i], gamma = double(g.as<float>()[i]);
      layer.push_back((v - mean) / std::sqrt(variance + 1e-5) * gamma + double(b.as<float>()[i]));
      rms.push_back(v / std::sqrt(square + 1e-5) * gamma);
    }
  }
  for (const int64_t opset : {13, 18, 23}) {
    OneNode full("SkipLayerNormalization", {{"epsilon", 1e-5f}}, opset);
    full.input(x).input(s).constant(g).constant(b).constant(bias).outputs({"y", "", "", "sum"});
    expect_near(run_float(full), layer, "layer");
    expect_near(run_float(full, 1), sums, "sum");
    OneNode simple("SkipSimplifiedLayerNormalization", {{"epsilon", 1e-5f}}, opset);
    expect_near(run_float(simple.input(x).input(s).constant(g).constant(bias)), rms, "rms");
  }
}

TEST(Contrib, ProductsWithActivations) {
  const Tensor a = noise({5, 7}, 27), b = noise({9, 7}, 28), c = noise({9}, 29);
  std::vector<double> want;
  for (int64_t i = 0; i < 5; ++i)
    for (int64_t j = 0; j < 9; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < 7; ++p) sum += double(a.as<float>()[i * 7 + p]) * double(b.as<float>()[j * 7 + p]);
      sum = 0.5 * sum + double(c.as<float>()[j]);
      want.push_back(sum < 0 ? 0.2 * sum : sum);
    }
  OneNode gemm("FusedGemm", {{"activation", std::string("LeakyRelu")}, {"activation_alpha", 0.2f}, {"transB", int64_t{1}}, {"alpha", 0.5f}});
  expect_near(run_float(gemm.input(a).constant(b).constant(c)), want, "gemm");

  const Tensor x = noise({2, 4, 3}, 30), y = noise({2, 5, 3}, 31);
  want.clear();
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t j = 0; j < 5; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < 3; ++p) sum += double(x.as<float>()[(h * 4 + i) * 3 + p]) * double(y.as<float>()[(h * 5 + j) * 3 + p]);
        want.push_back(sum / 4);
      }
  expect_near(run_float(OneNode("FusedMatMul", {{"transB", int64_t{1}}, {"alpha", 0.25f}}).input(x).input(y)), want, "matmul");

  // One call: what is added and the activation are the epilogue's.
  const Tensor image = noise({1, 4, 6, 7}, 32), w = noise({8, 4, 1, 1}, 33), bias = noise({8}, 34), z = noise({1, 8, 6, 7}, 35);
  OneNode conv("FusedConv", {{"activation", std::string("Clip")}, {"activation_params", std::vector<float>{-0.5f, 0.7f}}});
  conv.input(image).constant(w).constant(bias).input(z);
  want.clear();
  for (int64_t o = 0; o < 8; ++o)
    for (int64_t p = 0; p < 42; ++p) {
      double sum = double(bias.as<float>()[o]) + double(z.as<float>()[o * 42 + p]);
      for (int64_t i = 0; i < 4; ++i) sum += double(w.as<float>()[o * 4 + i]) * double(image.as<float>()[i * 42 + p]);
      want.push_back(std::min(std::max(sum, -0.5), double(0.7f)));
    }
  expect_near(run_float(conv), want, "conv");
  EXPECT_EQ(conv.calls().size(), 1u);
}

TEST(Contrib, EmbeddingsOfThreeTables) {
  const std::vector<int32_t> ids = {3, 1, 0, 2, 2, 4}, segments = {0, 0, 1, 1, 0, 1}, mask = {1, 1, 1, 1, 1, 0};
  const auto s32 = [](Shape shape, const std::vector<int32_t>& v) { return Tensor::from(DType::s32, std::move(shape), v); };
  const Tensor words = noise({5, 16}, 36), positions = noise({4, 16}, 37), kinds = noise({2, 16}, 38), g = noise({16}, 39), b = noise({16}, 40);
  OneNode n("EmbedLayerNormalization", {{"epsilon", 1e-5f}});
  n.input(s32({2, 3}, ids)).input(s32({2, 3}, segments)).constant(words).constant(positions).constant(kinds).constant(g).constant(b).input(s32({2, 3}, mask));
  n.outputs({"y", "lengths"});
  const std::vector<Tensor> y = n.run(DType::f32);
  ASSERT_EQ(y.size(), 2u);
  EXPECT_EQ(values_of<int32_t>(y[1]), (std::vector<int32_t>{3, 2}));
  std::vector<double> want;
  for (size_t t = 0; t < 6; ++t) {
    std::vector<double> sum;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < 16; ++i) {
      sum.push_back(double(words.as<float>()[ids[t] * 16 + i]) + double(positions.as<float>()[int64_t(t % 3) * 16 + i]) +
                    double(kinds.as<float>()[segments[t] * 16 + i]));
      mean += sum.back() / 16;
    }
    for (double v : sum) variance += (v - mean) * (v - mean) / 16;
    for (size_t i = 0; i < 16; ++i)
      want.push_back((sum[i] - mean) / std::sqrt(variance + 1e-5) * double(g.as<float>()[i]) + double(b.as<float>()[i]));
  }
  expect_near(values_of<float>(y[0]), want, "embedding");
}

// ---- attention

// softmax(q k^T / sqrt(size) + bias) v for each head; open(b, i, j): query i may see key j.
std::vector<double> attend(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v, int64_t batch, int64_t queries,
                           int64_t keys, int64_t heads, int64_t size, const std::function<bool(int64_t, int64_t, int64_t)>& open) {
  const int64_t width = heads * size;
  std::vector<double> y(size_t(batch * queries * width));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < queries; ++i) {
        std::vector<double> p;
        double sum = 0;
        for (int64_t j = 0; j < keys; ++j) {
          double s = 0;
          for (int64_t d = 0; d < size; ++d) s += q[size_t((b * queries + i) * width + h * size + d)] * k[size_t((b * keys + j) * width + h * size + d)];
          p.push_back(std::exp(s / std::sqrt(double(size)) + (open(b, i, j) ? 0 : -10000)));
          sum += p.back();
        }
        for (int64_t j = 0; j < keys; ++j)
          for (int64_t d = 0; d < size; ++d)
            y[size_t((b * queries + i) * width + h * size + d)] += p[size_t(j)] / sum * v[size_t((b * keys + j) * width + h * size + d)];
      }
  return y;
}

TEST(Contrib, AttentionWithItsMasks) {
  const int64_t batch = 2, length = 6, in = 16, width = 16, heads = 4;
  const Tensor x = noise({batch, length, in}, 41), w = noise({in, 3 * width}, 42, 0.3f), b = noise({3 * width}, 43);
  std::vector<double> part[3];
  for (int64_t row = 0; row < batch * length; ++row)
    for (int64_t j = 0; j < 3 * width; ++j) {
      double sum = double(b.as<float>()[j]);
      for (int64_t i = 0; i < in; ++i) sum += double(x.as<float>()[row * in + i]) * double(w.as<float>()[i * 3 * width + j]);
      part[j / width].push_back(sum);
    }
  const std::vector<int32_t> lengths = {6, 4};
  std::vector<int32_t> rows, squares;
  for (int32_t n : lengths)
    for (int32_t j = 0; j < 6; ++j) rows.push_back(j < n);
  for (int64_t i = 0; i < batch * length * length; ++i) squares.push_back(i % 6 == 0 || i % 5 != 0);
  const Tensor masks[] = {Tensor(), Tensor::from(DType::s32, {2}, lengths), Tensor::from(DType::s32, {2, 6}, rows), Tensor::from(DType::s32, {2, 6, 6}, squares)};
  for (const int64_t causal : {0, 1})
    for (size_t kind = 0; kind < 4; ++kind) {
      OneNode n("Attention", {{"num_heads", heads}, {"unidirectional", causal}});
      n.input(x).constant(w).constant(b);
      if (kind) n.input(masks[kind]);
      const auto open = [&](int64_t at, int64_t i, int64_t j) {
        if (causal && j > i) return false;
        if (kind == 1 || kind == 2) return j < lengths[size_t(at)];
        return kind == 0 || squares[size_t((at * length + i) * length + j)] != 0;
      };
      const std::vector<double> want = attend(part[0], part[1], part[2], batch, length, length, heads, width / heads, open);
      expect_near(run_float(n), want, ("mask " + std::to_string(kind)).c_str());
    }
}

TEST(Contrib, QuantizedAttentionProjectsInInt8) {
  const int64_t batch = 2, length = 5, in = 8, width = 8, heads = 2;
  const int32_t zero = 5;  // of the weights
  const Tensor x = bytes({batch, length, in}, 44), w = signed_bytes({in, 3 * width}, 45), b = noise({3 * width}, 46);
  std::vector<double> part[3];
  for (int64_t row = 0; row < batch * length; ++row)
    for (int64_t j = 0; j < 3 * width; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < in; ++i) sum += double((x.as<uint8_t>()[row * in + i] - kA.zero_point) * (w.as<int8_t>()[i * 3 * width + j] - zero));
      part[j / width].push_back(sum * double(kA.scale) * double(0.004f) + double(b.as<float>()[j]));
    }
  OneNode n("QAttention", {{"num_heads", heads}});
  n.input(x).constant(w).constant(b).constant(f32({}, {kA.scale})).constant(f32({}, {0.004f})).absent().constant(OneNode::zero(kA.zero_point, DType::u8))
      .constant(OneNode::zero(zero, DType::s8));
  const std::vector<double> want =
      attend(part[0], part[1], part[2], batch, length, length, heads, width / heads, [](int64_t, int64_t, int64_t) { return true; });
  expect_near(run_float(n), want, "QAttention");
  EXPECT_EQ(std::count_if(n.report.begin(), n.report.end(), [](const NodeReport& r) { return r.precision == "int8" && r.macs > 0; }), 1);
}

TEST(Contrib, MultiHeadAttentionOfThreeTensors) {
  const int64_t batch = 2, queries = 6, keys = 7, width = 16, heads = 4;
  const Tensor q = noise({batch, queries, width}, 47), k = noise({batch, keys, width}, 48), v = noise({batch, keys, width}, 49), b = noise({3 * width}, 50);
  std::vector<int32_t> mask;
  for (int64_t i = 0; i < batch * keys; ++i) mask.push_back(i < 12);
  const auto biased = [&](const Tensor& t, int64_t part) {
    std::vector<double> r;
    for (int64_t i = 0; i < t.count(); ++i) r.push_back(double(t.as<float>()[i]) + double(b.as<float>()[part * width + i % width]));
    return r;
  };
  OneNode n("MultiHeadAttention", {{"num_heads", heads}});
  n.input(q).input(k).input(v).constant(b).input(Tensor::from(DType::s32, {batch, keys}, mask));
  const std::vector<double> want = attend(biased(q, 0), biased(k, 1), biased(v, 2), batch, queries, keys, heads, width / heads,
                                          [&](int64_t at, int64_t, int64_t j) { return mask[size_t(at * keys + j)] != 0; });
  expect_near(run_float(n), want, "MultiHeadAttention");
}

// x as the bytes that DynamicQuantizeLinear makes of it stand for.
Tensor rounded(const Tensor& x) {
  float lo = 0, hi = 0;
  for (const float v : values_of<float>(x)) lo = std::min(lo, v), hi = std::max(hi, v);
  const float scale = lo == hi ? 1 : (hi - lo) / 255;
  const QParams q{scale, int32_t(std::nearbyint(-lo / scale))};
  std::vector<float> v;
  for (const float e : values_of<float>(x)) v.push_back(reference::dequantize(reference::quantize(e, q, DType::u8), q));
  return f32(x.shape(), v);
}

Tensor part(const Tensor& t, int64_t i, int64_t count) {  // of so many, along the first axis
  Shape shape = t.shape();
  shape[0] /= count;
  const float* from = t.as<float>() + t.count() / count * i;
  return f32(shape, std::vector<float>(from, from + t.count() / count));
}

// As the operator is defined: X is quantized as a whole, the state before every step. One direction, step by step with LSTM in float.
struct States {
  std::vector<float> y;
  Tensor h, c;
};
States dynamic_lstm(const Tensor& x, const Tensor& w, const Tensor& r, const Tensor& b, Tensor h, Tensor c, bool reverse) {
  const int64_t steps = x.shape()[0], row = h.count();
  const Tensor bytes = rounded(x);
  States s;
  s.y.resize(size_t(steps * row));
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t t = reverse ? steps - 1 - step : step;
    const Expected<std::vector<Tensor>> y =
        eval_node("LSTM", {part(bytes, t, steps), w, r, b, Tensor(), rounded(h), c}, {{"hidden_size", h.shape()[2]}}, 14, 3);
    EXPECT_TRUE(y) << y.status().text();
    h = (*y)[1], c = (*y)[2];
    std::copy_n(h.as<float>(), row, s.y.begin() + t * row);
  }
  s.h = h, s.c = c;
  return s;
}

TEST(Contrib, LstmWithRangesFoundAtRunTime) {
  const int64_t steps = 5, batch = 2, in = 8, hidden = 6, gates = 4 * hidden;
  const Tensor x = noise({steps, batch, in}, 51);
  for (const char* direction : {"forward", "reverse", "bidirectional"})
    for (const DType type : {DType::s8, DType::u8})
      for (const bool per_row : {false, true})
        for (const bool from_states : {false, true}) {
          const int64_t directions = direction[0] == 'b' ? 2 : 1;
          const std::string what = std::string(direction) + " " + name_of(type) + (per_row ? " per row" : "") + (from_states ? " from states" : "");
          const Tensor b = noise({directions, 2 * gates}, 54), h0 = noise({directions, batch, hidden}, 55), c0 = noise({directions, batch, hidden}, 56);
          const Tensor zeros = f32({1, batch, hidden}, std::vector<float>(size_t(batch * hidden)));
          OneNode n("DynamicQuantizeLSTM", {{"hidden_size", hidden}, {"direction", std::string(direction)}});
          n.input(x);
          std::vector<Tensor> real[2], params;  // W and R by direction
          for (const int64_t depth : {in, hidden}) {
            const Tensor q = type == DType::u8 ? bytes({directions, depth, gates}, uint64_t(depth)) : signed_bytes({directions, depth, gates}, uint64_t(depth));
            n.constant(q);
            std::vector<float> scale;
            std::vector<uint8_t> zero;
            for (int64_t i = 0; i < directions * (per_row ? gates : 1); ++i)
              scale.push_back(0.004f + 0.0001f * float(i % 7)), zero.push_back(uint8_t(qmin_of(type) + 117 + 11 * (i % 5)));
            const Shape shape = per_row ? Shape{directions, gates} : Shape{directions};
            params.push_back(f32(shape, scale)), params.push_back(Tensor::from(type, shape, zero));
            for (int64_t d = 0; d < directions; ++d) {
              std::vector<float> v(size_t(gates * depth));
              for (int64_t g = 0; g < gates; ++g)
                for (int64_t i = 0; i < depth; ++i) {
                  const int64_t j = per_row ? d * gates + g : d;
                  v[size_t(g * depth + i)] = float(reference::load_q(q.data(), (d * depth + i) * gates + g, type) - reference::load_q(zero.data(), j, type)) * scale[size_t(j)];
                }
              real[d].push_back(f32({1, gates, depth}, v));
            }
          }
          n.constant(b).absent();
          if (from_states)
            n.input(h0).constant(c0);
          else
            n.absent().absent();
          n.absent();
          for (const Tensor& t : params) n.constant(t);
          n.outputs({"y", "h", "c"});
          const std::vector<Tensor> got = n.run(DType::f32);
          ASSERT_EQ(got.size(), 3u);
          ASSERT_EQ(got[0].shape(), (Shape{steps, directions, batch, hidden}));
          ASSERT_EQ(got[1].shape(), (Shape{directions, batch, hidden}));
          for (int64_t d = 0; d < directions; ++d) {
            const States want = dynamic_lstm(x, real[d][0], real[d][1], part(b, d, directions), from_states ? part(h0, d, directions) : zeros,
                                             from_states ? part(c0, d, directions) : zeros, d == 1 || direction[0] == 'r');
            // Sums in float against sums of integers: some roundings of numbers near 1, unless one of them makes a state another byte.
            for (int64_t i = 0; i < batch * hidden; ++i) {
              EXPECT_NEAR(part(got[1], d, directions).as<float>()[i], want.h.as<float>()[i], 2e-5) << what;
              EXPECT_NEAR(part(got[2], d, directions).as<float>()[i], want.c.as<float>()[i], 2e-5) << what;
              for (int64_t t = 0; t < steps; ++t)
                EXPECT_NEAR(got[0].as<float>()[(t * directions + d) * batch * hidden + i], want.y[size_t(t * batch * hidden + i)], 2e-5) << what;
            }
          }
          EXPECT_EQ(std::count_if(n.report.begin(), n.report.end(), [](const NodeReport& r) { return r.op_type == "LSTM" && r.precision == "int8"; }), directions) << what;
        }
}

// ---- what there is no standard form for

TEST(Contrib, WhatHasNoStandardFormIsNamed) {
  const auto refused = [](const OneNode& n, const std::string& part) {
    const Expected<Graph> g = n.imported(DType::f32);
    ASSERT_FALSE(g) << part;
    EXPECT_NE(std::string(g.status().text()).find("'n'"), std::string::npos) << g.status().text();
    EXPECT_NE(std::string(g.status().text()).find(part), std::string::npos) << g.status().text();
  };
  const Tensor x = noise({2, 6, 16}, 1), w = noise({16, 48}, 2), b = noise({48}, 3);
  refused(OneNode("Attention", {{"num_heads", int64_t{4}}}).input(x).constant(w).constant(b).absent().input(noise({2, 2, 4, 3, 4}, 4)), "a past");
  refused(OneNode("Attention", {{"num_heads", int64_t{5}}}).input(x).constant(w).constant(b), "num_heads");
  refused(OneNode("Attention", {{"num_heads", int64_t{0}}}).input(x).constant(w).constant(b), "num_heads");
  refused(OneNode("Attention", {{"num_heads", int64_t{4}}, {"do_rotary", int64_t{1}}}).input(x).constant(w), "rotary");
  refused(OneNode("Attention", {{"num_heads", int64_t{4}}, {"qkv_hidden_sizes", std::vector<int64_t>{-16, 32, 32}}}).input(x).constant(w), "sizes");
  refused(OneNode("Attention", {{"num_heads", int64_t{4}}}).input(x).constant(w).constant(b).input(Tensor::from(DType::s32, {4}, std::vector<int32_t>(4))), "start and end");
  refused(OneNode("MultiHeadAttention", {{"num_heads", int64_t{4}}}).input(noise({2, 6, 4, 3, 4}, 5)), "three tensors");
  refused(OneNode("FusedConv", {{"activation", std::string("Mish")}}).input(noise({1, 4, 6, 7}, 6)).constant(noise({8, 4, 1, 1}, 7)), "Mish");
  refused(OneNode("QLinearAdd").input(x), "inputs");
  refused(OneNode("QLinearConcat").params(kY).input(bytes({2, 2}, 1)), "inputs");
  refused(OneNode("QLinearSoftmax", {{"axis", int64_t{0}}, {"opset", int64_t{11}}}).input(bytes({2, 2}, 1)).params(kA).params(kB), "several dimensions");
  refused(OneNode("DynamicQuantizeLSTM").input(x), "12 inputs");
  // An operator that nobody knows stays, and is refused when shapes are asked for.
  const Expected<Graph> unknown = OneNode("QOrderedGelu").input(x).imported(DType::f32);
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->nodes[0].domain, "com.microsoft");
  EXPECT_FALSE(infer_shapes(*unknown, {}));
}

// Files made to do harm: an error or a program, nothing else.
TEST(Contrib, MutationsNeverCrash) {
  const Tensor x = bytes({1, 4, 6, 6}, 1), weights = signed_bytes({6, 4, 3, 3}, 2), floats = noise({2, 6, 16}, 3);
  OneNode conv("QLinearConv", {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"channels_last", int64_t{0}}, {"group", int64_t{1}}});
  conv.input(x).params(kA).constant(weights).params({0.01f, 0}, DType::s8).params(kY);
  OneNode attention("Attention", {{"num_heads", int64_t{4}}, {"unidirectional", int64_t{1}}, {"qkv_hidden_sizes", std::vector<int64_t>{16, 16, 16}}});
  attention.input(floats).constant(noise({16, 48}, 4)).constant(noise({48}, 5));
  OneNode lstm("DynamicQuantizeLSTM", {{"hidden_size", int64_t{2}}});
  lstm.input(noise({3, 1, 4}, 6)).constant(signed_bytes({1, 4, 8}, 7)).constant(signed_bytes({1, 2, 8}, 8)).absent().absent().absent().absent().absent();
  lstm.constant(f32({1}, {0.1f})).constant(Tensor::from(DType::s8, {1}, std::vector<int8_t>{0})).constant(f32({1}, {0.1f}))
      .constant(Tensor::from(DType::s8, {1}, std::vector<int8_t>{0}));
  OneNode spread("ConvTranspose", {{"strides", std::vector<int64_t>{2, 2}}, {"dilations", std::vector<int64_t>{1, 1}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}},
                                   {"output_padding", std::vector<int64_t>{1, 1}}, {"group", int64_t{1}}});
  spread.input(noise({1, 4, 5, 5}, 9)).constant(noise({4, 6, 3, 3}, 10)).standard();
  OneNode gemm("QGemm", {{"transA", int64_t{0}}, {"transB", int64_t{0}}, {"alpha", 1.0f}});
  gemm.input(bytes({2, 3}, 11)).params(kA).constant(signed_bytes({3, 4}, 12)).params({0.01f, 0}, DType::s8).absent().params(kY);
  test::Noise random(13);
  size_t compiled = 0;
  for (const OneNode* node : {&conv, &attention, &lstm, &spread, &gemm}) {
    const std::string whole = node->file(DType::f32);
    for (int i = 0; i < test::thinned(400); ++i) {
      std::string text = whole;
      for (int64_t n = random.integer(1, 3); n > 0; --n) {
        char& at = text[size_t(random.integer(0, int64_t(text.size()) - 1))];
        at = random.integer(0, 1) ? char(at ^ (1 << random.integer(0, 7))) : char(random.integer(-128, 127));
      }
      const Expected<Graph> g = parse_onnx(std::as_bytes(std::span(text)));
      if (!g) continue;
      // A plan for the sizes of a small model needs no more than this.
      bool small = true;
      if (const Expected<ShapeMap> shapes = infer_shapes(*g, {}))
        for (const auto& [name, type] : *shapes) {
          const Expected<int64_t> count = element_count(type.shape, type.dtype);
          small &= count && *count < 1 << 20;
        }
      if (small) compiled += bool(Program::compile(*g));
    }
  }
  EXPECT_GT(compiled, 100u / test::thinning()) << "most mutations of data leave a model";
}

}  // namespace
}  // namespace octavo
