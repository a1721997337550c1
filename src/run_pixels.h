// The run functions of plans that take images, on their Impl: w, types, macs, workspace_bytes() and run(args, begin, end, workspace).
#pragma once

#include "src/plan.h"
#include "src/window.h"

namespace octavo::detail {

// Checks, then some tiles.
template <class Impl>
Status run_tiles(const Impl& plan, const ConvArgs& v, int64_t tile_begin, int64_t tile_end, int64_t tiles, void* workspace) noexcept {
  if (Status s = check_pixels(plan.w, plan.types, v); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles); !s.ok()) return s;
  if (Status s = check_workspace(workspace, plan.workspace_bytes()); !s.ok()) return s;
  plan.run(with_strides(plan.types, v), tile_begin, tile_end, workspace);
  return {};
}
// The same with all of them, on the caller's threads.
template <class Impl>
Status run_all(const Impl& plan, const ConvArgs& v, const Tiles& tiles, void* workspace, const Parallel& parallel) noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = check_pixels(plan.w, plan.types, v); !s.ok()) return s;
  if (Status s = check_workspace(workspace, plan.workspace_bytes()); !s.ok()) return s;
  const ConvArgs dense = with_strides(plan.types, v);
  run_parallel(parallel, tiles, double(v.batch) * double(plan.macs), workspace, plan.workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { plan.run(dense, begin, end, own); });
  return {};
}

}  // namespace octavo::detail
