// What import and export share: the generated protobuf classes, and dtype names.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "octavo/graph.h"
#include "octavo/onnx.h"

namespace octavo::proto {

std::optional<DType> dtype_from(int32_t onnx_type);
int32_t onnx_type(DType dtype);
// "FLOAT16" and the like, for error texts; "type 99" for what this version of ONNX does not know.
std::string type_name(int32_t onnx_type);

// Where a model's external data may lie. Bytes read from each file are counted: a small model must not make one region
// of a file into many tensors.
class ExternalData {
 public:
  explicit ExternalData(std::filesystem::path folder) : folder_(std::move(folder)) {}
  // bytes: of the checked shape.
  Expected<Tensor> read(const onnx::TensorProto& proto, DType dtype, Shape shape, uint64_t bytes);

 private:
  std::filesystem::path folder_;
  std::map<std::string, uint64_t> bytes_read_;
};

// external == null: tensors with external data are errors.
Expected<Tensor> import_tensor(const onnx::TensorProto& proto, const OnnxLimits& limits, ExternalData* external);
void export_tensor(const Tensor& tensor, const std::string& name, onnx::TensorProto& proto);

}  // namespace octavo::proto
