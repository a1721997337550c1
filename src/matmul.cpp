// Products of two run-time operands: the panels of B are packed into the workspace, matrix by matrix, by kernels where an ISA has them
// (PanelKernels), and multiplied as a GEMM's.
// u8 elements of B become s8 (xor 0x80), and their zero point loses 128. A zero point z of A is folded into the bias through the
// column sums of B; one of B that is left would need the row sums of A: these come from one more tap, the same rows of A times
// columns that are all -z (two taps of 64 where -z is 128).
// A few rows are multiplied by B as it lies (octavo/rowmat.h), if one of its directions is dense: widened to 16 bits and less their
// zero point, which leaves that of B times their sum. The sums become the bias of a product with zeros: the kernel's epilogue.
#include "octavo/matmul.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "octavo/rowmat.h"
#include "src/buffer.h"
#include "src/flat.h"
#include "src/numerics.h"
#include "src/pack.h"
#include "src/plan.h"

namespace octavo {
using namespace detail;

struct MatmulPlan::Impl {
  int64_t n = 0, k = 0;
  DType a = DType::u8, b = DType::s8, out = DType::f32, residual_dtype = DType::f32;
  bool has_residual = false;
  int32_t a_zp = 0, b_zero_point = 0, b_zp = 0;  // b_zp: of the packed elements
  Weights weights;             // all but the panels' data; its bias knows nothing of zero points
  Buffer<char> constant;       // the panel of the other taps
  Buffer<char> ones;           // [k] elements that the kernel multiplies as 1
  const RowMatrixKernels* row_kernels = nullptr;  // null: f32
  const PanelKernels* packer = nullptr;           // null: none makes these panels
  Buffer<char> zeros;                             // a panel of one row
  MatmulBlocks plan_blocks;

  size_t panels_bytes() const noexcept { return align_up(size_t(weights.panel_count()) * weights.all_taps_bytes()); }
  size_t sums_bytes() const noexcept { return a == DType::f32 ? 0 : align_up(size_t(n) * sizeof(int32_t)); }
  int64_t padded_k() const noexcept { return ceil_div(k, kRowMatrixPad) * kRowMatrixPad; }
  size_t row_bytes() const noexcept { return row_kernels ? align_up(size_t(padded_k()) * sizeof(int16_t)) : 0; }
  size_t workspace_bytes() const noexcept { return panels_bytes() + sums_bytes() + row_bytes(); }
  int64_t blocks(int64_t m) const noexcept { return ceil_div(m, plan_blocks.tile_rows); }
  bool direct(const MatmulArgs& g) const noexcept {
    return row_kernels && g.m <= plan_blocks.direct_rows && (g.b_row_stride == 1 || g.b_col_stride == 1);
  }

