# The package: find_package(octavo) or pkg-config octavo / octavo-graph. octavo::graph is an export set of its own, so
# that those who link octavo::octavo alone need neither protobuf nor ONNX.
include(CMakePackageConfigHelpers)
set(OCTAVO_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/octavo)

install(TARGETS octavo octavo_kernels EXPORT octavoTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT octavoTargets NAMESPACE octavo:: DESTINATION ${OCTAVO_CMAKE_DIR})
install(DIRECTORY include/octavo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
file(GLOB_RECURSE OCTAVO_TEMPLATES CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} kernels/*.inl.h)
foreach(template ${OCTAVO_TEMPLATES})
  get_filename_component(folder ${template} DIRECTORY)
  install(FILES ${template} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/octavo/${folder})
endforeach()

set(OCTAVO_PC_FILES octavo.pc)
if(OCTAVO_BUILD_GRAPH)
  install(TARGETS octavo_graph EXPORT octavoGraphTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT octavoGraphTargets NAMESPACE octavo:: DESTINATION ${OCTAVO_CMAKE_DIR})
  install(TARGETS octavo_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES cmake/FindOnnxProto.cmake DESTINATION ${OCTAVO_CMAKE_DIR})
  list(APPEND OCTAVO_PC_FILES octavo-graph.pc)
endif()

configure_package_config_file(cmake/octavoConfig.cmake.in octavoConfig.cmake INSTALL_DESTINATION ${OCTAVO_CMAKE_DIR})
write_basic_package_version_file(octavoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/octavoConfig.cmake ${PROJECT_BINARY_DIR}/octavoConfigVersion.cmake DESTINATION ${OCTAVO_CMAKE_DIR})

# ${pcfiledir} keeps the .pc files right wherever the tree is moved to.
file(RELATIVE_PATH OCTAVO_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(pc ${OCTAVO_PC_FILES})
  configure_file(cmake/${pc}.in ${PROJECT_BINARY_DIR}/${pc} @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${pc} DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
