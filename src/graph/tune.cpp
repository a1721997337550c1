#include "octavo/tune.h"

#include <algorithm>
#include <limits>
#include <new>
#include <unordered_map>
#include <unordered_set>

#include "octavo/session.h"
#include "timing.h"

namespace octavo {
namespace {

using Sample = std::map<std::string, Tensor>;
using Names = std::unordered_set<std::string>;

constexpr double kNoise = 1.03;

bool converts(const NodeReport& step) { return step.op_type == "QuantizeLinear" || step.op_type == "DequantizeLinear"; }
bool is_step_of_int8(const NodeReport& step) { return step.precision == "int8" && !converts(step); }

// A graph that is run again and again: the least time of each step, and of all together.
class Stopwatch {
 public:
  static Expected<Stopwatch> create(const Graph& graph, const Sample& sample, int threads) {
    Expected<Session> session = Session::create(graph, threads);
    if (!session) return session.status();
    Expected<const Program*> program = session->program(sample);
    if (!program) return program.status();
    return Stopwatch(*std::move(session), {(*program)->report().begin(), (*program)->report().end()});
  }

  Status run(const Sample& sample) {
    std::vector<double> times(steps_.size());
    RunHooks hooks;
    hooks.context = times.data();
    hooks.on_step = [](void* context, size_t step, double ms) { static_cast<double*>(context)[step] = ms; };
    if (Expected<std::vector<Tensor>> y = session_.run(sample, &hooks); !y) return y.status();
    double sum = 0;
    for (size_t i = 0; i < times.size(); ++i) {
      sum += times[i];
      least_[i] = std::min(least_[i], times[i]);
    }
    total_ = std::min(total_, sum);
    return {};
  }

  const std::vector<NodeReport>& steps() const { return steps_; }
  double least(size_t step) const { return least_[step]; }
  double total() const { return total_; }

 private:
  Stopwatch(Session session, std::vector<NodeReport> steps)
      : session_(std::move(session)), steps_(std::move(steps)), least_(steps_.size(), std::numeric_limits<double>::infinity()) {}

  Session session_;
  std::vector<NodeReport> steps_;
  std::vector<double> least_;
  double total_ = std::numeric_limits<double>::infinity();
};

Names names_of(const Graph& graph) {
  Names names;
  for (const Node& node : graph.nodes) names.insert(node.name);
  return names;
}

// Nodes that only move bytes are no steps; they follow the first node that reads what they move: follower -> that node, and of
// chains the last one.
std::unordered_map<std::string, std::string> followers_of(const Graph& float_graph, const Graph& int8_graph) {
  static constexpr std::string_view kMoves[] = {"Reshape", "Flatten",      "Squeeze",     "Unsqueeze", "Transpose",
                                                "Slice",   "Split",        "Concat",      "Pad",       "Identity",
                                                "Dropout", "DepthToSpace", "SpaceToDepth"};
  const Names present = names_of(int8_graph);
  std::unordered_map<std::string, std::string> reader, result;  // reader: by value
  for (auto node = float_graph.nodes.rbegin(); node != float_graph.nodes.rend(); ++node) {
    if (std::count(std::begin(kMoves), std::end(kMoves), node->op_type) && present.count(node->name) && !node->outputs.empty())
      if (const auto it = reader.find(node->outputs[0]); it != reader.end()) {
        const auto onward = result.find(it->second);
        result[node->name] = onward == result.end() ? it->second : onward->second;
      }
    for (const std::string& input : node->inputs) reader[input] = node->name;
  }
  return result;
}

// The nodes of the float graph that a step computes, its own first, and those that follow them.
std::vector<std::string> nodes_of(const NodeReport& step, const Names& known,
                                  const std::unordered_map<std::string, std::string>& followers) {
  std::vector<std::string> nodes;
  if (known.count(step.name)) nodes.push_back(step.name);
  for (const std::string& name : step.fused)
    if (known.count(name)) nodes.push_back(name);
  std::vector<std::string> behind;
  for (const auto& [follower, node] : followers)
    if (std::count(nodes.begin(), nodes.end(), node)) behind.push_back(follower);
  std::sort(behind.begin(), behind.end());
  nodes.insert(nodes.end(), behind.begin(), behind.end());
  return nodes;
}

// For each QuantizeLinear the nodes that read its bytes dequantized, for each DequantizeLinear the node that made its bytes: those
// that cause it.
std::unordered_map<std::string, std::vector<std::string>> causes(const Graph& graph) {
  std::unordered_map<std::string, const Node*> producer;
  std::unordered_map<std::string, std::vector<const Node*>> users;
  for (const Node& node : graph.nodes) {
    for (const std::string& output : node.outputs) producer[output] = &node;
    for (const std::string& input : node.inputs) users[input].push_back(&node);
  }
  std::unordered_map<std::string, std::vector<std::string>> result;
  for (const Node& node : graph.nodes) {
    if (node.op_type == "QuantizeLinear" || node.op_type == "DynamicQuantizeLinear") {
      for (const Node* reader : users[node.outputs[0]]) {
        if (reader->op_type != "DequantizeLinear") {
          result[node.name].push_back(reader->name);
          continue;
        }
        for (const Node* user : users[reader->outputs[0]]) result[node.name].push_back(user->name);
      }
    } else if (node.op_type == "DequantizeLinear") {
      const auto quantize = producer.find(node.inputs[0]);
      if (quantize == producer.end() || quantize->second->inputs.empty()) continue;
      if (const auto made = producer.find(quantize->second->inputs[0]); made != producer.end())
        result[node.name].push_back(made->second->name);
    }
  }
  return result;
}

class Tuner {
 public:
  Tuner(const Graph& float_graph, const Graph& int8_graph, const Sample& sample, const TuneOptions& options)
      : float_(float_graph),
        int8_(int8_graph),
        sample_(sample),
        options_(options),
        known_(names_of(float_graph)),
        followers_(followers_of(float_graph, int8_graph)) {}

