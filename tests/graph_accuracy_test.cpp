// Trained models on labelled data: what quantization may cost in top-1. Skipped where the data is not at hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "paths.h"
#include "sanitized.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using Sample = std::map<std::string, Tensor>;

// One sample of so many: sanitizers look at the code, not at the accuracy.
constexpr size_t kShare = OCTAVO_SANITIZED ? 250 : 1;

std::vector<uint8_t> read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Samples {
  std::vector<std::map<std::string, Tensor>> inputs;
  std::vector<int> labels;
};

// CIFAR's binary records: a label byte and 3x32x32 bytes, channel by channel. x = (byte / divisor - mean[c]) / deviation[c].
struct Normalize {
  float divisor = 1, mean[3] = {0, 0, 0}, deviation[3] = {1, 1, 1};
};

Samples cifar(const fs::path& path, size_t count, const Normalize& n) {
  const std::vector<uint8_t> bytes = read(path);
  Samples samples;
  for (size_t i = 0; i < count && (i + 1) * 3073 <= bytes.size(); i += kShare) {
    const uint8_t* record = bytes.data() + i * 3073;
    std::vector<float> x(3072);
    for (size_t k = 0; k < 3072; ++k) x[k] = (float(record[1 + k]) / n.divisor - n.mean[k / 1024]) / n.deviation[k / 1024];
    samples.inputs.push_back({{"input", Tensor::from(DType::f32, {1, 3, 32, 32}, x)}});
    samples.labels.push_back(record[0]);
  }
  return samples;
}

// 49x10 cepstral coefficients as bytes q, x = (q - 83) * 0.5847029.
Samples keywords(const fs::path& folder, size_t begin, size_t end) {
  const std::vector<uint8_t> bytes = read(folder / "kws01_mfcc_int8_visible300x49x10.bin");
  const std::vector<uint8_t> labels = read(folder / "kws01_labels_u8_visible300.bin");
  Samples samples;
  for (size_t i = begin; i < std::min(end, labels.size()) && (i + 1) * 490 <= bytes.size(); i += kShare) {
    std::vector<float> x(490);
    for (size_t k = 0; k < 490; ++k) x[k] = float(int8_t(bytes[i * 490 + k]) - 83) * 0.5847029f;
    samples.inputs.push_back({{"input", Tensor::from(DType::f32, {1, 1, 49, 10}, x)}});
    samples.labels.push_back(labels[i]);
  }
  return samples;
}

// What gzip unpacks; empty where it cannot.
std::vector<uint8_t> unzip(const fs::path& path) {
  std::vector<uint8_t> bytes;
  std::FILE* pipe = popen(("gzip -dc '" + path.string() + "' 2>/dev/null").c_str(), "r");
  if (!pipe) return bytes;
  uint8_t buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) bytes.insert(bytes.end(), buffer, buffer + n);
  pclose(pipe);
  return bytes;
}

// The idx files of MNIST: 16 and 8 bytes of head. x = (byte / 255 - 0.1307) / 0.3081.
Samples mnist(const fs::path& folder, const std::string& part, size_t count) {
  const std::vector<uint8_t> pixels = unzip(folder / (part + "-images-idx3-ubyte.gz"));
  const std::vector<uint8_t> labels = unzip(folder / (part + "-labels-idx1-ubyte.gz"));
  Samples samples;
  for (size_t i = 0; i < count && 16 + (i + 1) * 784 <= pixels.size() && 8 + i < labels.size(); i += kShare) {
    std::vector<float> x(784);
    for (size_t k = 0; k < 784; ++k) x[k] = (float(pixels[16 + i * 784 + k]) / 255 - 0.1307f) / 0.3081f;
    samples.inputs.push_back({{"image", Tensor::from(DType::f32, {1, 1, 28, 28}, x)}});
    samples.labels.push_back(labels[8 + i]);
  }
  return samples;
}

// Top-1 in percent.
double score(const Graph& graph, const Samples& samples) {
  Expected<Session> session = Session::create(graph);
  if (!session) {
    ADD_FAILURE() << session.status().text();
    return 0;
  }
  size_t right = 0;
  for (size_t i = 0; i < samples.inputs.size(); ++i) {
    const auto y = session->run(samples.inputs[i]);
    if (!y) {
      ADD_FAILURE() << y.status().text();
      return 0;
    }
    const float* scores = (*y)[0].as<float>();
    right += std::max_element(scores, scores + (*y)[0].count()) - scores == samples.labels[i];
  }
  return 100.0 * double(right) / double(samples.inputs.size());
}

