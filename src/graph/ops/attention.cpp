// Attention as one operator, and RotaryEmbedding (opset 23 on).
#include <cmath>
#include <limits>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// [batch, heads, rows, size], by strides: inputs are 4-dimensional, or [batch, rows, heads * size].
struct Heads {
  int64_t batch = 0, heads = 0, rows = 0, size = 0, batch_stride = 0, head_stride = 0, row_stride = 0;
  int64_t at(int64_t b, int64_t h, int64_t r) const { return b * batch_stride + h * head_stride + r * row_stride; }
};

// False if the heads do not fit.
bool split_heads(const int64_t* dims, int rank, int64_t heads, Heads& h) {
  if (rank == 4) {
    h = {dims[0], dims[1], dims[2], dims[3], dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3]};
    return true;
  }
  if (rank != 3 || heads < 1 || dims[2] % heads != 0) return false;
  const int64_t size = dims[2] / heads;
  h = {dims[0], heads, dims[1], size, dims[1] * dims[2], size, dims[2]};
  return true;
}

struct AttentionShape {
  Heads q, k, v;
  int64_t past = 0, total = 0;  // rows of the cache, and with those of k
};

constexpr size_t kMask = 3, kPastKey = 4, kPastValue = 5, kLengths = 6;

// dims(i), rank(i): of input i; rank < 0 if it is absent. Null, or what is wrong.
template <class Dims, class Rank>
const char* attention_shape(const Node& node, Dims&& dims, Rank&& rank, AttentionShape& s) {
  const int64_t q_heads = int_attribute(node, "q_num_heads", 0), kv_heads = int_attribute(node, "kv_num_heads", 0);
  if (!split_heads(dims(0), rank(0), q_heads, s.q) || !split_heads(dims(1), rank(1), kv_heads, s.k) ||
      !split_heads(dims(2), rank(2), kv_heads, s.v))
    return "Q, K and V must be [batch, heads, rows, size], or [batch, rows, heads * size] with the numbers of heads";
  if (s.k.batch != s.q.batch || s.v.batch != s.q.batch || s.k.size != s.q.size || s.k.heads != s.v.heads ||
      s.k.rows != s.v.rows || s.k.heads < 1 || s.q.heads % s.k.heads != 0)
    return "the shapes of Q, K and V do not fit each other";
  if ((rank(kPastKey) < 0) != (rank(kPastValue) < 0)) return "past_key and past_value go together";
  if (rank(kPastKey) >= 0) {
    const int64_t *pk = dims(kPastKey), *pv = dims(kPastValue);
    if (rank(kPastKey) != 4 || rank(kPastValue) != 4 || pk[0] != s.q.batch || pv[0] != s.q.batch || pk[1] != s.k.heads ||
        pv[1] != s.k.heads || pk[3] != s.k.size || pv[3] != s.v.size || pk[2] != pv[2])
      return "the cache does not fit K and V";
    s.past = pk[2];
  }
  s.total = s.past + s.k.rows;
  if (rank(kMask) >= 0) {
    const int64_t wanted[] = {s.q.batch, s.q.heads, s.q.rows};
    const int r = rank(kMask);
    if (r < 1 || r > 4 || dims(kMask)[r - 1] > s.total) return "the mask does not fit";
    for (int d = 0; d + 1 < r; ++d)
      if (dims(kMask)[d] != 1 && dims(kMask)[d] != wanted[4 - r + d]) return "the mask does not fit";
  }
  if (rank(kLengths) >= 0 && (rank(kLengths) != 1 || dims(kLengths)[0] != s.q.batch))
    return "one length for each batch is needed";
  return nullptr;
}

Inferred infer_attention(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 7); !s.ok()) return s;
  for (size_t i = 0; i < ctx.inputs.size(); ++i) {
    if (!ctx.inputs[i]) continue;
    const DType t = ctx.inputs[i]->dtype;
    if (i == kLengths ? t != DType::s64 : t != DType::f32 && !(i == kMask && t == DType::boolean)) return bad_type(ctx, i);
  }
  if (int_attribute(ctx.node, "left_window_size", -1) != -1 || int_attribute(ctx.node, "right_window_size", -1) != -1)
    return fail(ctx.node, Code::unsupported, "sliding windows are not supported");
  AttentionShape s;
  const char* why = attention_shape(
      ctx.node, [&](size_t i) { return ctx.inputs[i]->shape.data(); },
      [&](size_t i) { return input_of(ctx, i) ? int(ctx.inputs[i]->shape.size()) : -1; }, s);
  if (why) return misshapen(ctx, why);
  const Shape y = ctx.inputs[0]->shape.size() == 4 ? Shape{s.q.batch, s.q.heads, s.q.rows, s.v.size}
                                                   : Shape{s.q.batch, s.q.rows, s.q.heads * s.v.size};
  return std::vector<TypeShape>{{DType::f32, y},
                                {DType::f32, {s.q.batch, s.k.heads, s.total, s.k.size}},
                                {DType::f32, {s.q.batch, s.k.heads, s.total, s.v.size}},
                                {DType::f32, {s.q.batch, s.q.heads, s.q.rows, s.total}}};
}

