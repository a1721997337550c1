# THE table isa -> architecture, compiler flags, sources. Each row is an OBJECT library of its own: nothing else in the
# build sees these flags. Sources are every kernels/<arch>/*_<isa>.cpp.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(OCTAVO_ARCH x86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(OCTAVO_ARCH arm)
else()
  set(OCTAVO_ARCH none)
endif()

# Kernels are leaf code: no exceptions, no RTTI, no guards around statics (there are none), no errno from math.
set(OCTAVO_KERNEL_FLAGS -O3 -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-math-errno -fno-trapping-math
                        -fno-asynchronous-unwind-tables -fno-stack-protector)
if(OCTAVO_SANITIZE)
  list(TRANSFORM OCTAVO_KERNEL_FLAGS REPLACE "-O3" "-O1")  # unrolled loops full of checks take minutes to compile
endif()
# GCC 12's own AVX-512 headers read a variable that they leave undefined on purpose (fixed in 13).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND OCTAVO_KERNEL_FLAGS -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

set(OCTAVO_ISA_OBJECTS "")
set(OCTAVO_ISA_TARGETS "")
function(octavo_add_isa name arch flags)
  if(NOT arch STREQUAL "any" AND NOT arch STREQUAL OCTAVO_ARCH)
    return()
  endif()
  if(arch STREQUAL "any")
    set(folder kernels/${name})
  else()
    set(folder kernels/${arch})
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*_${name}.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(octavo_isa_${name} OBJECT ${sources})
  target_include_directories(octavo_isa_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR})
  target_compile_options(octavo_isa_${name} PRIVATE ${OCTAVO_KERNEL_FLAGS} ${flags})
  target_compile_definitions(octavo_isa_${name} PRIVATE OCTAVO_ISA=${name})
  set_target_properties(octavo_isa_${name} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
  set(OCTAVO_ISA_OBJECTS ${OCTAVO_ISA_OBJECTS} $<TARGET_OBJECTS:octavo_isa_${name}> PARENT_SCOPE)
  set(OCTAVO_ISA_TARGETS ${OCTAVO_ISA_TARGETS} octavo_isa_${name} PARENT_SCOPE)
endfunction()

#              name        arch flags
octavo_add_isa(scalar      any  "")
octavo_add_isa(avx2        x86  "-mavx2;-mfma;-mf16c")
octavo_add_isa(avxvnni     x86  "-mavx2;-mfma;-mf16c;-mavxvnni")
octavo_add_isa(avx512vnni  x86  "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512")
