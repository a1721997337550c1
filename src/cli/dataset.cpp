#include "dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "error.h"
#include "npz.h"
#include "text.h"

namespace octavo::cli {
namespace {

constexpr const char* kLabels = "labels";

// Calls f with a value of the C++ type that holds `dtype`; bool counts as the numbers 0 and 1.
template <class F>
void with_type(DType dtype, F f) {
  switch (dtype) {
    case DType::u8:
    case DType::boolean:
      return f(uint8_t());
    case DType::s8:
      return f(int8_t());
    case DType::u16:
      return f(uint16_t());
    case DType::s16:
      return f(int16_t());
    case DType::s32:
      return f(int32_t());
    case DType::u32:
      return f(uint32_t());
    case DType::s64:
      return f(int64_t());
    case DType::u64:
      return f(uint64_t());
    case DType::f32:
      return f(float());
    case DType::f64:
      return f(double());
  }
}

bool is_float(DType t) { return t == DType::f32 || t == DType::f64; }

template <class From, class To>
void convert_all(const From* in, To* out, int64_t count, DType to, const std::string& what) {
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_integral_v<From> && std::is_integral_v<To>)
      if (!std::in_range<To>(in[i])) throw Failure(fmt::format("{}: the value {} does not fit {}", what, in[i], name_of(to)));
    out[i] = To(in[i]);
  }
}

// The rows [begin, begin + rows) of the first axis; stacked: only one, and without that axis.
Tensor slice(const Tensor& array, int64_t begin, int64_t rows, bool stacked, const std::string& what) {
  Shape shape = array.shape();
  shape[0] = rows;
  if (stacked) shape.erase(shape.begin());
  Tensor out = value(Tensor::create(array.dtype(), shape), what);
  const size_t row_bytes = array.bytes() / size_t(array.shape()[0]);
  if (out.bytes() > 0)
    std::memcpy(out.mutable_data(), array.as<std::byte>() + size_t(begin) * row_bytes, size_t(rows) * row_bytes);
  return out;
}

// Whether each sample is a whole input, behind an axis that the input does not have: it is a scalar, or its batch is not in front.
bool is_stacked(const ValueInfo& input, const Tensor& array) {
  return input.has_shape && array.shape().size() == input.dims.size() + 1;
}

int64_t batch_of(const ValueInfo& input, const Tensor& array) {
  return input.has_shape && !is_stacked(input, array) && !input.dims.empty() ? std::max<int64_t>(1, input.dims[0].size) : 1;
}

}  // namespace

Tensor convert_to(const Tensor& tensor, DType dtype, const std::string& what) {
  const DType from = tensor.dtype();
  if (from == dtype) return tensor;
  if (dtype == DType::boolean || (is_float(from) && !is_float(dtype)))
    throw Failure(fmt::format("{}: {} cannot become the {} that the model wants", what, name_of(from), name_of(dtype)));
  Tensor out = value(Tensor::create(dtype, tensor.shape()), what);
  with_type(from, [&]<class From>(From) {
    with_type(dtype, [&]<class To>(To) {
      if constexpr (!std::is_floating_point_v<From> || std::is_floating_point_v<To>)
        convert_all(tensor.as<From>(), static_cast<To*>(out.mutable_data()), tensor.count(), dtype, what);
    });
  });
  return out;
}

void check_shape(const ValueInfo& input, const Shape& shape, const std::string& what) {
  if (!input.has_shape) return;
  bool fits = shape.size() == input.dims.size();
  for (size_t d = 0; fits && d < shape.size(); ++d) fits = input.dims[d].size < 0 || input.dims[d].size == shape[d];
  if (!fits)
    throw Failure(
        fmt::format("{}: shape {} where the model's input '{}' has {}", what, to_string(shape), input.name, dims_of(input)));
}

std::map<std::string, Tensor> Dataset::load(const std::string& path, const std::vector<const Graph*>& models) {
  std::set<std::string> names = {kLabels};
  for (const Graph* model : models)
    for (const ValueInfo& input : model->inputs) names.insert(input.name);
  return load_npz(path, names);
}

Dataset::Dataset(const std::string& path, const Graph& model, const std::map<std::string, Tensor>& arrays, int64_t max_samples)
    : path_(path) {
  if (model.inputs.empty()) throw Failure(path + ": the model has no inputs to feed");
  for (const ValueInfo& input : model.inputs) {
    const auto found = arrays.find(input.name);
    if (found == arrays.end())
      throw Failure(fmt::format("{}: no array '{}' (the model's inputs: {})", path, input.name, names_of(model.inputs)));
    const Tensor& array = found->second;
    const std::string what = fmt::format("{}: array '{}'", path, input.name);
    if (array.shape().empty() || array.shape()[0] == 0)
      throw Failure(fmt::format("{}: shape {} holds no samples", what, to_string(array.shape())));
    if (columns_.empty()) {
      samples_ = array.shape()[0];
      batch_ = batch_of(input, array);
    }
    if (array.shape()[0] != samples_)
      throw Failure(
          fmt::format("{}: {} samples where array '{}' has {}", what, array.shape()[0], columns_[0].input.name, samples_));
    if (batch_of(input, array) != batch_)
      throw Failure(fmt::format("{}: the model's inputs '{}' and '{}' have different batch sizes: stack whole inputs, behind a "
                                "first axis of their own",
                                path, columns_[0].input.name, input.name));
    Shape fed = array.shape();
    fed[0] = batch_;
    if (is_stacked(input, array)) fed.erase(fed.begin());
    check_shape(input, fed, what);
    columns_.push_back({input, array});
  }
  if (const auto found = arrays.find(kLabels); found != arrays.end()) {
    const std::string what = fmt::format("{}: array '{}'", path, kLabels);
    const Tensor labels = convert_to(found->second, DType::s64, what);
    if (labels.count() != samples_ || labels.shape().empty() || labels.shape()[0] != samples_)
      throw Failure(fmt::format("{}: shape {} where there are {} samples", what, to_string(labels.shape()), samples_));
    labels_.emplace(labels.as<int64_t>(), labels.as<int64_t>() + samples_);
  }
  samples_ = std::min(samples_, max_samples);
  if (labels_) labels_->resize(size_t(samples_));
  if (samples_ % batch_ != 0)
    throw Failure(fmt::format("{}: {} samples cannot be split into the model's batches of {}", path, samples_, batch_));
}

Inputs Dataset::group(int64_t index) const {
  Inputs inputs;
  for (const auto& [input, array] : columns_) {
    const std::string what = fmt::format("{}: array '{}'", path_, input.name);
    inputs.emplace(input.name, convert_to(slice(array, index * batch_, batch_, is_stacked(input, array), what), input.dtype, what));
  }
  return inputs;
}

}  // namespace octavo::cli
