#include <cmath>
#include <new>
#include <optional>
#include <unordered_set>

#include "shape.h"

namespace octavo {
namespace {

// y[c] = scale[c] * x[c] + shift[c]. One value stands for all channels.
struct Affine {
  std::vector<double> scale, shift;
  double scale_at(int64_t c) const { return scale[scale.size() == 1 ? 0 : size_t(c)]; }
  double shift_at(int64_t c) const { return shift[shift.size() == 1 ? 0 : size_t(c)]; }
  bool fits(int64_t channels) const {
    return (scale.size() == 1 || int64_t(scale.size()) == channels) && (shift.size() == 1 || int64_t(shift.size()) == channels);
  }
  bool shifts() const {
    for (const double s : shift)
      if (s != 0) return true;
    return false;
  }
};

enum class Target { none, conv, conv_transpose, gemm, matmul, batch_norm };

class BatchNormFolder {
 public:
  explicit BatchNormFolder(Graph& graph) : graph_(graph) {
    for (const Node& node : graph.nodes) {
      for (const std::string& input : node.inputs) ++uses_[input];
      names_.insert(node.inputs.begin(), node.inputs.end());
      names_.insert(node.outputs.begin(), node.outputs.end());
    }
    for (const ValueInfo& output : graph.outputs) {
      ++uses_[output.name];
      graph_outputs_.insert(output.name);
    }
    for (const auto& [name, tensor] : graph.initializers) names_.insert(name);
    for (const ValueInfo& input : graph.inputs) names_.insert(input.name);
    infer_ranks();
  }

  Status run() {
    std::unordered_map<std::string, size_t> producer;
    std::vector<Node> kept;
    for (Node& node : graph_.nodes) {
      std::optional<size_t> index = merge(node, kept, producer);
      if (!index) {
        index = kept.size();
        kept.push_back(std::move(node));
      }
      for (const std::string& output : kept[*index].outputs) producer[output] = *index;
    }
    graph_.nodes = std::move(kept);
    remove_dead(graph_);
    return {};
  }

 private:
  // Ranks do not depend on the sizes, so that a dynamic dimension may stand as 1. Where inference fails they stay unknown.
  void infer_ranks() {
    Propagation values(graph_);
    values.set_inputs(graph_, 1);
    for (const Node& node : graph_.nodes) {
      if (!values.visit(node).ok()) continue;
      for (const std::string& output : node.outputs)
        if (!output.empty()) ranks_[output] = int(values.type(output)->shape.size());
    }
  }

  const Tensor* constant(const Node& node, size_t i) const {
    if (i >= node.inputs.size()) return nullptr;
    const auto it = graph_.initializers.find(node.inputs[i]);
    return it != graph_.initializers.end() && it->second.dtype() == DType::f32 ? &it->second : nullptr;
  }

  // The kind of a node whose constants can take an affine map: they are there, and of sane sizes.
  Target target_of(const Node& node) const {
    const Tensor* w = constant(node, 1);
    if (!node.domain.empty() || !w || w->count() == 0) return Target::none;
    const Shape& shape = w->shape();
    const bool has_bias = node.inputs.size() > 2 && !node.inputs[2].empty();
    const Tensor* bias = has_bias ? constant(node, 2) : nullptr;
    if (has_bias && !bias) return Target::none;
    if (node.op_type == "Conv" && shape.size() >= 3) return !bias || bias->count() == shape[0] ? Target::conv : Target::none;
    if (node.op_type == "ConvTranspose" && shape.size() >= 3) {
      const int64_t groups = node.get_int("group", 1);
      if (groups < 1 || shape[0] % groups != 0) return Target::none;
      return !bias || bias->count() == shape[1] * groups ? Target::conv_transpose : Target::none;
    }
    if (node.op_type == "Gemm" && shape.size() == 2) {
      const int64_t n = shape[node.get_int("transB", 0) ? 0 : 1];
      return !bias || bias->count() == 1 || (bias->count() == n && bias->shape().back() == n) ? Target::gemm : Target::none;
    }
    if (node.op_type == "MatMul" && shape.size() == 2) return Target::matmul;
    return is_batch_norm(node) ? Target::batch_norm : Target::none;
  }

