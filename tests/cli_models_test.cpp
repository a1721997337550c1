// octavo quantize, inspect, bench: from a float model to a quantized one.
#include "cli_util.h"

namespace octavo::test {
namespace {

struct ModelsTest : ::testing::Test {
  TempDir dir;
  std::string model = save(small_cnn(), dir / "float.onnx"), calib = images_npz(dir / "calib.npz", 20), out = dir / "int8.onnx";

  Result quantize(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"quantize", model, "-o", out, "--calib", calib, "--force-int8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return octavo(arguments);
  }
};

TEST_F(ModelsTest, QuantizeReports) {
  const Result result = quantize({"--json", "--recipe", "x86_static"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.err, "");  // no progress bar where stderr is no terminal
  const Json json = result.json();
  EXPECT_EQ(json["samples"], 20);
  EXPECT_EQ(json["recipe"], "x86_static");
  EXPECT_EQ(json["bytes_before"], std::filesystem::file_size(model));
  EXPECT_EQ(json["bytes_after"], std::filesystem::file_size(out));
  EXPECT_GE(json["quantized"], 2);
  EXPECT_TRUE(json["kept"].is_array());
  EXPECT_DOUBLE_EQ(json["int8_mac_share"], 1);
  EXPECT_EQ(dir.files(), (std::vector<std::string>{"calib.npz", "float.onnx", "int8.onnx"}));
}

TEST_F(ModelsTest, ThreadsDoNotChangeTheModel) {
  ASSERT_EQ(quantize().code, 0);
  const std::string one = read_file(out);
  ASSERT_EQ(quantize({"--threads", "3"}).code, 0);
  EXPECT_EQ(read_file(out), one);
}

TEST_F(ModelsTest, SamplesLimitsCalibration) {
  EXPECT_EQ(quantize({"--json", "--samples", "3"}).json()["samples"], 3);
  expect_bad_input(quantize({"--samples", "0"}), "--samples");
}

TEST_F(ModelsTest, OpenDimensionsAreThoseOfTheSamples) {
  Graph open = small_cnn();
  open.inputs[0].dims[2] = {-1, "height"};
  save(open, model);
  const Result result = quantize({"--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_DOUBLE_EQ(result.json()["int8_mac_share"], 1);
  std::filesystem::remove(out);
  const std::vector<std::string> without_samples = {"quantize", model, "-o", out, "--recipe", "dynamic", "--force-int8"};
  expect_bad_input(octavo(without_samples), "dimension 2 of input 'image' is open");
  EXPECT_FALSE(std::filesystem::exists(out)) << "said before anything is written";
}

// An If on an input whose branches give different shapes, as of a decoder that was merged with its form for a cache.
TEST_F(ModelsTest, AnInputChoosesTheBranch) {
  Graph inner[2];
  for (Graph& branch : inner) {
    branch.inputs = {{"x", DType::f32, {}, false, false}, {"w", DType::f32, {}, false, false}};
    branch.captures = 2;
    branch.add_node("MatMul", "product", {"x", "w"});
    branch.outputs = {{"product", DType::f32, {}, false}};
  }
  inner[0].add_node("Flatten", "flat", {"product"}, {{"axis", int64_t{0}}});
  inner[0].outputs[0].name = "flat";
  Graph merged;
  merged.inputs = {{"x", DType::f32, {{-1, "n"}, {4, ""}}, true}, {"cached", DType::boolean, {{1, ""}}, true}};
  merged.add_initializer("w", Tensor::from(DType::f32, {4, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  merged.add_node("If", "y", {"cached", "x", "w"},
                  {{"then_branch", std::make_shared<const Graph>(inner[0])}, {"else_branch", std::make_shared<const Graph>(inner[1])}});
  merged.outputs = {{"y", DType::f32, {}, false}};
  save(merged, model);
  const std::vector<std::string> inspect = {"inspect", model, "--shape", "x=3x4", "--json"};
  expect_bad_input(octavo(inspect), "If 'y': its branches give f32[1,6] and f32[3,2]");
  for (const std::string value : {"cached=1", "cached=0"}) {
    std::vector<std::string> arguments = inspect;
    arguments.insert(arguments.end(), {"--value", value});
    const Result result = octavo(arguments);
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.json()["nodes"][0]["op_type"], "MatMul");
  }
  for (const std::string value : {"cached=2", "cached=yes", "x=1", "cached="}) {
    std::vector<std::string> arguments = inspect;
    arguments.insert(arguments.end(), {"--value", value});
    expect_bad_input(octavo(arguments), "--value");
  }
  const Result result = octavo({"quantize", model, "-o", out, "--recipe", "dynamic", "--force-int8", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_DOUBLE_EQ(result.json()["int8_mac_share"], 1);
}

TEST_F(ModelsTest, RecipeFromFile) {
  const std::string recipe =
      write_file(dir / "recipe.json", R"({"base": "x86_static", "rules": [{"node_name": "conv", "config": null}]})");
  const Json json = quantize({"--json", "--recipe", recipe}).json();
  bool kept = false;
  for (const Json& k : json["kept"]) kept |= k["name"] == "conv" && k["reason"] != "";
  EXPECT_TRUE(kept) << json;
  EXPECT_LT(json["int8_mac_share"], 1);
  write_file(recipe, R"({"base": "x86_static", "rulez": []})");
  expect_bad_input(quantize({"--recipe", recipe}), "rulez");
  write_file(recipe, "{");
  expect_bad_input(quantize({"--recipe", recipe}), "recipe.json");
  expect_bad_input(quantize({"--recipe", "x86_statik"}), "neither a preset");
}

TEST_F(ModelsTest, StatesOfSharesGiveTheModelOfOneRun) {
  ASSERT_EQ(quantize().code, 0);
  const std::string whole = read_file(out);
  const auto calibrate = [&](const std::string& shard, const std::string& state) {
    return octavo({"calibrate", model, "--calib", calib, "--shard", shard, "-o", state, "--json"});
  };
  std::vector<std::string> arguments = {"quantize", model, "-o", dir / "sharded.onnx", "--force-int8", "--states"};
  int64_t samples = 0;
  for (const int i : {2, 0, 1}) {
    const std::string state = dir / ("state" + std::to_string(i));
    const Result result = calibrate(std::to_string(i) + "/3", state);
    ASSERT_EQ(result.code, 0) << result.err;
    samples += result.json()["samples"].get<int64_t>();
    arguments.push_back(state);
  }
  EXPECT_EQ(samples, 20);
  ASSERT_EQ(octavo(arguments).code, 0);
  EXPECT_EQ(read_file(dir / "sharded.onnx"), whole);

  arguments.push_back(arguments.back());
  expect_bad_input(octavo(arguments), "was observed already");
  // Samples of further files have numbers of their own; the same numbers again would be the same samples.
  ASSERT_EQ(octavo({"calibrate", model, "--calib", calib, "--first", "20", "-o", dir / "more"}).code, 0);
  ASSERT_EQ(octavo({"calibrate", model, "--calib", calib, "-o", dir / "all"}).code, 0);
  const std::vector<std::string> both = {"quantize", model, "-o", dir / "both.onnx", "--force-int8", "--states", dir / "all"};
  for (const auto& [state, code] : {std::pair("more", 0), std::pair("all", 2)}) {
    std::vector<std::string> with = both;
    with.push_back(dir / state);
    EXPECT_EQ(octavo(with).code, code);
  }
  expect_bad_input(octavo({"calibrate", model, "--calib", calib, "--first", "-1", "-o", dir / "s"}), "--first");
  for (const char* shard : {"3/3", "1", "-1/2", "1/0", "a/b", "1/2x"}) expect_bad_input(calibrate(shard, dir / "s"), "--shard");
  write_file(dir / "state0", "OCTCALIB");
  expect_bad_input(octavo({"quantize", model, "-o", out, "--states", dir / "state0"}), "state0: calibration state: cut short");
  expect_bad_input(octavo({"quantize", model, "-o", out, "--calib", calib, "--states", dir / "state1"}), "--states");
}

TEST_F(ModelsTest, RecipesWithoutStaticRangesNeedNoCalibration) {
  for (const char* recipe : {"dynamic", "dynamic_per_row", "weight_only"}) {
    const Result result = octavo({"quantize", model, "-o", out, "--recipe", recipe, "--json"});
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.json()["samples"], 0);
  }
}

TEST_F(ModelsTest, QuantizeNeverOverwritesItsInputs) {
  const std::string before = read_file(model), data = read_file(calib);
  for (const std::string& target : {model, calib, dir.path() + "/./float.onnx"}) {
    out = target;
    expect_bad_input(quantize(), "will not be overwritten");
  }
  EXPECT_EQ(read_file(model), before);
  EXPECT_EQ(read_file(calib), data);
}

TEST_F(ModelsTest, QuantizeFailsEarlyAndLeavesTheOldOutput) {
  write_file(out, "old");
  write_file(calib, zip({{"image.npy", npy_f32("(2, 3, 8, 4)", std::vector<float>(192, 1))}}));
  expect_bad_input(quantize(), "'image': shape [1,3,8,4] where the model's input 'image' has [N,3,8,8]");
  EXPECT_EQ(read_file(out), "old");
  out = dir / "no/where.onnx";
  expect_bad_input(quantize(), "no such directory");
  out = dir.path();
  expect_bad_input(quantize(), "is a directory");
  out = dir / "int8.onnx";
  expect_bad_input(octavo({"quantize", model, "-o", out}), "--calib");
  expect_bad_input(octavo({"quantize", model, "--calib", calib}), "--output");
  EXPECT_EQ(dir.files(), (std::vector<std::string>{"calib.npz", "float.onnx", "int8.onnx"}));
}

TEST_F(ModelsTest, InspectSaysWhatRunsWhere) {
  ASSERT_EQ(quantize().code, 0);
  const Json before = octavo({"inspect", model, "--json"}).json(), after = octavo({"inspect", out, "--json"}).json();
  EXPECT_EQ(before["int8_mac_share"], 0.0);
  EXPECT_EQ(after["int8_mac_share"], 1.0);
  EXPECT_EQ(before["macs"], 64 * 27 * 64 + 64 * 4);
  EXPECT_EQ(after["macs"], before["macs"]);
  EXPECT_LT(after["weight_bytes"], before["weight_bytes"]);
  EXPECT_EQ(after["peak_bytes"], after["weight_bytes"].get<int64_t>() + after["constant_bytes"].get<int64_t>() +
                                     after["arena_bytes"].get<int64_t>() + after["scratch_bytes"].get<int64_t>());
  bool conv = false;
  for (const Json& node : after["nodes"]) {
    for (const char* key : {"name", "op_type", "fused", "precision", "kernel", "why_not_int8", "macs", "output_shape"})
      EXPECT_TRUE(node.contains(key)) << key;
    if (node["op_type"] != "Conv") continue;
    conv = true;
    EXPECT_EQ(node["precision"], "int8");
    EXPECT_TRUE(node["kernel"].get<std::string>().starts_with("brgemm_u8s8_")) << node;
  }
  EXPECT_TRUE(conv);
  for (const Json& node : before["nodes"]) {
    if (node["op_type"] == "Conv") {
      EXPECT_NE(node["why_not_int8"], "");
    }
  }
  const Json batch = octavo({"inspect", out, "--shape", "image=2x3x8x8", "--json"}).json();
  EXPECT_EQ(batch["macs"], 2 * (64 * 27 * 64 + 64 * 4));
  EXPECT_NE(octavo({"inspect", out}).out.find("100.00 %"), std::string::npos);
}

TEST_F(ModelsTest, InspectStrict) {
  ASSERT_EQ(quantize().code, 0);
  const Result result = octavo({"inspect", out, "--strict", "--json"});
  EXPECT_EQ(result.code, 0) << result.out;
  EXPECT_EQ(result.json()["strict"], "ok");

  // A sine between Q and DQ has no int8 kernel.
  Graph g = relu_model();
  g.nodes.clear();
  g.add_initializer("scale", Tensor::from(DType::f32, {}, std::vector<float>{0.1f}));
  g.add_initializer("zero", Tensor::from(DType::u8, {}, std::vector<uint8_t>{128}));
  g.add_node("QuantizeLinear", "q1", {"x", "scale", "zero"});
  g.add_node("DequantizeLinear", "d1", {"q1", "scale", "zero"});
  g.add_node("Softmax", "s", {"d1"}, {{"axis", int64_t(0)}});
  g.add_node("QuantizeLinear", "q2", {"s", "scale", "zero"});
  g.add_node("DequantizeLinear", "y", {"q2", "scale", "zero"});
  const Result bad = octavo({"inspect", save(g, dir / "softmax.onnx"), "--strict", "--json"});
  EXPECT_EQ(bad.code, 1) << bad.err;
  EXPECT_NE(bad.json()["strict"].get<std::string>().find("'s'"), std::string::npos) << bad.out;
}

TEST_F(ModelsTest, Shapes) {
  for (const char* text :
       {"image", "image=", "image=1x", "image=0x3", "image=1x-3x8x8", "image=1,3,8,8", "image=99999999999999999999"})
    expect_bad_input(octavo({"inspect", model, "--shape", text}), "");
  expect_bad_input(octavo({"inspect", model, "--shape", "picture=1x3x8x8"}), "no input 'picture' (its inputs: image)");
  expect_bad_input(octavo({"inspect", model, "--shape", "image=1x3x8"}), "image");
  expect_bad_input(octavo({"inspect", model, "--shape", "image=1x4x8x8"}), "image");
}

TEST_F(ModelsTest, BenchTimesBothAndTheNodes) {
  ASSERT_EQ(quantize().code, 0);
  const Result result = octavo({"bench", out, "--compare", model, "--runs", "10", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const Json json = result.json();
  EXPECT_EQ(json["runs"], 10);
  EXPECT_GT(json["median_ms"], 0);
  EXPECT_DOUBLE_EQ(json["ratio"], json["compare_median_ms"].get<double>() / json["median_ms"].get<double>());
  EXPECT_LE(json["p10_ms"], json["median_ms"]);
  EXPECT_LE(json["median_ms"], json["p90_ms"]);
  const Json nodes = octavo({"inspect", out, "--json"}).json()["nodes"];
  ASSERT_EQ(json["nodes"].size(), nodes.size());
  double share = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    EXPECT_EQ(json["nodes"][i]["kernel"], nodes[i]["kernel"]);
    share += json["nodes"][i]["share"].get<double>();
  }
  EXPECT_NEAR(share, 1, 1e-9);
  EXPECT_EQ(octavo({"bench", out, "--runs", "3", "--threads", "2", "--data", calib}).code, 0);
  expect_bad_input(octavo({"bench", out, "--runs", "0"}), "--runs");
  expect_bad_input(octavo({"bench", out, "--data", calib, "--shape", "image=1x3x8x8"}), "shapes of their own");
  expect_bad_input(octavo({"bench", out, "--compare", dir / "no.onnx"}), "no.onnx");
}

TEST_F(ModelsTest, EvalOfTheQuantizedModel) {
  ASSERT_EQ(quantize().code, 0);
  const std::string data = images_npz(dir / "data.npz", 10, {0, 1, 2, 3, 0, 1, 2, 3, 0, 1});
  const Json json = octavo({"eval", model, "--data", data, "--compare", out, "--json"}).json();
  EXPECT_GT(json["sqnr_db"], 15) << json;  // 8 bits of noise through two layers
  EXPECT_GE(json["agreement"], 0.8) << json;
}

TEST_F(ModelsTest, TimesBothFormsAndKeepsTheFaster) {
  const Result result = octavo({"quantize", model, "-o", out, "--calib", calib, "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const Json timings = result.json()["timings"];
  ASSERT_GT(timings.size(), 0u);
  const Json nodes = octavo({"inspect", out, "--json"}).json()["nodes"];
  for (const Json& t : timings)
    for (const Json& node : nodes)
      if (node["name"] == t["node"]) {
        EXPECT_EQ(node["precision"], t["int8"] ? "int8" : "float") << t;
        EXPECT_GT(node["int8_ms"], 0.0) << t;
        EXPECT_GT(node["float_ms"], 0.0) << t;
      }
  // Decided anew for a model in which all is int8.
  ASSERT_EQ(quantize().code, 0);
  const std::string tuned = dir / "tuned.onnx";
  const Result again = octavo({"tune", out, "-o", tuned, "--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_GT(again.json()["timings"].size(), 0u);
  EXPECT_EQ(octavo({"eval", tuned, "--data", calib, "--compare", model, "--json"}).code, 0);
  expect_bad_input(octavo({"tune", out, "-o", out}), "will not be overwritten");
}

TEST_F(ModelsTest, AnalyzeRanksNodesAndProposesARecipe) {
  ASSERT_EQ(quantize().code, 0);
  const std::string proposal = dir / "proposal.json";
  const Result result = octavo({"analyze", model, out, "--data", calib, "--propose", proposal, "--min-sqnr", "200", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;  // only the float model itself is so near: all steps
  EXPECT_GE(result.json()["float_nodes"].size(), result.json()["steps"].size());
  const Result all = octavo({"analyze", model, out, "--data", calib, "--json"});
  ASSERT_EQ(all.code, 0) << all.err;
  const Json json = all.json();
  ASSERT_GE(json["steps"].size(), 2u);
  const double now = json["sqnr_db"];
  for (size_t i = 1; i < json["steps"].size(); ++i)
    if (json["steps"][i]["alone_db"].is_number()) {
      EXPECT_LE(json["steps"][i - 1]["alone_db"], json["steps"][i]["alone_db"]);
    }
  const Result better = octavo(
      {"analyze", model, out, "--data", calib, "--propose", proposal, "--min-sqnr", std::to_string(now + 1), "--json"});
  ASSERT_EQ(better.code, 0) << better.err;
  EXPECT_GT(better.json()["float_nodes"].size(), 0u);
  ASSERT_EQ(quantize({"--recipe", proposal}).code, 0);
  EXPECT_GE(octavo({"analyze", model, out, "--data", calib, "--json"}).json()["sqnr_db"], now + 0.5);

  const Result observers = octavo({"analyze", model, "--data", calib, "--observers", "--calib", calib, "--json"});
  ASSERT_EQ(observers.code, 0) << observers.err;
  EXPECT_EQ(observers.json()["observers"].size(), 6u);
  expect_bad_input(octavo({"analyze", model, "--data", calib}), "INT8");
}

TEST_F(ModelsTest, OptionsAgainstLoss) {
  const Json changes = quantize({"--equalize", "--smooth", "0.5", "--correct-bias", "--json"}).json();
  for (const char* what : {"equalized_pairs", "smoothed_normalizations", "corrected_biases"})
    EXPECT_TRUE(changes[what].is_number()) << what;
  EXPECT_GT(changes["corrected_biases"], 0);
  EXPECT_GT(octavo({"eval", out, "--data", calib, "--compare", model, "--json"}).json()["sqnr_db"], 20);
  expect_bad_input(octavo({"quantize", model, "-o", out, "--recipe", "weight_only", "--smooth", "0.5"}), "--smooth: needs --calib");
}

}  // namespace
}  // namespace octavo::test