  Expected<Tuned> run() {
    std::set<std::string> in_float, best_set;
    double best = std::numeric_limits<double>::infinity(), float_total = best;
    for (int round = 0; round < kRounds; ++round) {
      Expected<Graph> graph = mixed(float_, int8_, in_float);
      if (!graph) return graph.status();
      Expected<Stopwatch> a = Stopwatch::create(*graph, sample_, options_.threads);
      if (!a) return a.status();
      Expected<Stopwatch> b = Stopwatch::create(float_, sample_, options_.threads);
      if (!b) return b.status();
      for (int i = 0; i < std::max(options_.runs, 1); ++i) {
        if (Status s = a->run(sample_); !s.ok()) return s;
        if (Status s = b->run(sample_); !s.ok()) return s;
      }
      float_total = std::min(float_total, b->total());
      if (a->total() >= best) break;
      best = a->total();
      best_set = in_float;
      if (!leave_out_slower(*graph, *a, *b, in_float)) break;
    }
    if (float_total < best) {
      for (const NodeTiming& t : timings_) best_set.insert(t.node);
      for (const auto& [node, others] : regions_) best_set.insert(others.begin(), others.end());
    }
    Tuned tuned;
    Expected<Graph> graph = mixed(float_, int8_, best_set);
    if (!graph) return graph.status();
    tuned.graph = *std::move(graph);
    if (Status s = decide(tuned.graph); !s.ok()) return s;
    tuned.timings = std::move(timings_);
    store_timings(tuned.graph, tuned.timings);
    return tuned;
  }

 private:
  static constexpr int kRounds = 6;

  // What became of each node that was timed. One that was to stay in int8 has nothing to stay in where its neighbours became float.
  Status decide(const Graph& graph) {
    const Expected<std::vector<QuantizedStep>> steps = quantized_steps(float_, graph, sample_);
    if (!steps) return steps.status();
    Names in_int8;
    for (const QuantizedStep& step : *steps) in_int8.insert(step.nodes.begin(), step.nodes.end());
    for (NodeTiming& t : timings_) t.int8 = in_int8.count(t.node) != 0;
    return {};
  }

  // Whether anything was.
  bool leave_out_slower(const Graph& graph, const Stopwatch& a, const Stopwatch& b, std::set<std::string>& in_float) {
    const auto caused_by = causes(graph);
    std::unordered_map<std::string, double> float_ms, conversions;
    for (size_t i = 0; i < b.steps().size(); ++i) float_ms[b.steps()[i].name] += b.least(i);
    for (size_t i = 0; i < a.steps().size(); ++i) {
      const auto it = caused_by.find(a.steps()[i].name);
      if (it == caused_by.end() || !(converts(a.steps()[i]) || a.steps()[i].op_type == "DynamicQuantizeLinear")) continue;
      for (const std::string& node : it->second) conversions[node] += a.least(i) / double(it->second.size());
    }
    bool any = false;
    for (size_t i = 0; i < a.steps().size(); ++i) {
      const NodeReport& step = a.steps()[i];
      const std::vector<std::string> nodes = nodes_of(step, known_, followers_);
      // A table is in int8 for its size.
      if (!is_step_of_int8(step) || step.op_type == "Gather" || nodes.empty()) continue;
      NodeTiming t{nodes[0], step.op_type, a.least(i), 0, true};
      bool found = false;
      for (const std::string& node : nodes) {
        t.int8_ms += conversions[node];
        if (const auto it = float_ms.find(node); it != float_ms.end()) t.float_ms += it->second, found = true;
      }
      if (!found) continue;
      if (t.int8_ms > kNoise * t.float_ms) {
        in_float.insert(nodes.begin(), nodes.end());
        any = true;
      }
      regions_[nodes[0]] = nodes;
      const auto old = std::find_if(timings_.begin(), timings_.end(), [&](const auto& o) { return o.node == t.node; });
      if (old == timings_.end())
        timings_.push_back(t);
      else
        *old = t;
    }
    return any;
  }

  const Graph &float_, &int8_;
  const Sample& sample_;
  const TuneOptions& options_;
  Names known_;
  std::unordered_map<std::string, std::string> followers_;
  std::vector<NodeTiming> timings_;
  std::map<std::string, std::vector<std::string>> regions_;
};

}  // namespace

Expected<std::vector<QuantizedStep>> quantized_steps(const Graph& float_graph, const Graph& int8_graph, const Sample& sample) try {
  Expected<Session> session = Session::create(int8_graph);
  if (!session) return session.status();
  const Expected<const Program*> program = session->program(sample);
  if (!program) return program.status();
  const Names known = names_of(float_graph);
  const auto followers = followers_of(float_graph, int8_graph);
  std::vector<QuantizedStep> steps;
  for (const NodeReport& step : (*program)->report()) {
    std::vector<std::string> nodes = nodes_of(step, known, followers);
    if (is_step_of_int8(step) && !nodes.empty()) steps.push_back({step.op_type, std::move(nodes), step.macs});
  }
  return steps;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "quantized_steps: out of memory");
}

Expected<Tuned> keep_faster(const Graph& float_graph, const Graph& int8_graph, const Sample& sample,
                            const TuneOptions& options) try {
  return Tuner(float_graph, int8_graph, sample, options).run();
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "keep_faster: out of memory");
}

}  // namespace octavo
