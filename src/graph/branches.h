// Branches of Ifs, quantized as graphs of their own: what they capture are their inputs, captured constants their constants.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "prepare.h"

namespace octavo {

using Sample = std::map<std::string, Tensor>;

// Prepares them all, with those inside. Where the type of a captured value is not known the branch stays as it is.
Status prepare_branches(Preparation& p, const Recipe& recipe);

// What the branches capture of each sample, for the branch that the sample takes; with the numbers of the samples.
struct BranchSamples {
  std::vector<Sample> samples;
  std::vector<uint64_t> numbers;
};
Expected<std::vector<BranchSamples>> sample_branches(const Preparation& p, const std::vector<Sample>& samples,
                                                     const std::vector<uint64_t>& numbers);

// The graph and its branches, with what names them in front of their values; the graph first.
std::vector<std::pair<std::string, Preparation*>> all_parts(Preparation& p);

// Whether it can be converted: a branch that no sample took stays float.
bool was_seen(const Preparation& p);

// For each node of the graph and its branches. calibrated: a branch that was not seen will not be.
std::vector<Annotation> annotations_of(const Preparation& p, bool calibrated);

// Replaces the branches of the converted graph by those that convert() makes of the prepared ones.
Status convert_branches(const Preparation& p, Graph& graph, Expected<Graph> (*convert)(const Preparation&));

}  // namespace octavo
