// Steps that move bytes: layouts, channel shuffle, repeated channels, Concat, copies.
#include <cstring>

#include "step.h"

namespace octavo {
namespace {

using net::Kind;
using net::Net;

// [batch][rows][cols] -> [batch][cols][rows]
class TransposeStep : public Step {
 public:
  TransposeStep(const EltwiseKernels& k, int64_t batch, int64_t rows, int64_t cols, size_t size)
      : k_(k), batch_(batch), rows_(rows), cols_(cols), size_(size) {
    work = 2 * batch * rows * cols;
  }
  Status run(const Frame& f) const noexcept override {
    const std::byte* x = static_cast<const std::byte*>(f.at(in[0]));
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    // Few small matrices over many images (channel shuffle) split by matrix, one large one by the longer side.
    if (batch_ > 1) {
      const ptrdiff_t dense = ptrdiff_t(rows_ * cols_) * ptrdiff_t(size_);
      const ptrdiff_t x_stride = in[0].stride != 0 ? in[0].stride : dense, y_stride = out[0].stride != 0 ? out[0].stride : dense;
      split(f, batch_, std::max<int64_t>(1, 16384 / (rows_ * cols_)), [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) one(x + b * x_stride, y + b * y_stride, 0, rows_, 0, cols_);
      });
    } else if (rows_ > cols_) {
      split(f, rows_, std::max<int64_t>(64, 16384 / cols_), [&](int64_t begin, int64_t end) { one(x, y, begin, end, 0, cols_); });
    } else {
      split(f, cols_, std::max<int64_t>(64, 16384 / rows_), [&](int64_t begin, int64_t end) { one(x, y, 0, rows_, begin, end); });
    }
    return {};
  }

 private:
  void one(const std::byte* x, std::byte* y, int64_t row, int64_t row_end, int64_t col, int64_t col_end) const noexcept {
    const std::byte* from = x + size_t(row * cols_ + col) * size_;
    std::byte* to = y + size_t(col * rows_ + row) * size_;
    const int64_t rows = row_end - row, cols = col_end - col;
    if (size_ == 1 || size_ == 4) return k_.transpose(from, cols_, to, rows_, size_t(rows), size_t(cols), size_);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        std::memcpy(to + size_t(j * rows_ + i) * size_, from + size_t(i * cols_ + j) * size_, size_);
  }

  const EltwiseKernels& k_;
  int64_t batch_, rows_, cols_;
  size_t size_;
};

// Of each input rows of some bytes go into the output's rows, behind those of the inputs before it.
class ConcatStep : public Step {
 public:
  struct Piece {
    size_t input, bytes, at;
  };
  ConcatStep(std::vector<Piece> pieces, int64_t rows, size_t row) : pieces_(std::move(pieces)), rows_(rows), row_(row) {
    work = rows_ * int64_t(row_) / 4;
  }
  Status run(const Frame& f) const noexcept override {
    std::byte* y = static_cast<std::byte*>(f.at(out[0]));
    const auto stride = [](const Place& p, size_t dense) { return p.stride != 0 ? p.stride : ptrdiff_t(dense); };
    const ptrdiff_t y_stride = stride(out[0], row_);
    split(f, rows_, std::max<int64_t>(1, int64_t(65536 / (row_ + 1))), [&](int64_t begin, int64_t end) {
      for (const Piece& piece : pieces_) {
        const std::byte* x = static_cast<const std::byte*>(f.at(in[piece.input]));
        const ptrdiff_t x_stride = stride(in[piece.input], piece.bytes);
        for (int64_t r = begin; r < end; ++r) std::memcpy(y + r * y_stride + piece.at, x + r * x_stride, piece.bytes);
      }
    });
    return {};
  }

 private:
  std::vector<Piece> pieces_;
  int64_t rows_;
  size_t row_;
};

// Known at compile time, so that the compiler makes whole registers of it.
template <int kTimes>
void repeat(const uint8_t* x, uint8_t* y, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i)
    for (int t = 0; t < kTimes; ++t) y[i * kTimes + t] = x[i];
}

