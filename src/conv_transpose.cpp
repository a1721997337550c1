#include "octavo/conv_transpose.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>
#include <optional>
#include <variant>
#include <vector>

#include "src/plan.h"
#include "src/window.h"

namespace octavo {
using namespace detail;

namespace {

constexpr int64_t kMaxPhases = 1024;

// Along one axis: the output pixels rest + t * stride, t in [0, count). Their taps meet the input pixels t + first + j * dilation.
struct AxisPhase {
  int64_t rest = 0, count = 0;
  std::vector<int64_t> taps;  // of the kernel, by rising input pixel; empty: nothing but the bias arrives here
  int64_t first = 0, dilation = 1;
  int64_t span() const noexcept { return dilation * (int64_t(taps.size()) - 1) + 1; }
};

std::vector<AxisPhase> phases_of(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  std::vector<AxisPhase> phases(size_t(std::min(stride, out)));
  for (int64_t k = kernel; k-- > 0;) {
    const int64_t rest = ((k * dilation - pad) % stride + stride) % stride;
    if (rest < out) phases[size_t(rest)].taps.push_back(k);
  }
  for (int64_t rest = 0; rest < int64_t(phases.size()); ++rest) {
    AxisPhase& p = phases[size_t(rest)];
    p.rest = rest;
    p.count = ceil_div(out - rest, stride);
    if (p.taps.size() > 1) p.dilation = dilation / std::gcd(stride, dilation);
    if (!p.taps.empty()) p.first = (rest + pad - p.taps[0] * dilation) / stride;
    // All that it would see may be padding.
    if (p.first >= in || p.first + p.count + p.span() - 1 <= 0) p.taps.clear();
  }
  return phases;
}

// One of stride_h * stride_w: the rows of one phase and the columns of another.
struct Phase {
  std::variant<std::monostate, ConvPlan, DepthwisePlan> plan;
  bool sees_input = false;

  template <class F>
  decltype(auto) visit(F&& f) const noexcept {
    if (const auto* depthwise = std::get_if<DepthwisePlan>(&plan)) return f(*depthwise);
    return f(*std::get_if<ConvPlan>(&plan));
  }
};

Status check(const ConvTransposeDesc& d) noexcept {
  if (Status s = check_at_least("ic", d.ic, 1); !s.ok()) return s;
  if (Status s = check_at_least("oc", d.oc, 1); !s.ok()) return s;
  if (Status s = check_at_least("groups", d.groups, 1); !s.ok()) return s;
  if (d.ic % d.groups != 0 || d.oc % d.groups != 0)
    return Status::error(Code::invalid_argument, "groups is %lld: must divide ic (%lld) and oc (%lld)",
                         static_cast<long long>(d.groups), static_cast<long long>(d.ic), static_cast<long long>(d.oc));
  if (Status s = check_weights("w", d.w, nullptr); !s.ok()) return s;
  const TransposedWindow& w = d.window;
  if (Status s = check_size("ic", d.ic, 1); !s.ok()) return s;
  if (Status s = check_size("oc", d.oc, 1); !s.ok()) return s;
  if (Status s = check_sizes(w); !s.ok()) return s;
  if (Status s = check_size("window.output_pad_h", w.output_pad_h, 0); !s.ok()) return s;
  if (Status s = check_size("window.output_pad_w", w.output_pad_w, 0); !s.ok()) return s;
  if (Status s = check_size("window: the output's height", w.oh(), 1); !s.ok()) return s;
  if (Status s = check_size("window: the output's width", w.ow(), 1); !s.ok()) return s;
  if (std::min(w.stride_h, w.oh()) * std::min(w.stride_w, w.ow()) > kMaxPhases)
    return Status::error(Code::unsupported, "window.stride_h, window.stride_w: %lld x %lld phases, at most %lld",
                         static_cast<long long>(w.stride_h), static_cast<long long>(w.stride_w),
                         static_cast<long long>(kMaxPhases));
  int64_t size;
  if (__builtin_mul_overflow(w.oh() * w.ow(), 8 * d.oc, &size) || __builtin_mul_overflow(w.ih * w.iw, 8 * d.ic, &size) ||
      __builtin_mul_overflow(d.ic * w.kh, w.kw, &size) || __builtin_mul_overflow(size, d.oc, &size) ||
      __builtin_mul_overflow(size, 8, &size) || __builtin_mul_overflow(size, w.ih * w.iw, &size))
    return Status::error(Code::overflow, "window: too many pixels, weights or products for 64 bits");
  return {};
}

}  // namespace

struct ConvTransposePlan::Impl {
  TransposedWindow w;
  int64_t macs = 0;
  PixelTypes types;
  int fill = 0;  // the byte that padding is made of
  std::vector<AxisPhase> rows, columns;
  std::vector<Phase> phases;  // rows.size() x columns.size()
  int64_t band_rows = 1, bands = 0;  // t of a band, and bands
  size_t copy_bytes = 0, plan_bytes = 0;
  size_t largest = 0;         // the phase with the most products

