// What the samples show of single channels of float values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "octavo/graph.h"

namespace octavo {

struct ChannelStats {
  std::vector<double> sum, largest;  // by channel: sum of x, largest |x|
  int64_t count = 0;                 // of elements in each channel
};

// axis: the channels' axis of each value named; -1 = the last one. In the order of the samples, so that the sums have one value.
Expected<std::map<std::string, ChannelStats>> channel_stats(const Graph& graph, const std::map<std::string, int64_t>& axis,
                                                            const std::vector<std::map<std::string, Tensor>>& samples);

}  // namespace octavo