// One row of scores; the present keys and values where nobody asked for them.
size_t attention_scratch(const EvalContext& ctx) {
  const View &q = ctx.inputs[0], &k = ctx.inputs[1];
  const View past = view_of(ctx, kPastKey);
  return size_t((k.rank == 4 ? k.dims[2] : k.dims[1]) + (past.rank == 4 ? past.dims[2] : 0) +
                (q.rank == 4 ? q.dims[3] : q.dims[2])) *
         sizeof(float);
}

// Row r of the keys or values, cache first.
const float* cached_row(const View& past, const View& x, const Heads& h, int64_t past_rows, int64_t b, int64_t head, int64_t r) {
  if (r < past_rows) return f32(past) + ((b * h.heads + head) * past_rows + r) * h.size;
  return f32(x) + h.at(b, head, r - past_rows);
}

// What is added to the scores of query row i; false if it masks all of them.
class Bias {
 public:
  Bias(const EvalContext& ctx, const AttentionShape& s) : mask_(view_of(ctx, kMask)), lengths_(view_of(ctx, kLengths)), s_(s) {
    causal_ = int_attribute(ctx.node, "is_causal", 0) != 0;
  }
  float at(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const int64_t length = lengths_.data ? static_cast<const int64_t*>(lengths_.data)[b] : s_.total;
    const int64_t offset = lengths_.data && s_.past == 0 ? length - s_.q.rows : s_.past;
    if (j >= length || (causal_ && j > i + offset)) return -kInf;
    if (!mask_.data) return 0;
    const int64_t index[] = {b, h, i}, width = mask_.dims[mask_.rank - 1];
    if (j >= width) return -kInf;
    int64_t flat = 0;
    for (int d = 0; d + 1 < mask_.rank; ++d) flat = flat * mask_.dims[d] + (mask_.dims[d] == 1 ? 0 : index[4 - mask_.rank + d]);
    flat = flat * width + j;
    if (mask_.dtype == DType::boolean) return static_cast<const uint8_t*>(mask_.data)[flat] ? 0 : -kInf;
    return f32(mask_)[flat];
  }

 private:
  const View mask_, lengths_;
  const AttentionShape& s_;
  bool causal_;
};

// softmax; a row that the bias masks as a whole gives zeros.
void softmax_row(const EltwiseKernels& k, float* row, int64_t n, bool masked) {
  if (masked)
    std::fill_n(row, n, 0.0f);
  else if (n > 0)
    k.softmax(row, row, size_t(n));
}

void copy_present(const View& y, const View& past, const View& x, const Heads& h, const AttentionShape& s) {
  if (!y.data) return;
  float* out = f32_out(y);
  for (int64_t b = 0; b < h.batch; ++b)
    for (int64_t head = 0; head < h.heads; ++head)
      for (int64_t r = 0; r < s.total; ++r, out += h.size)
        std::memcpy(out, cached_row(past, x, h, s.past, b, head, r), size_t(h.size) * sizeof(float));
}

Status eval_attention(const EvalContext& ctx) {
  AttentionShape s;
  const char* why = attention_shape(
      ctx.node, [&](size_t i) { return ctx.inputs[i].dims; },
      [&](size_t i) { return view_of(ctx, i).data ? ctx.inputs[i].rank : -1; }, s);
  if (why) return fail(ctx.node, Code::invalid_argument, "%s", why);
  const auto output = [&](size_t i) { return i < ctx.outputs.size() ? ctx.outputs[i] : View(); };
  const View past_k = view_of(ctx, kPastKey), past_v = view_of(ctx, kPastValue), &y = ctx.outputs[0], scores_out = output(3);
  copy_present(output(1), past_k, ctx.inputs[1], s.k, s);
  copy_present(output(2), past_v, ctx.inputs[2], s.v, s);
  const int64_t mode = int_attribute(ctx.node, "qk_matmul_output_mode", 0), group = s.q.heads / s.k.heads;
  const float scale = float_attribute(ctx.node, "scale", float(1 / std::sqrt(double(std::max<int64_t>(s.q.size, 1)))));
  const float softcap = float_attribute(ctx.node, "softcap", 0), root = float(std::sqrt(double(scale)));
  const Bias bias(ctx, s);
  float* row = static_cast<float*>(ctx.scratch);
  for (int64_t b = 0; b < s.q.batch; ++b) {
    for (int64_t h = 0; h < s.q.heads; ++h) {
      for (int64_t i = 0; i < s.q.rows; ++i) {
        const float* q = f32(ctx.inputs[0]) + s.q.at(b, h, i);
        float* shown = scores_out.data ? f32_out(scores_out) + ((b * s.q.heads + h) * s.q.rows + i) * s.total : nullptr;
        const auto show = [&] {
          if (shown) std::memcpy(shown, row, size_t(s.total) * sizeof(float));
        };
        for (int64_t j = 0; j < s.total; ++j) {
          const float* key = cached_row(past_k, ctx.inputs[1], s.k, s.past, b, h / group, j);
          double sum = 0;
          for (int64_t c = 0; c < s.q.size; ++c) sum += double(q[c] * root) * double(key[c] * root);
          row[j] = float(sum);
        }
        if (mode == 0) show();
        if (softcap > 0) {
          for (int64_t j = 0; j < s.total; ++j) row[j] /= softcap;
          ctx.eltwise.unary(Unary::tanh, row, row, size_t(s.total), 0, 0);
          for (int64_t j = 0; j < s.total; ++j) row[j] *= softcap;
        }
        if (mode == 1) show();
        bool masked = true;
        for (int64_t j = 0; j < s.total; ++j) {
          const float add = bias.at(b, h, i, j);
          masked = masked && add == -kInf;
          row[j] = add == -kInf ? -kInf : row[j] + add;
        }
        if (mode == 2) show();
        softmax_row(ctx.eltwise, row, s.total, masked);
        if (mode == 3) show();
        float* out = f32_out(y) + (y.rank == 4 ? ((b * s.q.heads + h) * s.q.rows + i) * s.v.size
                                               : ((b * s.q.rows + i) * s.q.heads + h) * s.v.size);
        std::fill_n(out, s.v.size, 0.0f);
        for (int64_t j = 0; j < s.total; ++j) {
          if (row[j] == 0) continue;
          const float* value = cached_row(past_v, ctx.inputs[2], s.v, s.past, b, h / group, j);
          for (int64_t c = 0; c < s.v.size; ++c) out[c] += row[j] * value[c];
        }
      }
    }
  }
  return {};
}

