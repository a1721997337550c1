#include "flat_range.h"

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

constexpr size_t kPoints = 1025;

// How many points from the first on may be taken for the last of them.
template <class Iterator>
size_t flat_points(Iterator begin, Iterator end, float tolerance) {
  float least = *begin, largest = *begin;
  size_t flat = 1, n = 0;
  for (Iterator it = begin; it != end; ++it) {
    least = std::min(least, *it);
    largest = std::max(largest, *it);
    ++n;
    if (*it - least <= tolerance && largest - *it <= tolerance) flat = n;
  }
  return flat;
}

}  // namespace

RealRange curved_range(const Graph& graph, const PointwiseRegion& region, RealRange range, float tolerance) {
  std::vector<float> points(kPoints);
  for (size_t i = 0; i < kPoints; ++i) points[i] = range.lo + (range.hi - range.lo) * (float(i) / float(kPoints - 1));
  const std::vector<float> values = pointwise_values(graph, region, points);
  if (values.empty() || std::any_of(values.begin(), values.end(), [](float v) { return !std::isfinite(v); })) return range;
  const size_t below = flat_points(values.begin(), values.end(), tolerance) - 1;
  const size_t above = kPoints - flat_points(values.rbegin(), values.rend(), tolerance);
  if (below >= above) return range;
  return {points[below], points[above]};
}

}  // namespace octavo
