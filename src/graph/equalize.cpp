#include "octavo/equalize.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <unordered_map>

#include "channel_stats.h"

namespace octavo {
namespace {

// Producers and readers of the values of a graph.
struct Links {
  std::unordered_map<std::string, size_t> producer;
  std::unordered_map<std::string, std::vector<size_t>> readers;  // one entry for each use; of outputs also one beyond all nodes

  explicit Links(const Graph& graph) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (const std::string& output : graph.nodes[n].outputs) producer[output] = n;
      for (const std::string& input : graph.nodes[n].inputs) readers[input].push_back(n);
    }
    for (const ValueInfo& output : graph.outputs) readers[output.name].push_back(graph.nodes.size());
  }
  size_t uses(const std::string& value) const {
    const auto it = readers.find(value);
    return it == readers.end() ? 0 : it->second.size();
  }
};

bool is(const Node& node, const char* type) { return node.domain.empty() && node.op_type == type; }

// The f32 constant that only this node reads; null otherwise.
Tensor* own_constant(Graph& graph, const Links& links, const Node& node, size_t input) {
  if (input >= node.inputs.size() || links.uses(node.inputs[input]) != 1) return nullptr;
  const auto it = graph.initializers.find(node.inputs[input]);
  return it == graph.initializers.end() || it->second.dtype() != DType::f32 || it->second.count() == 0 ? nullptr : &it->second;
}

bool absent(const Node& node, size_t input) { return input >= node.inputs.size() || node.inputs[input].empty(); }

// A weight as [outer][channels][inner] along `axis`.
struct Channels {
  int64_t outer = 1, channels = 1, inner = 1;
  Channels(const Tensor& t, size_t axis) {
    for (size_t d = 0; d < t.shape().size(); ++d) (d < axis ? outer : d == axis ? channels : inner) *= t.shape()[d];
  }
  template <class F>
  void each(float* w, F f) const {
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < inner; ++i) f(size_t(c), *w++);
  }
};

std::vector<double> largest_of(Tensor& w, size_t axis) {
  const Channels channels(w, axis);
  std::vector<double> largest(static_cast<size_t>(channels.channels));
  channels.each(static_cast<float*>(w.mutable_data()),
                [&](size_t c, float& x) { largest[c] = std::max(largest[c], std::fabs(double(x))); });
  return largest;
}

void multiply(Tensor& w, size_t axis, const std::vector<double>& factors) {
  Channels(w, axis).each(static_cast<float*>(w.mutable_data()), [&](size_t c, float& x) { x = float(double(x) * factors[c]); });
}

std::vector<double> inverse(std::vector<double> factors) {
  for (double& f : factors) f = 1 / f;
  return factors;
}

struct Pair {
  Tensor *w1, *b1, *w2;  // b1 may be null
  size_t axis2;          // of w2's input channels
};

std::vector<Pair> find_pairs(Graph& graph) {
  const Links links(graph);
  std::vector<Pair> pairs;
  for (const Node& second : graph.nodes) {
    if (!is(second, "Conv") || second.inputs.empty()) continue;
    std::string value = second.inputs[0];
    auto producer = links.producer.find(value);
    if (producer == links.producer.end() || links.uses(value) != 1) continue;
    if (is(graph.nodes[producer->second], "Relu")) {
      value = graph.nodes[producer->second].inputs[0];
      producer = links.producer.find(value);
      if (producer == links.producer.end() || links.uses(value) != 1) continue;
    }
    const Node& first = graph.nodes[producer->second];
    if (!is(first, "Conv")) continue;
    Tensor *w1 = own_constant(graph, links, first, 1), *b1 = own_constant(graph, links, first, 2);
    Tensor* w2 = own_constant(graph, links, second, 1);
    if (!w1 || !w2 || (!b1 && !absent(first, 2)) || w1->shape().size() < 3 || w2->shape().size() < 3) continue;
    const int64_t channels = w1->shape()[0], groups = second.get_int("group", 1);
    const bool depthwise = groups == channels && w2->shape()[0] == channels;
    if (!(depthwise || (groups == 1 && w2->shape()[1] == channels)) || (b1 && b1->count() != channels)) continue;
    pairs.push_back({w1, b1, w2, depthwise ? size_t(0) : size_t(1)});
  }
  return pairs;
}

// The operand of a Mul or Add that is a constant of its own, with the other operand.
std::pair<Tensor*, std::string> constant_operand(Graph& graph, const Links& links, const Node& node) {
  for (const size_t i : {size_t{1}, size_t{0}})
    if (Tensor* t = node.inputs.size() == 2 ? own_constant(graph, links, node, i) : nullptr; t && !t->shape().empty())
      return {t, node.inputs[1 - i]};
  return {};
}

