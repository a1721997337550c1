#include "case.h"

#include <cstring>

#include "octavo/reference.h"

namespace octavo::bench {

Case::Case(const Shape& s, const Operands& operands, const Parallel& parallel)
    : shape_(s), operands_(operands), parallel_(parallel) {
  create();
  if (!error_.empty()) return;
  make_workspace();
  check();
}

Case::Case(const Shape& s, const Operands& operands, const Choice& choice, const KernelInfo* kernel)
    : shape_(s), operands_(operands), parallel_(single_thread()) {
  gemm_desc_.choice = conv_desc_.choice = matmul_desc_.choice = choice;
  gemm_desc_.kernel = conv_desc_.kernel = matmul_desc_.kernel = kernel;
  create();
  if (error_.empty()) make_workspace();
}

void Case::make_workspace() {
  const size_t bytes = gemm_     ? gemm_->workspace_bytes()
                       : conv_   ? conv_->workspace_bytes()
                       : matmul_ ? matmul_->workspace_bytes()
                                 : depthwise_->workspace_bytes();
  workspace_ = Bytes(bytes * size_t(parallel_.threads));
}

void Case::create() { shape_.conv ? make_conv() : shape_.matmul ? make_matmul() : make_gemm(); }

void Case::run() {
  if (gemm_) (void)gemm_->run(gemm_args_, workspace_.get(), parallel_);
  if (conv_) (void)conv_->run(conv_args_, workspace_.get(), parallel_);
  if (depthwise_) (void)depthwise_->run(conv_args_, workspace_.get(), parallel_);
  if (matmul_) (void)matmul_->run(matmul_args_, workspace_.get(), parallel_);
}

std::string Case::describe() const {
  return gemm_        ? gemm_->describe(shape_.m)
         : conv_      ? conv_->describe()
         : depthwise_ ? depthwise_->describe()
         : matmul_    ? matmul_->describe()
                      : error_;
}

template <class Plan>
void Case::keep(Expected<Plan> plan, std::optional<Plan>& to) {
  if (plan) {
    to = *std::move(plan);
  } else {
    error_ = plan.status().text();
  }
}

void Case::make_gemm() {
  gemm_desc_.n = shape_.n, gemm_desc_.k = shape_.k, gemm_desc_.a = shape_.a, gemm_desc_.b = operands_.w.get();
  gemm_desc_.b_row_stride = shape_.n, gemm_desc_.b_col_stride = 1, gemm_desc_.numerics = operands_.numerics;
  gemm_args_.m = shape_.m, gemm_args_.a = operands_.a.get(), gemm_args_.a_stride_bytes = shape_.k * int64_t(size_of(shape_.a));
  gemm_args_.c = operands_.c.get(), gemm_args_.c_stride_bytes = shape_.n * int64_t(size_of(shape_.out));
  if (shape_.residual) gemm_args_.residual = gemm_args_.c, gemm_args_.residual_stride_bytes = gemm_args_.c_stride_bytes;
  keep(GemmPlan::create(gemm_desc_), gemm_);
}

void Case::make_conv() {
  conv_desc_.window = shape_.window, conv_desc_.ic = shape_.ic, conv_desc_.oc = shape_.oc, conv_desc_.groups = shape_.groups;
  conv_desc_.a = shape_.a, conv_desc_.w = operands_.w.get(), conv_desc_.numerics = operands_.numerics;
  conv_args_.batch = shape_.batch, conv_args_.a = operands_.a.get(), conv_args_.c = operands_.c.get();
  if (shape_.residual) conv_args_.residual = conv_args_.c;
  shape_.depthwise() ? keep(DepthwisePlan::create(conv_desc_), depthwise_) : keep(ConvPlan::create(conv_desc_), conv_);
}

void Case::make_matmul() {
  const Shape& s = shape_;
  const int64_t a_size = int64_t(size_of(s.a)), b_size = int64_t(size_of(s.weight())), c_size = int64_t(size_of(s.out));
  matmul_desc_.n = s.n, matmul_desc_.k = s.k, matmul_desc_.a = s.a, matmul_desc_.b = s.weight();
  matmul_desc_.numerics = operands_.numerics;
  MatmulArgs& g = matmul_args_;
  g.batch = s.batch, g.m = s.m;
  g.a = operands_.a.get(), g.a_row_stride = s.k * a_size, g.a_strides.batch = s.m * s.k * a_size;
  g.b = operands_.w.get(), g.b_strides.batch = s.k * s.n * b_size;
  g.b_row_stride = s.b_is_nk ? b_size : s.n * b_size, g.b_col_stride = s.b_is_nk ? s.k * b_size : b_size;
  g.c = operands_.c.get(), g.c_row_stride = s.n * c_size, g.c_strides.batch = s.m * s.n * c_size;
  if (s.residual) g.residual = g.c, g.residual_row_stride = g.c_row_stride, g.residual_strides = g.c_strides;
  keep(MatmulPlan::create(matmul_desc_), matmul_);
}

void Case::check() {
  const size_t bytes = operands_.c.size();
  Bytes expected(bytes);
  std::memcpy(expected.get(), operands_.c.get(), bytes);
  GemmArgs g = gemm_args_;
  ConvArgs v = conv_args_;
  MatmulArgs u = matmul_args_;
  g.c = v.c = u.c = expected.get();
  if (shape_.residual) g.residual = v.residual = u.residual = expected.get();
  run();
  const int64_t columns = shape_.columns(), count = shape_.rows() * columns, step = count / 4000 + 1,
                size = int64_t(size_of(shape_.out)), oh = shape_.window.oh(), ow = shape_.window.ow();
  for (int64_t e = 0; e < count; e += step) {
    const int64_t row = e / columns, column = e % columns;
    if (gemm_) {
      reference::gemm_element(gemm_desc_, g, row, column);
    } else if (matmul_) {
      reference::matmul_element(matmul_desc_, u, row / shape_.m, 0, row % shape_.m, column);
    } else {
      reference::conv_element(conv_desc_, v, row / (oh * ow), row / ow % oh, row % ow, column);
    }
    if (std::memcmp(operands_.c.get() + e * size, expected.get() + e * size, size_t(size)) == 0) continue;
    error_ = "wrong result at row " + std::to_string(row) + ", column " + std::to_string(column);
    return;
  }
}

}  // namespace octavo::bench
