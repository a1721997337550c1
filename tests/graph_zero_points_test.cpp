// 8-bit weights with zero points of their own: on int8 kernels, with the sums of the operators' definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "graph_test_util.h"
#include "octavo/reference.h"
#include "octavo/session.h"

namespace octavo {
namespace {

using Ints = std::vector<int64_t>;
using Attributes = std::map<std::string, Attribute>;
using Sample = std::map<std::string, Tensor>;

// Random bytes with both ends of the type among them.
Tensor bytes(DType type, Shape shape, uint64_t seed) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  std::vector<uint8_t> v(static_cast<size_t>(n));
  test::Noise(seed).fill(v.data(), v.size());
  for (size_t i = 0; i < v.size(); i += 7) v[i] = uint8_t((i % 2 ? qmin_of(type) : qmax_of(type)));
  return Tensor::from(type, std::move(shape), v);
}

Tensor zeros(DType type, std::vector<int32_t> z, bool vector) {
  std::vector<uint8_t> v(z.begin(), z.end());
  return Tensor::from(type, vector ? Shape{int64_t(v.size())} : Shape{}, v);
}

int32_t at(const Tensor& t, int64_t i) { return reference::load_q(t.data(), ptrdiff_t(i), t.dtype()); }

// What a weight tensor of n channels may have: the same at both ends, in the middle, beside it, and one for each channel.
std::vector<std::vector<int32_t>> zero_points(DType type, int64_t n) {
  const int32_t lo = qmin_of(type), hi = qmax_of(type);
  std::vector<int32_t> each;
  for (int64_t j = 0; j < n; ++j) each.push_back(j % 4 == 0 ? hi : j % 4 == 1 ? lo : lo + int32_t(j * 37 % 256));
  return {{lo}, {hi}, {lo + 128}, {lo + 117}, each};
}

Graph with_input(const std::string& name, const Tensor& x) {
  Graph g;
  g.opset = 18;
  std::vector<Dim> dims;
  for (int64_t d : x.shape()) dims.push_back({d, ""});
  g.inputs = {{name, x.dtype(), dims, true}};
  return g;
}

void set_output(Graph& g, const std::string& name, DType dtype) { g.outputs = {{name, dtype, {}, false}}; }

Tensor by_definition(const Graph& g, const Sample& sample) {
  const Expected<std::vector<Tensor>> y = fold_all(g, sample);
  EXPECT_TRUE(y) << y.status().text();
  return (*y)[0];
}

// The result, which is the same for two threads; every product is in int8.
Tensor run(const Graph& g, const Sample& sample, const std::string& what) {
  Expected<Session> s = Session::create(g), two = Session::create(g, 2);
  EXPECT_TRUE(s) << what << s.status().text();
  const Expected<const Program*> p = s->program(sample);
  EXPECT_TRUE(p) << what << p.status().text();
  EXPECT_EQ((*p)->int8_mac_share(), 1) << what;
  const Expected<std::vector<Tensor>> y = s->run(sample), y2 = two->run(sample);
  EXPECT_TRUE(y && y2) << what << y.status().text();
  EXPECT_TRUE(std::equal(static_cast<const char*>((*y)[0].data()), static_cast<const char*>((*y)[0].data()) + (*y)[0].bytes(),
                         static_cast<const char*>((*y2)[0].data())))
      << what;
  return (*y)[0];
}

struct Product {
  const char* what;
  bool conv;
  Shape x, w;
  Attributes attributes;
};
const Product kProducts[] = {
    {"3x3", true, {2, 5, 7, 9}, {6, 5, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}}},
    {"strided, uneven pads", true, {1, 8, 7, 9}, {6, 8, 3, 2}, {{"pads", Ints{0, 1, 2, 3}}, {"strides", Ints{2, 3}}}},
    {"dilated", true, {1, 8, 9, 9}, {6, 8, 3, 3}, {{"pads", Ints{2, 2, 2, 2}}, {"dilations", Ints{2, 2}}}},
    {"groups", true, {1, 12, 7, 9}, {6, 4, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{3}}}},
    {"dilated groups",
     true,
     {1, 12, 9, 9},
     {6, 4, 3, 3},
     {{"pads", Ints{2, 2, 2, 2}}, {"group", int64_t{3}}, {"dilations", Ints{2, 1}}}},
    {"strided depthwise",
     true,
     {2, 6, 7, 9},
     {6, 1, 3, 5},
     {{"pads", Ints{1, 2, 0, 2}}, {"group", int64_t{6}}, {"strides", Ints{2, 1}}, {"dilations", Ints{1, 2}}}},
    {"1-D depthwise", true, {2, 6, 30}, {6, 1, 5}, {{"pads", Ints{2, 1}}, {"group", int64_t{6}}, {"strides", Ints{2}}}},
    {"depthwise", true, {1, 6, 7, 9}, {6, 1, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{6}}}},
    {"64 channels of 3x3", true, {1, 64, 8, 8}, {6, 64, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}}},
    {"1-D", true, {2, 5, 30}, {6, 5, 5}, {{"pads", Ints{2, 2}}}},
    {"matrix", false, {10, 37}, {37, 6}, {}},
    {"batched rows", false, {2, 3, 37}, {37, 6}, {}},
};

