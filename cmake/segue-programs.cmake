# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# How this project builds its own tests, examples and benchmarks. Users of the library see none of it.

include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)

set(segue_native_flags "")
if(SEGUE_NATIVE)
  check_cxx_compiler_flag(-march=native SEGUE_HAS_MARCH_NATIVE)
  if(SEGUE_HAS_MARCH_NATIVE)
    set(segue_native_flags -march=native)
  endif()
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(CMAKE_REQUIRED_FLAGS "${CMAKE_CXX_FLAGS} ${segue_native_flags}")
  unset(SEGUE_HAS_AVX2 CACHE)
  check_cxx_source_compiles("#ifndef __AVX2__\n#error\n#endif\nint main() {}" SEGUE_HAS_AVX2)
  unset(CMAKE_REQUIRED_FLAGS)
  if(NOT SEGUE_HAS_AVX2)
    message(STATUS "segue: built without AVX2, matrix products run at about a third of their speed "
                   "(62 against 190 GFLOP/s where it was measured).")
  endif()
endif()

# Kernels are built for the data-centre cards of the last two generations unless the user says otherwise.
set(SEGUE_HAS_CUDA OFF)
if(TARGET segue::cuda)
  include(CheckLanguage)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND CUDAToolkit_NVCC_EXECUTABLE)
    set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  endif()
  if(NOT CMAKE_CUDA_HOST_COMPILER)
    set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
  endif()
  enable_language(CUDA)
  set(SEGUE_HAS_CUDA ON)
  message(STATUS "segue: CUDA ${CUDAToolkit_VERSION}, kernels for ${CMAKE_CUDA_ARCHITECTURES}")
elseif(SEGUE_CUDA STREQUAL "ON")
  message(FATAL_ERROR "segue: SEGUE_CUDA is ON, but the CUDA toolkit 12.4 or later was not found.")
endif()

# segue_program(<target>): language, warnings and processor flags for one of our own executables or objects.
function(segue_program target)
  target_link_libraries(${target} PRIVATE segue::segue)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CXX_SCAN_FOR_MODULES OFF)
  target_compile_options(
    ${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;${segue_native_flags}>"
                      "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${SEGUE_WERROR}>>:-Werror>")
endfunction()

# segue_cuda_program(<target>): the same for one with .cu files. What nvcc hands to the host compiler is not pedantic.
function(segue_cuda_program target)
  segue_program(${target})
  target_link_libraries(${target} PRIVATE segue::cuda)
  list(JOIN segue_native_flags "," native)
  # CMake 3.25 knows no CUDA_STANDARD 20.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
  target_compile_options(
    ${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow$<$<BOOL:${native}>:,${native}>>"
                      "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${OpenMP_CXX_FOUND}>>:-Xcompiler=-fopenmp>"
                      "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${SEGUE_WERROR}>>:-Werror=all-warnings>")
endfunction()
