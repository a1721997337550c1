// TensorProto <-> Tensor. Every size is compared with the bytes at hand before anything is allocated.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <system_error>

#include "onnx/proto.h"

namespace octavo::proto {
namespace {

struct TypeRow {
  DType dtype;
  onnx::TensorProto_DataType onnx_type;
};
constexpr TypeRow kTypes[] = {
    {DType::u8, onnx::TensorProto_DataType_UINT8},   {DType::s8, onnx::TensorProto_DataType_INT8},
    {DType::u16, onnx::TensorProto_DataType_UINT16}, {DType::s16, onnx::TensorProto_DataType_INT16},
    {DType::s32, onnx::TensorProto_DataType_INT32},  {DType::u32, onnx::TensorProto_DataType_UINT32},
    {DType::s64, onnx::TensorProto_DataType_INT64},  {DType::u64, onnx::TensorProto_DataType_UINT64},
    {DType::f32, onnx::TensorProto_DataType_FLOAT},  {DType::f64, onnx::TensorProto_DataType_DOUBLE},
    {DType::boolean, onnx::TensorProto_DataType_BOOL},
};

Status fail(const onnx::TensorProto& proto, Code code, const std::string& text) {
  return Status::error(code, "tensor '%.100s': %.250s", proto.name().c_str(), text.c_str());
}

template <class To, class Field>
bool copy_field(const Field& field, Tensor& tensor) {
  if (field.size() != tensor.count()) return false;
  std::transform(field.begin(), field.end(), static_cast<To*>(tensor.mutable_data()), [](auto v) { return static_cast<To>(v); });
  return true;
}

int64_t field_size(const onnx::TensorProto& proto, DType dtype) {
  switch (dtype) {
    case DType::f32: return proto.float_data_size();
    case DType::f64: return proto.double_data_size();
    case DType::s64: return proto.int64_data_size();
    case DType::u32: case DType::u64: return proto.uint64_data_size();
    default: return proto.int32_data_size();
  }
}

bool copy_typed(const onnx::TensorProto& proto, Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::f32: return copy_field<float>(proto.float_data(), tensor);
    case DType::f64: return copy_field<double>(proto.double_data(), tensor);
    case DType::s64: return copy_field<int64_t>(proto.int64_data(), tensor);
    case DType::u64: return copy_field<uint64_t>(proto.uint64_data(), tensor);
    case DType::u32: return copy_field<uint32_t>(proto.uint64_data(), tensor);
    case DType::s32: return copy_field<int32_t>(proto.int32_data(), tensor);
    case DType::s16: return copy_field<int16_t>(proto.int32_data(), tensor);
    case DType::u16: return copy_field<uint16_t>(proto.int32_data(), tensor);
    case DType::s8: return copy_field<int8_t>(proto.int32_data(), tensor);
    case DType::u8: return copy_field<uint8_t>(proto.int32_data(), tensor);
    case DType::boolean: return copy_field<uint8_t>(proto.int32_data(), tensor);
  }
  return false;
}

// Booleans are 0 or 1 everywhere in Octavo; a file may hold any byte.
void normalize_booleans(Tensor& tensor) {
  if (tensor.dtype() != DType::boolean) return;
  uint8_t* data = static_cast<uint8_t*>(tensor.mutable_data());
  for (int64_t i = 0; i < tensor.count(); ++i) data[i] = data[i] != 0;
}

bool parse_unsigned(const std::string& text, uint64_t& value) {
  if (text.empty() || text.size() > 18) return false;
  value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + uint64_t(c - '0');
  }
  return true;
}

}  // namespace

std::optional<DType> dtype_from(int32_t type) {
  for (const TypeRow& row : kTypes)
    if (row.onnx_type == type) return row.dtype;
  return std::nullopt;
}

int32_t onnx_type(DType dtype) {
  for (const TypeRow& row : kTypes)
    if (row.dtype == dtype) return row.onnx_type;
  return onnx::TensorProto_DataType_UNDEFINED;
}

std::string type_name(int32_t type) {
  if (onnx::TensorProto_DataType_IsValid(type)) return onnx::TensorProto_DataType_Name(onnx::TensorProto_DataType(type));
  return "type " + std::to_string(type);
}

