// Panels of weights over the threads of a frame, each thread in its own part of the scratch memory.
#pragma once

#include "step.h"

namespace octavo {

// body(panel, scratch) for each panel in [0, panels). scratch_bytes: the step's, which every thread has, rounded up to 64.
template <class Body>
void split_panels(const Frame& frame, int64_t panels, size_t scratch_bytes, const Body& body) {
  struct Job {
    const Body& body;
    std::byte* scratch;
    size_t stride;
  } job{body, frame.scratch, (scratch_bytes + 63) / 64 * 64};
  const auto run = [](void* arg, int64_t begin, int64_t end, int thread) {
    const Job& j = *static_cast<const Job*>(arg);
    for (int64_t panel = begin; panel < end; ++panel) j.body(panel, j.scratch + size_t(thread) * j.stride);
  };
  if (frame.parallel.threads > 1)
    frame.parallel.run(frame.parallel.context, panels, run, &job);
  else
    run(&job, 0, panels, 0);
}

}  // namespace octavo
