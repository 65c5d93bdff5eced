# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# segue::cuda is segue::segue and what a program on a GPU links: the CUDA runtime and cuBLASLt. The same file serves the
# source tree and the installed package. There is no such target without the CUDA toolkit; the language is enabled by
# the project that compiles .cu files.
if(NOT TARGET segue::cuda)
  find_package(CUDAToolkit 12.4 QUIET)
  if(TARGET CUDA::cudart AND TARGET CUDA::cublasLt)
    add_library(segue::cuda INTERFACE IMPORTED GLOBAL)
    target_link_libraries(segue::cuda INTERFACE segue::segue CUDA::cudart CUDA::cublasLt)
  endif()
endif()
