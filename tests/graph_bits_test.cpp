// The output bytes of whole models are equal on every instruction set of this machine and for every number of threads;
// the results are those that others expect.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "octavo/session.h"
#include "paths.h"
#include "test_util.h"

namespace octavo {
namespace {

const std::string kShared = std::string(test::kSharedDir) + "/data/";
const std::string kDemo = std::string(test::kSourceDir) + "/examples/demo/digits_float.onnx";

std::map<std::string, Tensor> noise_inputs(const Graph& graph, uint64_t seed) {
  std::map<std::string, Tensor> inputs;
  test::Noise noise(seed);
  for (const ValueInfo& info : graph.inputs) {
    Shape shape;
    for (const Dim& d : info.dims) shape.push_back(d.size < 0 ? 1 : d.size);
    Tensor t = *Tensor::create(info.dtype, shape);
    noise.fill(static_cast<float*>(t.mutable_data()), size_t(t.count()));
    inputs[info.name] = t;
  }
  return inputs;
}

std::vector<Tensor> run(const Graph& graph, const std::map<std::string, Tensor>& inputs, Isa isa, int threads) {
  CompileOptions options;
  options.isa = isa;
  options.use_isa = true;
  Expected<Session> session = Session::create(graph, threads, options);
  EXPECT_TRUE(bool(session)) << session.status().text();
  if (!session) return {};
  Expected<std::vector<Tensor>> result = session->run(inputs);
  EXPECT_TRUE(bool(result)) << result.status().text();
  return result ? *result : std::vector<Tensor>();
}

// For same_bytes.sh, which compares machines: outputs go to a file named after the test, in the folder OCTAVO_WRITE_BITS.
void write_bits(const std::vector<Tensor>& outputs) {
  const char* folder = std::getenv("OCTAVO_WRITE_BITS");
  if (!folder) return;
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(test.test_suite_name()) + "." + test.name();
  std::replace(name.begin(), name.end(), '/', '_');
  std::ofstream file(std::filesystem::path(folder) / name, std::ios::binary | std::ios::app);
  for (const Tensor& t : outputs) file.write(static_cast<const char*>(t.data()), std::streamsize(t.bytes()));
  EXPECT_TRUE(file.good()) << folder;
}

void expect_same_bytes(const Graph& graph) {
  // One thread less or more is tried where sweeps are whole.
  const std::vector<int> thread_counts = test::thinning() > 1 ? std::vector{3} : std::vector{1, 2, 3};
  const std::map<std::string, Tensor> inputs = noise_inputs(graph, 1);
  const std::vector<Tensor> expected = run(graph, inputs, Isa::scalar, 1);
  ASSERT_FALSE(expected.empty());
  write_bits(expected);
  for (const IsaName& isa : isa_names()) {
    if (!covers(detected_isa(), isa.implies)) {
      std::printf("[ note     ] this machine has no %s\n", isa.name);
      continue;
    }
    for (int threads : thread_counts) {
      const std::vector<Tensor> got = run(graph, inputs, isa.implies, threads);
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].bytes(), expected[i].bytes());
        EXPECT_EQ(std::memcmp(got[i].data(), expected[i].data(), got[i].bytes()), 0) << isa.name << ", " << threads << " threads";
      }
    }
  }
}

class Shared : public testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return kShared + GetParam(); }
  bool absent() const { return !std::filesystem::exists(path()); }
};

TEST(Demo, SameBytesInFloat) {
  Expected<Graph> graph = load_onnx(kDemo);
  ASSERT_TRUE(bool(graph)) << graph.status().text();
  expect_same_bytes(*graph);
}

