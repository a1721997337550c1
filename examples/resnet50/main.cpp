// Builds ResNet-50 (or MobileNetV2) with random weights through the graph API, writes it as ONNX, and quantizes it: the
// whole flow in C++. For speed and size; the weights know nothing.
// Usage: resnet50 [--model resnet50|mobilenet_v2] FLOAT.onnx [INT8.onnx]
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

using octavo::DType;
using octavo::Expected;
using octavo::Graph;
using octavo::Shape;
using octavo::Status;
using octavo::Tensor;
using Ints = std::vector<int64_t>;

// Appends layers to a graph. Each layer takes the name of its input value and returns that of its output.
class Builder {
 public:
  Builder(const std::string& name, uint32_t seed) : random_(seed) {
    graph_.name = name;
    graph_.inputs = {{"image", DType::f32, {{-1, "N"}, {3, ""}, {224, ""}, {224, ""}}}};
  }

  // Weights are He-uniform over the fan-in, so that activations keep their size from layer to layer.
  std::string conv(const std::string& name, const std::string& x, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1,
                   int64_t groups = 1) {
    const int64_t pad = kernel / 2;
    const float bound = std::sqrt(6.0f / float(in / groups * kernel * kernel));
    return graph_.add_node("Conv", name, {x, tensor(name + ".weight", {out, in / groups, kernel, kernel}, -bound, bound)},
                           {{"kernel_shape", Ints{kernel, kernel}},
                            {"strides", Ints{stride, stride}},
                            {"pads", Ints{pad, pad, pad, pad}},
                            {"group", groups}});
  }
  // `gain` scales the result: below 1 at the end of a residual branch, or the sums would grow from block to block.
  std::string batch_norm(const std::string& name, const std::string& x, int64_t channels, float gain = 1) {
    return graph_.add_node(
        "BatchNormalization", name,
        {x, tensor(name + ".weight", {channels}, 0.8f * gain, 1.2f * gain), tensor(name + ".bias", {channels}, -0.1f, 0.1f),
         tensor(name + ".running_mean", {channels}, -0.1f, 0.1f), tensor(name + ".running_var", {channels}, 0.8f, 1.2f)},
        {{"epsilon", 1e-5f}});
  }
  std::string relu(const std::string& name, const std::string& x) { return graph_.add_node("Relu", name, {x}); }
  std::string relu6(const std::string& name, const std::string& x) {
    return graph_.add_node("Clip", name, {x, scalar("zero", 0), scalar("six", 6)});
  }
  std::string add(const std::string& name, const std::string& x, const std::string& y) {
    return graph_.add_node("Add", name, {x, y});
  }
  std::string max_pool(const std::string& name, const std::string& x) {
    return graph_.add_node("MaxPool", name, {x},
                           {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}});
  }
  // Global average pool and classifier; returns the finished graph.
  Graph classify(const std::string& x, int64_t channels, int64_t classes) {
    const std::string pooled = graph_.add_node("GlobalAveragePool", "pool", {x});
    const std::string flat = graph_.add_node("Flatten", "flatten", {pooled}, {{"axis", int64_t(1)}});
    const float bound = std::sqrt(3.0f / float(channels));
    graph_.add_node("Gemm", "logits",
                    {flat, tensor("fc.weight", {classes, channels}, -bound, bound), tensor("fc.bias", {classes}, -0.1f, 0.1f)},
                    {{"transB", int64_t(1)}});
    graph_.outputs = {{"logits", DType::f32, {{-1, "N"}, {classes, ""}}}};
    return std::move(graph_);
  }

 private:
  // Uniform on [lo, hi), from the generator's bits: standard distributions differ between standard libraries.
  std::string tensor(const std::string& name, const Shape& shape, float lo, float hi) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = lo + (hi - lo) * float(random_() >> 8) * 0x1p-24f;
    return graph_.add_initializer(name, Tensor::from(DType::f32, shape, values));
  }
  std::string scalar(const std::string& name, float v) {
    if (graph_.initializers.count(name) != 0) return name;
    return graph_.add_initializer(name, Tensor::from(DType::f32, {}, std::vector<float>{v}));
  }

  Graph graph_;
  std::mt19937 random_;
};

// Input `image` [N,3,224,224], output `logits` [N,1000]; the same weights everywhere.
// He et al., Deep Residual Learning, in the form that torchvision has (the stride sits in the 3x3 convolution).
Graph resnet50(uint32_t seed) {
  Builder b("resnet50", seed);
  std::string x = b.relu("relu", b.batch_norm("bn1", b.conv("conv1", "image", 3, 64, 7, 2), 64));
  x = b.max_pool("maxpool", x);
  const int64_t blocks[] = {3, 4, 6, 3};
  int64_t in = 64;
  for (int64_t stage = 0; stage < 4; ++stage) {
    const int64_t width = int64_t(64) << stage, out = 4 * width;
    for (int64_t block = 0; block < blocks[stage]; ++block) {
      const std::string at = "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      const int64_t stride = block == 0 && stage > 0 ? 2 : 1;
      std::string y = b.relu(at + "relu1", b.batch_norm(at + "bn1", b.conv(at + "conv1", x, in, width, 1), width));
      y = b.relu(at + "relu2", b.batch_norm(at + "bn2", b.conv(at + "conv2", y, width, width, 3, stride), width));
      y = b.batch_norm(at + "bn3", b.conv(at + "conv3", y, width, out, 1), out, 0.25f);
      if (block == 0) x = b.batch_norm(at + "downsample.1", b.conv(at + "downsample.0", x, in, out, 1, stride), out);
      x = b.relu(at + "relu3", b.add(at + "add", y, x));
      in = out;
    }
  }
  return b.classify(x, in, 1000);
}