// ---- RotaryEmbedding: pairs (x1, x2) of each head turn by the angle of their position

Inferred infer_rotary(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 4); !s.ok()) return s;
  for (size_t i = 0; i < 3; ++i)
    if (ctx.inputs[i]->dtype != DType::f32) return bad_type(ctx, i);
  const Shape &x = ctx.inputs[0]->shape, &cos = ctx.inputs[1]->shape;
  Heads h;
  if (!split_heads(x.data(), int(x.size()), int_attribute(ctx.node, "num_heads", 0), h))
    return misshapen(ctx, "the heads do not fit");
  const int64_t given = int_attribute(ctx.node, "rotary_embedding_dim", 0), turned = given == 0 ? h.size : given;
  const Shape rows = input_of(ctx, 3) ? Shape{} : Shape{h.batch, h.rows};
  if (turned < 0 || turned % 2 != 0 || turned > h.size || cos != ctx.inputs[2]->shape || cos.empty() ||
      cos.back() != turned / 2 || cos.size() != (rows.empty() ? 2u : 3u) || !std::equal(rows.begin(), rows.end(), cos.begin()))
    return misshapen(ctx, "the tables do not fit the input");
  if (input_of(ctx, 3)) {
    if (ctx.inputs[3]->dtype != DType::s64) return bad_type(ctx, 3);
    if (ctx.inputs[3]->shape != Shape{h.batch, h.rows}) return misshapen(ctx, "one position for each row is needed");
  }
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_rotary(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &cos = ctx.inputs[1], &sin = ctx.inputs[2], positions = view_of(ctx, 3), &y = ctx.outputs[0];
  Heads h;
  split_heads(x.dims, x.rank, int_attribute(ctx.node, "num_heads", 0), h);
  const bool interleaved = int_attribute(ctx.node, "interleaved", 0) != 0;
  const int64_t half = cos.dims[cos.rank - 1];
  std::memcpy(y.data, x.data, byte_count(y));
  for (int64_t b = 0; b < h.batch; ++b) {
    for (int64_t r = 0; r < h.rows; ++r) {
      int64_t table = b * h.rows + r;
      if (positions.data) {
        table = static_cast<const int64_t*>(positions.data)[table];
        if (table < 0 || table >= cos.dims[0])
          return fail(ctx.node, Code::invalid_argument, "position %lld is outside the tables", static_cast<long long>(table));
      }
      const float *c = f32(cos) + table * half, *s = f32(sin) + table * half;
      for (int64_t head = 0; head < h.heads; ++head) {
        const float* in = f32(x) + h.at(b, head, r);
        float* out = f32_out(y) + h.at(b, head, r);
        for (int64_t i = 0; i < half; ++i) {
          const int64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
          const float u = in[first], v = in[second];
          out[first] = c[i] * u - s[i] * v;
          out[second] = s[i] * u + c[i] * v;
        }
      }
    }
  }
  return {};
}

constexpr OpInfo kOps[] = {
    {"Attention", "", infer_attention, eval_attention, 0, attention_scratch},
    {"RotaryEmbedding", "", infer_rotary, eval_rotary},
};

}  // namespace

std::span<const OpInfo> attention_ops() noexcept { return kOps; }

}  // namespace octavo::ops