  int64_t in_pixel() const noexcept { return types.in * int64_t(size_of(types.a)); }
  Window input() const noexcept {
    Window v;
    v.ih = w.ih;
    v.iw = w.iw;
    return v;
  }
  Window output() const noexcept {
    Window v;
    v.ih = w.oh();
    v.iw = w.ow();
    return v;
  }
  // Input rows that the output rows of t in [begin, end) need; none where no phase sees the input.
  TapRange seen(int64_t begin, int64_t end) const noexcept {
    TapRange r{INT64_MAX, INT64_MIN};
    for (const AxisPhase& p : rows)
      if (const int64_t last = std::min(end, p.count); !p.taps.empty() && begin < last)
        r = {std::min(r.begin, begin + p.first), std::max(r.end, last - 1 + p.first + p.span())};
    return r.begin < r.end ? r : TapRange{0, 0};
  }
  int64_t seen_columns(const AxisPhase& p) const noexcept { return p.count + p.span() - 1; }

  Status add_phase(const ConvTransposeDesc& d, const AxisPhase& y, const AxisPhase& x);
  Status check(const ConvArgs& v) const noexcept;
  void run(const ConvArgs& v, int64_t begin, int64_t end, char* workspace) const noexcept;
  void choose_bands() noexcept;
  void run_band(const ConvArgs& v, int64_t image, int64_t band, char* workspace) const noexcept;
};

// The part of the kernel that the phase sees, as a convolution of one output row.
Status ConvTransposePlan::Impl::add_phase(const ConvTransposeDesc& d, const AxisPhase& y, const AxisPhase& x) {
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, taps = w.kh * w.kw;
  const size_t bytes = size_of(d.a == DType::f32 ? DType::f32 : DType::s8);
  Phase phase;
  phase.sees_input = !y.taps.empty() && !x.taps.empty();
  ConvDesc c;
  c.oc = d.oc;
  c.a = d.a;
  c.numerics = d.numerics;
  c.isa = d.isa;
  c.use_isa = d.use_isa;
  c.window.iw = x.count;
  c.ic = 1;
  std::vector<char> part(size_t(d.oc) * bytes);  // without taps: one channel of zeros by zeros
  if (phase.sees_input) {
    c.ic = d.ic;
    c.groups = d.groups;
    c.window.iw = seen_columns(x);
    c.window.ih = y.span();
    c.window.kh = int64_t(y.taps.size());
    c.window.kw = int64_t(x.taps.size());
    c.window.dilation_h = y.dilation;
    c.window.dilation_w = x.dilation;
    part.resize(size_t(d.oc * icg * c.window.kh * c.window.kw) * bytes);
    char* to = part.data();
    for (int64_t o = 0; o < d.oc; ++o)
      for (int64_t i = 0; i < icg; ++i) {
        const int64_t from = ((o / ocg * icg + i) * ocg + o % ocg) * taps;
        for (const int64_t ky : y.taps)
          for (const int64_t kx : x.taps) {
            std::memcpy(to, static_cast<const char*>(d.w) + size_t(from + ky * w.kw + kx) * bytes, bytes);
            to += bytes;
          }
      }
  }
  c.w = part.data();
  if (c.groups > 1 && c.groups == c.ic) {
    if (Expected<DepthwisePlan> plan = DepthwisePlan::create(c))
      phase.plan = *std::move(plan);
    else if (plan.status().code() != Code::unsupported)
      return plan.status();
  }
  if (std::holds_alternative<std::monostate>(phase.plan)) {
    Expected<ConvPlan> plan = ConvPlan::create(c);
    if (!plan) return plan.status();
    phase.plan = *std::move(plan);
  }
  plan_bytes = std::max(plan_bytes, align_up(phase.visit([](const auto& plan) { return plan.workspace_bytes(); })));
  const auto products = [](const Phase& p) { return p.visit([](const auto& plan) { return plan.macs(); }); };
  phases.push_back(std::move(phase));
  if (products(phases.back()) > products(phases[largest])) largest = phases.size() - 1;
  return {};
}

Status ConvTransposePlan::Impl::check(const ConvArgs& v) const noexcept {
  // Input and output are images of their own sizes: each is checked with the other's part taken by an image that passes.
  ConvArgs a = v, c = v;
  PixelTypes in = types, out = types;
  in.has_residual = false;
  in.out = 1, in.c = DType::u8;
  a.c = const_cast<void*>(v.a), a.c_pixel_stride_bytes = 0, a.residual = nullptr;
  out.in = 1, out.a = DType::u8;
  c.a_pixel_stride_bytes = 0;
  if (Status s = check_pixels(input(), in, a); !s.ok()) return s;
  return check_pixels(output(), out, c);
}

// Weights that do not stay in L2 are read once for each band, so it has as many pixels as hide that. (Floats are multiplied no faster
// than they come from a cache further off, and a band of them is less likely to stay in L1.)
void ConvTransposePlan::Impl::choose_bands() noexcept {
  constexpr size_t kInCache = 384 << 10;
  constexpr int64_t kPixels = 128;
  int64_t most = 0;
  for (const AxisPhase& y : rows) most = std::max(most, y.count);
  const size_t packed = phases[largest].visit([](const auto& plan) { return plan.packed_bytes(); });
  if (types.a != DType::f32 && packed > kInCache) band_rows = std::min(most, ceil_div(kPixels, columns[0].count));
  bands = ceil_div(most, band_rows);
}

void ConvTransposePlan::Impl::run_band(const ConvArgs& v, int64_t image, int64_t band, char* workspace) const noexcept {
  char* copied = workspace + plan_bytes;
  const int64_t first = band * band_rows, last = first + band_rows;
  const TapRange r = seen(first, last);
  const char* in = static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes;
  for (size_t column = 0; column < columns.size(); ++column) {
    const AxisPhase& x = columns[column];
    // The columns that these pixels see: the image's own, or a copy with the padding filled in.
    const int64_t width = seen_columns(x);
    const bool in_place = x.first == 0 && width == w.iw && r.begin >= 0 && r.end <= w.ih;
    const char* from = in + r.begin * w.iw * v.a_pixel_stride_bytes;
    ptrdiff_t pixel = v.a_pixel_stride_bytes;
    if (!in_place && !x.taps.empty()) {
      copy_padded(input(), {r.begin, x.first, r.end - r.begin, width}, in, pixel, in_pixel(), fill, copied);
      from = copied;
      pixel = in_pixel();
    }
    for (size_t row = 0; row < rows.size(); ++row) {
      const AxisPhase& y = rows[row];
      const Phase& phase = phases[row * columns.size() + column];
      ConvArgs args;
      args.batch = 1;
      args.a_pixel_stride_bytes = pixel;
      args.c_pixel_stride_bytes = v.c_pixel_stride_bytes * w.stride_w;
      args.residual_pixel_stride_bytes = v.residual_pixel_stride_bytes * w.stride_w;
      if (!phase.sees_input) {
        // Behind the copy, which phases of these columns may still read.
        char* nothing = copied + copy_bytes;
        std::memset(nothing, fill, size_t(x.count) * size_of(types.a));
        args.a = nothing;
        args.a_pixel_stride_bytes = 0;
      }
      phase.visit([&](const auto& plan) {
        const int64_t tiles = plan.tiles(1), step = band_rows > 1 ? 1 : tiles;
        for (int64_t tile = 0; tile < tiles; tile += step)
          for (int64_t t = first; t < std::min(last, y.count); ++t) {
            const int64_t at = (image * w.oh() + y.rest + t * w.stride_h) * w.ow() + x.rest;
            if (phase.sees_input) args.a = from + (t + y.first - r.begin) * width * pixel;
            args.c = static_cast<char*>(v.c) + at * v.c_pixel_stride_bytes;
            if (v.residual) args.residual = static_cast<const char*>(v.residual) + at * v.residual_pixel_stride_bytes;
            // What run() checks was checked.
            (void)plan.run(args, tile, tile + step, workspace);
          }
      });
    }
  }
}

void ConvTransposePlan::Impl::run(const ConvArgs& v, int64_t begin, int64_t end, char* workspace) const noexcept {
  for (int64_t tile = begin; tile < end; ++tile) run_band(v, tile / bands, tile % bands, workspace);
}

Expected<ConvTransposePlan> ConvTransposePlan::create(const ConvTransposeDesc& d) noexcept try {
  if (Status s = octavo::check(d); !s.ok()) return s;
  auto impl = std::make_shared<Impl>();
  const TransposedWindow& w = impl->w = d.window;
  impl->macs = w.ih * w.iw * d.ic * (d.oc / d.groups) * w.kh * w.kw;
  impl->types = {d.ic, d.oc, d.a, d.numerics.out, d.numerics.residual_dtype, d.numerics.has_residual};
  impl->fill = d.a == DType::f32 ? 0 : d.numerics.a.zero_point;
  impl->rows = phases_of(w.ih, w.oh(), w.kh, w.stride_h, w.dilation_h, w.pad_top);
  impl->columns = phases_of(w.iw, w.ow(), w.kw, w.stride_w, w.dilation_w, w.pad_left);
  for (const AxisPhase& y : impl->rows)
    for (const AxisPhase& x : impl->columns)
      if (Status s = impl->add_phase(d, y, x); !s.ok()) return s;
  impl->choose_bands();
  int64_t begin = INT64_MAX, end = INT64_MIN, width = 0, bytes = 0;
  for (const AxisPhase& y : impl->rows)
    if (!y.taps.empty()) begin = std::min(begin, y.first), end = std::max(end, y.first + y.span() + impl->band_rows - 1);
  for (const AxisPhase& x : impl->columns)
    if (!x.taps.empty()) width = std::max(width, impl->seen_columns(x));
  if (begin < end &&
      (__builtin_mul_overflow(end - begin, width, &bytes) || __builtin_mul_overflow(bytes, impl->in_pixel(), &bytes)))
    return Status::error(Code::overflow, "window: a padded copy of %lld rows of the input does not fit 64 bits",
                         static_cast<long long>(end - begin));
  impl->copy_bytes = align_up(size_t(bytes));
  return ConvTransposePlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "ConvTransposePlan::create: no memory for the weights of %lld channels",
                       static_cast<long long>(d.oc));
}