// Sandler et al., MobileNetV2: inverted residuals with depthwise convolutions and linear bottlenecks.
Graph mobilenet_v2(uint32_t seed) {
  struct Stage {
    int64_t expand, channels, blocks, stride;
  };
  constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                               {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  Builder b("mobilenet_v2", seed);
  std::string x = b.relu6("stem.relu", b.batch_norm("stem.bn", b.conv("stem.conv", "image", 3, 32, 3, 2), 32));
  int64_t in = 32, index = 0;
  for (const Stage& stage : kStages)
    for (int64_t block = 0; block < stage.blocks; ++block, ++index) {
      const std::string at = "block" + std::to_string(index) + ".";
      const int64_t hidden = in * stage.expand, stride = block == 0 ? stage.stride : 1;
      const bool residual = stride == 1 && in == stage.channels;
      std::string y = x;
      if (stage.expand > 1)
        y = b.relu6(at + "expand.relu", b.batch_norm(at + "expand.bn", b.conv(at + "expand", y, in, hidden, 1), hidden));
      y = b.relu6(at + "depthwise.relu",
                  b.batch_norm(at + "depthwise.bn", b.conv(at + "depthwise", y, hidden, hidden, 3, stride, hidden), hidden));
      y = b.batch_norm(at + "project.bn", b.conv(at + "project", y, hidden, stage.channels, 1), stage.channels,
                       residual ? 0.25f : 1.0f);
      x = residual ? b.add(at + "add", x, y) : y;
      in = stage.channels;
    }
  x = b.relu6("head.relu", b.batch_norm("head.bn", b.conv("head.conv", x, in, 1280, 1), 1280));
  return b.classify(x, 1280, 1000);
}

// Images of noise. Random weights deserve no better, and the speed does not depend on the values.
std::vector<std::map<std::string, Tensor>> noise_images(int count) {
  std::mt19937 random(1);
  std::vector<std::map<std::string, Tensor>> images;
  for (int i = 0; i < count; ++i) {
    std::vector<float> pixels(3 * 224 * 224);
    for (float& p : pixels) p = float(random() >> 8) * 0x1p-22f - 2;  // [-2, 2), as normalized images have it
    images.push_back({{"image", Tensor::from(DType::f32, {1, 3, 224, 224}, pixels)}});
  }
  return images;
}

Expected<Graph> quantize(const Graph& graph) {
  Expected<octavo::Recipe> recipe = octavo::Recipe::preset("x86_static");
  if (!recipe) return recipe.status();
  Expected<octavo::Prepared> prepared = octavo::prepare(graph, *recipe);
  if (!prepared) return prepared.status();
  if (const Status status = octavo::calibrate(*prepared, noise_images(4)); !status.ok()) return status;
  return octavo::convert(*prepared);
}

Status build(const std::string& model, const std::string& float_path, const std::string& int8_path) {
  const Graph graph = model == "resnet50" ? resnet50(50) : mobilenet_v2(50);
  if (const Status status = octavo::save_onnx(graph, float_path); !status.ok()) return status;
  std::printf("%s: %zu nodes, float\n", float_path.c_str(), graph.nodes.size());
  if (int8_path.empty()) return {};
  const Expected<Graph> int8 = quantize(graph);
  if (!int8) return int8.status();
  if (const Status status = octavo::save_onnx(*int8, int8_path); !status.ok()) return status;
  std::printf("%s: %zu nodes, int8\n", int8_path.c_str(), int8->nodes.size());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  std::string model = "resnet50";
  std::vector<std::string> paths(argv + 1, argv + argc);
  if (paths.size() > 1 && paths[0] == "--model") {
    model = paths[1];
    paths.erase(paths.begin(), paths.begin() + 2);
  }
  if (paths.empty() || paths.size() > 2 || (model != "resnet50" && model != "mobilenet_v2")) {
    std::fprintf(stderr, "usage: resnet50 [--model resnet50|mobilenet_v2] FLOAT.onnx [INT8.onnx]\n");
    return 2;
  }
  const Status status = build(model, paths[0], paths.size() > 1 ? paths[1] : "");
  if (status.ok()) return 0;
  std::fprintf(stderr, "resnet50: error: %s\n", status.text());
  return 1;
}
