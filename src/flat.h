// Packed weights of a GEMM or a convolution, and the loop over a flat matrix of rows: a GEMM, or a 1x1 convolution.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "octavo/ukernel.h"
#include "src/caches.h"
#include "src/numerics.h"
#include "src/pack.h"
#include "src/packed.h"
#include "src/policy.h"

namespace octavo::detail {

// The nr or fewer output columns that one kernel call computes.
struct Panel {
  int64_t column = 0;  // the first one
  int32_t n = 0;
  ptrdiff_t a_offset = 0;  // bytes from a row's first element to the first one this panel multiplies (groups)
};

struct Weights {
  const KernelInfo* kernel = nullptr;
  bool kernel_asked = false;  // the caller did
  ShortSums short_sums;       // for the same panels
  Choice choice;
  Caches caches = detail::caches();
  int32_t group_n = 0;      // a grouped kernel's columns of one group
  int64_t taps = 1, k = 0;  // each panel: `taps` of panel_bytes(format, k), back to back
  std::vector<Panel> panels;
  PackedWeights packed;
  const char* data = nullptr;  // the panels in `packed`
  Epilogue epilogue;

  size_t tap_bytes() const noexcept { return panel_bytes(kernel->format, k); }
  size_t all_taps_bytes() const noexcept { return size_t(taps) * tap_bytes(); }
  const char* panel(int64_t p) const noexcept { return data + size_t(p) * all_taps_bytes(); }
  int64_t panel_count() const noexcept { return int64_t(panels.size()); }
  // A kernel call, and room for it.
  void call(const KernelInfo& k, BrgemmArgs& g, float* scratch) const noexcept {
    if (epilogue.function()) [[unlikely]]
      return epilogue.function().run(k, g, scratch);
    k.brgemm(&g);
  }
  void call(WinogradArgs& g, float* scratch) const noexcept {
    epilogue.function() ? epilogue.function().run(*kernel, g, scratch) : kernel->winograd(&g);
  }
  size_t scratch_bytes() const noexcept {
    if (!epilogue.function()) return 0;
    const auto elements = [](const KernelInfo& k) { return int64_t(k.mr) * k.nr * std::max<int64_t>(1, k.panels); };
    return epilogue.function().scratch_bytes(std::max(elements(*kernel), short_sums.kernel ? elements(*short_sums.kernel) : 0));
  }
  size_t bytes() const noexcept { return packed.bytes() + epilogue.bytes() + panels.size() * sizeof(Panel); }
};

// No column's weights have a larger sum of magnitudes. 0 for f32.
int64_t largest_weight_sum(const Weights&) noexcept;

// Packs a whole matrix into the first taps of w's panels, and adds its column sums to sums[0..n) unless that is null.
void pack_matrix(const Weights& w, const WeightBlock& matrix, char* panels, int32_t* sums) noexcept;

struct FlatArgs {
  int64_t m = 0;
  const char* a = nullptr;
  ptrdiff_t a_stride = 0;
  char* c = nullptr;
  ptrdiff_t c_stride = 0;
  const char* residual = nullptr;
  ptrdiff_t residual_stride = 0;
  bool far_c = false;
  // Of a run-time operand: the panels in place of Weights::data, and the bias [n] in place of the epilogue's.
  const char* panels = nullptr;
  const int32_t* bias = nullptr;
  float* scratch = nullptr;  // of scratch_bytes()
};

// Plan tiles [begin, end) of blocks.blocks * panel_count(). All taps multiply the same rows of A.
constexpr int kMaxFlatTaps = 3;
void run_flat(const Weights&, const FlatBlocks&, const FlatArgs&, int64_t begin, int64_t end) noexcept;

}  // namespace octavo::detail
