// Recurrent operators, Resize, TopK, index operators and inputs whose values give shapes, against values worked out by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "graph_test_util.h"
#include "octavo/session.h"

namespace octavo {
namespace {

Tensor run_one(const std::string& op, const std::vector<Tensor>& inputs, std::map<std::string, Attribute> attributes = {},
               int64_t opset = 18, size_t outputs = 1, size_t which = 0) {
  const Expected<std::vector<Tensor>> r = eval_node(op, inputs, std::move(attributes), opset, outputs);
  EXPECT_TRUE(r) << r.status().text();
  return r ? (*r)[which] : Tensor();
}

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

TEST(Recurrent, LstmOfOneCellIsTheTextbook) {
  // One input, one hidden unit: gates i, o, f, c.
  const std::vector<float> w = {0.5f, -0.3f, 0.8f, 1.1f}, r = {0.2f, 0.4f, -0.6f, 0.7f},
                           b = {0.1f, 0.2f, 0.3f, -0.1f, 0, 0, 0, 0.05f};
  const std::vector<float> x = {1, -2, 0.5f};
  float h = 0, c = 0;
  std::vector<float> want;
  for (const float v : x) {
    const float i = sigmoid(w[0] * v + r[0] * h + b[0]), o = sigmoid(w[1] * v + r[1] * h + b[1]);
    const float f = sigmoid(w[2] * v + r[2] * h + b[2]), g = std::tanh(w[3] * v + r[3] * h + b[3] + b[7]);
    c = f * c + i * g;
    h = o * std::tanh(c);
    want.push_back(h);
  }
  const std::vector<Tensor> inputs = {f32({3, 1, 1}, x), f32({1, 4, 1}, w), f32({1, 4, 1}, r), f32({1, 8}, b)};
  const std::map<std::string, Attribute> attributes = {{"hidden_size", int64_t(1)}};
  const Expected<std::vector<Tensor>> y = eval_node("LSTM", inputs, attributes, 14, 3);
  ASSERT_TRUE(y) << y.status().text();
  for (size_t t = 0; t < 3; ++t) EXPECT_NEAR((*y)[0].as<float>()[t], want[t], 1e-6f);
  EXPECT_EQ((*y)[1].as<float>()[0], (*y)[0].as<float>()[2]);
  EXPECT_NEAR((*y)[2].as<float>()[0], c, 1e-6f);
}

TEST(Recurrent, GruBeforeAndAfterReset) {
  const std::vector<float> w = {0.5f, -0.3f, 0.8f}, r = {0.2f, 0.4f, -0.6f}, b = {0.1f, 0.2f, 0.3f, 0, 0, 0.25f};
  for (const int64_t after : {0, 1}) {
    float h = 0.5f;
    const float z = sigmoid(w[0] * 2 + r[0] * h + b[0]), s = sigmoid(w[1] * 2 + r[1] * h + b[1]);
    const float g = std::tanh(after ? w[2] * 2 + b[2] + s * (r[2] * h + b[5]) : w[2] * 2 + b[2] + r[2] * (s * h) + b[5]);
    h = (1 - z) * g + z * h;
    const Tensor y = run_one(
        "GRU", {f32({1, 1, 1}, {2}), f32({1, 3, 1}, w), f32({1, 3, 1}, r), f32({1, 6}, b), Tensor(), f32({1, 1, 1}, {0.5f})},
        {{"linear_before_reset", after}}, 14, 2);
    EXPECT_NEAR(y.as<float>()[0], h, 1e-6f) << after;
  }
}

TEST(Recurrent, ReverseReadsTheSequenceFromItsOwnEnd) {
  const Tensor w = f32({1, 1, 1}, {1}), r = f32({1, 1, 1}, {0.5f});
  const Tensor lengths = Tensor::from(DType::s32, {1}, std::vector<int32_t>{2});
  const Tensor y = run_one("RNN", {f32({3, 1, 1}, {1, 2, 9}), w, r, Tensor(), lengths},
                           {{"direction", std::string("reverse")}, {"activations", std::vector<std::string>{"Relu"}}}, 14, 2);
  EXPECT_EQ(values_of<float>(y), (std::vector<float>{2, 2, 0}));
}

TEST(Recurrent, ErrorsNameTheNode) {
  const Expected<std::vector<Tensor>> r =
      eval_node("LSTM", {f32({1, 1, 2}, {1, 2}), f32({1, 4, 1}, {1, 2, 3, 4}), f32({1, 4, 1}, {1, 2, 3, 4})}, {}, 14, 1);
  ASSERT_FALSE(r);
  EXPECT_NE(std::string(r.status().text()).find("LSTM 'n'"), std::string::npos) << r.status().text();
}

TEST(Resize, NearestAndLinear) {
  const Tensor x = f32({1, 1, 1, 2}, {1, 3}), scales = f32({4}, {1, 1, 1, 2});
  EXPECT_EQ(values_of<float>(run_one("Resize", {x, Tensor(), scales}, {{"mode", std::string("nearest")}})),
            (std::vector<float>{1, 1, 3, 3}));
  EXPECT_EQ(values_of<float>(run_one("Resize", {x, Tensor(), scales}, {{"mode", std::string("linear")}})),
            (std::vector<float>{1, 1.5f, 2.5f, 3}));
  const Tensor bytes = Tensor::from(DType::u8, {1, 1, 1, 2}, std::vector<uint8_t>{7, 9});
  EXPECT_EQ(values_of<uint8_t>(run_one("Resize", {bytes, Tensor(), scales}, {})), (std::vector<uint8_t>{7, 7, 9, 9}));
  EXPECT_FALSE(eval_node("Resize", {x, Tensor(), f32({4}, {1, 1, 1, 4e18f})}, {}, 18));
}

TEST(TopK, TiesGoToTheLowerIndexAlongAnyAxis) {
  const Tensor x = f32({3, 2}, {1, 5, 4, 5, 4, 0});
  EXPECT_EQ(values_of<float>(run_one("TopK", {x, s64({2})}, {{"axis", int64_t(0)}}, 11, 2)), (std::vector<float>{4, 5, 4, 5}));
  EXPECT_EQ(values_of<int64_t>(run_one("TopK", {x, s64({2})}, {{"axis", int64_t(0)}}, 11, 2, 1)),
            (std::vector<int64_t>{1, 0, 2, 1}));
  EXPECT_EQ(values_of<int64_t>(run_one("TopK", {x, s64({1})}, {{"largest", int64_t(0)}}, 11, 2, 1)),
            (std::vector<int64_t>{0, 0, 1}));
}

TEST(Index, GatherAndScatter) {
  const Tensor x = f32({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(values_of<float>(run_one("GatherElements", {x, s64({2, 1}, {1, -2})}, {{"axis", int64_t(1)}})),
            (std::vector<float>{2, 3}));
  EXPECT_EQ(values_of<float>(run_one("GatherND", {x, s64({1, 2}, {1, 0})}, {})), (std::vector<float>{3}));
  EXPECT_EQ(values_of<float>(run_one("ScatterND", {x, s64({1, 1}, {1}), f32({1, 2}, {8, 9})}, {})),
            (std::vector<float>{1, 2, 8, 9}));
  EXPECT_FALSE(eval_node("GatherND", {x, s64({1, 2}, {2, 0})}, {}, 13));
  EXPECT_EQ(values_of<float>(run_one("Trilu", {x, s64({}, {0})}, {{"upper", int64_t(0)}})), (std::vector<float>{1, 0, 3, 4}));
}

TEST(Math, SineAndCosineToTheLastBits) {
  std::vector<float> x;
  for (int i = -400; i < 400; ++i) x.push_back(float(i) * 0.37f);
  x.push_back(1e6f);
  const Tensor s = run_one("Sin", {f32({int64_t(x.size())}, x)}), c = run_one("Cos", {f32({int64_t(x.size())}, x)});
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(s.as<float>()[i], std::sin(double(x[i])), 1e-7) << x[i];
    EXPECT_NEAR(c.as<float>()[i], std::cos(double(x[i])), 1e-7) << x[i];
  }
}

// y = ReduceSum(Reshape(x, shape), axes), where shape is sum(size) and both come at run time.
Graph shaped_at_run_time() {
  Graph g;
  g.opset = 13;
  g.inputs = {{"x", DType::f32, {{6, ""}}}, {"size", DType::s64, {{2, ""}}}, {"axes", DType::s64, {{-1, "n"}}}};
  g.add_initializer("one", s64({1, 1}));
  g.add_node("Mul", "shape", {"size", "one"});
  g.add_node("Reshape", "matrix", {"x", "shape"});
  g.add_node("ReduceSum", "y", {"matrix", "axes"}, {{"keepdims", int64_t(0)}});
  g.outputs = {{"y", DType::f32, {}, false}};
  return g;
}

TEST(ShapeInputs, AreFoundBehindOtherNodes) {
  EXPECT_EQ(shape_inputs(shaped_at_run_time()), (std::vector<std::string>{"size", "axes"}));
}

TEST(ShapeInputs, ASessionSpecializesOnTheirValues) {
  Expected<Session> session = Session::create(shaped_at_run_time());
  ASSERT_TRUE(session);
  const Tensor x = f32({6}, {1, 2, 3, 4, 5, 6});
  const std::map<std::string, Tensor> rows = {{"x", x}, {"size", s64({2, 3})}, {"axes", s64({1})}};
  const std::map<std::string, Tensor> columns = {{"x", x}, {"size", s64({3, 2})}, {"axes", s64({0})}};
  for (int again = 0; again < 2; ++again) {
    const Expected<std::vector<Tensor>> a = session->run(rows), b = session->run(columns);
    ASSERT_TRUE(a && b) << a.status().text() << b.status().text();
    EXPECT_EQ(values_of<float>((*a)[0]), (std::vector<float>{6, 15}));
    EXPECT_EQ(values_of<float>((*b)[0]), (std::vector<float>{9, 12}));
  }
  EXPECT_EQ(*session->program(rows), *session->program(rows));
  const Expected<std::vector<Tensor>> bad = session->run({{"x", x}, {"size", s64({4, 2})}, {"axes", s64({0})}});
  ASSERT_FALSE(bad);
  EXPECT_NE(std::string(bad.status().text()).find("matrix"), std::string::npos) << bad.status().text();
}

TEST(ShapeInputs, AProgramRefusesOtherValues) {
  const Graph g = shaped_at_run_time();
  CompileOptions options;
  options.input_shapes["axes"] = {1};
  EXPECT_FALSE(Program::compile(g, options)) << "values are missing";
  options.input_values = {{"size", s64({2, 3})}, {"axes", s64({1})}};
  const Expected<Program> p = Program::compile(g, options);
  ASSERT_TRUE(p) << p.status().text();
  std::vector<float> x = {1, 2, 3, 4, 5, 6}, y(2);
  std::vector<int64_t> size = {2, 3}, axes = {1};
  alignas(64) static std::byte workspace[1 << 16];
  ASSERT_LE(p->workspace_bytes(1), sizeof workspace);
  const std::vector<TensorView> in = {
      {DType::f32, {6}, x.data()}, {DType::s64, {2}, size.data()}, {DType::s64, {1}, axes.data()}};
  const std::vector<TensorView> out = {{DType::f32, {2}, y.data()}};
  EXPECT_TRUE(p->run(in, out, workspace, single_thread()).ok());
  EXPECT_EQ(y, (std::vector<float>{6, 15}));
  size = {3, 2};
  const Status s = p->run(in, out, workspace, single_thread());
  EXPECT_NE(std::string(s.text()).find("input 'size' differs"), std::string::npos) << s.text();
}

TEST(ShapeInputs, ASessionKeepsFewPrograms) {
  Graph g;
  g.inputs = {{"x", DType::f32, {{-1, "n"}}}};
  g.add_node("Relu", "y", {"x"});
  g.outputs = {{"y", DType::f32, {}, false}};
  Expected<Session> session = Session::create(g);
  ASSERT_TRUE(session);
  for (int64_t n = 1; n < 100; ++n) ASSERT_TRUE(session->run({{"x", f32({n}, std::vector<float>(size_t(n), 1))}}));
  const Expected<std::vector<Tensor>> first = session->run({{"x", f32({1}, {-1})}});
  ASSERT_TRUE(first);
  EXPECT_EQ(values_of<float>((*first)[0]), (std::vector<float>{0}));
}

}  // namespace
}  // namespace octavo
