// Direct convolution without im2col. A 1x1 convolution of stride 1 is a flat matrix product over all pixels. Any other one
// runs tile by tile of up to mr neighbouring output pixels; each kernel tap is a pointer into the input, or into a copy of the
// input rows with the padding filled in. Where the KW*IC bytes of a kernel row are contiguous they are one tap.
#include "octavo/conv.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <vector>

#include "src/flat.h"
#include "src/pack.h"
#include "src/plan.h"
#include "src/window.h"

namespace octavo {
using namespace detail;

namespace {

// The kernel rows [begin, end) that an output row needs; those in the padding are left out, together with their share of the
// folded bias (a variant of the epilogue).
struct RowTaps {
  int32_t begin, end, variant;
};

}  // namespace

struct ConvPlan::Impl {
  Window w;
  int64_t oh = 0, ow = 0, macs = 0;
  PixelTypes types;
  int fill = 0;  // the byte that padding is made of
  Weights weights;
  ConvAlgorithm algorithm;
  ConvBlocks blocks;
  std::vector<RowTaps> rows;  // [oh]; empty: all taps for every row

  int64_t pixel_bytes() const noexcept { return types.in * int64_t(size_of(types.a)); }
  int64_t in_rows(int64_t out_rows) const noexcept { return (out_rows - 1) * w.stride_h + (w.kh - 1) * w.dilation_h + 1; }
  int64_t in_cols(int64_t out_cols) const noexcept { return (out_cols - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1; }

  // The workspace: a pointer for each tap (kh * kw of them if pixels turn out not to be dense), then the copy, then room for
  // the last tap's k rounded up to kr.
  size_t pointer_bytes() const noexcept {
    return algorithm.flat ? 0 : align_up(size_t(algorithm.copy ? weights.taps : w.kh * w.kw) * sizeof(void*));
  }
  size_t workspace_bytes() const noexcept {
    if (!algorithm.copy) return pointer_bytes();
    return pointer_bytes() + align_up(size_t(in_rows(blocks.band_rows) * in_cols(blocks.segment_cols) * pixel_bytes()) +
                                      weights.kernel->format.kr);
  }

  void make_panels(const ConvDesc& d);
  PackedShape packed_shape(const ConvDesc& d) const noexcept;
  void pack(const ConvDesc& d);
  void make_epilogue(const ConvDesc& d);

  int64_t tiles(int64_t batch) const noexcept {
    if (batch < 1) return 0;
    if (algorithm.flat) return flat_blocks(weights, batch * oh * ow).blocks * weights.panel_count();
    return batch * blocks.bands * blocks.segments * weights.panel_count();
  }
  Status check(const ConvArgs& v) const noexcept;
  void run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept;
  void run_panel(const ConvArgs& v, int64_t image, const Region& out, int64_t panel, const char* in, ptrdiff_t row_stride,
                 ptrdiff_t pixel_stride, const char** taps) const noexcept;
};

void ConvPlan::Impl::make_panels(const ConvDesc& d) {
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, merged = algorithm.merged, nr = weights.kernel->nr;
  for (int64_t g = 0; g < d.groups; g += merged) {
    const int64_t columns = std::min(merged, d.groups - g) * ocg;
    // Merged: the last panel reads as many groups, though it may use fewer.
    const int64_t first = weights.group_n > 0 ? g : std::min(g, d.groups - merged);
    for (int64_t j = 0; j < columns; j += nr)
      weights.panels.push_back({g * ocg + j, int32_t(std::min(nr, columns - j)), first * icg * ptrdiff_t(size_of(d.a))});
  }
}

PackedShape ConvPlan::Impl::packed_shape(const ConvDesc& d) const noexcept {
  PackedShape s;
  s.set_kernel(*weights.kernel);
  s.convolution = 1;
  s.columns = d.oc, s.depth = d.ic / d.groups, s.kh = w.kh, s.kw = w.kw, s.groups = d.groups;
  s.panels = weights.panel_count(), s.taps = weights.taps, s.k = weights.k;
  s.sum_rows = d.a == DType::f32 ? 0 : w.kh;
  return s;
}

// Fills weights.packed: the panels, and the sums of each kernel row.
void ConvPlan::Impl::pack(const ConvDesc& d) {
  const PackFormat& format = weights.kernel->format;
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups;
  const DType b = weights.kernel->b;
  const bool fused = algorithm.fused;
  const int64_t merged = algorithm.merged;
  const bool grouped = weights.group_n > 0;
  const ptrdiff_t a_bytes = ptrdiff_t(size_of(d.a)), b_bytes = ptrdiff_t(size_of(b));
  const ptrdiff_t column_stride = icg * w.kh * w.kw;
  const size_t tap_bytes = weights.tap_bytes(), all_taps = size_t(weights.taps) * tap_bytes;
  char* panels = PackedAccess::panels(weights.packed);
  int32_t* sums = PackedAccess::sums(weights.packed);
  // A kernel row of whole words is packed as its pixels would be by themselves. Otherwise pixels share words, and the weights of
  // each column are first brought into the order in which a kernel row has them: [kh][kw][ic].
  const bool by_pixel = !fused || d.ic % format.kr == 0;
  const size_t by_pixel_bytes = panel_bytes(format, grouped ? icg : merged * icg);
  Buffer<int8_t> ordered;
  if (!by_pixel) ordered = Buffer<int8_t>::uninitialized(size_t(format.nr * w.kh * w.kw * d.ic));
  for (int64_t p = 0; p < weights.panel_count(); ++p) {
    const Panel& panel = weights.panels[size_t(p)];
    const int64_t first_group = panel.a_offset / a_bytes / icg;
    char* to = panels + size_t(p) * all_taps;
    if (panel.n < format.nr || merged > 1 || weights.k % format.kr || !by_pixel) std::memset(to, 0, all_taps);
    // The part of the panel that belongs to one group: all of it, unless groups are merged.
    for (int64_t j = 0, n; j < panel.n; j += n) {
      const int64_t column = panel.column + j, group = column / ocg, row = grouped ? 0 : (group - first_group) * icg,
                    taps = w.kh * w.kw;
      n = std::min(panel.n - j, (group + 1) * ocg - column);
      const char* source = static_cast<const char*>(d.w) + column * column_stride * b_bytes;
      if (by_pixel) {
        const WeightBlock block{source, b, icg, n, taps, column_stride, taps, 1};
        pack_block(format, block, row, j, to, by_pixel_bytes);
        continue;
      }
      if (merged > 1) std::memset(ordered.get(), 0, ordered.bytes());
      for (int64_t c = 0; c < n; ++c)
        for (int64_t i = 0; i < icg; ++i)
          for (int64_t y = 0; y < taps; ++y) ordered[size_t((c * taps + y) * d.ic + row + i)] = source[(c * icg + i) * taps + y];
      const int64_t wide = w.kw * d.ic;
      pack_block(format, {ordered.get(), b, wide, n, 1, w.kh * wide, w.kh, wide}, 0, j, to, tap_bytes);
    }
    for (int64_t t = 0; sums && t < weights.taps; ++t)
      add_column_sums(format, weights.k, panel.n, to + size_t(t) * tap_bytes,
                      sums + t * w.kh / weights.taps * d.oc + panel.column);
  }
}

void ConvPlan::Impl::make_epilogue(const ConvDesc& d) {
  const bool integer = d.a != DType::f32;
  const int32_t* sums = sums_of(weights.packed);
  // The distinct ranges of kernel rows, and for each the sums of the weights that take part. Range 0 is all rows.
  std::vector<TapRange> variants{{0, w.kh}};
  if (integer && (w.pad_top || w.pad_bottom)) {
    for (int64_t y = 0; y < oh; ++y) {
      TapRange r = valid_taps(y * w.stride_h - w.pad_top, w.kh, w.dilation_h, w.ih);
      if (r.begin == r.end) r = {0, w.kh};  // a row that sees nothing but padding
      const auto same = [&](const TapRange& v) { return v.begin == r.begin && v.end == r.end; };
      const auto found = std::find_if(variants.begin(), variants.end(), same);
      rows.push_back({int32_t(r.begin), int32_t(r.end), int32_t(found - variants.begin())});
      if (found == variants.end()) variants.push_back(r);
    }
  }
  Buffer<int32_t> variant_sums;
  if (integer) {
    variant_sums = Buffer<int32_t>(variants.size() * size_t(d.oc));
    for (size_t v = 0; v < variants.size(); ++v)
      for (int64_t y = variants[v].begin; y < variants[v].end; ++y)
        for (int64_t j = 0; j < d.oc; ++j) variant_sums[v * size_t(d.oc) + size_t(j)] += sums[size_t(y * d.oc + j)];
  }
  weights.epilogue = Epilogue(d.numerics, d.a, d.oc, variant_sums.get(), int64_t(variants.size()),
                              weights.kernel->format.a_offset, w.kh * w.kw * (d.ic / d.groups));
}

Status ConvPlan::Impl::check(const ConvArgs& v) const noexcept { return check_pixels(w, types, v); }

void ConvPlan::Impl::run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept {
  if (algorithm.flat) {
    const FlatArgs f{
        v.batch * oh * ow,      static_cast<const char*>(v.a),        v.a_pixel_stride_bytes,       static_cast<char*>(v.c),
        v.c_pixel_stride_bytes, static_cast<const char*>(v.residual), v.residual_pixel_stride_bytes};
    return run_flat(weights, flat_blocks(weights, f.m), f, begin, end);
  }
  const int64_t panels = weights.panel_count();
  const char** taps = static_cast<const char**>(workspace);
  char* copied = static_cast<char*>(workspace) + pointer_bytes();
  for (int64_t tile = begin; tile < end;) {
    const int64_t block = tile / panels, first = tile % panels, last = std::min(panels, first + end - tile);
    tile += last - first;
    const int64_t image = block / (blocks.bands * blocks.segments), band = block / blocks.segments % blocks.bands,
                  segment = block % blocks.segments;
    Region out{band * blocks.band_rows, segment * blocks.segment_cols, 0, 0};
    out.rows = std::min(blocks.band_rows, oh - out.y);
    out.cols = std::min(blocks.segment_cols, ow - out.x);
    const char* in = static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes;
    ptrdiff_t pixel_stride = v.a_pixel_stride_bytes, row_stride = w.iw * pixel_stride;
    if (algorithm.copy) {
      const Region r{out.y * w.stride_h - w.pad_top, out.x * w.stride_w - w.pad_left, in_rows(out.rows), in_cols(out.cols)};
      copy_padded(w, r, in, pixel_stride, pixel_bytes(), fill, copied);
      // The last tap's k may be rounded up: those bytes meet zero weights.
      std::fill_n(copied + r.rows * r.cols * pixel_bytes(), weights.kernel->format.kr, char(0));
      in = copied;
      pixel_stride = pixel_bytes();
      row_stride = r.cols * pixel_stride;
    } else {
      in += out.y * w.stride_h * row_stride + out.x * w.stride_w * pixel_stride;
    }
    const int64_t step = blocks.rows_first ? 1 : out.rows, end_row = out.y + out.rows;
    for (out.rows = step; out.y < end_row; out.y += step, in += step * w.stride_h * row_stride)
      for (int64_t p = first; p < last; ++p) run_panel(v, image, out, p, in, row_stride, pixel_stride, taps);
  }
}

// `in` is the input pixel under kernel tap (0, 0) of the output region's first pixel.
void ConvPlan::Impl::run_panel(const ConvArgs& v, int64_t image, const Region& out, int64_t p, const char* in,
                               ptrdiff_t row_stride, ptrdiff_t pixel_stride, const char** taps) const noexcept {
  const KernelInfo& kernel = call_kernel(weights, out.cols);
  const Panel& panel = weights.panels[size_t(p)];
  // Pixels that are not dense cannot be fused; a tap's k is then a multiple of kr, so that the packed weights are the same.
  const bool one_tap_a_row = algorithm.fused && pixel_stride == pixel_bytes();
  const int64_t taps_x = one_tap_a_row ? 1 : w.kw;
  BrgemmArgs g;
  g.a = reinterpret_cast<const void* const*>(taps);
  g.a_stride_bytes = w.stride_w * pixel_stride;
  g.c_stride_bytes = v.c_pixel_stride_bytes;
  g.k = algorithm.fused && !one_tap_a_row ? types.in : weights.k;
  g.n = panel.n;
  g.group_n = weights.group_n;
  const size_t tap_bytes = panel_bytes(kernel.format, g.k);
  const int64_t most = call_rows(kernel, g.a_stride_bytes, g.a_stride_bytes, g.c_stride_bytes);
  RowTaps rows_used{0, int32_t(w.kh), 0};
  for (int64_t y = 0; y < out.rows; ++y) {
    if (!rows.empty()) rows_used = rows[size_t(out.y + y)];
    EpilogueArgs epi = weights.epilogue.args(panel.column, rows_used.variant);
    g.epi = &epi;
    g.batch = (rows_used.end - rows_used.begin) * taps_x;
    g.b = weights.panel(p) + size_t(rows_used.begin * taps_x) * tap_bytes;
    const char* row = in + y * w.stride_h * row_stride + panel.a_offset;
    const char** tap = taps;
    for (int64_t ky = rows_used.begin; ky < rows_used.end; ++ky)
      for (int64_t kx = 0; kx < taps_x; ++kx) *tap++ = row + ky * w.dilation_h * row_stride + kx * w.dilation_w * pixel_stride;
    const int64_t pixel = (image * oh + out.y + y) * ow + out.x;
    char* c = static_cast<char*>(v.c) + pixel * v.c_pixel_stride_bytes + panel.column * ptrdiff_t(size_of(epi.out));
    if (v.residual) {
      epi.residual = static_cast<const char*>(v.residual) + pixel * v.residual_pixel_stride_bytes +
                     panel.column * ptrdiff_t(size_of(epi.residual_dtype));
      epi.residual_stride_bytes = v.residual_pixel_stride_bytes;
    }
    for (int64_t left = out.cols; left > 0; left -= g.m) {
      g.m = int32_t(next_call(kernel, most, left));
      g.c = c;
      kernel.brgemm(&g);
      c += g.m * v.c_pixel_stride_bytes;
      if (epi.residual) epi.residual = static_cast<const char*>(epi.residual) + g.m * v.residual_pixel_stride_bytes;
      for (const char** i = taps; i < tap; ++i) *i += g.m * g.a_stride_bytes;
    }
  }
}

Expected<ConvPlan> ConvPlan::create(const ConvDesc& d) noexcept try {
  if (Status s = check_conv(d); !s.ok()) return s;
  Expected<const KernelInfo*> kernel = choose_kernel(Op::brgemm, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  if (const KernelInfo* grouped = d.kernel ? nullptr : grouped_kernel(d, **kernel)) kernel = grouped;
  if (Status s = check_numerics(d.numerics, d.a, d.oc, d.ic / d.groups * d.window.kh * d.window.kw); !s.ok()) return s;
  auto impl = std::make_shared<Impl>();
  impl->w = d.window;
  impl->oh = d.window.oh();
  impl->ow = d.window.ow();
  impl->macs = impl->oh * impl->ow * d.oc * (d.ic / d.groups) * d.window.kh * d.window.kw;
  impl->types = {d.ic, d.oc, d.a, d.numerics.out, d.numerics.residual_dtype, d.numerics.has_residual};
  impl->fill = d.a == DType::f32 ? 0 : d.numerics.a.zero_point;
  impl->algorithm = conv_algorithm(d, **kernel);
  Weights& weights = impl->weights;
  weights.kernel = *kernel;
  if ((*kernel)->op == Op::grouped) weights.group_n = int32_t(d.oc / d.groups);
  if (!d.kernel) weights.short_sums = short_sum_kernel(**kernel);
  weights.taps = impl->algorithm.taps;
  weights.k = impl->algorithm.k;
  impl->make_panels(d);
  const PackedShape shape = impl->packed_shape(d);
  if (d.packed) {
    if (Status s = check_packed(*d.packed, shape, **kernel); !s.ok()) return s;
    weights.packed = *d.packed;
  } else {
    weights.packed = PackedAccess::make(shape);
    impl->pack(d);
  }
  weights.data = panels_of(weights.packed);
  impl->make_epilogue(d);
  if (!impl->algorithm.flat) impl->blocks = conv_blocks(d.window, impl->pixel_bytes(), weights);
  return ConvPlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "ConvPlan::create: no memory for the weights of %lld channels",
                       static_cast<long long>(d.oc));
}

ConvPlan::ConvPlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t ConvPlan::tiles(int64_t batch) const noexcept { return impl_->tiles(batch); }
size_t ConvPlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status ConvPlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = impl_->check(v); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles(v.batch)); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  impl_->run(with_strides(impl_->types, v), tile_begin, tile_end, workspace);
  return {};
}

