// What is behind Prepared; prepare, calibrate and convert work on it.
#pragma once

#include <utility>

#include "annotate.h"
#include "octavo/quantize.h"

namespace octavo {

// Which samples were observed, by number: disjoint ranges in order.
class SampleRanges {
 public:
  uint64_t end() const noexcept { return ranges_.empty() ? 0 : ranges_.rbegin()->second; }
  Status check(uint64_t first, uint64_t count) const noexcept;  // an error if one of them was observed already
  void add(uint64_t first, uint64_t count);
  const std::map<uint64_t, uint64_t>& ranges() const noexcept { return ranges_; }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // first -> behind the last
};

// A graph to be quantized; and the branches of its Ifs, as graphs of their own (branches.h).
struct Preparation {
  Graph graph;
  QuantPlan plan;
  std::map<std::string, std::unique_ptr<Observer>> observers;  // by value, for those that plan.values marks as observed
  struct Branch;
  std::vector<Branch> branches;
};

// One branch of nodes[node].
struct Preparation::Branch {
  size_t node = 0;
  std::string name;                                // of the attribute
  std::vector<std::pair<size_t, std::string>> in;  // inputs of the node, and what the branch calls them
  Preparation part;
};

// Without annotations, for a graph or a branch.
Expected<Preparation> prepare_graph(const Graph& graph, const Recipe& recipe);

struct Prepared::Impl {
  Preparation root;
  std::vector<Annotation> annotations;
  SampleRanges samples;
};

}  // namespace octavo