// The constants that multiply the channels of a node's result, and one added to them: of a normalization, or of the Mul and Add in
// which one that is spelled out ends. Empty: it has none of its own.
std::vector<Tensor*> scales_of_channels(Graph& graph, const Links& links, const Node& node) {
  const bool layer = is(node, "LayerNormalization"), rms = is(node, "RMSNormalization");
  std::vector<Tensor*> scales;
  if ((layer || rms) && node.get_int("axis", -1) == -1) {
    scales.push_back(own_constant(graph, links, node, 1));
    if (layer && !absent(node, 2)) scales.push_back(own_constant(graph, links, node, 2));
  } else if (is(node, "Mul")) {
    scales.push_back(constant_operand(graph, links, node).first);
  } else if (is(node, "Add")) {
    const auto [bias, scaled] = constant_operand(graph, links, node);
    const auto mul = bias ? links.producer.find(scaled) : links.producer.end();
    if (mul != links.producer.end() && links.uses(scaled) == 1 && is(graph.nodes[mul->second], "Mul"))
      scales = {constant_operand(graph, links, graph.nodes[mul->second]).first, bias};
  }
  if (std::count(scales.begin(), scales.end(), nullptr)) scales.clear();
  return scales;
}

}  // namespace

Expected<int> equalize_layers(Graph& graph) try {
  const std::vector<Pair> pairs = find_pairs(graph);
  constexpr int kPasses = 20;
  constexpr double kNear = 0.01;  // a hundredth of a bit or so
  double farthest = 1;
  for (int pass = 0; pass < kPasses && farthest > kNear; ++pass) {
    farthest = 0;
    for (const Pair& pair : pairs) {
      const std::vector<double> r1 = largest_of(*pair.w1, 0), r2 = largest_of(*pair.w2, pair.axis2);
      std::vector<double> s(r1.size(), 1);
      for (size_t c = 0; c < s.size(); ++c)
        if (r1[c] > 0 && r2[c] > 0 && std::isfinite(r1[c] / r2[c])) {
          s[c] = std::clamp(std::sqrt(r1[c] / r2[c]), 1e-3, 1e3);
          farthest = std::max(farthest, std::fabs(std::log(s[c])));
        }
      multiply(*pair.w1, 0, inverse(s));
      if (pair.b1) multiply(*pair.b1, 0, inverse(s));
      multiply(*pair.w2, pair.axis2, s);
    }
  }
  return int(pairs.size());
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "equalize_layers: out of memory");
}

Expected<int> smooth_activations(Graph& graph, const std::vector<std::map<std::string, Tensor>>& samples, float alpha) try {
  if (!(alpha >= 0) || !(alpha <= 1)) return Status::error(Code::invalid_argument, "alpha is %g, not in [0, 1]", double(alpha));
  const Links links(graph);
  struct Site {
    std::string value;
    std::vector<Tensor*> parameters;                  // of the normalization
    std::vector<std::pair<Tensor*, size_t>> weights;  // with the axis of the input channels
  };
  std::vector<Site> sites;
  std::map<std::string, int64_t> wanted;
  for (const Node& norm : graph.nodes) {
    if (norm.outputs.empty()) continue;
    Site site{norm.outputs[0], scales_of_channels(graph, links, norm), {}};
    const auto readers = links.readers.find(site.value);
    bool fits = readers != links.readers.end() && !site.parameters.empty();
    for (size_t r = 0; fits && r < readers->second.size(); ++r) {
      fits = readers->second[r] < graph.nodes.size();
      if (!fits) break;
      const Node& reader = graph.nodes[readers->second[r]];
      const bool gemm = is(reader, "Gemm") && reader.get_int("transA", 0) == 0;
      Tensor* w = (gemm || is(reader, "MatMul")) && reader.inputs[0] == site.value ? own_constant(graph, links, reader, 1) : nullptr;
      fits = w && w->shape().size() == 2;
      if (fits) site.weights.emplace_back(w, gemm && reader.get_int("transB", 0) != 0 ? size_t(1) : size_t(0));
    }
    for (const auto& [w, axis] : site.weights)
      for (const Tensor* p : site.parameters) fits = fits && w->shape()[axis] == p->count() && p->shape().back() == p->count();
    if (!fits) continue;
    wanted[site.value] = -1;
    sites.push_back(std::move(site));
  }
  const auto stats = channel_stats(graph, wanted, samples);
  if (!stats) return stats.status();
  for (const Site& site : sites) {
    const auto it = stats->find(site.value);
    if (it == stats->end()) return Status::error(Code::invalid_argument, "value '%.150s' was not seen", site.value.c_str());
    std::vector<double> w_largest(it->second.largest.size()), s(w_largest.size(), 1);
    for (const auto& [w, axis] : site.weights) {
      const std::vector<double> r = largest_of(*w, axis);
      for (size_t c = 0; c < s.size(); ++c) w_largest[c] = std::max(w_largest[c], r[c]);
    }
    for (size_t c = 0; c < s.size(); ++c) {
      const double factor = std::pow(it->second.largest[c], double(alpha)) / std::pow(w_largest[c], 1 - double(alpha));
      if (it->second.largest[c] > 0 && w_largest[c] > 0 && std::isfinite(factor)) s[c] = std::clamp(factor, 1e-3, 1e3);
    }
    for (Tensor* p : site.parameters) multiply(*p, p->shape().size() - 1, inverse(s));
    for (const auto& [w, axis] : site.weights) multiply(*w, axis, s);
  }
  return int(sites.size());
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "smooth_activations: out of memory");
}