ConvTransposePlan::ConvTransposePlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t ConvTransposePlan::tiles(int64_t batch) const noexcept { return batch < 1 ? 0 : batch * impl_->bands; }
size_t ConvTransposePlan::workspace_bytes() const noexcept {
  return impl_->plan_bytes + impl_->copy_bytes + align_up(size_t(impl_->w.ow()) * size_of(impl_->types.a));
}

Status ConvTransposePlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = impl_->check(v); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles(v.batch)); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  impl_->run(with_strides(impl_->types, v), tile_begin, tile_end, static_cast<char*>(workspace));
  return {};
}

Status ConvTransposePlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = impl_->check(v); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const ConvArgs dense = with_strides(impl_->types, v);
  run_parallel(parallel, {tiles(v.batch)}, double(v.batch) * double(impl_->macs), workspace, workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(dense, begin, end, static_cast<char*>(own)); });
  return {};
}

const KernelInfo& ConvTransposePlan::kernel() const noexcept {
  return impl_->phases[impl_->largest].visit([](const auto& plan) -> const KernelInfo& { return plan.kernel(); });
}
size_t ConvTransposePlan::packed_bytes() const noexcept {
  size_t bytes = 0;
  for (const Phase& p : impl_->phases) bytes += p.visit([](const auto& plan) { return plan.packed_bytes(); });
  return bytes;
}
int64_t ConvTransposePlan::macs() const noexcept { return impl_->macs; }

std::string ConvTransposePlan::describe() const {
  const Impl& i = *impl_;
  return std::string(kernel().name) + ": " + std::to_string(i.rows.size()) + "x" + std::to_string(i.columns.size()) +
         " phases, each a convolution of stride 1 into every " + std::to_string(i.w.stride_w) + "th pixel of every " +
         std::to_string(i.w.stride_h) + "th row; " + std::to_string(packed_bytes()) + " bytes packed, workspace " +
         std::to_string(workspace_bytes()) + " bytes. The largest: " +
         i.phases[i.largest].visit([](const auto& plan) { return plan.describe(); });
}

}  // namespace octavo