  bool is_batch_norm(const Node& node) const {
    if (node.op_type != "BatchNormalization" || !node.domain.empty() || node.inputs.size() != 5 || node.outputs.size() != 1 ||
        node.get_int("training_mode", 0) != 0 || (graph_.opset < 9 && node.get_int("spatial", 1) == 0))
      return false;
    for (size_t i = 1; i < 5; ++i)
      if (!constant(node, i) || constant(node, i)->count() != constant(node, 1)->count()) return false;
    return true;
  }

  int64_t channels_of(Target target, const Node& node) const {
    const Shape& w = constant(node, 1)->shape();
    switch (target) {
      case Target::conv: return w[0];
      case Target::conv_transpose: return w[1] * node.get_int("group", 1);
      case Target::gemm: return w[node.get_int("transB", 0) ? 0 : 1];
      case Target::matmul: return w[1];
      default: return w[0];
    }
  }

  // The rank of what the target produces, -1 if unknown; its channels are dimension 1, those of MatMul the last one.
  int rank_of(Target target, const Node& node) const {
    if (target == Target::conv || target == Target::conv_transpose) return int(constant(node, 1)->shape().size());
    if (target == Target::gemm) return 2;
    const auto it = ranks_.find(node.outputs[0]);
    return it == ranks_.end() ? -1 : it->second;
  }

  // What `node` does to its input `data`, if that is one scale and shift for each channel of a tensor of this rank.
  std::optional<Affine> affine_of(const Node& node, size_t data, int rank, bool channels_last) const {
    if (is_batch_norm(node) && data == 0 && (!channels_last || rank == 2)) {
      const int64_t n = constant(node, 1)->count();
      const double epsilon = double(node.get_float("epsilon", 1e-5f));
      Affine affine{std::vector<double>(size_t(n)), std::vector<double>(size_t(n))};
      for (int64_t c = 0; c < n; ++c) {
        const auto value = [&](size_t i) { return double(constant(node, i)->as<float>()[c]); };
        affine.scale[size_t(c)] = value(1) / std::sqrt(value(4) + epsilon);
        affine.shift[size_t(c)] = value(2) - value(3) * affine.scale[size_t(c)];
      }
      return affine;
    }
    const bool mul = node.op_type == "Mul", add = node.op_type == "Add";
    if ((!mul && !add) || !node.domain.empty() || node.inputs.size() != 2) return std::nullopt;
    const Tensor* other = constant(node, 1 - data);
    if (!other || other->count() == 0 || int(other->shape().size()) > rank) return std::nullopt;
    const int behind = channels_last ? 0 : rank - 2;  // dimensions behind the channels
    for (int d = 0; d < int(other->shape().size()); ++d)
      if (d != behind && other->shape()[other->shape().size() - 1 - size_t(d)] != 1) return std::nullopt;
    const std::vector<double> values(other->as<float>(), other->as<float>() + other->count());
    return mul ? Affine{values, {0}} : Affine{{1}, values};
  }

  // Merges the node into the producer of one of its inputs, if it can; returns the producer's index.
  std::optional<size_t> merge(Node& node, std::vector<Node>& kept, const std::unordered_map<std::string, size_t>& producer) {
    for (size_t data = 0; data < std::min<size_t>(node.inputs.size(), 2); ++data) {
      const auto it = producer.find(node.inputs[data]);
      if (it == producer.end() || uses_[node.inputs[data]] != 1 || graph_outputs_.count(node.inputs[data])) continue;
      Node& into = kept[it->second];
      const Target target = target_of(into);
      if (target == Target::none) continue;
      const int rank = rank_of(target, into);
      const std::optional<Affine> affine = rank < 1 ? std::nullopt : affine_of(node, data, rank, target == Target::matmul);
      if (!affine || !affine->fits(channels_of(target, into)) || !scale_bias(target, into, node, *affine)) continue;
      if (target == Target::matmul && affine->shifts()) return std::nullopt;  // `node` is now the Add of the shift
      into.outputs[0] = node.outputs[0];
      return it->second;
    }
    return std::nullopt;
  }

