// resnet50 FLOAT.onnx INT8.onnx: writes ResNet-50 (He et al. 2015, with the stride on the 3x3 convolutions) with random
// weights, and the same model in INT8. The graph is built, calibrated and converted through the public API of
// octavo::graph. For timing only: the weights know nothing.
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "octavo/onnx.h"
#include "octavo/quantize.h"

namespace {

using octavo::Attribute;
using octavo::DType;
using octavo::Graph;
using octavo::Shape;
using octavo::Status;
using octavo::Tensor;

class ResNet50 {
 public:
  Graph build() {
    graph_.name = "resnet50";
    graph_.inputs = {{.name = "image", .dims = {{-1, "N"}, {3, ""}, {224, ""}, {224, ""}}}};
    std::string x = relu(conv("conv1", "image", 3, 64, 7, 2));
    x = graph_.add_node("MaxPool", "pool1", {x},
                        {{"kernel_shape", ints(3, 3)}, {"strides", ints(2, 2)}, {"pads", ints(1, 1, 1, 1)}});
    const int64_t blocks[] = {3, 4, 6, 3};
    int64_t channels = 64;
    for (int stage = 0; stage < 4; ++stage) {
      for (int64_t i = 0; i < blocks[stage]; ++i) {
        const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i);
        const int64_t width = int64_t(64) << stage;
        x = bottleneck(name, x, channels, width, stage > 0 && i == 0 ? 2 : 1);
        channels = 4 * width;
      }
    }
    x = graph_.add_node("GlobalAveragePool", "pool", {x});
    x = graph_.add_node("Flatten", "flatten", {x});
    const std::string w = weight("fc.weight", {1000, channels}, channels);
    const std::string b = graph_.add_initializer("fc.bias", Tensor::from<float>(DType::f32, {1000}, std::vector<float>(1000)));
    graph_.add_node("Gemm", "logits", {x, w, b}, {{"transB", int64_t(1)}});
    graph_.outputs = {{.name = "logits", .dims = {{-1, "N"}, {1000, ""}}}};
    return std::move(graph_);
  }

 private:
  static Attribute ints(auto... values) { return std::vector<int64_t>{values...}; }

  // He initialization keeps the activations in range through 50 layers.
  std::string weight(const std::string& name, const Shape& shape, int64_t fan_in) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    std::normal_distribution<float> normal(0, std::sqrt(2.0f / float(fan_in)));
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = normal(random_);
    return graph_.add_initializer(name, Tensor::from<float>(DType::f32, shape, values));
  }

  // Convolution with the batch norm of a freshly initialized network, left for the graph layer to fold.
  std::string conv(const std::string& name, const std::string& x, int64_t ic, int64_t oc, int64_t kernel, int64_t stride) {
    const std::string w = weight(name + ".weight", {oc, ic, kernel, kernel}, ic * kernel * kernel);
    const int64_t pad = kernel / 2;
    const std::string y = graph_.add_node(
        "Conv", name, {x, w},
        {{"kernel_shape", ints(kernel, kernel)}, {"strides", ints(stride, stride)}, {"pads", ints(pad, pad, pad, pad)}});
    std::vector<std::string> inputs = {y};
    for (const auto& [parameter, value] : {std::pair(".scale", 1.0f), {".shift", 0.0f}, {".mean", 0.0f}, {".variance", 1.0f}}) {
      inputs.push_back(graph_.add_initializer(
          name + parameter, Tensor::from<float>(DType::f32, {oc}, std::vector<float>(static_cast<size_t>(oc), value))));
    }
    return graph_.add_node("BatchNormalization", name + ".norm", inputs, {{"epsilon", 1e-5f}});
  }

  std::string relu(const std::string& x) { return graph_.add_node("Relu", x + ".relu", {x}); }

  std::string bottleneck(const std::string& name, const std::string& x, int64_t channels, int64_t width, int64_t stride) {
    std::string y = relu(conv(name + ".conv1", x, channels, width, 1, 1));
    y = relu(conv(name + ".conv2", y, width, width, 3, stride));
    y = conv(name + ".conv3", y, width, 4 * width, 1, 1);
    const std::string shortcut = channels == 4 * width ? x : conv(name + ".downsample", x, channels, 4 * width, 1, stride);
    return relu(graph_.add_node("Add", name + ".add", {y, shortcut}));
  }

  Graph graph_;
  std::mt19937 random_{50};
};

Status write_models(const char* float_path, const char* int8_path) {
  const Graph graph = ResNet50().build();
  if (Status s = octavo::save_onnx(graph, float_path); !s.ok()) return s;

  std::mt19937 random(224);
  std::normal_distribution<float> normal;
  std::vector<float> pixels(3 * 224 * 224);
  for (float& p : pixels) p = normal(random);
  const std::map<std::string, Tensor> sample = {{"image", Tensor::from<float>(DType::f32, {1, 3, 224, 224}, pixels)}};

  octavo::Expected<octavo::Recipe> recipe = octavo::Recipe::preset("x86_static");
  if (!recipe) return recipe.status();
  octavo::Expected<octavo::Prepared> prepared = octavo::prepare(graph, *recipe);
  if (!prepared) return prepared.status();
  if (Status s = octavo::calibrate(*prepared, {sample}); !s.ok()) return s;
  octavo::Expected<Graph> int8 = octavo::convert(*prepared);
  if (!int8) return int8.status();
  return octavo::save_onnx(*int8, int8_path);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: resnet50 FLOAT.onnx INT8.onnx\n");
    return 2;
  }
  const Status status = write_models(argv[1], argv[2]);
  if (!status.ok()) std::fprintf(stderr, "resnet50: %s\n", status.text());
  return status.ok() ? 0 : 1;
}
