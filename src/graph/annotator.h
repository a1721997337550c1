// What annotate() works with; its parts are in annotate.cpp (nodes), annotate_regions.cpp (nodes that one kernel call computes),
// annotate_demand.cpp (what is wanted in int8) and annotate_values.cpp (parameters).
#pragma once

#include <deque>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "annotate.h"
#include "annotate_ops.h"
#include "octavo/recipe.h"
#include "pointwise.h"

namespace octavo {

class Annotator {
 public:
  Annotator(const Graph& graph, const Recipe& recipe) : graph_(graph), recipe_(recipe) {}

  Expected<QuantPlan> run();

 private:
  static constexpr int kNone = -1;

  struct Value {
    int producer = kNone;
    std::vector<int> users;  // one entry for each use
    bool output = false;
    bool able = false;                     // can come in int8: from an int8 node, or straight from a graph input
    bool reaches = false;                  // some path leads to a linear node
    const TensorConfig* wanted = nullptr;  // somebody reads it in int8
  };
  struct NodeInfo {
    const QuantConfig* config = nullptr;
    Role role = Role::none;
    int head = kNone;  // the linear or Add node whose kernel computes this node
    int tail = kNone;  // of a head: the last node of its region
    std::string base;  // of a head whose role is pointwise: what the region reads
    std::string why_not;
  };

  size_t size() const { return graph_.nodes.size(); }
  const Node& node(int n) const { return graph_.nodes[size_t(n)]; }
  NodeInfo& info(int n) { return info_[size_t(n)]; }
  Value& value(const std::string& name) { return values_[name]; }
  Value& result(int n) { return value(node(n).outputs[0]); }
  bool is_constant(const std::string& name) const { return graph_.initializers.count(name) != 0; }

  // annotate.cpp
  Status classify();
  void classify_recurrent(size_t n);
  std::string initial_state(int n) const;
  bool is_read(const std::string& name) const;
  bool is_product(const Node& node) const;
  void take_weight(size_t n, QuantizedWeight weight);
  bool is_lookup(const Node& node) const;
  void classify_float(size_t n);
  void link_values();
  void infer();
  bool same_shape(const std::string& a, const std::string& b) const;

  // annotate_regions.cpp
  int only_user(int n);
  void take(int head, int n);
  const std::string& other_operand(int add, const std::string& operand) const;
  void take_clamp(int head);
  void grow_regions();
  void grow_adds();
  int64_t depth(int n) const;
  int linear_before(const PointwiseRegion& region);
  void find_pointwise_regions();

  // annotate_demand.cpp
  std::vector<std::string> activations_of(int n);
  void find_able();
  std::string why_unable(int n);
  void demand_backwards();
  void want_residual(int add, const TensorConfig& config);
  bool is_inside(const std::string& name);
  void demand_of_follower(int n);
  bool want_parts(int n, const TensorConfig& config);
  void explain(size_t n);
  void want(const std::string& name, const TensorConfig& config) { value(name).wanted = &config; }

  // annotate_values.cpp
  size_t find_group(size_t v);
  void collect_values();
  void read_dequantized(size_t n);
  void share(int n, const std::unordered_map<std::string, size_t>& index);
  void share_state(int n, const std::unordered_map<std::string, size_t>& index);
  Status apply_value_rules();
  void fix_softmax();
  void collect_functions();

  const Graph& graph_;
  const Recipe& recipe_;
  std::deque<TensorConfig> right_operands_;  // values point at them
  QuantPlan plan_;
  ShapeMap shapes_;
  std::vector<NodeInfo> info_;
  std::unordered_map<std::string, Value> values_;
  std::vector<size_t> group_;
  std::unordered_set<size_t> concat_groups_;
};

}  // namespace octavo
