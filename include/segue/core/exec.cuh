// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "segue/core/cuda_config.cuh"
#include "segue/core/cuda_memory.cuh"
#include "segue/core/exec.hpp"
#include "segue/policy/precision.hpp"

SEGUE_NAMESPACE_BEGIN

/// A CUDA device and a stream of it. All work of an Exec is issued on its stream, and its pool reuses memory in that
/// order, so nothing waits for the device but `synchronize` and `download`.
template <>
class Exec<Cuda> {
 public:
  using Device = Cuda;
  using Space = CudaSpace;

  struct Options {
    int threads = 0;  ///< no meaning here; so that code over both devices can set it
    std::uint64_t seed = 0;
    std::shared_ptr<Allocator> allocator{};  ///< of device memory; null: cudaMalloc
    cudaStream_t stream = nullptr;           ///< the caller's, which must outlive the Exec; null: one of its own
    int device = -1;                         ///< -1: the device that is current
    /// Two runs give the same bits. Off, GEMM choices may be measured and split sums taken in any order.
    bool deterministic = true;
  };

  Exec() : Exec(Options{}) {}
  /// Makes its device the current one of this thread.
  /// @throws CudaError if there is no such device.
  explicit Exec(const Options& options)
      : device_(choose(options.device)),
        pool_(options.allocator ? options.allocator : std::make_shared<CudaAllocator>(device_)),
        stream_(options.stream),
        deterministic_(options.deterministic) {
    random_.seed = options.seed;
    detail::cuda_check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device_), where);
    if (!stream_) {
      detail::cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), where);
      own_stream_ = std::shared_ptr<void>(stream_, [](void* s) { (void)cudaStreamDestroy(static_cast<cudaStream_t>(s)); });
    }
  }
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;
  /// Waits for its stream: memory that kernels still use returns to the allocator.
  ~Exec() { (void)cudaStreamSynchronize(stream_); }

  Pool& pool() { return pool_; }
  RandomState& random() { return random_; }
  cudaStream_t stream() const { return stream_; }
  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  bool deterministic() const { return deterministic_; }
  /// How products of floats are multiplied; a Context sets what its precision asks for.
  GemmMath gemm_math() const { return gemm_math_; }
  void set_gemm_math(GemmMath math) { gemm_math_ = math; }
  int threads() const { return 1; }
  void set_threads(int) {}

  /// While planning, tensors have addresses but no memory and front doors return after their checks.
  bool planning() const { return pool_.planning(); }
  void set_planning(bool on) { pool_.set_planning(on); }

  /// Waits for the work issued so far. @throws CudaError if any of it failed.
  void synchronize() const { detail::cuda_check(cudaStreamSynchronize(stream_), "Exec<Cuda>::synchronize"); }

  template <class T, int Rank>
  Tensor<T, Rank, CudaSpace> empty(const Shape<Rank>& shape) {
    return Tensor<T, Rank, CudaSpace>(pool_, shape);
  }

  /// Copies from host memory, which may be changed at once: the data waits in page-locked memory of the Exec's.
  /// Does not wait for the device. @throws Error while a graph is captured, which would repeat today's data.
  template <class T, int Rank>
  void upload(const T* source, const View<T, Rank, CudaSpace>& target) {
    detail::check_copy("upload", target);
    if (planning() || target.size() == 0) return;
    if (capturing_) throw Error("upload: host data was handed over while a graph is captured; copy it before");
    staging_.copy_to_device(target.data_handle(), source, static_cast<std::size_t>(target.size()) * sizeof(T), stream_,
                            "upload");
  }
  /// Copies to host memory and waits for it.
  template <class T, int Rank>
  void download(const View<T, Rank, CudaSpace>& source, std::remove_const_t<T>* target) {
    detail::check_copy("download", source);
    if (planning() || source.size() == 0) return;
    if (capturing_) throw Error("download: the host asked for data while a graph is captured; read it after the replay");
    detail::cuda_check(cudaMemcpyAsync(target, source.data_handle(), static_cast<std::size_t>(source.size()) * sizeof(T),
                                       cudaMemcpyDeviceToHost, stream_),
                       "download");
    detail::cuda_check(cudaStreamSynchronize(stream_), "download");
  }

  /// What an operator keeps for as long as the Exec lives (a library handle, a table of choices): made on first use.
  template <class X>
  X& extension() {
    static const char key = 0;
    std::shared_ptr<void>& slot = extensions_[&key];
    if (!slot) slot = std::make_shared<X>(*this);
    return *static_cast<X*>(slot.get());
  }

  /// Kernels launched so far, captured ones included, replayed ones not.
  std::uint64_t launches() const { return launches_; }
  void count_launch() { ++launches_; }

  bool capturing() const { return capturing_; }

 private:
  friend class Graph;
  static constexpr const char* where = "Exec<Cuda>";

  static int choose(int device) {
    int count = 0;
    detail::cuda_check(cudaGetDeviceCount(&count), where);
    if (device < 0) detail::cuda_check(cudaGetDevice(&device), where);
    if (device >= count)
      throw CudaError("Exec<Cuda>: device " + std::to_string(device) + " was asked for, of " + std::to_string(count));
    detail::cuda_check(cudaSetDevice(device), where);
    return device;
  }

  int device_;
  Pool pool_;
  RandomState random_;
  cudaStream_t stream_;
  std::shared_ptr<void> own_stream_;
  bool deterministic_;
  GemmMath gemm_math_ = GemmMath::native;
  bool capturing_ = false;
  int multiprocessors_ = 0;
  std::uint64_t launches_ = 0;
  detail::StagingRing staging_;
  std::map<const void*, std::shared_ptr<void>> extensions_;
};

SEGUE_NAMESPACE_END
