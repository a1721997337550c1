// Convolutions of floats with s8 weights: the weights stay s8 in memory, and are made floats panel by panel, next to their use.
#include <algorithm>
#include <cstring>
#include <memory>

#include "octavo/registry.h"
#include "split_panels.h"

namespace octavo {
namespace {

using net::Net;

constexpr int64_t kPixelGrain = 64;  // pixels in one unit of parallel work

// Of the input with its padding.
int64_t seen_rows(const Window& w) { return (w.oh() - 1) * w.stride_h + (w.kh - 1) * w.dilation_h + 1; }
int64_t seen_cols(const Window& w) { return (w.ow() - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1; }

// y = clamp(fma(sum, scale[j], bias[j]) + residual); sum: over taps, then channels, from 0 on.
class ConvWeightStep : public Step {
 public:
  ConvWeightStep(const EltwiseKernels& k, const KernelInfo& kernel, const net::Op& op, int64_t batch)
      : k_(k),
        kernel_(kernel),
        w_(op.linear->window),
        batch_(batch),
        ic_(op.linear->ic),
        n_(op.linear->oc),
        lo_(op.lo),
        hi_(op.hi) {
    const net::Linear& linear = *op.linear;
    const int64_t nr = kernel.nr, kr = kernel.format.kr, taps = w_.kh * w_.kw;
    tap_ = (ic_ + kr - 1) / kr * kr * nr;
    panels_.resize(size_t((n_ + nr - 1) / nr * taps * tap_));
    const int8_t* w = linear.weight.as<int8_t>();
    for (int64_t j = 0; j < n_; ++j)
      for (int64_t p = 0; p < ic_; ++p)
        for (int64_t t = 0; t < taps; ++t)
          panels_[size_t((j / nr * taps + t) * tap_ + p / kr * kr * nr + j % nr * kr + p % kr)] = *w++;
    scale_ = linear.w_scale;
    scale_.resize(size_t(n_), scale_[0]);
    bias_ = linear.bias;
    bias_.resize(size_t(n_));
    if (w_.pad_top > 0 || w_.pad_left > 0 || w_.pad_bottom > 0 || w_.pad_right > 0) {
      frame_h_ = seen_rows(w_);
      frame_w_ = seen_cols(w_);
    }
    const auto align = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    frame_bytes_ = align(size_t(frame_h_ * frame_w_ * ic_) * sizeof(float));
    floats_bytes_ = align(size_t(taps * tap_) * sizeof(float));
    scratch_bytes = frame_bytes_ + floats_bytes_ + align(size_t(taps) * sizeof(void*));
    weight_bytes = panels_.size() + 2 * size_t(n_) * sizeof(float);
    work = batch_ * w_.oh() * w_.ow() * n_ * taps * ic_;
  }

  Status run(const Frame& f) const noexcept override {
    const ptrdiff_t pixel = in[0].stride != 0 ? in[0].stride : ptrdiff_t(size_t(ic_) * sizeof(float));
    for (int64_t image = 0; image < batch_; ++image) {
      Image from{static_cast<const std::byte*>(f.at(in[0])) + image * w_.ih * w_.iw * pixel, pixel, w_.iw * pixel, image};
      if (frame_h_ > 0) {
        put_into_frame(f, from);
        from.pixel = ptrdiff_t(size_t(ic_) * sizeof(float));
        from = {f.scratch, from.pixel, frame_w_ * from.pixel, image};
      }
      split_panels(f, (n_ + kernel_.nr - 1) / kernel_.nr, scratch_bytes,
                   [&](int64_t panel, std::byte* scratch) { run_panel(f, from, panel, scratch + frame_bytes_); });
    }
    return {};
  }

 private:
  // Input, its padding included; strides in bytes.
  struct Image {
    const std::byte* data;
    ptrdiff_t pixel, row;
    int64_t index;
  };

  void put_into_frame(const Frame& f, const Image& from) const noexcept {
    const size_t bytes = size_t(ic_) * sizeof(float);
    split(f, frame_h_, std::max<int64_t>(1, kPixelGrain / frame_w_), [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y)
        for (int64_t x = 0; x < frame_w_; ++x) {
          std::byte* to = f.scratch + size_t(y * frame_w_ + x) * bytes;
          const int64_t iy = y - w_.pad_top, ix = x - w_.pad_left;
          if (iy < 0 || iy >= w_.ih || ix < 0 || ix >= w_.iw)
            std::memset(to, 0, bytes);
          else
            std::memcpy(to, from.data + iy * from.row + ix * from.pixel, bytes);
        }
    });
  }

  void run_panel(const Frame& f, const Image& from, int64_t panel, std::byte* scratch) const noexcept {
    const auto stride = [&](const Place& p) { return p.stride != 0 ? p.stride : ptrdiff_t(size_t(n_) * sizeof(float)); };
    const int64_t column = panel * kernel_.nr, n = std::min<int64_t>(kernel_.nr, n_ - column), taps = w_.kh * w_.kw;
    float* floats = reinterpret_cast<float*>(scratch);
    const void** tap = reinterpret_cast<const void**>(scratch + floats_bytes_);
    k_.dequantize(panels_.data() + size_t(panel * taps * tap_), DType::s8, floats, size_t(taps * tap_), 1, 0);
    EpilogueArgs epilogue;
    epilogue.out = DType::f32;
    epilogue.lo = -net::kInf;
    epilogue.hi = net::kInf;
    BrgemmArgs g;
    g.a = tap;
    g.a_stride_bytes = w_.stride_w * from.pixel;
    g.b = floats;
    g.batch = taps;
    g.k = ic_;
    g.n = int32_t(n);
    g.c_stride_bytes = stride(out[0]);
    g.epi = &epilogue;
    const auto at = [&](const Place& p, int64_t pixel) {
      return static_cast<std::byte*>(f.at(p)) + pixel * stride(p) + column * ptrdiff_t(sizeof(float));
    };
    // Pixels that follow each other in both images are one row.
    const bool flat = taps == 1 && w_.stride_h == 1 && w_.stride_w == 1 && from.row == w_.ow() * from.pixel;
    const int64_t rows = flat ? 1 : w_.oh(), cols = flat ? w_.oh() * w_.ow() : w_.ow();
    for (int64_t y = 0; y < rows; ++y)
      for (int64_t x = 0; x < cols; x += g.m) {
        g.m = int32_t(std::min<int64_t>(kernel_.mr, cols - x));
        for (int64_t t = 0; t < taps; ++t)
          tap[t] = from.data + (y * w_.stride_h + t / w_.kw * w_.dilation_h) * from.row +
                   (x * w_.stride_w + t % w_.kw * w_.dilation_w) * from.pixel;
        const int64_t pixel = (from.index * rows + y) * cols + x;
        g.c = at(out[0], pixel);
        kernel_.brgemm(&g);
        for (int64_t i = 0; i < g.m; ++i) {
          float* v = reinterpret_cast<float*>(at(out[0], pixel + i));
          k_.scale_shift(v, scale_.data() + column, bias_.data() + column, v, size_t(n));
          if (in.size() > 1)
            k_.binary(Binary::add, v, 1, reinterpret_cast<const float*>(at(in[1], pixel + i)), 1, v, size_t(n), lo_, hi_);
          else if (lo_ > -net::kInf || hi_ < net::kInf)
            k_.clamp(v, v, size_t(n), lo_, hi_);
        }
      }
  }

  const EltwiseKernels& k_;
  const KernelInfo& kernel_;
  Window w_;
  int64_t batch_, ic_, n_;
  float lo_, hi_;
  int64_t tap_ = 0;             // elements of a panel's tap
  std::vector<int8_t> panels_;  // as the kernel's of floats: [panel][tap][ic / kr][nr][kr]
  std::vector<float> scale_, bias_;
  int64_t frame_h_ = 0, frame_w_ = 0;  // of a padded copy of the input; 0: none is needed
  size_t frame_bytes_ = 0, floats_bytes_ = 0;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_conv_weights(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  const KernelInfo* kernel = best_kernel(Op::brgemm, DType::f32, DType::f32, isa);
  if (!kernel) return Status::error(Code::unsupported, "no kernel for floats");
  const Window& w = op.linear->window;
  if (const Expected<int64_t> framed = element_count({seen_rows(w), seen_cols(w), op.linear->ic}, DType::f32); !framed)
    return framed.status();
  std::unique_ptr<Step> step = std::make_unique<ConvWeightStep>(eltwise(isa), *kernel, op, net.values[op.in[0]].shape[0]);
  report.kernel = std::string(kernel->name) + " on s8 weights";
  report.macs = step->work;
  return step;
}

}  // namespace octavo
