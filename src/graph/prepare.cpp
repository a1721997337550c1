#include "prepare.h"

#include <new>

#include "branches.h"
#include "convert_opset.h"
#include "split_directions.h"

namespace octavo {

Prepared::Prepared(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Prepared::Prepared(Prepared&&) noexcept = default;
Prepared& Prepared::operator=(Prepared&&) noexcept = default;
Prepared::~Prepared() = default;

const Graph& Prepared::graph() const noexcept { return impl_->root.graph; }
const std::vector<Annotation>& Prepared::annotations() const noexcept { return impl_->annotations; }

std::vector<std::string> Prepared::observed_values() const {
  std::vector<std::string> names;
  for (const auto& [prefix, p] : all_parts(impl_->root))
    for (const QuantizedValue& v : p->plan.values)
      if (v.observed) names.push_back(prefix + v.name);
  return names;
}

Expected<Preparation> prepare_graph(const Graph& graph, const Recipe& recipe) {
  Preparation p;
  p.graph = graph;
  if (Status s = fold_constants(p.graph); !s.ok()) return s;
  if (Status s = fold_batch_norm(p.graph); !s.ok()) return s;
  split_directions(p.graph);
  remove_dead(p.graph);
  if (Status s = raise_opset(p.graph); !s.ok()) return s;
  if (!p.graph.status.ok()) return p.graph.status;
  Expected<QuantPlan> plan = annotate(p.graph, recipe);
  if (!plan) return plan.status();
  p.plan = *std::move(plan);
  for (const QuantizedValue& v : p.plan.values)
    if (v.observed) p.observers[v.name] = Observer::create(v.config.observer);
  if (Status s = prepare_branches(p, recipe); !s.ok()) return s;
  return p;
}

Expected<Prepared> prepare(const Graph& graph, const Recipe& recipe) try {
  if (!graph.status.ok()) return graph.status;
  Expected<Preparation> root = prepare_graph(graph, recipe);
  if (!root) return root.status();
  auto impl = std::make_unique<Prepared::Impl>();
  impl->root = *std::move(root);
  impl->annotations = annotations_of(impl->root, false);
  return Prepared(std::move(impl));
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "prepare: out of memory");
}

}  // namespace octavo
