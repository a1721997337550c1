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

TEST(Math, TrigonometricAndHyperbolicFunctionsToTheLastBits) {
  const struct {
    const char* op;
    double (*exact)(double);
    float lo, hi;
  } functions[] = {{"Tan", std::tan, -1.5f, 1.5f},   {"Asin", std::asin, -1, 1},   {"Acos", std::acos, -1, 1},
                   {"Atan", std::atan, -50, 50},     {"Sinh", std::sinh, -40, 40}, {"Cosh", std::cosh, -40, 40},
                   {"Asinh", std::asinh, -1e6f, 1e6f}, {"Acosh", std::acosh, 1, 1e6f}, {"Atanh", std::atanh, -0.999f, 0.999f}};
  for (const auto& f : functions) {
    std::vector<float> x;
    for (int i = 0; i <= 500; ++i) x.push_back(f.lo + (f.hi - f.lo) * float(i) / 500);
    for (const float small : {1e-6f, -3e-4f, 2e-3f})
      if (f.lo < 0) x.push_back(small);
    const Tensor y = run_one(f.op, {f32({int64_t(x.size())}, x)});
    for (size_t i = 0; i < x.size(); ++i) {  // a unit in the last place is at most 2^-23 of the value
      const double want = f.exact(double(x[i]));
      EXPECT_NEAR(y.as<float>()[i], want, 1.2e-7 * std::fabs(want) + 1e-12) << f.op << " " << x[i];
    }
  }
  for (const char* op : {"Asin", "Acos", "Atanh"}) EXPECT_TRUE(std::isnan(run_one(op, {f32({1}, {1.5f})}).as<float>()[0])) << op;
  EXPECT_TRUE(std::isnan(run_one("Acosh", {f32({1}, {0.5f})}).as<float>()[0]));
  EXPECT_EQ(run_one("Atanh", {f32({1}, {-1})}).as<float>()[0], -INFINITY);
}

