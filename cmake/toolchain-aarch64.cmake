# Cross-compiles for 64-bit Arm on Debian, with aarch64-linux-gnu-g++ or any clang++ (CMAKE_CXX_COMPILER), against Debian's arm64
# packages, which lie beside those of this machine. Tests run in qemu, which reads the CPU model from QEMU_CPU.
# scripts/setup test installs all of it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)  # for Clang; GCC has it in its name
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
# libonnx's packages for two architectures collide on a file, so scripts/setup unpacks the arm64 one here.
list(APPEND CMAKE_LIBRARY_PATH ${CMAKE_CURRENT_LIST_DIR}/../build/arm64-packages/usr/lib/aarch64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