// share: of the MACs in int8, at least.
void expect_loss_at_most(double limit, const fs::path& model, const char* recipe, const Samples& calibration, const Samples& test,
                         double share = 1) {
  ASSERT_FALSE(calibration.inputs.empty());
  ASSERT_FALSE(test.inputs.empty());
  const Expected<Graph> graph = load_onnx(model.string());
  ASSERT_TRUE(graph) << graph.status().text();
  Expected<Prepared> prepared = prepare(*graph, *Recipe::preset(recipe));
  ASSERT_TRUE(prepared) << prepared.status().text();
  const Status status = calibrate(*prepared, calibration.inputs, int(std::thread::hardware_concurrency()));
  ASSERT_TRUE(status.ok()) << status.text();
  const Expected<Graph> quantized = convert(*prepared);
  ASSERT_TRUE(quantized) << quantized.status().text();
  const Expected<Program> program = Program::compile(*quantized);
  ASSERT_TRUE(program) << program.status().text();
  EXPECT_GE(program->int8_mac_share(), share);
  const double before = score(*graph, test), after = score(*quantized, test);
  std::cout << model.filename().string() << " " << recipe << ": top-1 " << before << " -> " << after << " on "
            << test.inputs.size() << " samples, calibrated with " << calibration.inputs.size() << "\n";
  if (kShare == 1) {
    EXPECT_LE(before - after, limit);
  }
}

class Accuracy : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!fs::exists(data_ / "INDEX.md")) GTEST_SKIP() << "no trained models at " << data_;
  }
  const fs::path data_ = fs::path(test::kSharedDir) / "data";
};
INSTANTIATE_TEST_SUITE_P(Recipe, Accuracy, testing::Values("x86_static", "arm_static"), [](const auto& p) { return p.param; });

TEST_P(Accuracy, ResNet20OnCifar10) {
  const Normalize n = {255, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
  expect_loss_at_most(0.3, data_ / "cifar10-resnet/resnet20_cifar10_fp32.onnx", GetParam(),
                      cifar(data_ / "cifar10/cifar10_train3k_calib.bin", 500, n),
                      cifar(data_ / "cifar10/cifar10_test_visible2000.bin", 2000, n));
}

TEST_P(Accuracy, ResNet8OnCifar10) {
  expect_loss_at_most(0.3, data_ / "mlperf-tiny/ic_resnet8_fp32.onnx", GetParam(),
                      cifar(data_ / "cifar10/cifar10_train3k_calib.bin", 500, {}),
                      cifar(data_ / "cifar10/cifar10_test_visible2000.bin", 2000, {}));
}

TEST_P(Accuracy, DsCnnOnKeywords) {
  // There is no separate calibration set: the first hundred are not scored.
  expect_loss_at_most(0.5, data_ / "mlperf-tiny/kws_dscnn_fp32_bn.onnx", GetParam(), keywords(data_ / "kws", 0, 100),
                      keywords(data_ / "kws", 100, 300));
}

TEST_P(Accuracy, VitOnMnist) {
  expect_loss_at_most(0.2, data_ / "vit-mnist/vit_mnist_fp32_opset17_folded.onnx", GetParam(),
                      mnist(data_ / "mnist", "train", 300), mnist(data_ / "mnist", "t10k", 10000), 0.75);
}

class GptNano : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Recipe, GptNano, testing::Values("x86_static", "arm_static", "dynamic", "dynamic_per_row", "weight_only"),
                         [](const auto& p) { return p.param; });

// Sorts six digits of 0 to 2: of all 729 inputs each of the six answers is right.
TEST_P(GptNano, SortsEveryInput) {
  const fs::path folder = fs::path(test::kSharedDir) / "data/gpt-nano-sort";
  if (!fs::exists(folder)) GTEST_SKIP() << "no trained model at " << folder;
  const std::vector<uint8_t> in = read(folder / "inputs_i64_729x11.bin"), out = read(folder / "expected_i64_729x6.bin");
  ASSERT_EQ(in.size(), 729u * 11 * 8);
  ASSERT_EQ(out.size(), 729u * 6 * 8);
  std::vector<Sample> samples;
  for (size_t i = 0; i < 729; ++i) {
    std::vector<int64_t> idx(11);
    std::memcpy(idx.data(), in.data() + i * 88, 88);
    samples.push_back({{"idx", Tensor::from(DType::s64, {1, 11}, idx)}});
  }
  const Expected<Graph> graph = load_onnx((folder / "gpt_nano_sort_fp32_folded.onnx").string());
  ASSERT_TRUE(graph) << graph.status().text();
  Expected<Prepared> prepared = prepare(*graph, *Recipe::preset(GetParam()));
  ASSERT_TRUE(prepared) << prepared.status().text();
  std::vector<Sample> calibration;
  for (size_t i = 0; i < 729; i += 3) calibration.push_back(samples[i]);
  ASSERT_TRUE(calibrate(*prepared, calibration).ok());
  const Expected<Graph> quantized = convert(*prepared);
  ASSERT_TRUE(quantized) << quantized.status().text();
  Expected<Session> session = Session::create(*quantized);
  ASSERT_TRUE(session) << session.status().text();
  size_t right = 0, total = 0;
  for (size_t i = 0; i < 729; i += kShare, ++total) {
    const auto y = session->run(samples[i]);
    ASSERT_TRUE(y) << y.status().text();
    int64_t expected[6];
    std::memcpy(expected, out.data() + i * 48, 48);
    bool all = true;
    for (size_t t = 0; t < 6; ++t) {
      const float* scores = (*y)[0].as<float>() + (5 + t) * 3;
      all &= std::max_element(scores, scores + 3) - scores == expected[t];
    }
    right += all;
  }
  std::cout << GetParam() << ": " << right << " of " << total << "\n";
  EXPECT_EQ(right, total);
}

}  // namespace
}  // namespace octavo