  // Applies the affine map to the target's constants. False: it cannot hold it, and nothing was changed.
  bool scale_bias(Target target, Node& into, Node& node, const Affine& affine) {
    const Shape w = constant(into, 1)->shape();
    const int64_t count = constant(into, 1)->count(), channels = channels_of(target, into);
    switch (target) {
      case Target::conv:
        scale(into, affine, [=](int64_t i) { return i / (count / channels); });
        set_bias(into, affine, channels);
        return true;
      case Target::conv_transpose: {
        const int64_t group_in = w[0] / into.get_int("group", 1), group_out = w[1], taps = count / (w[0] * w[1]);
        scale(into, affine, [=](int64_t i) { return i / (taps * group_out) / group_in * group_out + i / taps % group_out; });
        set_bias(into, affine, channels);
        return true;
      }
      case Target::gemm: {
        const bool transposed = into.get_int("transB", 0) != 0;
        scale(into, affine, [=](int64_t i) { return transposed ? i / w[1] : i % channels; });
        set_bias(into, affine, channels, double(into.get_float("beta", 1)));
        into.attributes.erase("beta");
        return true;
      }
      case Target::matmul: {
        if (node.op_type == "Add") return false;
        scale(into, affine, [=](int64_t i) { return i % channels; });
        if (affine.shifts()) become_shift(node, affine, channels);
        return true;
      }
      case Target::batch_norm:
        scale(into, affine, [](int64_t i) { return i; });
        set_bias(into, affine, channels);
        return true;
      case Target::none: break;
    }
    return false;
  }

  // MatMul has no bias: a BatchNormalization behind it leaves an Add.
  void become_shift(Node& node, const Affine& affine, int64_t channels) {
    std::vector<float> shift(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) shift[size_t(c)] = float(affine.shift_at(c));
    const std::string name = unique_name(node.name + "_shift");
    graph_.add_initializer(name, Tensor::from(DType::f32, {channels}, shift));
    uses_[name] = 1;
    node.op_type = "Add";
    node.inputs = {node.inputs[0], name};
    node.attributes.clear();
  }

  // Scales the node's weights: in place if nobody else reads them, else a copy under a new name.
  template <class Channel>
  void scale(Node& node, const Affine& affine, Channel&& channel) {
    std::string& name = node.inputs[1];
    if (uses_[name] > 1) {
      const Tensor shared = graph_.initializers.at(name);
      --uses_[name];
      name = unique_name(name + "_folded");
      graph_.add_initializer(name, shared);
      uses_[name] = 1;
    }
    Tensor& tensor = graph_.initializers.at(name);
    float* w = static_cast<float*>(tensor.mutable_data());
    for (int64_t j = 0; j < tensor.count(); ++j) w[j] = float(double(w[j]) * affine.scale_at(channel(j)));
  }

  // bias = beta * bias * scale + shift; an absent one is 0. The result has one value for each channel.
  void set_bias(Node& node, const Affine& affine, int64_t channels, double beta = 1) {
    const Tensor* old = constant(node, 2);
    if (!old && !affine.shifts()) return;
    std::vector<float> bias(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) {
      const double before = old ? double(old->as<float>()[old->count() == 1 ? 0 : c]) : 0;
      bias[size_t(c)] = float(beta * before * affine.scale_at(c) + affine.shift_at(c));
    }
    if (old) --uses_[node.inputs[2]];
    const std::string name = unique_name(old ? node.inputs[2] + "_folded" : node.name + "_bias");
    graph_.add_initializer(name, Tensor::from(DType::f32, {channels}, bias));
    uses_[name] = 1;
    node.inputs.resize(std::max<size_t>(node.inputs.size(), 3));
    node.inputs[2] = name;
  }

  std::string unique_name(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }

  Graph& graph_;
  std::unordered_map<std::string, int> uses_, ranks_;
  std::unordered_set<std::string> graph_outputs_, names_;
};

}  // namespace

Status fold_batch_norm(Graph& graph) {
  try {
    return BatchNormFolder(graph).run();
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "no memory to fold batch norms");
  }
}

}  // namespace octavo
