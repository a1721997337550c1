// MatMul and Gemm of floats with s8 weights: the weights stay s8 in memory, and are made floats piece by piece, next to their use.
#include <algorithm>
#include <memory>

#include "octavo/registry.h"
#include "split_panels.h"

namespace octavo {
namespace {

using net::Net;

constexpr int64_t kDepth = 256;  // rows of a piece. Sums are made of sums over so many, on every ISA

// y = clamp(fma(sum, scale[j], bias[j]) + residual); sum: over pieces of kDepth products, each by itself and then added.
class WeightStep : public Step {
 public:
  WeightStep(const EltwiseKernels& k, const KernelInfo& kernel, const net::Op& op, int64_t m)
      : k_(k), kernel_(kernel), m_(m), n_(op.linear->oc), depth_(op.linear->ic), lo_(op.lo), hi_(op.hi) {
    const net::Linear& linear = *op.linear;
    const int64_t nr = kernel.nr, kr = kernel.format.kr, row_stride = linear.transposed ? 1 : n_, col_stride = linear.transposed ? depth_ : 1;
    rows_ = (depth_ + kr - 1) / kr * kr;
    panels_.resize(size_t((n_ + nr - 1) / nr * nr * rows_));
    const int8_t* w = linear.weight.as<int8_t>();
    for (int64_t j = 0; j < n_; ++j)
      for (int64_t p = 0; p < depth_; ++p)
        panels_[size_t(((j / nr * rows_ + p / kr * kr) * nr) + j % nr * kr + p % kr)] = w[p * row_stride + j * col_stride];
    scale_.assign(size_t(n_), linear.w_scale[0]);
    if (linear.w_scale.size() > 1) scale_ = linear.w_scale;
    bias_ = linear.bias;
    bias_.resize(size_t(n_));
    scratch_bytes = size_t(kDepth + kr) * size_t(nr) * sizeof(float);
    weight_bytes = panels_.size() + 2 * size_t(n_) * sizeof(float);
    work = m_ * n_ * depth_;
  }

  Status run(const Frame& f) const noexcept override {
    split_panels(f, (n_ + kernel_.nr - 1) / kernel_.nr, scratch_bytes,
                 [&](int64_t panel, std::byte* scratch) { run_panel(f, panel, scratch); });
    return {};
  }

 private:
  void run_panel(const Frame& f, int64_t panel, std::byte* scratch) const noexcept {
    const auto stride = [](const Place& p, int64_t n) { return p.stride != 0 ? p.stride : ptrdiff_t(n) * ptrdiff_t(sizeof(float)); };
    const int64_t column = panel * kernel_.nr, n = std::min<int64_t>(kernel_.nr, n_ - column);
    const std::byte* a = static_cast<const std::byte*>(f.at(in[0]));
    std::byte* c = static_cast<std::byte*>(f.at(out[0])) + size_t(column) * sizeof(float);
    const ptrdiff_t a_stride = stride(in[0], depth_), c_stride = stride(out[0], n_);
    float* piece = reinterpret_cast<float*>(scratch);
    EpilogueArgs epilogue;
    epilogue.out = DType::f32;
    epilogue.lo = -net::kInf;
    epilogue.hi = net::kInf;
    epilogue.residual_dtype = DType::f32;
    epilogue.residual_stride_bytes = c_stride;
    BrgemmArgs g;
    const void* tap = nullptr;
    g.a = &tap;
    g.a_stride_bytes = a_stride;
    g.b = piece;
    g.n = int32_t(n);
    g.c_stride_bytes = c_stride;
    g.epi = &epilogue;
    for (int64_t p = 0; p < depth_; p += kDepth) {
      g.k = std::min(kDepth, depth_ - p);
      const int64_t kr = kernel_.format.kr, rows = (g.k + kr - 1) / kr * kr;  // kDepth is a multiple of any kr
      k_.dequantize(panels_.data() + size_t((panel * rows_ + p) * kernel_.nr), DType::s8, piece, size_t(rows * kernel_.nr), 1, 0);
      for (int64_t row = 0; row < m_; row += g.m) {
        g.m = int32_t(std::min<int64_t>(kernel_.mr, m_ - row));
        tap = a + row * a_stride + p * ptrdiff_t(sizeof(float));
        g.c = c + row * c_stride;
        epilogue.residual = p == 0 ? nullptr : g.c;
        kernel_.brgemm(&g);
      }
    }
    const std::byte* r = in.size() > 1 ? static_cast<const std::byte*>(f.at(in[1])) + size_t(column) * sizeof(float) : nullptr;
    for (int64_t row = 0; row < m_; ++row) {
      float* y = reinterpret_cast<float*>(c + row * c_stride);
      k_.scale_shift(y, scale_.data() + column, bias_.data() + column, y, size_t(n));
      if (r)
        k_.binary(Binary::add, y, 1, reinterpret_cast<const float*>(r + row * stride(in[1], n_)), 1, y, size_t(n), lo_, hi_);
      else if (lo_ > -net::kInf || hi_ < net::kInf)
        k_.clamp(y, y, size_t(n), lo_, hi_);
    }
  }

  const EltwiseKernels& k_;
  const KernelInfo& kernel_;
  int64_t m_, n_, depth_, rows_;
  float lo_, hi_;
  std::vector<int8_t> panels_;  // as the kernel's of floats: [panel][rows / kr][nr][kr]
  std::vector<float> scale_, bias_;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_weights(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  if (op.linear->conv) return lower_conv_weights(net, op, isa, report);
  const KernelInfo* kernel = best_kernel(Op::brgemm, DType::f32, DType::f32, isa);
  if (!kernel) return Status::error(Code::unsupported, "no kernel for floats");
  const int64_t m = product(net.values[op.in[0]].shape) / op.linear->ic;
  report.kernel = std::string(kernel->name) + " on s8 weights";
  report.macs = m * op.linear->oc * op.linear->ic;
  return std::unique_ptr<Step>(std::make_unique<WeightStep>(eltwise(isa), *kernel, op, m));
}

}  // namespace octavo