// Sums of bytes with all zero points, as s32. The types and the zero points of x change from case to case.
Graph sums(const Product& p, const Tensor& x, const Tensor& w, int32_t x_zero, const std::vector<int32_t>& w_zero) {
  Graph g = with_input("x", x);
  g.add_initializer("w", w);
  g.add_initializer("xz", zeros(x.dtype(), {x_zero}, false));
  g.add_initializer("wz", zeros(w.dtype(), w_zero, w_zero.size() > 1));
  set_output(g, g.add_node(p.conv ? "ConvInteger" : "MatMulInteger", "sums", {"x", "w", "xz", "wz"}, p.attributes), DType::s32);
  return g;
}

template <class Body>
void for_each_case(const Body& body) {
  for (const Product& p : kProducts)
    for (const DType x_type : {DType::u8, DType::s8})
      for (const DType w_type : {DType::u8, DType::s8}) {
        uint64_t i = 0;
        for (const std::vector<int32_t>& w_zero : zero_points(w_type, 6)) {
          const int32_t x_zero = qmin_of(x_type) + int32_t(std::array{0, 255, 131}[size_t(i++ % 3)]);
          body(p, bytes(x_type, p.x, i), bytes(w_type, p.w, 2 * i), x_zero, w_zero,
               std::string(p.what) + " " + name_of(x_type) + " " + name_of(w_type) + " " + std::to_string(w_zero[0]) + " ");
        }
      }
}

TEST(ZeroPoints, IntegerOperatorsGiveTheSumsOfTheirDefinition) {
  for_each_case([](const Product& p, const Tensor& x, const Tensor& w, int32_t x_zero, const std::vector<int32_t>& w_zero,
                   const std::string& what) {
    const Graph g = sums(p, x, w, x_zero, w_zero);
    EXPECT_EQ(values_of<int32_t>(run(g, {{"x", x}}, what)), values_of<int32_t>(by_definition(g, {{"x", x}}))) << what;
  });
}