TEST(Math, CeluShrinkAndBits) {
  const Tensor c = run_one("Celu", {f32({3}, {-1, 0, 2})}, {{"alpha", 2.0f}}, 12);
  EXPECT_NEAR(c.as<float>()[0], 2 * (std::exp(-0.5) - 1), 1e-6);
  EXPECT_EQ(c.as<float>()[2], 2);
  EXPECT_FALSE(eval_node("Celu", {f32({1}, {1})}, {{"alpha", -1.0f}}, 12));
  EXPECT_EQ(values_of<float>(run_one("Shrink", {f32({3}, {-2, 0.25f, 2})}, {{"lambd", 0.5f}, {"bias", 0.5f}})),
            (std::vector<float>{-1.5f, 0, 1.5f}));
  EXPECT_EQ(values_of<int64_t>(run_one("BitwiseAnd", {s64({6, -1}), s64({3})})), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(values_of<int64_t>(run_one("BitwiseOr", {s64({6, 1}), s64({1})})), (std::vector<int64_t>{7, 1}));
  EXPECT_EQ(values_of<int64_t>(run_one("BitwiseXor", {s64({6, 1}), s64({3})})), (std::vector<int64_t>{5, 2}));
  const std::map<std::string, Attribute> left = {{"direction", std::string("LEFT")}}, right = {{"direction", std::string("RIGHT")}};
  EXPECT_EQ(values_of<int64_t>(run_one("BitShift", {s64({1, 3}), s64({2, 64})}, left)), (std::vector<int64_t>{4, 0}));
  EXPECT_EQ(values_of<int64_t>(run_one("BitShift", {s64({9, -8}), s64({2, 99})}, right)), (std::vector<int64_t>{2, -1}));
  EXPECT_FALSE(eval_node("BitShift", {s64({1}), s64({1})}, {}, 11));
  EXPECT_FALSE(eval_node("BitwiseAnd", {f32({1}, {1}), f32({1}, {1})}, {}, 18));
}

TEST(Index, ScatterReduces) {
  const Tensor x = f32({3}, {1, 2, 3}), at = s64({0, 0, 2}), updates = f32({3}, {4, 5, -6});
  const auto scatter = [&](const char* reduction) {
    return values_of<float>(run_one("ScatterElements", {x, at, updates}, {{"reduction", std::string(reduction)}}));
  };
  EXPECT_EQ(scatter("none"), (std::vector<float>{5, 2, -6}));
  EXPECT_EQ(scatter("add"), (std::vector<float>{10, 2, -3}));
  EXPECT_EQ(scatter("mul"), (std::vector<float>{20, 2, -18}));
  EXPECT_EQ(scatter("max"), (std::vector<float>{5, 2, 3}));
  EXPECT_EQ(scatter("min"), (std::vector<float>{1, 2, -6}));
  EXPECT_EQ(values_of<float>(run_one("ScatterND", {x, s64({2, 1}, {1, 1}), f32({2}, {4, 5})}, {{"reduction", std::string("add")}})),
            (std::vector<float>{1, 11, 3}));
  const auto bad = eval_node("ScatterElements", {x, at, updates}, {{"reduction", std::string("mean")}}, 18);
  ASSERT_FALSE(bad);
  EXPECT_NE(std::string(bad.status().text()).find("ScatterElements 'n'"), std::string::npos) << bad.status().text();
}

TEST(Make, EyeLikeAndNonZero) {
  EXPECT_EQ(values_of<float>(run_one("EyeLike", {f32({2, 3}, {7, 7, 7, 7, 7, 7})}, {{"k", int64_t(1)}})),
            (std::vector<float>{0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(values_of<float>(run_one("EyeLike", {f32({2, 1}, {7, 7})}, {{"k", int64_t(-9)}})), (std::vector<float>{0, 0}));
  EXPECT_EQ(run_one("EyeLike", {f32({1, 1}, {7})}, {{"dtype", int64_t(7)}}).dtype(), DType::s64);
  EXPECT_EQ(values_of<int64_t>(run_one("NonZero", {f32({2, 2}, {0, 3, -1, 0})})), (std::vector<int64_t>{0, 1, 1, 0}));
  Graph g;  // its shape cannot be told before it runs
  g.inputs = {{"x", DType::f32, {{2, ""}}}};
  g.add_node("Relu", "computed", {"x"});
  g.add_node("NonZero", "found", {"computed"});
  const Expected<ShapeMap> shapes = infer_shapes(g, {});
  ASSERT_FALSE(shapes);
  EXPECT_NE(std::string(shapes.status().text()).find("NonZero 'found'"), std::string::npos) << shapes.status().text();
}

TEST(Einsum, AllThatIsNoProductOfMatrices) {
  const Tensor m = f32({2, 2}, {1, 2, 3, 4});
  const auto einsum = [](const char* equation, std::vector<Tensor> inputs) {
    return values_of<float>(run_one("Einsum", std::move(inputs), {{"equation", std::string(equation)}}));
  };
  EXPECT_EQ(einsum("ij->ji", {m}), (std::vector<float>{1, 3, 2, 4}));
  EXPECT_EQ(einsum("ii->i", {m}), (std::vector<float>{1, 4}));
  EXPECT_EQ(einsum("ij->", {m}), (std::vector<float>{10}));
  EXPECT_EQ(einsum("ji", {m}), (std::vector<float>{1, 3, 2, 4}));  // the result's labels in the order of the alphabet
  EXPECT_EQ(einsum("ij,jk", {m, m}), (std::vector<float>{7, 10, 15, 22}));
  EXPECT_EQ(einsum(" i j , j -> i ", {m, f32({2}, {1, -1})}), (std::vector<float>{-1, -1}));
  EXPECT_EQ(einsum("...i,i->...", {m, f32({2}, {1, 1})}), (std::vector<float>{3, 7}));
  EXPECT_EQ(einsum("i,j,ij->", {f32({2}, {1, 2}), f32({2}, {1, 1}), m}), (std::vector<float>{17}));
  for (const char* bad : {"ij,jk->ik", "ijk->i", "ij->ik", "ij->ii", "i1->i", "", "....->"}) {
    const auto r = eval_node("Einsum", {m}, {{"equation", std::string(bad)}}, 12);
    ASSERT_FALSE(r) << bad;
    EXPECT_NE(std::string(r.status().text()).find("Einsum 'n'"), std::string::npos) << r.status().text();
  }
}

TEST(GridSample, ReadsBetweenPixelsAndBeyondThem) {
  const Tensor x = f32({1, 1, 1, 3}, {1, 2, 4});
  const auto sample = [&](std::vector<float> at, const char* mode, const char* padding, int64_t align = 1) {
    std::vector<float> grid;
    for (const float p : at) grid.insert(grid.end(), {p, 0});
    const std::map<std::string, Attribute> attributes = {
        {"mode", std::string(mode)}, {"padding_mode", std::string(padding)}, {"align_corners", align}};
    return values_of<float>(run_one("GridSample", {x, f32({1, 1, int64_t(at.size()), 2}, grid)}, attributes, 20));
  };
  EXPECT_EQ(sample({-1, 0, 0.5f, 1}, "linear", "zeros"), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(sample({-1.5f, 2}, "linear", "zeros"), (std::vector<float>{0.5f, 0}));
  EXPECT_EQ(sample({-1.5f, 2}, "linear", "border"), (std::vector<float>{1, 4}));
  EXPECT_EQ(sample({-1.5f, 2, 3}, "linear", "reflection"), (std::vector<float>{1.5f, 2, 1}));
  EXPECT_EQ(sample({0.4f, 0.6f}, "nearest", "zeros"), (std::vector<float>{2, 4}));
  EXPECT_EQ(sample({0}, "cubic", "border"), (std::vector<float>{2}));
  EXPECT_EQ(sample({NAN, INFINITY, -INFINITY}, "linear", "zeros"), (std::vector<float>{0, 0, 0}));
  EXPECT_FALSE(eval_node("GridSample", {x, f32({1, 1, 1, 3}, {0, 0, 0})}, {}, 20));
  EXPECT_FALSE(eval_node("GridSample", {x, f32({1, 1, 1, 2}, {0, 0})}, {{"mode", std::string("best")}}, 20));
}

TEST(Resize, OfBytesRoundsAndStaysInRange) {
  const Tensor bytes = Tensor::from(DType::u8, {1, 1, 1, 2}, std::vector<uint8_t>{0, 255}), scales = f32({4}, {1, 1, 1, 2});
  EXPECT_EQ(values_of<uint8_t>(run_one("Resize", {bytes, Tensor(), scales}, {{"mode", std::string("linear")}})),
            (std::vector<uint8_t>{0, 64, 191, 255}));
  EXPECT_EQ(values_of<uint8_t>(run_one("Resize", {bytes, Tensor(), scales}, {{"mode", std::string("cubic")}})).back(), 255);
}

TEST(Resize, OfThreeAxesIsSeparable) {
  const Tensor x = f32({1, 1, 2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7}), sizes = s64({1, 1, 3, 3, 3});
  const Tensor y = run_one("Resize", {x, Tensor(), Tensor(), sizes},
                           {{"mode", std::string("linear")}, {"coordinate_transformation_mode", std::string("align_corners")}});
  for (int64_t i = 0; i < 27; ++i)  // x is linear in each coordinate
    EXPECT_FLOAT_EQ(y.as<float>()[i], 0.5f * float(i % 3) + float(i / 3 % 3) + 2 * float(i / 9)) << i;
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
