#include "src/policy.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "octavo/registry.h"
#include "src/flat.h"
#include "src/pack_winograd.h"
#include "src/plan.h"

namespace octavo::detail {
namespace {

// Appends a reason.
[[gnu::format(printf, 2, 3)]] void say(std::string* why, const char* format, ...) {
  if (!why) return;
  char text[256];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (!why->empty()) *why += "; ";
  *why += text;
}
long long ll(int64_t v) { return static_cast<long long>(v); }
const char* asked(bool is_asked) { return is_asked ? " (asked for)" : ""; }

// Shares of the caches. What is named first stays in the cache while the rest passes through it.
int64_t l1_panels(const Caches& c) { return c.l1 * 3 / 8; }  // panels of short sums, beside rows of A and C
int64_t l1_rows(const Caches& c) { return c.l1 * 3 / 4; }    // rows of A (and C), beside a piece of a panel
int64_t l2_weights(const Caches& c) { return c.l2 / 2; }     // all of B, beside A and C
int64_t l2_group(const Caches& c) { return c.l2 / 4; }       // a few panels, while rows pass over them
int64_t l2_rows(const Caches& c) { return c.l2 / 8; }        // rows of A or input rows, while panels pass over them

}  // namespace

int64_t least_rows(const KernelInfo& k) noexcept {
  constexpr int64_t kEnough = 3;
  return std::min(kEnough, ceil_div(k.group > 0 ? k.group : k.mr, 3));
}

Status check_choice(const Choice& c) noexcept {
  if (c.block_rows)
    if (Status s = check_at_least("choice.block_rows", *c.block_rows, 1); !s.ok()) return s;
  if (!c.panel_group || (*c.panel_group >= 1 && *c.panel_group <= kMaxGroup)) return {};
  return Status::error(Code::invalid_argument, "choice.panel_group is %lld: must be in [1, %lld]", ll(*c.panel_group),
                       ll(kMaxGroup));
}

const KernelInfo* short_sum_kernel(const KernelInfo& kernel) noexcept {
  if (kernel.group > 0) return nullptr;
  for (const KernelInfo& k : kernels())
    if (k.group > 0 && k.op == kernel.op && k.a == kernel.a && k.needs == kernel.needs && k.format == kernel.format) return &k;
  return nullptr;
}

// Short sums: their panel stays in L1 beside A and C, since a kernel in groups reads it once for every few rows. Fewer rows than a
// few groups are better off in one tile, or in two of equal height.
ShortSums short_sums(const Weights& w, std::string* why) {
  constexpr int64_t kGroups = 4;
  const std::optional<bool>& choice = w.choice.short_sums;
  const KernelInfo* kernel = w.kernel_asked && !choice ? nullptr : short_sum_kernel(*w.kernel);
  if (!kernel) return {};
  const int64_t panel = int64_t(w.all_taps_bytes()), most = l1_panels(w.caches);
  const bool chosen = choice.value_or(panel <= most);
  const ShortSums s{chosen ? kernel : nullptr, choice ? 1 : kGroups * kernel->group};
  say(why, "%s%s: a panel of %lld bytes, of %lld (3/8 of L1)", chosen ? "short sums" : "no short sums", asked(choice.has_value()),
      ll(panel), ll(most));
  if (chosen) say(why, "from %lld neighbouring rows on by %s", ll(s.rows), kernel->name);
  return s;
}

void explain_kernel(const KernelInfo& kernel, bool asked, std::string* why) {
  say(why, "%s", asked ? "the kernel was asked for" : "the first kernel of the registry for these types and instructions");
  if (kernel.op == Op::dwconv) return;
  say(why, "tiles of %d x %d", int(kernel.mr), int(kernel.nr));
}

const KernelInfo& call_kernel(const Weights& w, int64_t rows) noexcept {
  return w.short_sums.kernel && rows >= w.short_sums.rows ? *w.short_sums.kernel : *w.kernel;
}

// Rows of A a multiple of 4 KiB apart compete for the same few lines of L1 (64 sets of 64 bytes, 8 ways or more): taller tiles than
// that evict their own rows. A call in groups leaves its rows of A and C in L1 for the next panel.
int64_t call_rows(const Weights& w, const KernelInfo& kernel, int64_t k_bytes, ptrdiff_t a_stride, int64_t c_bytes) noexcept {
  constexpr int64_t kWays = 7;  // of eight, one is left to B
  if (kernel.group > 0)
    return std::clamp<int64_t>(l1_rows(w.caches) / (k_bytes + c_bytes) / kernel.group, 2, kernel.mr / kernel.group) * kernel.group;
  return a_stride % 4096 == 0 && kernel.mr > kWays ? std::max<int64_t>(kWays, kernel.mr / 2) : kernel.mr;
}

// Calls in groups are as large as they may be, so that most are whole groups; tiles are all of about the same height.
int64_t next_call(const KernelInfo& kernel, int64_t most, int64_t rows) noexcept {
  return kernel.group > 0 ? std::min(most, rows) : ceil_div(rows, ceil_div(rows, most));
}

int64_t call_panels(const Weights& w, const KernelInfo& kernel, int64_t p, int64_t end) noexcept {
  const int64_t most = std::min<int64_t>(end - p, kernel.panels);
  int64_t count = 1;
  while (count < most && w.panels[size_t(p + count - 1)].n == kernel.nr &&
         w.panels[size_t(p + count)].a_offset == w.panels[size_t(p)].a_offset)
    ++count;
  return count;
}

// B is read once for each block. While all of it fits L2 that costs little, and A and C may stay in L1; otherwise blocks take a
// part of L2. A row tile passes over a few neighbouring panels, which stay in L2, before the next one does: rows of C are written
// in longer runs, which costs fewer page translations.
FlatBlocks flat_blocks(const Weights& w, int64_t m, std::string* why) {
  constexpr int64_t kMinTiles = 4;
  FlatBlocks f;
  if (m < 1) return f;
  f.kernel = &call_kernel(w, m);
  f.group = w.choice.panel_group.value_or(std::clamp<int64_t>(l2_group(w.caches) / int64_t(w.tap_bytes()), 1, kMaxGroup));
  const int64_t unit = f.kernel->group > 0 ? f.kernel->group : f.kernel->mr;
  const int64_t tile_bytes = unit * w.k * int64_t(size_of(f.kernel->a)), b_bytes = w.panel_count() * int64_t(w.tap_bytes());
  const bool small = b_bytes <= l2_weights(w.caches);
  const int64_t block_bytes = small ? l1_rows(w.caches) : l2_rows(w.caches);
  const int64_t tiles = ceil_div(m, unit);
  const int64_t most = w.choice.block_rows ? ceil_div(*w.choice.block_rows, unit) : std::max(kMinTiles, block_bytes / tile_bytes);
  f.blocks = ceil_div(tiles, most);
  f.rows = std::min(m, ceil_div(tiles, f.blocks) * (f.kernel->group > 0 ? unit : ceil_div(m, tiles)));
  f.blocks = ceil_div(m, f.rows);
  say(why, "B is %lld bytes, %s %lld (half of L2): blocks of %lld rows%s, A within %lld bytes (%s)", ll(b_bytes),
      small ? "within" : "above", ll(l2_weights(w.caches)), ll(f.rows), asked(w.choice.block_rows.has_value()), ll(block_bytes),
      small ? "3/4 of L1" : "1/8 of L2");
  if (why && is_far(w, m)) say(why, "C is larger than L2: its rows are asked for before they are written");
  say(why, "%lld panels a time%s: within %lld bytes (1/4 of L2)", ll(f.group), asked(w.choice.panel_group.has_value()),
      ll(l2_group(w.caches)));
  return f;
}

// The columns of a vector take the values of several groups: those of a group must divide it, and be whole words.
const KernelInfo* grouped_kernel(const ConvDesc& d, const KernelInfo& kernel) noexcept {
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups;
  if (d.groups == 1 || !d.choice.grouped.value_or(true)) return nullptr;
  for (const KernelInfo& k : kernels())
    if (k.op == Op::grouped && k.a == kernel.a && k.needs == kernel.needs && ocg > 1 && ocg < k.nr && k.nr % ocg == 0 &&
        icg * int64_t(size_of(k.a)) % 4 == 0 && icg <= ocg)
      return &k;
  return nullptr;
}

namespace {

// Products of one channel with another: of a direct convolution, which leaves padding out, and of F(4x4, 3x3), with what the kernel
// takes for each and for its transforms. To read the weights of a call, eight times as large as they were, takes the time of some tiles
// at least where they are not in L2, and of twice as many where no cache holds them. With few channels there is little to gain, for as
// much memory.
bool winograd_pays(const ConvDesc& d, const KernelInfo& kernel, std::string* why) {
  constexpr int64_t kLeastChannels = 8, kLarge = 512 << 10, kVeryLarge = 8 << 20;
  const Window& w = d.window;
  const int64_t pieces = int64_t(winograd_pieces(w).size()), depth = d.ic / d.groups, columns = d.oc / d.groups;
  const int64_t places = kWinogradPlaces * pieces;
  if (depth < kLeastChannels || (d.groups > 1 && columns < kLeastChannels)) return false;
  if (places * kernel.words > w.kh * w.kw * 16 * 10) return false;  // not even for a whole tile that sees no padding
  int64_t rows = 0, cols = 0;
  for (int64_t y = 0; y < w.oh(); ++y) {
    const TapRange r = valid_taps(y * w.stride_h - w.pad_top, w.kh, w.dilation_h, w.ih);
    rows += r.end - r.begin;
  }
  for (const ColumnTaps& c : column_taps(w)) cols += (c.end - c.begin) * (c.taps.end - c.taps.begin);
  // With dilation every so manieth output pixel is a call of its own.
  const int64_t phases_y = std::min(w.dilation_h, w.oh()), phases_x = std::min(w.dilation_w, w.ow()), phases = phases_y * phases_x;
  const int64_t tiles = phases * ceil_div(ceil_div(w.oh(), phases_y), 4) * ceil_div(ceil_div(w.ow(), phases_x), 4);
  const int64_t bytes = places * depth * d.oc * int64_t(sizeof(int16_t));
  const int64_t least_tiles = (bytes > kVeryLarge ? 2 * kernel.read : bytes > kLarge ? kernel.read : 1) * phases;
  const int64_t products = places * std::max(tiles, least_tiles), transforms = tiles * kernel.transform;
  const int64_t cost = products * kernel.words / 10 + transforms * pieces / columns + transforms * 2 / depth;
  say(why, "F(4x4, 3x3): %lld products of words, as long as %lld of bytes, for %lld", ll(products), ll(cost), ll(rows * cols));
  return cost <= rows * cols;
}

}  // namespace

const KernelInfo* winograd_kernel(const ConvDesc& d, const KernelInfo& kernel, std::string* why) {
  const Window& w = d.window;
  const bool no_phases = (w.dilation_h > 1 && w.stride_h > 1) || (w.dilation_w > 1 && w.stride_w > 1);
  if (no_phases || d.groups == d.ic || w.kh * w.kw * (d.ic / d.groups) > kWinogradProducts)
    return nullptr;
  for (const KernelInfo& k : kernels()) {
    if (k.op != Op::winograd || k.a != kernel.a || k.needs != kernel.needs) continue;
    const bool pays = winograd_pays(d, k, why);
    // Weights that come packed say how.
    const std::optional<bool> asked =
        d.packed ? taps_of(*d.packed) == kWinogradPlaces * int64_t(winograd_pieces(w).size()) : d.choice.winograd;
    return asked.value_or(pays) ? &k : nullptr;
  }
  return nullptr;
}

namespace {

// What the output pixels take of rows of a tile and kernel columns if each sees those of its columns that are in the image: pieces of
// output rows, or, where these are short and rows do not come one by one, pieces of output columns that see the same kernel rows.
int64_t cut_products(const Window& w, const std::vector<ColumnTaps>& pieces, int64_t least, bool one_by_one) {
  int64_t down = 0;  // of a column
  for (const ColumnTaps& rows : row_taps(w)) down += std::max(rows.end - rows.begin, least);
  int64_t products = 0;
  for (const ColumnTaps& i : pieces) {
    const int64_t n = i.end - i.begin;
    const int64_t across = w.oh() * std::max(n, least);
    products += (n >= least || one_by_one ? across : n * down) * (i.taps.end - i.taps.begin);
  }
  return products;
}

// Where padding is cut off, pixels are computed from the image, those that see the same kernel columns together. That costs tiles of
// few rows at the edges, and saves products with padding, and copies. Kernel rows that are one tap are whole: to take them apart must
// save more.
void cut_columns(const ConvDesc& d, const KernelInfo& kernel, ConvAlgorithm& c, std::string* why) {
  constexpr size_t kMostPieces = 16;
  constexpr int64_t kSmall = 12 << 10;  // weights that stay in L1, under one row after the other
  const Window& w = d.window;
  std::vector<ColumnTaps> pieces = column_taps(w);
  const bool apart = c.fused && (w.pad_left || w.pad_right);
  const int64_t least = least_rows(kernel), all = w.oh() * std::max(w.ow(), least) * w.kw;
  const int64_t weights = w.kh * w.kw * (d.ic / d.groups) * d.oc * int64_t(size_of(d.a));
  const bool one_by_one = kernel.op == Op::grouped || weights <= kSmall;  // grouped: to call it for a few pixels costs as much
  const int64_t cut = cut_products(w, pieces, least, one_by_one), most = apart ? all - all / 16 : all;
  const char* refused = c.whole                                              ? "weights that are not finite, or a bias of -0, show it"
                        : apart && (d.choice.fused || d.ic % kernel.kr != 0) ? "kernel rows are whole"
                        : pieces.size() > kMostPieces                        ? "an output row would have too many pieces"
                                                                             : nullptr;
  c.copy = refused || !d.choice.in_place.value_or(cut <= most);
  if (c.copy)
    say(why, "padded copies of the input rows%s: %s", refused ? "" : asked(d.choice.in_place.has_value()),
        refused ? refused : "to leave padding out would cost more");
  else
    say(why, "from the input in place%s, padding cut off", asked(d.choice.in_place.has_value()));
  if (!refused) say(why, "%lld products of rows and kernel columns against %lld", ll(cut), ll(most));
  if (c.copy) return;
  c.fused = c.fused && !apart;
  c.columns = std::move(pieces);
}

}  // namespace

ConvAlgorithm conv_algorithm(const ConvDesc& d, const KernelInfo& kernel, bool whole, std::string* why) {
  const PackFormat& format = kernel.format;
  const Window& w = d.window;
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups;
  const bool padded = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
  ConvAlgorithm c;
  c.whole = whole;
  c.columns = {{0, w.ow(), {0, w.kw}}};
  if (why) winograd_kernel(d, kernel, why);
  if (kernel.op == Op::winograd) {
    c.winograd = c.copy = true;
    const int64_t pieces = int64_t(winograd_pieces(w).size());
    c.taps = kWinogradPlaces * pieces, c.k = icg;
    say(why, "tiles of 4x4 pixels by F(4x4, 3x3)%s, %lld kernels of 3x3 to one", asked(d.choice.winograd.has_value()), ll(pieces));
    return c;
  }
  c.flat = w.kh == 1 && w.kw == 1 && w.stride_h == 1 && w.stride_w == 1 && !padded && d.choice.flat.value_or(true);
  if (c.flat) say(why, "a flat product over all pixels: 1x1, stride 1, no padding");
  if (kernel.op == Op::grouped) {
    c.merged = std::min<int64_t>(d.groups, format.nr / ocg);
    say(why, "grouped: %lld channels a group divide a vector of %d", ll(ocg), int(format.nr));
  } else {
    // Groups narrower than half of what a kernel takes at a time share it, block-diagonally: as many products, and fewer calls. That
    // is half a panel, or a part of one so wide that kernels take it in parts; more would only be more products. Not for f32, where
    // the zeros between the blocks would meet infinities and NaNs of other groups.
    constexpr int kWidest = 32;
    const int64_t width = format.nr > kWidest ? kWidest : std::max(1, format.nr / 2);
    if (d.a != DType::f32 && ocg * 2 <= width) c.merged = std::min(d.groups, width / ocg);
    if (c.merged > 1)
      say(why, "%lld groups to a panel: %lld channels a group, within half of %lld", ll(c.merged), ll(ocg), ll(width));
    // The bytes of a kernel row are contiguous where a panel takes all channels.
    c.fused = c.merged == d.groups && w.kw > 1 && w.dilation_w == 1 && d.choice.fused.value_or(true);
  }
  if (padded) cut_columns(d, kernel, c, why);
  if (c.fused) say(why, "a kernel row is one tap: its %lld values are contiguous", ll(w.kw * d.ic));
  if (c.fused && !c.copy && d.ic % format.kr != 0) {
    c.copy = true;
    c.columns = {{0, w.ow(), {0, w.kw}}};
    say(why, "from copies of the input rows: kernel rows are no whole words of %d", int(format.kr));
  }
  if (!padded && !c.copy && !c.flat) say(why, "from the input in place: no padding");
  c.taps = c.fused ? w.kh : w.kh * w.kw;
  c.k = c.fused ? w.kw * d.ic : kernel.op == Op::grouped ? icg : c.merged * icg;
  if (c.copy && c.fused) c.k = ceil_div(c.k, format.kr) * format.kr;
  return c;
}

ConvBlocks conv_blocks(const Window& w, int64_t pixel_bytes, bool copy, const Weights& weights, std::string* why) {
  constexpr int64_t kTiles = 16, kMinRows = 4, kMinPixelTiles = 4, kTileMacs = 400'000;
  const Caches& caches = weights.caches;
  const std::optional<int64_t>& choice = weights.choice.block_rows;
  const int64_t oh = w.oh(), ow = w.ow(), mr = weights.kernel->mr, panels = weights.panel_count();
  // Panels that all stay in L1 leave the input rows of an output row there for each other, which helps where the image does not stay
  // there anyway. Those of a grouped kernel see other channels each.
  ConvBlocks b;
  const int64_t bytes = panels * int64_t(weights.all_taps_bytes());
  const std::optional<bool>& order = weights.choice.rows_first;
  const bool shared = panels > 1 && weights.kernel->op != Op::grouped && w.ih * w.iw * pixel_bytes > caches.l1 / 4;
  b.rows_first = order.value_or(shared && bytes <= l1_panels(caches));
  b.group = std::clamp<int64_t>(l2_group(caches) / int64_t(weights.all_taps_bytes()), 1, kMaxGroup);
  // The input of a band and segment stays in L2 while the panels pass over it; in L1, with the output, beside panels that do too.
  const int64_t c_bytes = (weights.panels.back().column + weights.panels.back().n) * int64_t(size_of(weights.epilogue.out()));
  const auto input = [&](int64_t rows, int64_t cols) {
    return std::min(seen_rows(w, rows), w.ih + w.pad_top + w.pad_bottom) * in_cols(w, cols) * pixel_bytes +
           (b.rows_first ? rows * cols * c_bytes : 0);
  };
  b.segment_cols = ow;
  if (input(1, ow) > l2_rows(caches)) {
    const int64_t cols_that_fit = l2_rows(caches) / (seen_rows(w, 1) * pixel_bytes);
    b.segment_cols = std::clamp((cols_that_fit - in_cols(w, 1)) / w.stride_w + 1, std::min(ow, kMinPixelTiles * mr), ow);
  }
  const auto grow = [&](int64_t most) {
    while (b.band_rows < oh && input(b.band_rows + 1, b.segment_cols) <= most) ++b.band_rows;
  };
  // Neighbouring bands copy the same rows: where that is more than half of those of a band, bands take more than L1.
  if (b.rows_first) grow(l1_rows(caches));
  const bool l1 = b.rows_first && (!copy || 2 * seen_rows(w, b.band_rows) <= 3 * b.band_rows * w.stride_h);
  const int64_t most = l1 ? l1_rows(caches) : l2_rows(caches);
  grow(most);
  // Enough tiles for a few threads, if there is enough work for them.
  const int64_t macs = oh * ow * weights.taps * weights.k * (weights.panels.back().column + weights.panels.back().n);
  const int64_t wanted = ceil_div(std::clamp<int64_t>(macs / kTileMacs, 1, kTiles), panels);
  if (oh > 1) {
    b.band_rows = std::min(b.band_rows, std::max(kMinRows, ceil_div(oh, wanted)));
  } else {
    b.segment_cols = std::min(b.segment_cols, std::max(kMinPixelTiles * mr, ceil_div(ow, wanted)));
  }
  if (choice) b.band_rows = std::min(oh, *choice);
  // Bands differ by a row at most, and are even in number, so that two threads share none, which both of them would copy.
  b.bands = ceil_div(oh, b.band_rows);
  if (b.bands > 1 && !choice) b.bands = std::min(oh, (b.bands + 1) / 2 * 2);
  b.band_rows = ceil_div(oh, b.bands);
  b.segments = ceil_div(ow, b.segment_cols);
  b.segment_cols = std::min(ow, ceil_div(ceil_div(ow, b.segments), mr) * mr);
  b.segments = ceil_div(ow, b.segment_cols);
  say(why, "%lldx%lld blocks of %lldx%lld pixels%s: %lld bytes of %s each (of %lld, %s), %lld tiles an image", ll(b.bands),
      ll(b.segments), ll(b.band_rows), ll(b.segment_cols), asked(choice.has_value()), ll(input(b.band_rows, b.segment_cols)),
      b.rows_first ? "input and output" : "input", ll(most), l1 ? "3/4 of L1" : "1/8 of L2",
      ll(b.bands * b.segments * panels));
  say(why, "%s%s: weights of %lld bytes, of %lld (3/8 of L1)", b.rows_first ? "all panels for a row" : "all rows for a panel",
      asked(order.has_value()), ll(bytes), ll(l1_panels(caches)));
  return b;
}

// V of a run, and P of a panel, stay in L2 beside the weights that pass over them; each of a panel's places is read for all tiles of a
// run. Runs are even in number, so that two threads share none, which both of them would transform.
TileRuns winograd_runs(const Window& w, const Weights& weights, std::string* why) {
  constexpr int64_t kLeastTiles = 24;
  TileRuns r;
  r.phases_y = std::min(w.dilation_h, w.oh()), r.phases_x = std::min(w.dilation_w, w.ow());
  const int64_t ow = ceil_div(w.ow(), r.phases_x), across = ceil_div(ow, 4), down = ceil_div(ceil_div(w.oh(), r.phases_y), 4);
  const int64_t all = down * across, most = weights.caches.l2 / 4;
  const auto bytes = [&](int64_t tiles) {
    return int64_t(WinogradSpace(weights.kernel->format, weights.taps / kWinogradPlaces, weights.k, tiles, across).bytes);
  };
  int64_t fits = std::min(all, kLeastTiles);
  while (fits < all && bytes(fits + 1) <= most) ++fits;
  if (weights.choice.block_rows) fits = std::clamp<int64_t>(across * std::min(*weights.choice.block_rows, 4 * down) / 4, 1, all);
  r.lines = fits < across ? down : 1;
  const int64_t line = all / r.lines, wanted = (2 * line + fits) / (2 * fits);
  r.runs = wanted > 1 ? std::min(line, (wanted + 1) / 2 * 2) : 1;
  r.most = ceil_div(line, r.runs);
  r.rows = r.lines > 1 ? 1 : r.runs == 1 ? down : std::min(down, ceil_div(r.most - 1, across) + 1);
  r.cols = r.rows > 1 ? across : r.most;
  if (r.phases_y * r.phases_x > 1)
    say(why, "every %lldth row and %lldth column of pixels by itself", ll(w.dilation_h), ll(w.dilation_w));
  say(why, "%lldx%lld tiles, runs of up to %lld%s%s: %lld bytes transformed and of products (of %lld, 1/4 of L2)", ll(down), ll(across),
      ll(r.most), r.lines > 1 ? " of one row" : "", asked(weights.choice.block_rows.has_value()), ll(bytes(r.most)), ll(most));
  return r;
}

namespace {

// How many pixels are taken as one, so that few channels fill registers of 32 bytes. Times as fast, 8 and 16 channels: Zen 3, AVX2,
// 2 and 1.6; Zen 4, AVX-512, images of 28x28 and more, 3x3 1.6 to 1.9 and 1.3, 5x5 2.1 to 2.3 and 1.5. (Registers of 64 bytes gain
// less there.)
int64_t folded_pixels(const ConvDesc& d, const KernelInfo& kernel) {
  constexpr int64_t kFolded = 32;
  const bool folds = kernel.nr >= kFolded && kernel.kr > 1 && d.ic == d.oc && d.oc < kFolded && kFolded % d.oc == 0 &&
                     d.window.stride_w == 1;
  return folds && !d.numerics.has_residual && !d.numerics.function ? kFolded / d.oc : 1;
}

}  // namespace

DepthwiseBlocks depthwise_blocks(const ConvDesc& d, const KernelInfo& kernel, bool may_skip, std::string* why) {
  // A pixel at an edge takes as long as so many halves of others: int8 kernels put the rows of a column together, for all windows of
  // a row that see it, and an edge's see others; with a stride few see the same. (Fitted to 587 shapes on Zen 4, AVX-512 and AVX2,
  // and with a stride to 14 more.)
  const int64_t edge_halves = d.window.stride_w > 1 ? d.window.kh * d.window.kw : 18 * d.window.kw;
  const Window& w = d.window;
  const int64_t oh = w.oh(), ow = w.ow();
  DepthwiseBlocks b;
  const int64_t fits = w.iw - 1 - (w.kw - 1) * w.dilation_w + w.pad_left;  // the last place where a window may begin
  b.inner_begin = std::min(ow, ceil_div(w.pad_left, w.stride_w));
  b.inner_end = fits < 0 ? b.inner_begin : std::clamp(fits / w.stride_w + 1, b.inner_begin, ow);
  if (may_skip) b.inner_begin = 0, b.inner_end = ow;
  const int64_t inner = b.inner_end - b.inner_begin, edge = std::max(b.inner_begin, ow - b.inner_end);
  const bool padded = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
  // An edge is one column of pixels at least, its strip no wider than a stride holds.
  const bool can = d.ic == d.oc && inner >= 1 && w.stride_h * in_cols(w, edge) <= INT32_MAX;
  const int64_t fold = folded_pixels(d, kernel);
  const bool pays = !padded || (ow - inner) * edge_halves <= 2 * ow;
  b.in_place = can && (!padded || d.choice.in_place.value_or(pays));
  b.skips = b.in_place && may_skip;
  const char* const how = asked(can && padded && d.choice.in_place.has_value());
  if (b.skips) say(why, "from the input in place%s: products with padding are left out", how);
  if (!b.skips)
    say(why, "%s%s: %s%lld of %lld columns see no padding",
        b.in_place ? "from the input in place" : "from padded copies of the input rows", how,
        d.ic == d.oc ? "" : "channels are repeated; ", ll(inner), ll(ow));
  if ((b.in_place ? inner : ow) >= fold) b.fold = fold;
  const bool share = w.dilation_h == 1 && w.stride_h <= w.kh;
  b.row_step = share ? w.stride_h : w.kh;
  b.call_rows = std::min({int64_t(kernel.rows), oh, d.choice.block_rows.value_or(oh)});
  say(why, "%lld rows a call%s: they %s", ll(b.call_rows), asked(d.choice.block_rows.has_value()),
      share ? "share input rows" : "share no input rows, but the call");
  // Bands are for threads only: one thread runs through the bands of its range as if they were one.
  constexpr int64_t kBands = 16;
  b.band_rows = ceil_div(oh, std::min(oh, kBands));
  b.bands = ceil_div(oh, b.band_rows);
  say(why, "%lld bands of %lld rows, for threads", ll(b.bands), ll(b.band_rows));
  if (b.fold > 1) say(why, "%lld pixels are taken as one of %lld channels: the kernel's registers are full", ll(b.fold), ll(d.oc * b.fold));
  return b;
}

// To pack B costs about as much as to multiply a few rows with it as it lies; by kernels, as one.
MatmulBlocks matmul_blocks(const Weights& w, const RowMatrixKernels* row_kernel, const PanelKernels* packer, std::string* why) {
  constexpr int64_t kTileRows = 64, kDirectRows = 4;
  MatmulBlocks b;
  b.tile_rows = w.choice.block_rows.value_or(kTileRows);
  if (row_kernel && !w.choice.packed.value_or(false)) b.direct_rows = w.choice.packed ? INT64_MAX : packer ? 1 : kDirectRows;
  if (b.direct_rows > 0 && w.choice.packed)
    say(why, "any rows%s by %s: B is read as it lies", asked(true), row_kernel->name);
  if (b.direct_rows > 0 && !w.choice.packed)
    say(why, "up to %lld rows by %s: B is read as it lies, since packing it would cost more than so few products with it",
        ll(b.direct_rows), row_kernel->name);
  say(why, "tiles of %lld rows%s, for threads", ll(b.tile_rows), asked(w.choice.block_rows.has_value()));
  return b;
}

bool is_far(const Weights& w, int64_t rows) noexcept {
  const Panel& last = w.panels.back();
  return rows > w.caches.l2 / ((last.column + last.n) * int64_t(size_of(w.epilogue.out())));
}

}  // namespace octavo::detail