// u8 results of QLinearConv and QLinearMatMul, with a bias, and the same products between Q and DQ.
TEST(ZeroPoints, QuantizedOperatorsRoundTheSameSums) {
  const float x_scale = 0.02f, y_scale = 1.7f;
  const int32_t y_zero = 120;
  for_each_case([&](const Product& p, const Tensor& x, const Tensor& w, int32_t x_zero, const std::vector<int32_t>& w_zero,
                    const std::string& what) {
    const Tensor acc = by_definition(sums(p, x, w, x_zero, w_zero), {{"x", x}});
    std::vector<float> w_scale;
    for (size_t j = 0; j < w_zero.size(); ++j) w_scale.push_back(0.01f * float(j + 1));
    std::vector<int32_t> bias(6);
    for (size_t j = 0; j < 6; ++j) bias[j] = p.conv ? int32_t(j * 1000) - 2500 : 0;
    const int64_t inner = p.conv ? acc.count() / acc.shape()[0] / 6 : 1;
    std::vector<int32_t> want;
    for (int64_t i = 0; i < acc.count(); ++i) {
      const size_t j = size_t(i / inner % 6);
      const float m = requantize_multiplier(x_scale, w_scale[w_scale.size() == 1 ? 0 : j], y_scale);
      want.push_back(reference::round_q(float(acc.as<int32_t>()[i] + bias[j]) * m, 0, 255, y_zero));
    }
    Graph g = with_input("x", x);
    g.add_initializer("w", w);
    g.add_initializer("xs", f32({}, {x_scale}));
    g.add_initializer("ys", f32({}, {y_scale}));
    g.add_initializer("ws", f32(w_scale.size() > 1 ? Shape{6} : Shape{}, w_scale));
    g.add_initializer("xz", zeros(x.dtype(), {x_zero}, false));
    g.add_initializer("yz", zeros(DType::u8, {y_zero}, false));
    g.add_initializer("wz", zeros(w.dtype(), w_zero, w_zero.size() > 1));
    g.add_initializer("b", Tensor::from(DType::s32, {6}, bias));
    Graph qdq = g;
    std::vector<std::string> in = {"x", "xs", "xz", "w", "ws", "wz", "ys", "yz"};
    if (p.conv) in.push_back("b");
    set_output(g, g.add_node(p.conv ? "QLinearConv" : "QLinearMatMul", "y", in, p.attributes), DType::u8);

    const std::string a = qdq.add_node("DequantizeLinear", "x_dq", {"x", "xs", "xz"}),
                      b = qdq.add_node("DequantizeLinear", "w_dq", {"w", "ws", "wz"}, {{"axis", int64_t{p.conv ? 0 : 1}}});
    std::vector<std::string> operands = {a, b};
    if (p.conv) {
      std::vector<float> scale;
      for (const float s : w_scale) scale.push_back(s * x_scale);
      qdq.add_initializer("bs", f32(scale.size() > 1 ? Shape{6} : Shape{}, scale));
      operands.push_back(qdq.add_node("DequantizeLinear", "b_dq", {"b", "bs"}, {{"axis", int64_t{0}}}));
    }
    const std::string real = qdq.add_node(p.conv ? "Conv" : "MatMul", "real", operands, p.attributes);
    set_output(qdq, qdq.add_node("QuantizeLinear", "y", {real, "ys", "yz"}), DType::u8);
    for (const Graph* graph : {&g, &qdq}) {
      const Tensor y = run(*graph, {{"x", x}}, what);
      ASSERT_EQ(size_t(y.count()), want.size());
      for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(at(y, int64_t(i)), want[i]) << what << (graph == &qdq ? "QDQ " : "") << i;
    }
  });
}

// Ranges found at run time: what ONNX Runtime's quantize_dynamic writes for u8 weights. The sums are exact, so that nothing but the
// order in which scales are multiplied and the fma of the bias differ: two roundings of a float.
TEST(ZeroPoints, OfWeightsBesideRangesFoundAtRunTime) {
  for (const Product& p : kProducts)
    for (const DType w_type : {DType::u8, DType::s8})
      for (const std::vector<int32_t>& w_zero : zero_points(w_type, 6)) {
        std::vector<float> values = values_of<float>(noise(p.x, 5, 2));
        for (float& v : values) v += 0.7f;  // so that the zero point is not in the middle
        const Sample sample = {{"x", f32(p.x, values)}};
        Graph g = with_input("x", sample.at("x"));
        g.add_initializer("w", bytes(w_type, p.w, 6));
        g.add_initializer("wz", zeros(w_type, w_zero, w_zero.size() > 1));
        g.add_initializer("ws", f32({}, {0.01f}));
        Shape channels(p.conv ? p.w.size() - 1 : 1, 1);
        channels[0] = 6;
        g.add_initializer("b", noise(channels, 7));
        g.nodes.push_back({"q", "DynamicQuantizeLinear", "", {"x"}, {"q", "qs", "qz"}, {}});
        const std::string real = g.add_node(
            "Cast", "real", {g.add_node(p.conv ? "ConvInteger" : "MatMulInteger", "sums", {"q", "w", "qz", "wz"}, p.attributes)},
            {{"to", int64_t{1}}});
        const std::string scale = g.add_node("Mul", "scale", {"qs", "ws"});
        set_output(g, g.add_node("Add", "y", {g.add_node("Mul", "scaled", {real, scale}), "b"}), DType::f32);
        const std::string what = std::string(p.what) + " " + name_of(w_type) + " " + std::to_string(w_zero[0]) + " ";
        const Tensor y = run(g, sample, what), want = by_definition(g, sample);
        for (int64_t i = 0; i < want.count(); ++i) {
          const float w = want.as<float>()[i];
          ASSERT_NEAR(y.as<float>()[i], w, 1e-6f * std::fabs(w) + 1e-6f) << what << i;
        }
        // A matrix is read as it is: its zero points are taken off with the scales.
        Expected<Session> s = Session::create(g);
        const auto report = (*s->program(sample))->report();
        const auto repeats = std::count_if(report.begin(), report.end(), [](const NodeReport& r) { return r.op_type == "Repeat"; });
        if (!p.conv) {
          EXPECT_EQ(repeats, 0) << what;
        }
      }
}

