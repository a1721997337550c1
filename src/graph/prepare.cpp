#include "prepare.h"

#include <new>

#include "convert_opset.h"
#include "split_directions.h"

namespace octavo {

Prepared::Prepared(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Prepared::Prepared(Prepared&&) noexcept = default;
Prepared& Prepared::operator=(Prepared&&) noexcept = default;
Prepared::~Prepared() = default;

const Graph& Prepared::graph() const noexcept { return impl_->graph; }
const std::vector<Annotation>& Prepared::annotations() const noexcept { return impl_->annotations; }

std::vector<std::string> Prepared::observed_values() const {
  std::vector<std::string> names;
  for (const QuantizedValue& v : impl_->plan.values)
    if (v.observed) names.push_back(v.name);
  return names;
}

Expected<Prepared> prepare(const Graph& graph, const Recipe& recipe) try {
  if (!graph.status.ok()) return graph.status;
  auto impl = std::make_unique<Prepared::Impl>();
  impl->graph = graph;
  if (Status s = fold_constants(impl->graph); !s.ok()) return s;
  if (Status s = fold_batch_norm(impl->graph); !s.ok()) return s;
  split_directions(impl->graph);
  remove_dead(impl->graph);
  if (Status s = raise_opset(impl->graph); !s.ok()) return s;
  if (!impl->graph.status.ok()) return impl->graph.status;
  Expected<QuantPlan> plan = annotate(impl->graph, recipe);
  if (!plan) return plan.status();
  impl->plan = *std::move(plan);
  for (size_t n = 0; n < impl->graph.nodes.size(); ++n) {
    const Node& node = impl->graph.nodes[n];
    impl->annotations.push_back({node.name, node.op_type, impl->plan.nodes[n].quantized, impl->plan.nodes[n].reason});
  }
  for (const QuantizedValue& v : impl->plan.values)
    if (v.observed) impl->observers[v.name] = Observer::create(v.config.observer);
  return Prepared(std::move(impl));
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "prepare: out of memory");
}

}  // namespace octavo
