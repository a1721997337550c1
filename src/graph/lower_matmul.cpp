// Products of two computed tensors; Softmax and normalizations of rows, from and to bytes.
#include <cmath>

#include "octavo/matmul.h"
#include "step.h"

namespace octavo {
namespace {

using net::Net;

class MatmulStep : public Step {
 public:
  MatmulStep(MatmulPlan plan, const net::Matmul& m, size_t a_size, size_t b_size, size_t c_size) : plan_(std::move(plan)) {
    scratch_bytes = plan_.workspace_bytes();
    args_.batch = m.batch;
    args_.heads = m.heads;
    args_.m = m.m;
    set(m.a, a_size, args_.a_strides, args_.a_row_stride);
    set(m.b, b_size, args_.b_strides, args_.b_row_stride);
    args_.b_col_stride = ptrdiff_t(m.b.column * int64_t(b_size));
    set(m.c, c_size, args_.c_strides, args_.c_row_stride);
    set(m.residual, sizeof(float), args_.residual_strides, args_.residual_row_stride);
    work = m.batch * m.heads * m.m * m.n * m.k;
  }
  Status run(const Frame& f) const noexcept override {
    MatmulArgs args = args_;
    args.a = f.at(in[0]);
    args.b = f.at(in[1]);
    if (in.size() > 2) args.residual = f.at(in[2]);
    args.c = f.at(out[0]);
    if (f.parallel.threads > 1) return plan_.run(args, f.scratch, f.parallel);
    return plan_.run(args, 0, plan_.tiles(args.batch, args.heads, args.m), f.scratch);
  }

 private:
  static void set(const net::Matmul::Strides& s, size_t size, MatrixStrides& matrices, ptrdiff_t& row) {
    matrices = {ptrdiff_t(s.batch * int64_t(size)), ptrdiff_t(s.head * int64_t(size))};
    row = ptrdiff_t(s.row * int64_t(size));
  }

  MatmulPlan plan_;
  MatmulArgs args_;
};

// One row at a time: dequantized if it is bytes, normalized, quantized if the result is bytes.
class RowStep : public Step {
 public:
  enum class Function : uint8_t { softmax, layer_norm, rms_norm };

  RowStep(const EltwiseKernels& k, const Net& net, const net::Op& op)
      : k_(k), n_(op.row), in_type_(net.values[op.in[0]].dtype), out_type_(net.values[op.out[0]].dtype), out_q_(op.out_q) {
    rows_ = product(net.values[op.in[0]].shape) / n_;
    if (!op.in_q.empty()) in_q_ = op.in_q[0];
    epsilon_ = op.node.get_float("epsilon", 1e-5f);
    function_ = op.node.op_type == "Softmax"              ? Function::softmax
                : op.node.op_type == "LayerNormalization" ? Function::layer_norm
                                                          : Function::rms_norm;
    stride_ = (size_t(n_) * sizeof(float) + 63) / 64 * 64;
    scratch_bytes = in_type_ != DType::f32 || out_type_ != DType::f32 ? stride_ : 0;
    work = 16 * rows_ * n_;
    if (in_type_ == out_type_) in_place = 0;
  }

  Status run(const Frame& f) const noexcept override {
    const int64_t grain = std::max<int64_t>(1, 8192 / n_);
    if (f.parallel.threads <= 1 || rows_ <= grain) {
      rows(f, 0, rows_, f.scratch);
      return {};
    }
    struct Job {
      const RowStep& step;
      const Frame& frame;
      int64_t grain;
    } job{*this, f, grain};
    f.parallel.run(
        f.parallel.context, (rows_ + grain - 1) / grain,
        [](void* arg, int64_t begin, int64_t end, int thread) {
          const Job& j = *static_cast<const Job*>(arg);
          j.step.rows(j.frame, begin * j.grain, std::min(j.step.rows_, end * j.grain),
                      j.frame.scratch + size_t(thread) * j.step.stride_);
        },
        &job);
    return {};
  }

 private:
  void rows(const Frame& f, int64_t begin, int64_t end, std::byte* scratch) const noexcept {
    const std::byte* x = static_cast<const std::byte*>(f.at(in[0]));
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    const float* scale = in.size() > 1 ? static_cast<const float*>(f.at(in[1])) : nullptr;
    const float* bias = in.size() > 2 ? static_cast<const float*>(f.at(in[2])) : nullptr;
    for (int64_t r = begin; r < end; ++r) {
      const std::byte* from = x + size_t(r * n_) * size_of(in_type_);
      std::byte* to = y + size_t(r * n_) * size_of(out_type_);
      float* result = reinterpret_cast<float*>(out_type_ == DType::f32 ? to : scratch);
      const float* row = reinterpret_cast<const float*>(from);
      if (in_type_ != DType::f32) {
        k_.dequantize(from, in_type_, result, size_t(n_), in_q_.scale, in_q_.zero_point);
        row = result;
      }
      compute(row, result, scale, bias);
      if (out_type_ != DType::f32) k_.quantize(result, to, out_type_, size_t(n_), out_q_.scale, out_q_.zero_point);
    }
  }

  void compute(const float* x, float* y, const float* scale, const float* bias) const noexcept {
    if (function_ == Function::softmax) return k_.softmax(x, y, size_t(n_));
    if (function_ == Function::layer_norm) return k_.layer_norm(x, scale, bias, y, size_t(n_), epsilon_);
    k_.rms_norm(x, scale, y, size_t(n_), epsilon_);
  }

  const EltwiseKernels& k_;
  Function function_;
  int64_t n_, rows_;
  DType in_type_, out_type_;
  QParams in_q_, out_q_;
  float epsilon_;
  size_t stride_;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_matmul(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  const net::Matmul& m = *op.matmul;
  MatmulDesc desc;
  desc.n = m.n;
  desc.k = m.k;
  desc.a = net.values[op.in[0]].dtype;
  desc.b = net.values[op.in[1]].dtype;
  float w_scale = 1;
  if (!op.in_q.empty()) {
    desc.numerics.a = op.in_q[0];
    desc.b_zero_point = op.in_q[1].zero_point;
    w_scale = op.in_q[1].scale * m.scale;
    desc.numerics.w_scale = &w_scale;
    desc.numerics.w_scale_count = 1;
  }
  desc.numerics.out = net.values[op.out[0]].dtype;
  desc.numerics.out_q = op.out_q;
  desc.numerics.has_residual = op.in.size() > 2;
  desc.numerics.residual_dtype = DType::f32;
  desc.isa = isa;
  desc.use_isa = true;
  Expected<MatmulPlan> plan = MatmulPlan::create(desc);
  if (!plan) return plan.status();
  report.kernel = plan->kernel().name;
  report.macs = m.batch * m.heads * m.m * m.n * m.k;
  return std::unique_ptr<Step>(
      std::make_unique<MatmulStep>(*std::move(plan), m, size_of(desc.a), size_of(desc.b), size_of(desc.numerics.out)));
}

std::unique_ptr<Step> lower_row_function(const Net& net, const net::Op& op, const EltwiseKernels& k) {
  return std::make_unique<RowStep>(k, net, op);
}

}  // namespace octavo