// Sums without a zero point cost nothing; readers of one value share its repeated channels.
TEST(ZeroPoints, CostNoMoreThanTheyMust) {
  const Tensor x = bytes(DType::u8, {8, 16}, 1);
  const auto steps = [&](int32_t zero, uint8_t lo, uint8_t hi) {
    Graph g = with_input("x", x);
    std::vector<uint8_t> w;
    for (int i = 0; i < 16 * 12; ++i) w.push_back(uint8_t(hi - i % (hi - lo + 1)));
    g.add_initializer("w", Tensor::from(DType::u8, {16, 12}, w));
    g.add_initializer("z", zeros(DType::u8, {zero}, false));
    g.add_initializer("s", f32({}, {0.01f}));
    g.add_initializer("xz", zeros(DType::u8, {7}, false));
    const std::string a = g.add_node("DequantizeLinear", "a", {"x", "s", "xz"}),
                      b = g.add_node("DequantizeLinear", "b", {"w", "s", "z"});
    for (const char* name : {"one", "other"}) g.outputs.push_back({g.add_node("MatMul", name, {a, b}), DType::f32, {}, false});
    const Expected<Program> p = Program::compile(g);
    EXPECT_TRUE(p) << p.status().text();
    EXPECT_EQ(p->int8_mac_share(), 1);
    return std::pair(p->report().size(), p->report().back().macs);
  };
  EXPECT_EQ(steps(100, 20, 200), std::pair(size_t(1), int64_t(2 * 8 * 16 * 12)));  // what is left fits s8
  EXPECT_EQ(steps(100, 20, 255), std::pair(size_t(2), int64_t(4 * 8 * 16 * 12)));
  EXPECT_EQ(steps(0, 0, 254), std::pair(size_t(2), int64_t(4 * 8 * 16 * 12)));
  EXPECT_EQ(steps(0, 0, 255), std::pair(size_t(2), int64_t(6 * 8 * 16 * 12)));
}

// ConvTranspose in groups: weights lie by input channel.
TEST(ZeroPoints, OfTransposedConvolutions) {
  for (const int64_t groups : {1, 2, 6})
    for (const int32_t zero : {0, 255, 100}) {
      const Tensor x = bytes(DType::u8, {1, 6, 5, 4}, 8), w = bytes(DType::u8, {6, 4, 3, 3}, 9);
      Graph g = with_input("x", x);
      g.add_initializer("w", w);
      g.add_initializer("s", f32({}, {0.5f}));
      g.add_initializer("xz", zeros(DType::u8, {131}, false));
      g.add_initializer("wz", zeros(DType::u8, {zero}, false));
      const std::string a = g.add_node("DequantizeLinear", "a", {"x", "s", "xz"}),
                        b = g.add_node("DequantizeLinear", "b", {"w", "s", "wz"});
      const Attributes attributes = {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"group", groups}};
      set_output(g, g.add_node("ConvTranspose", "up", {a, b}, attributes), DType::f32);
      // In float every sum of quarters below 2^24 is exact too.
      const auto real = [](const Tensor& t, int32_t z) {
        std::vector<float> v;
        for (int64_t i = 0; i < t.count(); ++i) v.push_back(0.5f * float(at(t, i) - z));
        return f32(t.shape(), v);
      };
      const Expected<std::vector<Tensor>> want = eval_node("ConvTranspose", {real(x, 131), real(w, zero)}, attributes);
      ASSERT_TRUE(want) << want.status().text();
      EXPECT_EQ(values_of<float>(run(g, {{"x", x}}, "up")), values_of<float>((*want)[0])) << groups << " " << zero;
    }
}

}  // namespace
}  // namespace octavo