Status ConvPlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = impl_->check(v); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const ConvArgs dense = with_strides(impl_->types, v);
  run_parallel(parallel, tiles(v.batch), double(v.batch) * double(impl_->macs), workspace, workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(dense, begin, end, own); });
  return {};
}

const KernelInfo& ConvPlan::kernel() const noexcept { return *impl_->weights.kernel; }
PackedWeights ConvPlan::packed() const noexcept { return impl_->weights.packed; }
size_t ConvPlan::packed_bytes() const noexcept { return impl_->weights.bytes(); }
int64_t ConvPlan::macs() const noexcept { return impl_->macs; }

std::string ConvPlan::describe() const {
  const Impl& i = *impl_;
  std::string s = std::string(kernel().name) + ": ";
  if (i.algorithm.flat) {
    s += "1x1 as a flat matrix product over all pixels";
  } else {
    s += "direct, " + std::to_string(i.weights.taps) + (i.algorithm.fused ? " taps, each a whole kernel row" : " taps") +
         " of k=" + std::to_string(i.weights.k) +
         (i.algorithm.copy ? ", from a padded copy of the input rows" : ", from the input in place") + ", " + std::to_string(i.blocks.bands) +
         "x" + std::to_string(i.blocks.segments) + " blocks of " + std::to_string(i.blocks.band_rows) + "x" + std::to_string(i.blocks.segment_cols) +
         " pixels";
  }
  if (i.algorithm.merged > 1) s += ", " + std::to_string(i.algorithm.merged) + " groups to a panel";
  return s + "; " + std::to_string(i.weights.panel_count()) + " panels of " + std::to_string(kernel().nr) + " channels" +
         describe_short_sums(i.weights) + ", " + std::to_string(packed_bytes()) + " bytes packed, workspace " + std::to_string(workspace_bytes()) + " bytes";
}

}  // namespace octavo
