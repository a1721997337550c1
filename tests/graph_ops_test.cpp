// The generic operators: exact values, opset differences, and what they refuse.
#include <gtest/gtest.h>

#include <limits>

#include "graph_test_util.h"

namespace octavo {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<int64_t>;
using Attributes = std::map<std::string, Attribute>;

// The only output of one node, which must be there.
Tensor eval(const std::string& op, const std::vector<Tensor>& inputs, Attributes attributes = {}, int64_t opset = 13) {
  const Expected<std::vector<Tensor>> outputs = eval_node(op, inputs, std::move(attributes), opset);
  EXPECT_TRUE(outputs) << outputs.status().text();
  return outputs ? (*outputs)[0] : Tensor();
}

Floats floats(const std::string& op, const std::vector<Tensor>& inputs, Attributes attributes = {}, int64_t opset = 13) {
  return values_of<float>(eval(op, inputs, std::move(attributes), opset));
}
Ints ints(const std::string& op, const std::vector<Tensor>& inputs, Attributes attributes = {}, int64_t opset = 13) {
  return values_of<int64_t>(eval(op, inputs, std::move(attributes), opset));
}

// The code of a node's error, whose text must name the node.
Code error(const std::string& op, const std::vector<Tensor>& inputs, Attributes attributes = {}, int64_t opset = 13) {
  const Expected<std::vector<Tensor>> outputs = eval_node(op, inputs, std::move(attributes), opset);
  EXPECT_FALSE(outputs);
  EXPECT_NE(std::string(outputs.status().text()).find(op + " 'n'"), std::string::npos) << outputs.status().text();
  return outputs.status().code();
}

Tensor iota(Shape shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  Floats values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[size_t(i)] = float(i);
  return f32(std::move(shape), values);
}

TEST(Broadcast, EveryPairOfDirections) {
  EXPECT_EQ(floats("Add", {f32({2, 1, 2}, {0, 1, 2, 3}), f32({3, 1}, {0, 10, 20})}), (Floats{0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23}));
  EXPECT_EQ(floats("Sub", {f32({}, {1}), f32({2}, {5, 6})}), (Floats{-4, -5}));
  EXPECT_EQ(floats("Mul", {f32({2, 3}, {1, 2, 3, 4, 5, 6}), f32({3}, {1, 10, 100})}), (Floats{1, 20, 300, 4, 50, 600}));
  EXPECT_EQ(eval("Add", {f32({0, 3}, {}), f32({1}, {1})}).shape(), (Shape{0, 3}));
  // One channel each of NCHW, and one shape inside another.
  EXPECT_EQ(floats("Add", {iota({1, 2, 1, 3}), f32({2, 1, 1}, {10, 20})}), (Floats{10, 11, 12, 23, 24, 25}));
  error("Add", {f32({2}, {1, 2}), f32({3}, {1, 2, 3})});
}

TEST(Broadcast, RankEight) {
  const Tensor sum = eval("Add", {iota({1, 2, 1, 1, 1, 1, 2, 1}), iota({2, 1, 1, 1, 1, 1, 1, 3})});
  EXPECT_EQ(sum.shape(), (Shape{2, 2, 1, 1, 1, 1, 2, 3}));
  EXPECT_EQ(sum.as<float>()[23], 3 + 5);
}

TEST(Elementwise, IntegersWrapAndDivideLikeC) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(ints("Add", {s64({kMax}), s64({1})}), Ints{kMin});
  EXPECT_EQ(ints("Mul", {s64({kMax}), s64({2})}), Ints{-2});
  EXPECT_EQ(ints("Div", {s64({-7, 7, kMin}), s64({2, -2, -1})}), (Ints{-3, -3, kMin}));
  EXPECT_EQ(ints("Neg", {s64({5, kMin})}), (Ints{-5, kMin}));
  EXPECT_EQ(ints("Abs", {s64({-5, kMin})}), (Ints{5, kMin}));
  EXPECT_EQ(ints("Pow", {s64({2, -1, 2, 3}), s64({10, 3, -1, 0})}), (Ints{1024, -1, 0, 1}));
  EXPECT_EQ(error("Div", {s64({1}), s64({0})}), Code::invalid_argument);
}