Expected<int> correct_biases(const Graph& float_graph, Graph& int8_graph,
                             const std::vector<std::map<std::string, Tensor>>& samples) try {
  std::unordered_map<std::string, const Node*> twins, producers;
  for (const Node& node : float_graph.nodes) twins[node.name] = &node;
  for (const Node& node : int8_graph.nodes)
    for (const std::string& output : node.outputs) producers[output] = &node;
  // The integers behind a DequantizeLinear.
  const auto behind = [&](const Node& node, size_t input) -> const Node* {
    if (absent(node, input)) return nullptr;
    const auto it = producers.find(node.inputs[input]);
    const bool constant = it != producers.end() && it->second->op_type == "DequantizeLinear" &&
                          int8_graph.initializers.count(it->second->inputs[0]) && int8_graph.initializers.count(it->second->inputs[1]);
    return constant ? it->second : nullptr;
  };
  struct Site {
    const Node *node, *twin, *weight, *bias;
  };
  std::vector<Site> sites;
  std::map<std::string, int64_t> wanted;
  for (const Node& node : int8_graph.nodes) {
    if (!is(node, "Conv") && !is(node, "Gemm")) continue;
    const auto twin = twins.find(node.name);
    const Node *weight = behind(node, 1), *bias = behind(node, 2);
    if (twin == twins.end() || !weight || !bias || int8_graph.initializers.at(weight->inputs[0]).dtype() != DType::s8 ||
        int8_graph.initializers.at(bias->inputs[0]).dtype() != DType::s32 || !float_graph.initializers.count(twin->second->inputs[1]))
      continue;
    wanted[twin->second->inputs[0]] = is(node, "Conv") ? 1 : -1;
    sites.push_back({&node, twin->second, weight, bias});
  }
  const auto stats = channel_stats(float_graph, wanted, samples);
  if (!stats) return stats.status();
  int corrected = 0;
  for (const Site& site : sites) {
    const auto it = stats->find(site.twin->inputs[0]);
    if (it == stats->end() || it->second.count == 0) continue;
    const Tensor &w = float_graph.initializers.at(site.twin->inputs[1]), &q = int8_graph.initializers.at(site.weight->inputs[0]);
    const Tensor &w_scale = int8_graph.initializers.at(site.weight->inputs[1]),
                 &b_scale = int8_graph.initializers.at(site.bias->inputs[1]);
    const bool conv = is(*site.node, "Conv"), oc_first = conv || site.node->get_int("transB", 0) != 0;
    const int64_t oc = w.shape()[oc_first ? 0 : 1], depth = w.count() / oc, taps = conv ? depth / w.shape()[1] : 1;
    const int64_t per_group = conv ? w.shape()[1] : depth, groups = conv ? site.node->get_int("group", 1) : 1;
    if (q.count() != w.count() || int64_t(it->second.sum.size()) != per_group * groups) continue;
    Tensor& bias = int8_graph.initializers.at(site.bias->inputs[0]);
    int32_t* b = static_cast<int32_t*>(bias.mutable_data());
    for (int64_t j = 0; j < oc; ++j) {
      const double scale = double(w_scale.as<float>()[w_scale.count() == 1 ? 0 : j]);
      double shift = 0;
      for (int64_t p = 0; p < depth; ++p) {
        const int64_t i = oc_first ? j * depth + p : p * oc + j, channel = j / (oc / groups) * per_group + p / taps;
        shift += (double(q.as<int8_t>()[i]) * scale - double(w.as<float>()[i])) * it->second.sum[size_t(channel)];
      }
      shift /= double(it->second.count) * double(b_scale.as<float>()[b_scale.count() == 1 ? 0 : j]);
      constexpr double kMost = 1 << 30;  // what convert() leaves the accumulators
      b[j] = int32_t(std::clamp(std::nearbyint(double(b[j]) - shift), -kMost, kMost));
    }
    ++corrected;
  }
  return corrected;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "correct_biases: out of memory");
}

}  // namespace octavo