// Each byte, or each block of bytes, two or three times.
class RepeatStep : public Step {
 public:
  RepeatStep(int64_t count, int64_t block, int64_t times) : count_(count), block_(block), times_(times) {
    work = count * block * times / 4;
  }
  Status run(const Frame& f) const noexcept override {
    const uint8_t* x = static_cast<const uint8_t*>(f.at(in[0]));
    uint8_t* y = static_cast<uint8_t*>(f.at(out[0]));
    split(f, count_, std::max<int64_t>(1, 16384 / block_), [&](int64_t begin, int64_t end) {
      if (block_ > 1)
        for (int64_t i = begin * times_; i < end * times_; ++i)
          std::memcpy(y + i * block_, x + i / times_ * block_, size_t(block_));
      else
        (times_ == 2 ? repeat<2> : repeat<3>)(x + begin, y + begin * times_, end - begin);
    });
    return {};
  }

 private:
  int64_t count_, block_, times_;
};

class CopyStep : public Step {
 public:
  explicit CopyStep(size_t bytes) : bytes_(bytes) {}
  Status run(const Frame& f) const noexcept override {
    if (bytes_ > 0) std::memmove(f.at(out[0]), f.at(in[0]), bytes_);
    return {};
  }

 private:
  size_t bytes_;
};

}  // namespace

std::unique_ptr<Step> lower_movement(const Net& net, const net::Op& op, const EltwiseKernels& k) {
  const net::Value &x = net.values[op.in[0]], &y = net.values[op.out[0]];
  const size_t size = size_of(y.dtype);
  const int64_t n = product(y.shape);
  if (op.kind == Kind::copy) return std::make_unique<CopyStep>(size_t(n) * size);
  if (n == 0) return nullptr;
  if (op.kind == Kind::to_last)
    return std::make_unique<TransposeStep>(k, x.shape[0], x.shape[1], n / (x.shape[0] * x.shape[1]), size);
  if (op.kind == Kind::to_first)
    return std::make_unique<TransposeStep>(k, x.shape[0], n / (x.shape[0] * x.shape.back()), x.shape.back(), size);
  if (op.kind == Kind::shuffle)
    return std::make_unique<TransposeStep>(k, n / y.shape.back(), op.groups, y.shape.back() / op.groups, size);
  if (op.kind == Kind::repeat && (op.groups == 2 || op.groups == 3)) {
    size_t axis = 0;
    while (x.shape[axis] == y.shape[axis]) ++axis;
    const int64_t block = product(y.shape, axis + 1, y.shape.size());
    return std::make_unique<RepeatStep>(n / op.groups / block, block, op.groups);
  }
  if (op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == "Concat") {
    const int64_t given = op.node.get_int("axis", 0);
    const int64_t axis = given < 0 ? given + int64_t(y.shape.size()) : given;
    if (axis < 0 || axis >= int64_t(y.shape.size())) return nullptr;
    std::vector<ConcatStep::Piece> pieces;
    size_t at = 0;
    for (size_t i = 0; i < op.in.size(); ++i) {
      if (op.in[i] < 0) return nullptr;
      const net::Value& v = net.values[op.in[i]];
      if (v.dtype != y.dtype || v.shape.size() != y.shape.size()) return nullptr;
      const size_t bytes = size_t(product(v.shape, size_t(axis), y.shape.size())) * size;
      const bool in_place = v.part && v.part->whole == op.out[0] && size_t(v.part->offset) * size == at;
      if (bytes > 0 && !in_place) pieces.push_back({i, bytes, at});
      at += bytes;
    }
    return std::make_unique<ConcatStep>(std::move(pieces), product(y.shape, 0, size_t(axis)), at);
  }
  return nullptr;
}

}  // namespace octavo