// In int8 after calibration with noise; every multiplication is then one of integers.
void expect_same_bytes_in_int8(const std::string& path, const char* recipe) {
  Expected<Graph> graph = load_onnx(path);
  ASSERT_TRUE(bool(graph)) << graph.status().text();
  Expected<Prepared> prepared = prepare(*graph, *Recipe::preset(recipe));
  ASSERT_TRUE(bool(prepared)) << prepared.status().text();
  const Status calibrated = calibrate(*prepared, {noise_inputs(*graph, 2), noise_inputs(*graph, 3)});
  ASSERT_TRUE(calibrated.ok()) << calibrated.text();
  Expected<Graph> quantized = convert(*prepared);
  ASSERT_TRUE(bool(quantized)) << quantized.status().text();
  Expected<Program> program = Program::compile(*quantized);
  ASSERT_TRUE(bool(program)) << program.status().text();
  EXPECT_EQ(program->int8_mac_share(), 1);
  expect_same_bytes(*quantized);
}

TEST(Demo, SameBytesInInt8) { expect_same_bytes_in_int8(kDemo, "x86_static"); }
TEST(Demo, SameBytesInInt8OfArm) { expect_same_bytes_in_int8(kDemo, "arm_static"); }

class QuantizedBits : public Shared {};
TEST_P(QuantizedBits, AreTheSameEverywhere) {
  if (absent()) GTEST_SKIP() << path() << " is absent";
  for (const char* recipe : {"x86_static", "arm_static"}) expect_same_bytes_in_int8(path(), recipe);
}
INSTANTIATE_TEST_SUITE_P(Models, QuantizedBits, testing::Values("cifar10-resnet/resnet20_cifar10_fp32.onnx"));

class Bits : public Shared {};
TEST_P(Bits, AreTheSameEverywhere) {
  if (absent()) GTEST_SKIP() << path() << " is absent";
  Expected<Graph> graph = load_onnx(path());
  ASSERT_TRUE(bool(graph)) << graph.status().text();
  expect_same_bytes(*graph);
}
INSTANTIATE_TEST_SUITE_P(Models, Bits,
                         testing::Values("mlperf-tiny/ic_resnet8_fp32.onnx", "mlperf-tiny/ic_resnet8_int8_qdq.onnx",
                                         "mlperf-tiny/kws_dscnn_fp32_bn.onnx", "mlperf-tiny/kws_dscnn_int8_qdq.onnx",
                                         "mlperf-tiny/vww_mobilenetv1_int8_qdq.onnx", "mlperf-tiny/ad_fcae_int8_qdq.onnx",
                                         "cifar10-resnet/resnet20_cifar10_fp32.onnx",
                                         "vit-mnist/vit_mnist_fp32_opset17_folded.onnx",
                                         "onnx-real/mnist/mnist_opset8/model.onnx"));

// Their weights are constants, so that the outputs do not depend on the input; a mean over equal values in another order of
// summation may differ in the last bits.
class Light : public Shared {};
TEST_P(Light, GivesTheExpectedOutput) {
  const std::string model = path() + ".onnx";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << model << " is absent";
  Expected<Graph> graph = load_onnx(model);
  ASSERT_TRUE(bool(graph)) << graph.status().text();
  Expected<Tensor> expected = load_tensor_proto(path() + "_output_0.pb");
  ASSERT_TRUE(bool(expected)) << expected.status().text();
  const std::vector<Tensor> got = run(*graph, noise_inputs(*graph, 1), detected_isa(), 2);
  ASSERT_EQ(got.size(), 1u);
  ASSERT_EQ(got[0].shape(), expected->shape());
  for (int64_t i = 0; i < got[0].count(); ++i) {
    const float e = expected->as<float>()[i];
    // Rounding of sums over up to 4608 products, through 50 layers and more, in another order than theirs.
    ASSERT_NEAR(got[0].as<float>()[i], e, 1e-4f * std::abs(e)) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(Models, Light,
                         testing::Values("onnx-light/light_resnet50", "onnx-light/light_densenet121",
                                         "onnx-light/light_inception_v1", "onnx-light/light_shufflenet",
                                         "onnx-light/light_squeezenet"));

}  // namespace
}  // namespace octavo
