// Direct convolution without im2col. A 1x1 convolution of stride 1 is a flat matrix product over all pixels. Any other one
// runs tile by tile of up to mr neighbouring output pixels; each kernel tap is a pointer into the input, or into a copy of the
// input rows with the padding filled in. Where the KW*IC bytes of a kernel row are contiguous they are one tap.
// Taps that fall wholly into padding are left out: kernel rows above and below the image, and, where the policy cuts output rows
// into pieces, kernel columns beside it. Together with their share of the folded bias: a variant of the epilogue for each set of
// taps. Where the policy finds fewer products cheaper, tiles of 4x4 pixels of padded copies take the place of all that.
#include "octavo/conv.h"

#include <exception>

#include "src/conv_impl.h"
#include "src/run_pixels.h"

namespace octavo {
using namespace detail;

namespace {

// Whether results depend on taps that fall on padding.
bool padding_counts(const ConvDesc& d) noexcept {
  const Window& w = d.window;
  if (d.a != DType::f32 || !(w.pad_top || w.pad_left || w.pad_bottom || w.pad_right)) return false;
  if (!d.packed)
    return !padding_adds_nothing(d, static_cast<const float*>(d.w), size_t(d.oc * (d.ic / d.groups) * w.kh * w.kw));
  if (d.packed->bytes() == 0) return false;
  const char *panels = panels_of(*d.packed), *end = static_cast<const char*>(d.packed->data()) + d.packed->bytes();
  return !padding_adds_nothing(d, reinterpret_cast<const float*>(panels), size_t(end - panels) / sizeof(float));
}

}  // namespace

Expected<ConvPlan> ConvPlan::create(const ConvDesc& d) noexcept try {
  if (Status s = check_conv(d); !s.ok()) return s;
  Expected<const KernelInfo*> kernel = choose_kernel(Op::brgemm, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  if (const KernelInfo* grouped = d.kernel ? nullptr : grouped_kernel(d, **kernel)) kernel = grouped;
  if (const KernelInfo* winograd = d.kernel ? nullptr : winograd_kernel(d, **kernel)) kernel = winograd;
  if (Status s = check_numerics(d.numerics, d.a, d.oc, d.ic / d.groups * d.window.kh * d.window.kw); !s.ok()) return s;
  const Expected<const EltwiseKernels*> functions = function_kernels(d.numerics, d.use_isa, d.isa);
  if (!functions) return functions.status();
  auto impl = std::make_shared<Impl>();
  impl->d = d;
  impl->d.w = nullptr, impl->d.packed = nullptr, impl->d.numerics = {};
  impl->w = d.window;
  impl->oh = d.window.oh();
  impl->ow = d.window.ow();
  impl->macs = impl->oh * impl->ow * d.oc * (d.ic / d.groups) * d.window.kh * d.window.kw;
  impl->types = {d.ic, d.oc, d.a, d.numerics.out, d.numerics.residual_dtype, d.numerics.has_residual};
  impl->fill = d.a == DType::f32 ? 0 : d.numerics.a.zero_point;
  impl->algorithm = conv_algorithm(d, **kernel, padding_counts(d));
  if (impl->algorithm.winograd) impl->pieces = winograd_pieces(d.window);
  Weights& weights = impl->weights;
  weights.kernel = *kernel;
  weights.kernel_asked = d.kernel;
  weights.choice = d.choice;
  if ((*kernel)->op == Op::grouped) weights.group_n = int32_t(d.oc / d.groups);
  weights.taps = impl->algorithm.taps;
  weights.k = impl->algorithm.k;
  weights.short_sums = short_sums(weights);
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
  impl->make_variants();
  Buffer<int32_t> sums;
  if (d.a != DType::f32) sums = impl->variant_sums();
  weights.epilogue = Epilogue(d.numerics, d.a, d.oc, sums.get(), int64_t(impl->variants.size()), (*kernel)->format.a_offset,
                              largest_weight_sum(weights), *functions);
  if (impl->algorithm.winograd)
    impl->tile_runs = winograd_runs(impl->w, weights);
  else if (!impl->algorithm.flat)
    impl->blocks = conv_blocks(impl->w, impl->pixel_bytes(), impl->algorithm.copy, weights);
  return ConvPlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "ConvPlan::create: no memory for the weights of %lld channels",
                       static_cast<long long>(d.oc));
}

ConvPlan::ConvPlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t ConvPlan::tiles(int64_t batch) const noexcept { return impl_->tiles(batch); }
size_t ConvPlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status ConvPlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  return run_tiles(*impl_, v, tile_begin, tile_end, tiles(v.batch), workspace);
}

Status ConvPlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  return run_all(*impl_, v, {tiles(v.batch), impl_->weights.panel_count(), impl_->algorithm.copy}, workspace, parallel);
}

const KernelInfo& ConvPlan::kernel() const noexcept { return *impl_->weights.kernel; }
PackedWeights ConvPlan::packed() const noexcept { return impl_->weights.packed; }
size_t ConvPlan::packed_bytes() const noexcept { return impl_->weights.bytes(); }
int64_t ConvPlan::macs() const noexcept { return impl_->macs; }

std::string ConvPlan::describe() const {
  const Impl& i = *impl_;
  std::string why;
  explain_kernel(kernel(), i.weights.kernel_asked, &why);
  conv_algorithm(i.d, kernel(), i.algorithm.whole, &why);
  short_sums(i.weights, &why);
  i.algorithm.flat       ? void(flat_blocks(i.weights, i.oh * i.ow, &why))
  : i.algorithm.winograd ? void(winograd_runs(i.w, i.weights, &why))
                         : void(conv_blocks(i.w, i.pixel_bytes(), i.algorithm.copy, i.weights, &why));
  return std::string(kernel().name) + ": " + std::to_string(i.weights.taps) + " taps of k=" + std::to_string(i.weights.k) + ", " +
         std::to_string(i.weights.panel_count()) + " panels, " + std::to_string(packed_bytes()) + " bytes packed, workspace " +
         std::to_string(workspace_bytes()) + " bytes. " + why;
}

}  // namespace octavo
