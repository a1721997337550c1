// Convolutions of bytes whose range is known only at run time.
#include <cstring>

#include "octavo/conv.h"
#include "step.h"

namespace octavo {
namespace {

using net::Net;

constexpr int64_t kPixelGrain = 64;  // pixels in one unit of parallel work

// Padding is the zero point, which no plan can know: the image is copied into a frame of it. A plan without padding then gives the
// int32 sums in the place of the result, and as every tap of every pixel takes part, the zero point's share of the sums is the
// same for all pixels: zero point times the sum of the channel's weights. It is taken off while sums become floats.
template <class Plan>
class DynamicConvStep : public Step {
 public:
  DynamicConvStep(const EltwiseKernels& k, Plan plan, const net::Op& op, int64_t batch, DType zero_type)
      : k_(k), plan_(std::move(plan)), window_(op.linear->window), ic_(op.linear->ic), n_(op.linear->oc), batch_(batch),
        zero_type_(zero_type), lo_(op.lo), hi_(op.hi) {
    const net::Linear& linear = *op.linear;
    w_scale_ = linear.w_scale;
    bias_ = linear.bias;
    bias_.resize(size_t(n_));
    sums_.resize(size_t(n_));
    const int64_t depth = linear.weight.count() / n_;
    for (int64_t i = 0; i < linear.weight.count(); ++i) sums_[size_t(i / depth)] += linear.weight.as<int8_t>()[i];
    offset_bytes_ = (size_t(n_) * sizeof(int32_t) + 63) / 64 * 64;
    frame_bytes_ = pads() ? (size_t(height() * width() * ic_) + 63) / 64 * 64 : 0;
    scratch_bytes = offset_bytes_ + frame_bytes_ + plan_.workspace_bytes();
    weight_bytes = plan_.packed_bytes() + size_t(n_) * (2 * sizeof(float) + sizeof(int32_t));
    work = batch * plan_.macs();
  }

  Status run(const Frame& f) const noexcept override {
    // Offsets and frame lie in the first thread's scratch; the plan has the rest.
    int32_t* offset = reinterpret_cast<int32_t*>(f.scratch);
    char* framed = reinterpret_cast<char*>(f.scratch) + offset_bytes_;
    void* workspace = framed + frame_bytes_;
    const uint32_t zero = uint32_t(zero_point(f.at(in[2])));
    for (size_t j = 0; j < size_t(n_); ++j) offset[j] = int32_t(zero * uint32_t(sums_[j]));
    const float scale = *static_cast<const float*>(f.at(in[1]));
    const int64_t pixels = window_.oh() * window_.ow();
    for (int64_t image = 0; image < batch_; ++image) {
      ConvArgs args;
      args.batch = 1;
      args.a = static_cast<const char*>(f.at(in[0])) + image * window_.ih * window_.iw * ic_;
      if (pads()) {
        put_into_frame(static_cast<const char*>(args.a), framed, int(zero));
        args.a = framed;
      }
      float* y = static_cast<float*>(f.at(out[0])) + image * pixels * n_;
      args.c = y;
      const bool wide = f.parallel.threads > 1;
      const Status s = wide ? plan_.run(args, workspace, f.parallel) : plan_.run(args, 0, plan_.tiles(1), workspace);
      if (!s.ok()) return s;
      split(f, pixels, kPixelGrain, [&](int64_t begin, int64_t end) {
        for (float* row = y + begin * n_; row < y + end * n_; row += n_)
          k_.dequantize_sums(reinterpret_cast<const int32_t*>(row), offset, scale, w_scale_.data(), bias_.data(), row, size_t(n_),
                             lo_, hi_);
      });
    }
    return {};
  }

 private:
  bool pads() const noexcept { return height() > window_.ih || width() > window_.iw; }
  int64_t height() const noexcept { return window_.ih + window_.pad_top + window_.pad_bottom; }
  int64_t width() const noexcept { return window_.iw + window_.pad_left + window_.pad_right; }

  void put_into_frame(const char* image, char* framed, int zero) const noexcept {
    const size_t row = size_t(width() * ic_), left = size_t(window_.pad_left * ic_), own = size_t(window_.iw * ic_);
    std::memset(framed, zero, size_t(window_.pad_top) * row);
    framed += size_t(window_.pad_top) * row;
    for (int64_t y = 0; y < window_.ih; ++y, framed += row, image += own) {
      std::memset(framed, zero, left);
      std::memcpy(framed + left, image, own);
      std::memset(framed + left + own, zero, row - left - own);
    }
    std::memset(framed, zero, size_t(window_.pad_bottom) * row);
  }

  int32_t zero_point(const void* p) const noexcept {
    if (!p) return 0;
    return zero_type_ == DType::u8 ? *static_cast<const uint8_t*>(p) : *static_cast<const int8_t*>(p);
  }

  const EltwiseKernels& k_;
  Plan plan_;
  Window window_;
  int64_t ic_, n_, batch_;
  DType zero_type_;
  float lo_, hi_;
  std::vector<float> w_scale_, bias_;
  std::vector<int32_t> sums_;
  size_t offset_bytes_, frame_bytes_;
};

template <class Plan>
Expected<std::unique_ptr<Step>> make_step(const ConvDesc& desc, const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  Expected<Plan> plan = Plan::create(desc);
  if (!plan) return plan.status();
  const int64_t batch = net.values[op.in[0]].shape[0];
  report.kernel = plan->kernel().name;
  report.macs = plan->macs() * batch;
  const DType zero_type = op.in[2] >= 0 ? net.values[op.in[2]].dtype : DType::u8;
  return std::unique_ptr<Step>(std::make_unique<DynamicConvStep<Plan>>(eltwise(isa), *std::move(plan), op, batch, zero_type));
}

}  // namespace

Expected<std::unique_ptr<Step>> lower_dynamic_conv(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  const net::Linear& linear = *op.linear;
  const float one = 1;
  ConvDesc desc;
  desc.window = linear.window;
  desc.window.ih += desc.window.pad_top + desc.window.pad_bottom;
  desc.window.iw += desc.window.pad_left + desc.window.pad_right;
  desc.window.pad_top = desc.window.pad_left = desc.window.pad_bottom = desc.window.pad_right = 0;
  desc.ic = linear.ic;
  desc.oc = linear.oc;
  desc.groups = linear.groups;
  desc.a = net.values[op.in[0]].dtype;
  desc.w = linear.weight.data();
  desc.numerics.w_scale = &one;
  desc.numerics.w_scale_count = 1;
  desc.numerics.out = DType::s32;
  desc.isa = isa;
  desc.use_isa = true;
  if (net.compact) desc.choice.winograd = false;
  if (linear.groups > 1 && linear.groups == linear.ic) {
    Expected<std::unique_ptr<Step>> step = make_step<DepthwisePlan>(desc, net, op, isa, report);
    if (step || step.status().code() != Code::unsupported) return step;
  }
  return make_step<ConvPlan>(desc, net, op, isa, report);
}

}  // namespace octavo