  Status check(const MatmulArgs&) const noexcept;
  void pack(const MatmulArgs&, const char* from, char* panels, int32_t* bias) const noexcept;
  void run_direct(const MatmulArgs&, const FlatArgs&, const char* from, int32_t* sums, int16_t* row) const noexcept;
  void sum_columns(const char* panels, int32_t* sums) const noexcept;
  void run(const MatmulArgs&, int64_t begin, int64_t end, void* workspace) const noexcept;
};

// The kernel is faster at this than any code without its instructions: one row of ones times the panels.
void MatmulPlan::Impl::sum_columns(const char* panels, int32_t* sums) const noexcept {
  const void* a = ones.get();
  const EpilogueArgs raw;
  BrgemmArgs call;
  call.a = &a;
  call.k = k;
  call.m = 1;
  call.epi = &raw;
  for (const Panel& p : weights.panels) {
    call.b = panels;
    call.n = p.n;
    call.c = sums + p.column;
    weights.kernel->brgemm(&call);
    panels += weights.all_taps_bytes();
  }
}

void MatmulPlan::Impl::pack(const MatmulArgs& g, const char* from, char* to, int32_t* bias) const noexcept {
  const PackFormat& f = weights.kernel->format;
  const ptrdiff_t size = ptrdiff_t(size_of(b));
  const size_t tap_bytes = weights.tap_bytes();
  // What the columns' sums are multiplied by: the zero point of A, and what the kernel adds to A.
  const int32_t offset = a == DType::f32 ? 0 : a_zp + f.a_offset;
  const bool dense_rows = g.b_col_stride == size;
  if (packer && (dense_rows || g.b_row_stride == size)) {
    PanelArgs panels{from, dense_rows ? g.b_row_stride : g.b_col_stride, k, n, int32_t(size)};
    panels.flip = b == DType::u8;
    panels.panels = to, panels.panel_stride = ptrdiff_t(weights.all_taps_bytes());
    if (offset != 0) panels.sums = bias, std::fill_n(bias, n, 0);
    dense_rows ? packer->rows(&panels) : packer->columns(&panels);
  } else {
    WeightBlock matrix{from, weights.kernel->b, k, n, g.b_row_stride / size, g.b_col_stride / size};
    matrix.flip = b == DType::u8;
    pack_matrix(weights, matrix, to, nullptr);
    if (offset != 0) sum_columns(to, bias);
  }
  for (int64_t p = 0; p < weights.panel_count(); ++p, to += weights.all_taps_bytes())
    for (int64_t t = 1; t < weights.taps; ++t) std::memcpy(to + size_t(t) * tap_bytes, constant.get(), tap_bytes);
  if (a == DType::f32) return;
  // sum_p (a - za)(b - zb) = sum_p a*b - za * sum_p b - zb * sum_p a + k*za*zb
  const int32_t* seed = weights.epilogue.args(0).bias;
  const uint32_t products = uint32_t(offset) * uint32_t(k) * uint32_t(b_zp);
  for (int64_t j = 0; j < n; ++j)
    bias[j] = int32_t(uint32_t(seed[j]) + products - (offset ? uint32_t(offset) * uint32_t(bias[j]) : 0));
}

// Each row of f times the matrix at `from`. sums: [n], row: [padded_k()].
void MatmulPlan::Impl::run_direct(const MatmulArgs& g, const FlatArgs& f, const char* from, int32_t* sums,
                                  int16_t* row) const noexcept {
  const bool dense_rows = g.b_col_stride == 1, is_u8 = b == DType::u8;
  const auto multiply = dense_rows ? (is_u8 ? row_kernels->rows_u8 : row_kernels->rows_s8)
                                   : (is_u8 ? row_kernels->columns_u8 : row_kernels->columns_s8);
  const RowMatrixArgs product{row, from, dense_rows ? g.b_row_stride : g.b_col_stride, k, n, sums};
  const int32_t* seed = weights.epilogue.args(0).bias;
  const void* any = ones.get();
  BrgemmArgs call;
  call.a = &any;
  call.b = zeros.get();
  call.k = call.m = 1;
  std::fill(row + k, row + padded_k(), int16_t(0));
  for (int64_t i = 0; i < f.m; ++i) {
    const char* from_a = f.a + i * f.a_stride;
    int32_t sum = 0;
    for (int64_t p = 0; p < k; ++p) {
      row[p] = int16_t((a == DType::u8 ? int32_t(uint8_t(from_a[p])) : int32_t(int8_t(from_a[p]))) - a_zp);
      sum += row[p];
    }
    multiply(&product);
    const uint32_t zero_point = uint32_t(b_zero_point) * uint32_t(sum);
    for (int64_t j = 0; j < n; ++j) sums[j] = int32_t(uint32_t(sums[j]) + uint32_t(seed[j]) - zero_point);
    for (const Panel& p : weights.panels) {
      EpilogueArgs epi = weights.epilogue.args(p.column);
      epi.bias = sums + p.column;
      if (f.residual) epi.residual = f.residual + i * f.residual_stride + p.column * ptrdiff_t(size_of(residual_dtype));
      call.n = p.n;
      call.c = f.c + i * f.c_stride + p.column * ptrdiff_t(size_of(out));
      call.epi = &epi;
      weights.kernel->brgemm(&call);
    }
  }
}

void MatmulPlan::Impl::run(const MatmulArgs& g, int64_t begin, int64_t end, void* workspace) const noexcept {
  char* packed = static_cast<char*>(workspace);
  FlatArgs f;
  f.a_stride = g.a_row_stride, f.c_stride = g.c_row_stride, f.residual_stride = g.residual_row_stride;
  f.panels = packed;
  f.far_c = is_far(weights, g.batch * g.heads * g.m);
  int32_t* sums = a == DType::f32 ? nullptr : reinterpret_cast<int32_t*>(packed + panels_bytes());
  f.bias = sums;
  int16_t* wide = reinterpret_cast<int16_t*>(packed + panels_bytes() + sums_bytes());
  FlatBlocks flat;
  const int64_t per_matrix = blocks(g.m);
  for (int64_t tile = begin; tile < end;) {
    const int64_t matrix = tile / per_matrix, first = tile % per_matrix, last = std::min(per_matrix, first + end - tile);
    tile += last - first;
    const auto offset = [&](const MatrixStrides& s) { return matrix / g.heads * s.batch + matrix % g.heads * s.head; };
    const char* from = static_cast<const char*>(g.b) + offset(g.b_strides);
    const int64_t row = first * plan_blocks.tile_rows, rows = std::min(last * plan_blocks.tile_rows, g.m) - row;
    if (!direct(g)) {
      pack(g, from, packed, sums);
      if (rows != f.m) flat = flat_blocks(weights, rows);
    }
    f.m = rows;
    f.a = static_cast<const char*>(g.a) + offset(g.a_strides) + row * g.a_row_stride;
    f.c = static_cast<char*>(g.c) + offset(g.c_strides) + row * g.c_row_stride;
    if (g.residual) f.residual = static_cast<const char*>(g.residual) + offset(g.residual_strides) + row * g.residual_row_stride;
    direct(g) ? run_direct(g, f, from, sums, wide) : run_flat(weights, flat, f, 0, flat.blocks * weights.panel_count());
  }
}

namespace {

// Whether the last matrix begins within a 64-bit offset.
bool fits(const MatmulArgs& g, const MatrixStrides& s) {
  int64_t a, b, sum;
  return !__builtin_mul_overflow(g.batch, int64_t(s.batch), &a) && !__builtin_mul_overflow(g.heads, int64_t(s.head), &b) &&
         !__builtin_add_overflow(a, b, &sum);
}

}  // namespace

Status MatmulPlan::Impl::check(const MatmulArgs& g) const noexcept {
  if (Status s = check_at_least("batch", g.batch, 0); !s.ok()) return s;
  if (Status s = check_at_least("heads", g.heads, 0); !s.ok()) return s;
  if (Status s = check_at_least("m", g.m, 0); !s.ok()) return s;
  int64_t all;
  if (__builtin_mul_overflow(g.batch, g.heads, &all) || __builtin_mul_overflow(all, g.m, &all))
    return Status::error(Code::overflow, "batch * heads * m is %lld * %lld * %lld: too many rows",
                         static_cast<long long>(g.batch), static_cast<long long>(g.heads), static_cast<long long>(g.m));
  if (all == 0) return {};
  if (Status s = check_rows("a", g.a, g.m, k * int64_t(size_of(a)), g.a_row_stride); !s.ok()) return s;
  if (Status s = check_rows("c", g.c, g.m, n * int64_t(size_of(out)), g.c_row_stride); !s.ok()) return s;
  if (!g.b) return Status::error(Code::invalid_argument, "b is null");
  const ptrdiff_t size = ptrdiff_t(size_of(b));
  int64_t row, column, last;
  if (g.b_row_stride % size || g.b_col_stride % size)
    return Status::error(
        Code::invalid_argument, "b_row_stride is %lld and b_col_stride is %lld: must be whole elements of %lld bytes",
        static_cast<long long>(g.b_row_stride), static_cast<long long>(g.b_col_stride), static_cast<long long>(size));
  if (__builtin_mul_overflow(k, int64_t(g.b_row_stride), &row) || __builtin_mul_overflow(n, int64_t(g.b_col_stride), &column) ||
      __builtin_add_overflow(row, column, &last))
    return Status::error(Code::overflow, "b: %lld x %lld elements of strides %lld and %lld do not fit a 64-bit offset",
                         static_cast<long long>(k), static_cast<long long>(n), static_cast<long long>(g.b_row_stride),
                         static_cast<long long>(g.b_col_stride));
  if (has_residual) {
    const int64_t bytes = n * int64_t(size_of(residual_dtype));
    const ptrdiff_t stride = g.residual_row_stride == 0 ? bytes : g.residual_row_stride;  // 0: one row for all
    if (Status s = check_rows("residual", g.residual, g.m, bytes, stride); !s.ok()) return s;
  } else if (g.residual) {
    return residual_error();
  }
  if (fits(g, g.a_strides) && fits(g, g.b_strides) && fits(g, g.c_strides) && fits(g, g.residual_strides)) return {};
  return Status::error(Code::overflow,
                       "a_strides, b_strides, c_strides or residual_strides: the last matrix does not fit a 64-bit offset");
}

Expected<MatmulPlan> MatmulPlan::create(const MatmulDesc& d) noexcept try {
  if (Status s = check_at_least("n", d.n, 1); !s.ok()) return s;
  if (Status s = check_at_least("k", d.k, 1); !s.ok()) return s;
  if (Status s = check_choice(d.choice); !s.ok()) return s;
  const Expected<const KernelInfo*> kernel = choose_kernel(Op::brgemm, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  const bool integer = d.a != DType::f32;
  if (integer ? d.b != DType::u8 && d.b != DType::s8 : d.b != DType::f32)
    return Status::error(Code::unsupported, "b is %s: must be %s where a is %s", name_of(d.b), integer ? "u8 or s8" : "f32",
                         name_of(d.a));
  int64_t max_b = 128;
  if (integer) {
    if (Status s = check_qparams("b", {1, d.b_zero_point}, d.b); !s.ok()) return s;
    max_b = std::max<int64_t>(max_b, std::max(qmax_of(d.b) - d.b_zero_point, d.b_zero_point - qmin_of(d.b)));
  } else if (d.b_zero_point) {
    return Status::error(Code::invalid_argument, "b_zero_point is %d: must be 0 where b is f32", d.b_zero_point);
  }
  if (Status s = check_numerics(d.numerics, d.a, d.n, d.k, max_b); !s.ok()) return s;
  if (d.numerics.function) return Status::error(Code::unsupported, "numerics.function: not for products of two run-time operands");
  const PackFormat& format = (*kernel)->format;
  int64_t bytes;
  if (__builtin_mul_overflow(d.n + format.nr, d.k + format.kr, &bytes) ||
      __builtin_mul_overflow(bytes, int64_t(format.elem_bytes) * 2 * kMaxFlatTaps, &bytes))
    return Status::error(Code::overflow, "n * k is %lld * %lld: too many elements", static_cast<long long>(d.n),
                         static_cast<long long>(d.k));

  auto impl = std::make_shared<Impl>();
  impl->n = d.n;
  impl->k = d.k;
  impl->a = d.a;
  impl->b = d.b;
  impl->out = d.numerics.out;
  impl->has_residual = d.numerics.has_residual;
  impl->residual_dtype = d.numerics.residual_dtype;
  Weights& w = impl->weights;
  w.kernel = *kernel;
  w.kernel_asked = d.kernel;
  w.choice = d.choice;
  w.k = d.k;
  for (int64_t column = 0; column < d.n; column += format.nr)
    w.panels.push_back({column, int32_t(std::min<int64_t>(format.nr, d.n - column)), 0});
  Buffer<int32_t> no_sums;
  if (integer) {
    impl->ones = Buffer<char>(size_t(d.k));
    std::memset(impl->ones.get(), 1 - format.a_offset, impl->ones.bytes());
    impl->a_zp = d.numerics.a.zero_point;
    impl->b_zero_point = d.b_zero_point;
    impl->b_zp = d.b_zero_point - (d.b == DType::u8 ? 128 : 0);
    w.taps = impl->b_zp == 0 ? 1 : impl->b_zp == -128 ? 3 : 2;
    no_sums = Buffer<int32_t>(size_t(d.n));
    if (w.taps > 1) {
      const int8_t value = int8_t(-impl->b_zp / (w.taps - 1));
      impl->constant = Buffer<char>(w.tap_bytes());
      pack_block(format, {&value, DType::s8, d.k, format.nr, 0, 0}, 0, 0, impl->constant.get(), 0);
    }
  }
  w.short_sums = short_sums(w);
  const Expected<Isa> isa = resolve_isa(d.use_isa, d.isa);
  if (!isa) return isa.status();
  impl->packer = panel_kernels(format, *isa);
  if (integer) {
    impl->row_kernels = &row_matrix_kernels(*isa);
    impl->zeros = Buffer<char>(panel_bytes(format, 1));
  }
  impl->plan_blocks = matmul_blocks(w, impl->row_kernels, impl->packer);
  w.epilogue = Epilogue(d.numerics, d.a, d.n, no_sums.get(), 1, 0);
  return MatmulPlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "MatmulPlan::create: no memory for %lld columns", static_cast<long long>(d.n));
}

MatmulPlan::MatmulPlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t MatmulPlan::tiles(int64_t batch, int64_t heads, int64_t m) const noexcept {
  return batch < 1 || heads < 1 || m < 1 ? 0 : batch * heads * impl_->blocks(m);
}
size_t MatmulPlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status MatmulPlan::run(const MatmulArgs& g, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = impl_->check(g); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles(g.batch, g.heads, g.m)); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  impl_->run(g, tile_begin, tile_end, workspace);
  return {};
}

