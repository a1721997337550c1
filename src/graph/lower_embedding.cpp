// Rows of a matrix of bytes, chosen by index: only those that are asked for are ever dequantized.
#include <cstring>

#include "step.h"

namespace octavo {
namespace {

class EmbeddingStep : public Step {
 public:
  EmbeddingStep(const EltwiseKernels& k, const net::Op& op, const net::Value& table, const net::Value& indices, DType out)
      : k_(k), e_(*op.embedding), table_type_(table.dtype), index_type_(indices.dtype), out_(out), out_q_(op.out_q),
        rows_(table.shape[0]), n_(op.row), count_(product(indices.shape)) {
    work = count_ * n_;
    weight_bytes = size_t(rows_ * n_) + e_.scale.size() * (sizeof(float) + sizeof(int32_t));
    if (out != DType::f32) scratch_bytes = size_t(n_) * sizeof(float);
  }
  Status run(const Frame& f) const noexcept override {
    const char* table = static_cast<const char*>(f.at(in[0]));
    const void* indices = f.at(in[1]);
    char* y = static_cast<char*>(f.at(out[0]));
    for (int64_t i = 0; i < count_; ++i) {
      int64_t row = index_type_ == DType::s64 ? static_cast<const int64_t*>(indices)[i] : static_cast<const int32_t*>(indices)[i];
      if (row < -rows_ || row >= rows_)
        return Status::error(Code::invalid_argument, "index %lld of a table of %lld rows", static_cast<long long>(row),
                             static_cast<long long>(rows_));
      if (row < 0) row += rows_;
      run_row(table + row * n_, y + i * n_ * int64_t(size_of(out_)), e_.scale.size() == 1 ? 0 : size_t(row), f.scratch);
    }
    return {};
  }

 private:
  void run_row(const char* q, char* y, size_t j, void* scratch) const noexcept {
    if (table_type_ == out_ && QParams{e_.scale[j], e_.zero[j]} == out_q_) {
      std::memcpy(y, q, size_t(n_));
      return;
    }
    float* real = static_cast<float*>(out_ == DType::f32 ? static_cast<void*>(y) : scratch);
    k_.dequantize(q, table_type_, real, size_t(n_), e_.scale[j], e_.zero[j]);
    if (out_ != DType::f32) k_.quantize(real, y, out_, size_t(n_), out_q_.scale, out_q_.zero_point);
  }

  const EltwiseKernels& k_;
  net::Embedding e_;
  DType table_type_, index_type_, out_;
  QParams out_q_;
  int64_t rows_, n_, count_;
};

}  // namespace

std::unique_ptr<Step> lower_embedding(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels) {
  return std::make_unique<EmbeddingStep>(kernels, op, net.values[op.in[0]], net.values[op.in[1]], net.values[op.out[0]].dtype);
}

}  // namespace octavo