Expected<Tensor> ExternalData::read(const onnx::TensorProto& proto, DType dtype, Shape shape, uint64_t bytes) {
  namespace fs = std::filesystem;
  std::string location;
  uint64_t offset = 0, length = bytes;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset" && !parse_unsigned(entry.value(), offset))
      return fail(proto, Code::invalid_argument, "bad offset of external data");
    if (entry.key() == "length" && !parse_unsigned(entry.value(), length))
      return fail(proto, Code::invalid_argument, "bad length of external data");
  }
  const fs::path relative(location);
  if (location.empty() || location.find('\0') != std::string::npos || relative.is_absolute() ||
      std::find(relative.begin(), relative.end(), "..") != relative.end())
    return fail(proto, Code::invalid_argument, "external data '" + location + "' is not inside the model's folder");
  // Resolved, so that a symbolic link cannot lead out of the folder either.
  std::error_code error;
  const fs::path root = fs::canonical(folder_, error);
  const fs::path file = error ? fs::path() : fs::canonical(root / relative, error);
  if (error) return fail(proto, Code::io, "external data '" + location + "': " + error.message());
  if (std::mismatch(root.begin(), root.end(), file.begin(), file.end()).first != root.end())
    return fail(proto, Code::invalid_argument, "external data '" + location + "' is not inside the model's folder");
  if (!fs::is_regular_file(file, error)) return fail(proto, Code::io, "external data '" + location + "' is no regular file");
  const uint64_t size = fs::file_size(file, error);
  if (error) return fail(proto, Code::io, "external data '" + location + "': " + error.message());
  if (length != bytes || offset > size || length > size - offset)
    return fail(proto, Code::invalid_argument, "external data '" + location + "' has not the bytes that its shape needs");
  uint64_t& total = bytes_read_[file.string()];
  total += length;
  if (total > size) return fail(proto, Code::invalid_argument, "external data '" + location + "' is used by overlapping tensors");

  Expected<Tensor> tensor = Tensor::create(dtype, std::move(shape));
  if (!tensor) return fail(proto, tensor.status().code(), tensor.status().text());
  std::ifstream stream(file, std::ios::binary);
  stream.seekg(std::streamoff(offset));
  if (bytes && !stream.read(static_cast<char*>(tensor->mutable_data()), std::streamsize(bytes)))
    return fail(proto, Code::io, "external data '" + location + "' could not be read");
  normalize_booleans(*tensor);
  return tensor;
}

Expected<Tensor> import_tensor(const onnx::TensorProto& proto, const OnnxLimits& limits, ExternalData* external) {
  const std::optional<DType> dtype = dtype_from(proto.data_type());
  if (!dtype) return fail(proto, Code::unsupported, "element type " + type_name(proto.data_type()) + " is not supported");
  if (proto.has_segment()) return fail(proto, Code::unsupported, "segmented tensors are not supported");
  if (size_t(proto.dims_size()) > limits.max_rank)
    return fail(proto, Code::unsupported, std::to_string(proto.dims_size()) + " dimensions, more than supported");
  Shape shape(proto.dims().begin(), proto.dims().end());
  const Expected<int64_t> count = element_count(shape, *dtype);
  if (!count) return fail(proto, count.status().code(), "shape " + to_string(shape) + ": " + count.status().text());
  const uint64_t bytes = uint64_t(*count) * size_of(*dtype);
  if (bytes > limits.max_tensor_bytes) return fail(proto, Code::overflow, "shape " + to_string(shape) + " is over the size limit");

  const bool is_external = proto.data_location() == onnx::TensorProto_DataLocation_EXTERNAL;
  if (is_external) {
    if (!external) return fail(proto, Code::invalid_argument, "external data, but the model has no folder");
    return external->read(proto, *dtype, std::move(shape), bytes);
  }
  const uint64_t available = proto.has_raw_data() ? proto.raw_data().size() : uint64_t(field_size(proto, *dtype));
  if (available != (proto.has_raw_data() ? bytes : uint64_t(*count)))
    return fail(proto, Code::invalid_argument, "shape " + to_string(shape) + " does not match its data");
  Expected<Tensor> tensor = Tensor::create(*dtype, std::move(shape));
  if (!tensor) return fail(proto, tensor.status().code(), tensor.status().text());
  if (proto.has_raw_data()) {
    if (bytes) std::memcpy(tensor->mutable_data(), proto.raw_data().data(), bytes);
  } else {
    copy_typed(proto, *tensor);
  }
  normalize_booleans(*tensor);
  return tensor;
}

void export_tensor(const Tensor& tensor, const std::string& name, onnx::TensorProto& proto) {
  proto.set_name(name);
  proto.set_data_type(onnx_type(tensor.dtype()));
  for (const int64_t dim : tensor.shape()) proto.add_dims(dim);
  proto.set_raw_data(tensor.data(), tensor.bytes());
}

}  // namespace octavo::proto
