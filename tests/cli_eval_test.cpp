// octavo eval, and DATA as all commands read it.
#include "cli_util.h"

namespace octavo::test {
namespace {

struct EvalTest : ::testing::Test {
  TempDir dir;
  std::string model = save(relu_model(-1, 8), dir / "relu.onnx");

  // Three samples of eight scores; the classes rank 7, 6, 5, ...
  static std::vector<float> scores() {
    std::vector<float> x;
    for (int sample = 0; sample < 3; ++sample)
      for (int c = 0; c < 8; ++c) x.push_back(float(c + 1));
    return x;
  }
  std::string data(const std::vector<ZipEntry>& entries) { return write_file(dir / "data.npz", zip(entries)); }
  static ZipEntry x() { return {"x.npy", npy_f32("(3, 8)", scores())}; }
  static ZipEntry labels(const std::vector<int64_t>& values) {
    return {"labels.npy", npy("<i8", std::string("(") + std::to_string(values.size()) + ",)", bytes_of(values))};
  }
  Result eval(const std::vector<ZipEntry>& entries) { return octavo({"eval", model, "--data", data(entries), "--json"}); }
};

TEST_F(EvalTest, TopOneAndTopFive) {
  const Result result = eval({x(), labels({7, 3, 2})});  // ranks 1, 5, 6
  ASSERT_EQ(result.code, 0) << result.err;
  const Json json = result.json();
  EXPECT_EQ(json["samples"], 3);
  EXPECT_DOUBLE_EQ(json["top1"], 1.0 / 3);
  EXPECT_DOUBLE_EQ(json["top5"], 2.0 / 3);
  EXPECT_FALSE(json.contains("agreement"));
}

TEST_F(EvalTest, WithoutLabelsThereIsNoAccuracy) {
  const Json json = eval({x()}).json();
  EXPECT_EQ(json["samples"], 3);
  EXPECT_TRUE(json["top1"].is_null());
  EXPECT_TRUE(json["top5"].is_null());
}

TEST_F(EvalTest, AmongEqualScoresTheLowerClassRanksFirst) {
  const ZipEntry zeros = {"x.npy", npy_f32("(3, 8)", std::vector<float>(24, 0))};
  const Json json = eval({zeros, labels({0, 4, 5})}).json();
  EXPECT_DOUBLE_EQ(json["top1"], 1.0 / 3);
  EXPECT_DOUBLE_EQ(json["top5"], 2.0 / 3);
}

TEST_F(EvalTest, CompareGivesAgreementAndSqnr) {
  Graph g = relu_model(-1, 8);
  g.nodes.clear();
  g.add_initializer("k", Tensor::from(DType::f32, {1, 8}, std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f}));
  g.add_node("Mul", "y", {"x", "k"});
  const std::string half = save(g, dir / "half.onnx");
  const std::string file = data({x(), labels({7, 3, 2})});
  const Result result = octavo({"eval", model, "--data", file, "--compare", half, "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const Json json = result.json();
  EXPECT_DOUBLE_EQ(json["compare_top1"], 1.0 / 3);
  EXPECT_DOUBLE_EQ(json["compare_top5"], 2.0 / 3);
  EXPECT_DOUBLE_EQ(json["agreement"], 1);
  EXPECT_NEAR(json["sqnr_db"], 6.0206, 1e-4);  // sum x^2 / sum (x/2)^2 = 4
  EXPECT_EQ(json["identical"], false);

  const Json same = octavo({"eval", model, "--data", file, "--compare", model, "--json"}).json();
  EXPECT_EQ(same["identical"], true);
  EXPECT_TRUE(same["sqnr_db"].is_null());  // infinite
  EXPECT_EQ(same["agreement"], 1.0);
}

TEST_F(EvalTest, StaticBatchesAreFedInGroups) {
  save(relu_model(3, 8), model);
  EXPECT_DOUBLE_EQ(eval({x(), labels({7, 3, 2})}).json()["top5"], 2.0 / 3);
  save(relu_model(2, 8), model);
  expect_bad_input(eval({x()}), "3 samples cannot be split into the model's batches of 2");
  const Result limited = octavo({"eval", model, "--data", data({x()}), "--samples", "2", "--json"});
  EXPECT_EQ(limited.json()["samples"], 2) << limited.err;
}

// Inputs that are scalars, or whose batch is not in front: each sample is a whole input.
TEST_F(EvalTest, SamplesMayBeWholeInputs) {
  Graph g = relu_model(-1, 8);
  g.nodes.clear();
  g.inputs = {{"x", DType::f32, {{2, ""}, {-1, "N"}, {4, ""}}}, {"k", DType::f32, {}}};
  g.add_node("Mul", "y", {"x", "k"});
  g.outputs = {{"y", DType::f32, {{2, ""}, {-1, "N"}, {4, ""}}}};
  save(g, model);
  const ZipEntry k{"k.npy", npy_f32("(3,)", {1, -1, 2})};
  const Result whole = eval({{"x.npy", npy_f32("(3, 2, 1, 4)", scores())}, k, labels({7, 7, 0})});
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(whole.json()["samples"], 3);
  EXPECT_DOUBLE_EQ(whole.json()["top1"], 1.0 / 3);  // of the second sample class 0 is the largest
  expect_bad_input(eval({{"x.npy", npy_f32("(3, 2, 2, 2)", scores())}, k}), "shape [2,2,2] where the model's input 'x' has [2,N,4]");
  expect_bad_input(eval({{"x.npy", npy_f32("(2, 1, 4)", {1, 2, 3, 4, 5, 6, 7, 8})}, {"k.npy", npy_f32("(2,)", {1, 2})}}),
                   "'x' and 'k' have different batch sizes: stack whole inputs");
}

TEST_F(EvalTest, WrongData) {
  expect_bad_input(eval({}), "data.npz");
  expect_bad_input(eval({labels({1, 2, 3})}), "no array 'x'");
  expect_bad_input(eval({{"x.npy", npy_f32("(3, 4, 2)", scores())}}),
                   "array 'x': shape [4,2] where the model's input 'x' has [N,8]");
  expect_bad_input(eval({{"x.npy", npy_f32("(0, 8)", {})}}), "holds no samples");
  expect_bad_input(eval({{"x.npy", npy_f32("()", {1})}}), "holds no samples");
  expect_bad_input(eval({x(), labels({1, 2})}), "'labels': shape [2] where there are 3 samples");
  expect_bad_input(eval({x(), labels({1, 2, 8})}), "sample 2: label 8 where the model has 8 classes");
  expect_bad_input(eval({x(), labels({1, -2, 8})}), "sample 1: label -2");
  expect_bad_input(eval({x(), {"labels.npy", npy_f32("(3,)", {1, 2, 3})}}), "'labels': f32 cannot become");
  expect_bad_input(octavo({"eval", model, "--data", dir / "no.npz"}), "no.npz: cannot open");
  expect_bad_input(octavo({"eval", model, "--data", model}), "not a readable .npz file");
  expect_bad_input(octavo({"eval", model, "--data", data({x()}), "--output", "z"}), "no output 'z' (its outputs: y)");
}

TEST_F(EvalTest, InputsMustAgreeOnTheSamples) {
  Graph g = relu_model(-1, 8);
  g.nodes.clear();
  g.inputs.push_back({"z", DType::f32, {{-1, "N"}, {8, ""}}});
  g.add_node("Add", "y", {"x", "z"});
  save(g, model);
  expect_bad_input(eval({x(), {"z.npy", npy_f32("(2, 8)", std::vector<float>(16, 1))}}), "'z': 2 samples where array 'x' has 3");
}

TEST_F(EvalTest, HostileArchives) {
  expect_bad_input(eval({x(), x()}), "'x' occurs twice");
  ZipEntry bomb = x();
  bomb.method = 8;
  bomb.size = 4'000'000'000;
  expect_bad_input(eval({bomb}), "compressed bytes can hold");
  ZipEntry liar = x();
  liar.size += 8;
  expect_bad_input(eval({liar}), "array 'x'");
  ZipEntry garbage = x();
  garbage.method = 8;  // not a deflate stream
  expect_bad_input(eval({garbage}), "array 'x'");
  ZipEntry corrupt = x();
  corrupt.checksum ^= 1;
  expect_bad_input(eval({corrupt}), "array 'x'");
  ZipEntry exotic = x();
  exotic.method = 14;  // LZMA
  expect_bad_input(eval({exotic}), "compression method 14 is not supported");
  ZipEntry short_array = {"x.npy", x().data.substr(0, 100)};
  expect_bad_input(eval({short_array}), "array 'x'");
}

TEST_F(EvalTest, EveryTruncationOfAnArchiveIsAnError) {
  const std::string whole = zip({x(), labels({7, 3, 2})});
  for (size_t size = 0; size < whole.size(); size += 3)
    expect_bad_input(octavo({"eval", model, "--data", write_file(dir / "data.npz", whole.substr(0, size))}), "data.npz");
}

}  // namespace
}  // namespace octavo::test
