// What is behind Prepared; prepare, calibrate and convert work on it.
#pragma once

#include "annotate.h"
#include "octavo/quantize.h"

namespace octavo {

struct Prepared::Impl {
  Graph graph;
  QuantPlan plan;
  std::vector<Annotation> annotations;
  std::map<std::string, std::unique_ptr<Observer>> observers;  // by value, for those that plan.values marks as observed
};

}  // namespace octavo