TEST(Elementwise, ClipTakesAttributesBeforeOpset11AndInputsLater) {
  const Tensor x = f32({3}, {-5, 0.5f, 5});
  EXPECT_EQ(floats("Clip", {x}, {{"min", -1.0f}, {"max", 1.0f}}, 10), (Floats{-1, 0.5f, 1}));
  EXPECT_EQ(floats("Clip", {x, f32({}, {-1}), f32({}, {1})}), (Floats{-1, 0.5f, 1}));
  EXPECT_EQ(floats("Clip", {x, Tensor(), f32({}, {1})}), (Floats{-5, 0.5f, 1}));
  EXPECT_EQ(values_of<int8_t>(eval("Clip", {Tensor::from<int8_t>(DType::s8, {2}, {-9, 9}), Tensor::from<int8_t>(DType::s8, {}, {-3})})),
            (std::vector<int8_t>{-3, 9}));
  error("Clip", {x, f32({2}, {1, 2})});
}

TEST(Elementwise, NAry) {
  const Tensor a = f32({2}, {1, 5}), b = f32({2}, {3, 2}), c = f32({1}, {4});
  EXPECT_EQ(floats("Max", {a, b, c}), (Floats{4, 5}));
  EXPECT_EQ(floats("Min", {a, b, c}), (Floats{1, 2}));
  EXPECT_EQ(floats("Sum", {a, b, c}), (Floats{8, 11}));
  EXPECT_EQ(floats("Mean", {a, b}), (Floats{2, 3.5f}));
  EXPECT_EQ(floats("Sum", {a}), (Floats{1, 5}));
}

TEST(Elementwise, CompareAndSelect) {
  const Tensor less = eval("Less", {f32({2}, {1, 5}), f32({2}, {3, 2})});
  EXPECT_EQ(less.dtype(), DType::boolean);
  EXPECT_EQ(values_of<uint8_t>(less), (std::vector<uint8_t>{1, 0}));
  EXPECT_EQ(values_of<uint8_t>(eval("Not", {less})), (std::vector<uint8_t>{0, 1}));
  EXPECT_EQ(floats("Where", {less, f32({2, 1}, {1, 2}), f32({}, {9})}), (Floats{1, 9, 2, 9}));
  error("Where", {f32({1}, {1}), f32({1}, {1}), f32({1}, {1})});
}

