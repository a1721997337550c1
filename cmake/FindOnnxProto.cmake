# OnnxProto::OnnxProto: the generated protobuf classes of ONNX (Debian: libonnx-dev). Found by hand because the
# package's own config asks for every library that ONNX ever had.
find_package(Protobuf QUIET)
find_path(OnnxProto_INCLUDE_DIR onnx/onnx_pb.h)
find_library(OnnxProto_LIBRARY onnx_proto)
mark_as_advanced(OnnxProto_INCLUDE_DIR OnnxProto_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxProto REQUIRED_VARS OnnxProto_LIBRARY OnnxProto_INCLUDE_DIR Protobuf_FOUND)
if(OnnxProto_FOUND AND NOT TARGET OnnxProto::OnnxProto)
  add_library(OnnxProto::OnnxProto UNKNOWN IMPORTED)
  # libonnx's generated headers are compiled with this name of the protobuf namespace.
  set_target_properties(OnnxProto::OnnxProto PROPERTIES
    IMPORTED_LOCATION "${OnnxProto_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${OnnxProto_INCLUDE_DIR}"
    INTERFACE_COMPILE_DEFINITIONS "ONNX_NAMESPACE=onnx;ONNX_ML=1"
    INTERFACE_LINK_LIBRARIES protobuf::libprotobuf)
endif()
