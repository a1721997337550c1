// What is behind Prepared; prepare, calibrate and convert work on it.
#pragma once

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

struct Prepared::Impl {
  Graph graph;
  QuantPlan plan;
  std::vector<Annotation> annotations;
  std::map<std::string, std::unique_ptr<Observer>> observers;  // by value, for those that plan.values marks as observed
  SampleRanges samples;
};

}  // namespace octavo