TEST(Cast, TruncatesAndSaturates) {
  const Tensor x = f32({5}, {-1.9f, 1.9f, 300, -300, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_EQ(values_of<int8_t>(eval("Cast", {x}, {{"to", int64_t(3)}})), (std::vector<int8_t>{-1, 1, 127, -128, 0}));
  EXPECT_EQ(values_of<uint8_t>(eval("Cast", {f32({3}, {0, 0.5f, -2})}, {{"to", int64_t(9)}})), (std::vector<uint8_t>{0, 1, 1}));
  EXPECT_EQ(error("Cast", {x}, {{"to", int64_t(10)}}), Code::unsupported);
}

TEST(Reshape, ZerosOpenDimensionsAndErrors) {
  const Tensor x = iota({2, 3, 4});
  EXPECT_EQ(eval("Reshape", {x, s64({0, -1})}).shape(), (Shape{2, 12}));
  EXPECT_EQ(eval("Reshape", {x, s64({-1})}).shape(), (Shape{24}));
  EXPECT_EQ(eval("Reshape", {f32({0, 3}, {}), s64({3, 0})}, {{"allowzero", int64_t(1)}}, 14).shape(), (Shape{3, 0}));
  EXPECT_EQ(eval("Reshape", {f32({1}, {7}), s64(Ints{})}).shape(), Shape{});
  for (const Ints& target : {Ints{5, -1}, Ints{-1, -1}, Ints{2, 3, 5}, Ints{0, 0, 0, 0}, Ints{-2}, Ints{std::numeric_limits<int64_t>::max(), 2}, Ints(20, 1)})
    error("Reshape", {x, s64(target)});
}

TEST(Shapes, FlattenSqueezeUnsqueeze) {
  EXPECT_EQ(eval("Flatten", {iota({2, 3, 4})}, {{"axis", int64_t(2)}}).shape(), (Shape{6, 4}));
  EXPECT_EQ(eval("Flatten", {iota({2, 3})}, {{"axis", int64_t(0)}}).shape(), (Shape{1, 6}));
  EXPECT_EQ(eval("Squeeze", {iota({1, 2, 1})}).shape(), (Shape{2}));
  EXPECT_EQ(eval("Squeeze", {iota({1, 2, 1}), s64({-1})}).shape(), (Shape{1, 2}));
  EXPECT_EQ(eval("Squeeze", {iota({1, 2, 1})}, {{"axes", Ints{0}}}, 11).shape(), (Shape{2, 1}));
  EXPECT_EQ(eval("Unsqueeze", {iota({2}), s64({0, -1})}).shape(), (Shape{1, 2, 1}));
  EXPECT_EQ(eval("Unsqueeze", {iota({2})}, {{"axes", Ints{0}}}, 11).shape(), (Shape{1, 2}));
  error("Squeeze", {iota({1, 2}), s64({1})});
  error("Unsqueeze", {iota({2}), s64({0, 0})});
  EXPECT_EQ(error("Unsqueeze", {iota({1, 1, 1, 1, 1, 1, 1, 1}), s64({0})}), Code::unsupported);  // rank 9
}

TEST(Transpose, AnyPermutation) {
  EXPECT_EQ(floats("Transpose", {iota({2, 3})}), (Floats{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(floats("Transpose", {iota({2, 2, 2})}, {{"perm", Ints{1, 2, 0}}}), (Floats{0, 4, 1, 5, 2, 6, 3, 7}));
  EXPECT_EQ(floats("Transpose", {iota({2, 2, 2})}, {{"perm", Ints{1, 0, 2}}}), (Floats{0, 1, 4, 5, 2, 3, 6, 7}));
  error("Transpose", {iota({2, 3})}, {{"perm", Ints{0, 0}}});
  error("Transpose", {iota({2, 3})}, {{"perm", Ints{0, 2}}});
}

TEST(Slice, StepsNegativeBoundsAndBothForms) {
  const Tensor x = iota({2, 4});
  EXPECT_EQ(floats("Slice", {x}, {{"starts", Ints{1}}, {"ends", Ints{3}}, {"axes", Ints{1}}}, 9), (Floats{1, 2, 5, 6}));
  EXPECT_EQ(floats("Slice", {x, s64({-3}), s64({1000}), s64({-1}), s64({2})}), (Floats{1, 3, 5, 7}));
  EXPECT_EQ(floats("Slice", {x, s64({-1}), s64({-1000}), s64({1}), s64({-1})}), (Floats{3, 2, 1, 0, 7, 6, 5, 4}));
  EXPECT_EQ(eval("Slice", {x, s64({3}), s64({1}), s64({1})}).shape(), (Shape{2, 0}));
  EXPECT_EQ(floats("Slice", {x, s64({0}), s64({4}), s64({1}), s64({std::numeric_limits<int64_t>::max()})}), (Floats{0, 4}));
  error("Slice", {x, s64({0}), s64({1}), s64({1}), s64({0})});
  error("Slice", {x, s64({0}), s64({1}), s64({2})});
  error("Slice", {x, s64({0, 0}), s64({1})});
}

TEST(ConcatSplit, AlongAnyAxis) {
  EXPECT_EQ(floats("Concat", {iota({2, 1}), iota({2, 2})}, {{"axis", int64_t(-1)}}), (Floats{0, 0, 1, 1, 2, 3}));
  EXPECT_EQ(floats("Concat", {iota({1, 2}), iota({2, 2})}, {{"axis", int64_t(0)}}), (Floats{0, 1, 0, 1, 2, 3}));
  error("Concat", {iota({2, 1}), iota({3, 1})}, {{"axis", int64_t(1)}});
  const Tensor x = iota({2, 3});
  Expected<std::vector<Tensor>> parts = eval_node("Split", {x, s64({1, 2})}, {{"axis", int64_t(1)}}, 13, 2);
  ASSERT_TRUE(parts) << parts.status().text();
  EXPECT_EQ(values_of<float>((*parts)[0]), (Floats{0, 3}));
  EXPECT_EQ(values_of<float>((*parts)[1]), (Floats{1, 2, 4, 5}));
  parts = eval_node("Split", {iota({7})}, {{"num_outputs", int64_t(3)}}, 18, 3);
  ASSERT_TRUE(parts) << parts.status().text();
  EXPECT_EQ(values_of<float>((*parts)[2]), Floats{6});
  EXPECT_FALSE(eval_node("Split", {x, s64({1, 1})}, {{"axis", int64_t(1)}}, 13, 2));
  EXPECT_FALSE(eval_node("Split", {x, s64({-1, 4})}, {{"axis", int64_t(1)}}, 13, 2));
}

TEST(Pad, Modes) {
  const Tensor x = iota({2, 3});
  EXPECT_EQ(floats("Pad", {x}, {{"pads", Ints{0, 1, 1, 0}}, {"value", 9.0f}}, 10), (Floats{9, 0, 1, 2, 9, 3, 4, 5, 9, 9, 9, 9}));
  EXPECT_EQ(floats("Pad", {x, s64({0, -1, 0, 1})}), (Floats{1, 2, 0, 4, 5, 0}));
  EXPECT_EQ(floats("Pad", {x, s64({0, 2, 0, 1})}, {{"mode", std::string("reflect")}}), (Floats{2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4}));
  EXPECT_EQ(floats("Pad", {x, s64({0, 1, 0, 1})}, {{"mode", std::string("edge")}}), (Floats{0, 0, 1, 2, 2, 3, 3, 4, 5, 5}));
  EXPECT_EQ(floats("Pad", {x, s64({1, 0}), f32({}, {7}), s64({1})}, {}, 18), (Floats{7, 0, 1, 2, 7, 3, 4, 5}));
  error("Pad", {x, s64({0, 0, 0})});
  error("Pad", {x, s64({-3, 0, 0, 0})});
  error("Pad", {x, s64({0, 3, 0, 0})}, {{"mode", std::string("reflect")}});
}

TEST(Gather, IndicesAreChecked) {
  EXPECT_EQ(floats("Gather", {iota({3, 2}), s64({2, -3})}), (Floats{4, 5, 0, 1}));
  EXPECT_EQ(floats("Gather", {iota({2, 3}), s64({}, {1})}, {{"axis", int64_t(1)}}), (Floats{1, 4}));
  EXPECT_EQ(error("Gather", {iota({3, 2}), s64({3})}), Code::invalid_argument);
  error("Gather", {iota({3, 2}), s64({-4})});
}

TEST(Generators, ExpandTileRangeShapeConstantOfShape) {
  EXPECT_EQ(floats("Expand", {f32({2, 1}, {1, 2}), s64({2, 1, 2})}), (Floats{1, 1, 2, 2, 1, 1, 2, 2}));
  EXPECT_EQ(floats("Tile", {f32({1, 2}, {1, 2}), s64({2, 2})}), (Floats{1, 2, 1, 2, 1, 2, 1, 2}));
  EXPECT_EQ(ints("Range", {s64({}, {10}), s64({}, {4}), s64({}, {-3})}), (Ints{10, 7}));
  EXPECT_EQ(ints("Shape", {iota({2, 3, 4})}, {{"start", int64_t(-2)}}, 15), (Ints{3, 4}));
  EXPECT_EQ(ints("Size", {iota({2, 3, 4})}), Ints{24});
  EXPECT_EQ(ints("ConstantOfShape", {s64({2})}, {{"value", s64({1}, {7})}}), (Ints{7, 7}));
  error("Range", {s64({}, {0}), s64({}, {1}), s64({}, {0})});
  error("ConstantOfShape", {s64({-1})});
  error("Tile", {iota({2}), s64({-1})});
}

TEST(DepthToSpace, BothModesAndBack) {
  const Tensor x = iota({1, 8, 1, 1});
  EXPECT_EQ(floats("DepthToSpace", {x}, {{"blocksize", int64_t(2)}}), (Floats{0, 2, 4, 6, 1, 3, 5, 7}));
  EXPECT_EQ(floats("DepthToSpace", {x}, {{"blocksize", int64_t(2)}, {"mode", std::string("CRD")}}), (Floats{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(floats("SpaceToDepth", {iota({1, 1, 2, 2})}, {{"blocksize", int64_t(2)}}), (Floats{0, 1, 2, 3}));
}

TEST(Reduce, AxesAsAttributeAndAsInput) {
  const Tensor x = iota({2, 3});
  EXPECT_EQ(floats("ReduceSum", {x, s64({1})}), (Floats{3, 12}));
  EXPECT_EQ(floats("ReduceSum", {x}, {{"axes", Ints{0}}, {"keepdims", int64_t(0)}}, 11), (Floats{3, 5, 7}));
  EXPECT_EQ(floats("ReduceMean", {x}, {{"axes", Ints{-1}}}), (Floats{1, 4}));
  EXPECT_EQ(floats("ReduceMax", {x}), Floats{5});
  EXPECT_EQ(floats("ReduceMin", {x, s64({0})}, {}, 18), (Floats{0, 1, 2}));
  EXPECT_EQ(floats("ReduceProd", {f32({3}, {2, 3, 4})}), Floats{24});
  EXPECT_EQ(floats("ReduceL1", {f32({2}, {-2, 3})}), Floats{5});
  EXPECT_EQ(floats("ReduceL2", {f32({2}, {3, -4})}), Floats{5});
  EXPECT_EQ(ints("ReduceSum", {s64({2, 2}, {1, 2, 3, 4})}), Ints{10});
  EXPECT_EQ(floats("ReduceSum", {x, s64(Ints{})}, {{"noop_with_empty_axes", int64_t(1)}}), (Floats{0, 1, 2, 3, 4, 5}));
  error("ReduceSum", {x, s64({2})});
}

TEST(Reduce, ArgMaxTiesAndSoftmaxByOpset) {
  EXPECT_EQ(ints("ArgMax", {f32({1, 4}, {1, 3, 3, 2})}, {{"axis", int64_t(1)}}), Ints{1});
  EXPECT_EQ(ints("ArgMax", {f32({1, 4}, {1, 3, 3, 2})}, {{"axis", int64_t(1)}, {"select_last_index", int64_t(1)}}), Ints{2});
  EXPECT_EQ(ints("ArgMin", {f32({2, 2}, {4, 3, 2, 9})}), (Ints{1, 0}));
  // Equal values: before opset 13 the row is everything from axis 1 on, later the last dimension alone.
  const Tensor x = f32({1, 2, 2}, {1, 1, 1, 1});
  EXPECT_EQ(floats("Softmax", {x}, {}, 11), Floats(4, 0.25f));
  EXPECT_EQ(floats("Softmax", {x}, {}, 13), Floats(4, 0.5f));
  EXPECT_EQ(floats("Softmax", {x}, {{"axis", int64_t(1)}}, 13), Floats(4, 0.5f));
}

TEST(Conv, StridesPadsDilationsGroups) {
  const Tensor ones = f32({1, 1, 3, 3}, Floats(9, 1));
  EXPECT_EQ(floats("Conv", {iota({1, 1, 3, 3}), ones}), Floats{36});
  EXPECT_EQ(floats("Conv", {f32({1, 1, 2, 2}, Floats(4, 1)), ones, f32({1}, {10})}, {{"pads", Ints{1, 1, 1, 1}}}), Floats(4, 14));
  EXPECT_EQ(floats("Conv", {iota({1, 1, 5}), f32({1, 1, 2}, {1, 10})}, {{"strides", Ints{2}}, {"dilations", Ints{2}}}), (Floats{20, 42}));
  EXPECT_EQ(floats("Conv", {iota({1, 2, 2}), f32({2, 1, 1}, {1, 10})}, {{"group", int64_t(2)}}), (Floats{0, 1, 20, 30}));
  EXPECT_EQ(eval("Conv", {iota({1, 1, 5, 5}), ones}, {{"auto_pad", std::string("SAME_UPPER")}, {"strides", Ints{2, 2}}}).shape(), (Shape{1, 1, 3, 3}));
  error("Conv", {iota({1, 1, 2, 2}), ones});
  error("Conv", {iota({1, 2, 3, 3}), ones});
  error("Conv", {iota({1, 1, 3, 3}), ones, f32({2}, {1, 2})});
  error("Conv", {iota({1, 1, 3, 3}), ones}, {{"strides", Ints{0, 1}}});
  error("Conv", {iota({1, 1, 3, 3}), ones}, {{"group", int64_t(0)}});
}

TEST(ConvTranspose, ScattersWhatConvGathers) {
  EXPECT_EQ(floats("ConvTranspose", {f32({1, 1, 2}, {1, 2}), f32({1, 1, 3}, {1, 10, 100})}, {{"strides", Ints{2}}}), (Floats{1, 10, 102, 20, 200}));
  EXPECT_EQ(floats("ConvTranspose", {f32({1, 1, 2}, {1, 2}), f32({1, 1, 2}, {1, 10}), f32({1}, {5})}, {{"pads", Ints{1, 0}}}), (Floats{17, 25}));
}

TEST(Pools, PaddingCeilAndCounts) {
  const Tensor x = iota({1, 1, 4});
  EXPECT_EQ(floats("MaxPool", {x}, {{"kernel_shape", Ints{3}}, {"strides", Ints{2}}, {"ceil_mode", int64_t(1)}}), (Floats{2, 3}));
  EXPECT_EQ(floats("AveragePool", {x}, {{"kernel_shape", Ints{2}}, {"pads", Ints{1, 0}}}), (Floats{0, 0.5f, 1.5f, 2.5f}));
  EXPECT_EQ(floats("AveragePool", {f32({1, 1, 2}, {4, 4})}, {{"kernel_shape", Ints{2}}, {"pads", Ints{1, 0}}, {"count_include_pad", int64_t(1)}}), (Floats{2, 4}));
  EXPECT_EQ(floats("GlobalAveragePool", {x}), Floats{1.5f});
  EXPECT_EQ(floats("GlobalMaxPool", {x}), Floats{3});
  EXPECT_EQ(values_of<uint8_t>(eval("MaxPool", {Tensor::from<uint8_t>(DType::u8, {1, 1, 3}, {1, 200, 3})}, {{"kernel_shape", Ints{2}}})),
            (std::vector<uint8_t>{200, 200}));
  const Expected<std::vector<Tensor>> both = eval_node("MaxPool", {x}, {{"kernel_shape", Ints{2}}, {"strides", Ints{2}}}, 13, 2);
  ASSERT_TRUE(both) << both.status().text();
  EXPECT_EQ(values_of<int64_t>((*both)[1]), (Ints{1, 3}));
  error("MaxPool", {x});
}

TEST(Products, GemmAndMatMul) {
  const Tensor a = f32({2, 2}, {1, 2, 3, 4}), b = f32({2, 2}, {5, 6, 7, 8});
  EXPECT_EQ(floats("MatMul", {a, b}), (Floats{19, 22, 43, 50}));
  EXPECT_EQ(floats("MatMul", {f32({2}, {1, 2}), b}), (Floats{19, 22}));
  EXPECT_EQ(eval("MatMul", {f32({2}, {1, 2}), f32({2}, {3, 4})}).shape(), Shape{});
  EXPECT_EQ(floats("MatMul", {f32({2, 1, 1, 2}, {1, 2, 3, 4}), f32({2, 2, 1}, {1, 1, 10, 10})}), (Floats{3, 30, 7, 70}));
  EXPECT_EQ(ints("MatMul", {s64({1, 2}, {1, 2}), s64({2, 1}, {3, 4})}), Ints{11});
  EXPECT_EQ(floats("Gemm", {a, b, f32({2}, {1, 2})}, {{"transA", int64_t(1)}, {"alpha", 2.0f}, {"beta", 10.0f}}), (Floats{62, 80, 86, 108}));
  EXPECT_EQ(floats("Gemm", {a, b, f32({2, 1}, {1, 2})}, {{"transB", int64_t(1)}}), (Floats{18, 24, 41, 55}));
  error("MatMul", {a, f32({3, 2}, Floats(6, 1))});
  error("Gemm", {a, b, f32({3}, Floats(3, 1))});
}

TEST(Normalizations, BatchLayerInstance) {
  EXPECT_EQ(floats("BatchNormalization", {iota({1, 2, 2}), f32({2}, {2, 1}), f32({2}, {1, 0}), f32({2}, {1, 2}), f32({2}, {4, 1})}, {{"epsilon", 0.0f}}),
            (Floats{0, 1, 0, 1}));
  EXPECT_EQ(floats("InstanceNormalization", {f32({1, 1, 4}, {1, 1, 3, 3}), f32({1}, {5}), f32({1}, {10})}, {{"epsilon", 0.0f}}), (Floats{5, 5, 15, 15}));
  EXPECT_EQ(floats("LayerNormalization", {f32({2, 2}, {1, 3, 0, 0}), f32({2}, {1, 2}), f32({2}, {0, 5})}, {}, 17)[3], 5.0f);
  const std::vector<Tensor> training = {f32({2, 1, 1}, {1, 3}), f32({1}, {5}), f32({1}, {1}), f32({1}, {7}), f32({1}, {1})};
  EXPECT_EQ(floats("BatchNormalization", training, {{"training_mode", int64_t(1)}, {"epsilon", 0.0f}}, 15), (Floats{-4, 6}));
}

TEST(Quantize, PerTensorAndPerAxis) {
  const Tensor zero = Tensor::from<int8_t>(DType::s8, {}, {1});
  EXPECT_EQ(values_of<int8_t>(eval("QuantizeLinear", {f32({4}, {0.25f, 0.75f, 1000, -1000}), f32({}, {0.5f}), zero})),
            (std::vector<int8_t>{1, 3, 127, -128}));  // halves go to even
  EXPECT_EQ(values_of<uint8_t>(eval("QuantizeLinear", {f32({2, 2}, {1, 2, 3, 4}), f32({2}, {1, 2})}, {{"axis", int64_t(0)}})),
            (std::vector<uint8_t>{1, 2, 2, 2}));
  EXPECT_EQ(values_of<uint8_t>(eval("QuantizeLinear", {f32({2, 2}, {1, 2, 3, 4}), f32({2}, {1, 2})})), (std::vector<uint8_t>{1, 1, 3, 2}));
  error("QuantizeLinear", {f32({2, 2}, {1, 2, 3, 4}), f32({3}, {1, 2, 3})});
  error("DequantizeLinear", {f32({2}, {1, 2}), f32({}, {1})});
}

Tensor u8(Shape shape, const std::vector<uint8_t>& values) { return Tensor::from(DType::u8, std::move(shape), values); }
Tensor s8(Shape shape, const std::vector<int8_t>& values) { return Tensor::from(DType::s8, std::move(shape), values); }

TEST(Integer, MatrixProducts) {
  const Tensor a = u8({4, 3}, {11, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0}), b = u8({3, 2}, {1, 4, 2, 5, 3, 6});
  EXPECT_EQ(values_of<int32_t>(eval("MatMulInteger", {a, b, u8({}, {12}), u8({}, {0})})),
            (std::vector<int32_t>{-38, -83, -44, -98, -50, -113, -56, -128}));
  // Sums -6 and 2, times 1 and 0.25: a half rounds to even.
  EXPECT_EQ(values_of<uint8_t>(eval("QLinearMatMul", {u8({1, 2}, {1, 3}), f32({}, {0.5f}), u8({}, {1}), s8({2, 2}, {2, 1, -3, 1}),
                                                      f32({2}, {1, 0.25f}), s8({2}, {0, 0}), f32({}, {0.5f}), u8({}, {10})})),
            (std::vector<uint8_t>{4, 10}));
  error("MatMulInteger", {a, u8({2, 2}, {1, 2, 3, 4})});
}

TEST(Integer, Convolutions) {
  const Tensor x = u8({1, 1, 2, 2}, {1, 2, 3, 4}), w = s8({1, 1, 2, 2}, {1, 1, 1, 1});
  const std::map<std::string, Attribute> pads = {{"pads", std::vector<int64_t>{1, 1, 0, 0}}};
  EXPECT_EQ(values_of<int32_t>(eval("ConvInteger", {x, w, u8({}, {1})}, pads)), (std::vector<int32_t>{0, 1, 2, 6}));
  EXPECT_EQ(values_of<int8_t>(eval("QLinearConv",
                                   {x, f32({}, {1}), u8({}, {1}), w, f32({1}, {0.5f}), s8({1}, {0}), f32({}, {1}), s8({}, {-128}),
                                    Tensor::from(DType::s32, {1}, std::vector<int32_t>{1})},
                                   pads)),
            (std::vector<int8_t>{-128, -127, -126, -124}));  // 0.5, 1, 1.5, 3.5
}

TEST(Integer, DynamicQuantizeLinear) {
  const auto y = eval_node("DynamicQuantizeLinear", {f32({6}, {0, 2, -3, -2.5f, 1.34f, 0.5f})}, {}, 13, 3);
  ASSERT_TRUE(y) << y.status().text();
  EXPECT_EQ(values_of<uint8_t>((*y)[0]), (std::vector<uint8_t>{153, 255, 0, 26, 221, 179}));
  EXPECT_EQ(values_of<float>((*y)[1]), (std::vector<float>{5.0f / 255}));
  EXPECT_EQ(values_of<uint8_t>((*y)[2]), (std::vector<uint8_t>{153}));
  const auto zeros = eval_node("DynamicQuantizeLinear", {f32({2}, {0, 0})}, {}, 13, 3);
  ASSERT_TRUE(zeros) << zeros.status().text();
  EXPECT_EQ(values_of<uint8_t>((*zeros)[0]), (std::vector<uint8_t>{0, 0}));
}

TEST(Normalization, Groups) {
  const Tensor x = f32({1, 2, 1, 2}, {1, 3, 2, 6}), two = f32({2}, {2, 3}), bias = f32({2}, {10, 20});
  const auto y = eval_node("GroupNormalization", {x, two, bias}, {{"num_groups", int64_t(2)}, {"epsilon", 0.0f}}, 21);
  ASSERT_TRUE(y) << y.status().text();
  EXPECT_EQ(values_of<float>((*y)[0]), (std::vector<float>{8, 12, 17, 23}));
  const auto old = eval_node("GroupNormalization", {f32({1, 2, 1, 2}, {1, 3, 1, 3}), f32({1}, {2}), f32({1}, {1})},
                             {{"num_groups", int64_t(1)}, {"epsilon", 0.0f}}, 18);
  ASSERT_TRUE(old) << old.status().text();
  EXPECT_EQ(values_of<float>((*old)[0]), (std::vector<float>{-1, 3, -1, 3}));
}

}  // namespace
}  // namespace octavo
