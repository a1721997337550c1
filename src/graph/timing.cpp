#include "timing.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>

namespace octavo {
namespace {

constexpr std::string_view kPrefix = "octavo.ms/";

bool parse(const std::string& text, NodeReport& step) {
  double ms[2];
  const char *p = text.data(), *end = p + text.size();
  for (double& v : ms) {
    if (p != end && *p == ' ') ++p;
    const auto [after, error] = std::from_chars(p, end, v);
    if (error != std::errc() || !std::isfinite(v) || v <= 0) return false;
    p = after;
  }
  if (p != end) return false;
  step.int8_ms = ms[0];
  step.float_ms = ms[1];
  return true;
}

}  // namespace

void store_timings(Graph& graph, const std::vector<NodeTiming>& timings) {
  std::erase_if(graph.metadata, [](const auto& entry) { return entry.first.starts_with(kPrefix); });
  for (const NodeTiming& t : timings) {
    char text[64];
    std::snprintf(text, sizeof text, "%.6g %.6g", t.int8_ms, t.float_ms);
    graph.metadata[std::string(kPrefix) + t.node] = text;
  }
}

void read_timing(const Graph& graph, NodeReport& step) {
  if (graph.metadata.empty()) return;
  const auto read = [&](const std::string& name) {
    const auto it = graph.metadata.find(std::string(kPrefix) + name);
    return it != graph.metadata.end() && parse(it->second, step);
  };
  if (read(step.name)) return;
  for (const std::string& name : step.fused)
    if (read(name)) return;
}

}  // namespace octavo
