#include "channel_stats.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "octavo/session.h"

namespace octavo {
namespace {

struct Collector {
  const std::map<std::string, int64_t>& axis;
  ShapeMap shapes;
  const std::vector<ValueInfo>& inputs;
  std::map<std::string, ChannelStats>& stats;
  bool failed = false;

  void add(const std::string& name, const float* x, size_t count) {
    const auto at = axis.find(name);
    const auto shape = shapes.find(name);
    if (at == axis.end() || shape == shapes.end() || shape->second.shape.empty()) return;
    const Shape& dims = shape->second.shape;
    const size_t channel_axis = at->second < 0 ? dims.size() - 1 : size_t(at->second);
    if (channel_axis >= dims.size() || count == 0) return;
    size_t inner = 1;
    for (size_t d = channel_axis + 1; d < dims.size(); ++d) inner *= size_t(dims[d]);
    const size_t channels = size_t(dims[channel_axis]);
    ChannelStats& s = stats[name];
    s.sum.resize(channels);
    s.largest.resize(channels);
    for (size_t i = 0; i < count; ++i) {
      const size_t c = i / inner % channels;
      s.sum[c] += double(x[i]);
      s.largest[c] = std::max(s.largest[c], std::fabs(double(x[i])));
    }
    s.count += int64_t(count / channels);
  }
};

}  // namespace

Expected<std::map<std::string, ChannelStats>> channel_stats(const Graph& graph, const std::map<std::string, int64_t>& axis,
                                                            const std::vector<std::map<std::string, Tensor>>& samples) {
  std::map<std::string, ChannelStats> stats;
  CompileOptions options;
  for (const auto& [name, a] : axis) options.keep.push_back(name);
  Expected<Session> session = Session::create(graph, 1, options);
  if (!session) return session.status();
  for (const auto& sample : samples) {
    std::map<std::string, Shape> shapes;
    for (const auto& [name, tensor] : sample) shapes[name] = tensor.shape();
    Expected<ShapeMap> inferred = infer_shapes(graph, shapes);
    if (!inferred) return inferred.status();
    Collector collector{axis, *std::move(inferred), graph.inputs, stats};
    for (const auto& [name, tensor] : sample)
      if (tensor.dtype() == DType::f32) collector.add(name, tensor.as<float>(), size_t(tensor.count()));
    RunHooks hooks;
    hooks.context = &collector;
    hooks.on_value = [](void* context, const std::string& name, const float* data, size_t count) {
      Collector& c = *static_cast<Collector*>(context);
      try {
        const bool is_input = std::any_of(c.inputs.begin(), c.inputs.end(), [&](const ValueInfo& v) { return v.name == name; });
        if (!is_input) c.add(name, data, count);
      } catch (const std::bad_alloc&) {
        c.failed = true;
      }
    };
    if (const auto y = session->run(sample, &hooks); !y) return y.status();
    if (collector.failed) return Status::error(Code::out_of_memory, "out of memory");
  }
  return stats;
}

}  // namespace octavo