Status MatmulPlan::run(const MatmulArgs& g, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = impl_->check(g); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const double macs = double(g.batch) * double(g.heads) * double(g.m) * double(impl_->n) * double(impl_->k);
  run_parallel(parallel, {tiles(g.batch, g.heads, g.m)}, macs, workspace, workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(g, begin, end, own); });
  return {};
}

const KernelInfo& MatmulPlan::kernel() const noexcept { return *impl_->weights.kernel; }
int64_t MatmulPlan::n() const noexcept { return impl_->n; }
int64_t MatmulPlan::k() const noexcept { return impl_->k; }

std::string MatmulPlan::describe() const {
  const Impl& i = *impl_;
  std::string why;
  explain_kernel(kernel(), i.weights.kernel_asked, &why);
  matmul_blocks(i.weights, i.row_kernels, i.packer, &why);
  short_sums(i.weights, &why);
  flat_blocks(i.weights, i.plan_blocks.tile_rows, &why);
  if (i.weights.taps > 1) why += "; a second product, for the zero point of B";
  return std::string(kernel().name) + ": " + std::to_string(i.k) + "x" + std::to_string(i.n) +
         " operand packed at run time by " + (i.packer ? i.packer->name : "portable code") + ", workspace " +
         std::to_string(workspace_bytes()) + " bytes. " + why;
}

}  // namespace octavo
