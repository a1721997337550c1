#include "src/flat.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "src/plan.h"

namespace octavo::detail {
namespace {

// Some bytes of each group of nr * kr at a time, in words while they hold the sums: loops that compilers make vectors of.
template <class T>
int64_t largest_sum(const Weights& w) noexcept {
  constexpr int64_t kSome = 256, kGroups = 256;  // 256 * 128 fits a word
  const PackFormat& f = w.kernel->format;
  const int64_t elements = int64_t(w.all_taps_bytes() / sizeof(T)), group = int64_t(f.nr) * f.kr;
  int32_t largest = 0;
  for (int64_t p = 0; p < w.panel_count(); ++p) {
    const T* panel = reinterpret_cast<const T*>(w.panel(p));
    int32_t sums[UINT8_MAX] = {};  // nr is no more
    for (int64_t first = 0; first < group; first += kSome) {
      const int64_t some = std::min(kSome, group - first);
      for (int64_t i = first; i < elements; i += kGroups * group) {
        uint16_t words[kSome] = {};
        const int64_t end = std::min(elements, i + kGroups * group);
        const auto add = [&](int64_t count) {
          for (int64_t at = i; at < end; at += group)
            for (int64_t e = 0; e < count; ++e) words[e] = uint16_t(words[e] + std::abs(panel[at + e]));
        };
        some == kSome ? add(kSome) : add(some);
        for (int64_t e = 0; e < some; ++e) sums[(first + e) / f.kr] += words[e];
      }
    }
    largest = std::max(largest, *std::max_element(sums, sums + f.nr));
  }
  return largest;
}

}  // namespace

// Where a bound on sums lets a kernel round them in a shorter way, they are short.
int64_t largest_weight_sum(const Weights& w) noexcept {
  constexpr int64_t kShort = 2048, kLargest = 128;
  if (w.kernel->a == DType::f32) return 0;
  if (w.kernel->op == Op::winograd) return w.taps / kWinogradPlaces * w.k * 9 * kLargest;
  if (w.taps * w.k > kShort) return w.taps * w.k * kLargest;
  return w.kernel->format.elem_bytes == 2 ? largest_sum<int16_t>(w) : largest_sum<int8_t>(w);
}

void pack_matrix(const Weights& w, const WeightBlock& matrix, char* panels, int32_t* sums) noexcept {
  const PackFormat& format = w.kernel->format;
  const size_t stride = w.all_taps_bytes();
  // Some rows go to all panels before the next ones do: they are read in one piece, and their pages stay mapped.
  const int64_t rows = ceil_div(512, format.kr) * format.kr;
  for (int64_t row = 0; row < matrix.k; row += rows) {
    char* to = panels;
    for (const Panel& p : w.panels) {
      WeightBlock block = matrix;
      block.data = static_cast<const char*>(matrix.data) +
                   (row * matrix.row_stride + p.column * matrix.col_stride) * ptrdiff_t(size_of(matrix.dtype));
      block.k = std::min(rows, matrix.k - row);
      block.n = p.n;
      if (row == 0 && (p.n < format.nr || matrix.k % format.kr)) std::memset(to, 0, w.tap_bytes());
      pack_block(format, block, row, 0, to, 0);
      to += stride;
    }
  }
  for (const Panel& p : w.panels) {
    if (sums) add_column_sums(format, matrix.k, p.n, panels, sums + p.column);
    panels += stride;
  }
}

void run_flat(const Weights& w, const FlatBlocks& blocks, const FlatArgs& f, int64_t begin, int64_t end) noexcept {
  if (begin == end) return;
  const KernelInfo& kernel = *blocks.kernel;
  const int64_t panels = w.panel_count();
  const ptrdiff_t c_bytes = ptrdiff_t(size_of(w.epilogue.out())), r_bytes = ptrdiff_t(size_of(w.epilogue.args(0).residual_dtype));
  const int64_t most = call_rows(w, kernel, w.k * int64_t(size_of(kernel.a)), f.a_stride,
                                 std::min<int64_t>(blocks.group, panels) * kernel.nr * c_bytes);
  BrgemmArgs g;
  g.k = w.k;
  g.group_n = w.group_n;
  g.a_stride_bytes = f.a_stride;
  g.c_stride_bytes = f.c_stride;
  g.far_c = f.far_c;
  g.batch = w.taps;
  const void* taps[kMaxFlatTaps];
  g.a = taps;
  const char* data = f.panels ? f.panels : w.data;
  const size_t panel_stride = w.all_taps_bytes();
  g.b_panel_stride = ptrdiff_t(panel_stride);
  EpilogueArgs epilogues[kMaxGroup];
  for (int64_t tile = begin, next; tile < end; tile = next) {
    const int64_t block = tile / panels, p_begin = tile % panels,
                  p_end = std::min({panels, p_begin + blocks.group, p_begin + end - tile});
    next = tile + p_end - p_begin;
    for (int64_t p = p_begin; p < p_end; ++p) {
      epilogues[p - p_begin] = w.epilogue.args(w.panels[size_t(p)].column);
      epilogues[p - p_begin].residual_stride_bytes = f.residual_stride;
      if (f.bias) epilogues[p - p_begin].bias = f.bias + w.panels[size_t(p)].column;
    }
    const int64_t row_end = std::min(f.m, (block + 1) * blocks.rows);
    for (int64_t row = block * blocks.rows; row < row_end; row += g.m) {
      g.m = int32_t(next_call(kernel, most, row_end - row));
      for (int64_t p = p_begin, count; p < p_end; p += count) {
        const Panel& panel = w.panels[size_t(p)];
        count = 1, g.n = panel.n;
        if (kernel.panels > 1) {  // most take one, and small products would feel the call
          count = call_panels(w, kernel, p, p_end);
          g.n = int32_t((count - 1) * kernel.nr) + w.panels[size_t(p + count - 1)].n;
        }
        EpilogueArgs& epi = epilogues[p - p_begin];
        for (int64_t t = 0; t < w.taps; ++t) taps[t] = f.a + row * f.a_stride + panel.a_offset;
        g.b = data + size_t(p) * panel_stride;
        g.c = f.c + row * f.c_stride + panel.column * c_bytes;
        if (f.residual) epi.residual = f.residual + row * f.residual_stride + panel.column * r_bytes;
        g.epi = &epi;
        w.call(kernel, g, f.scratch);
      }
    }
  }
}

}  // namespace octavo::detail
