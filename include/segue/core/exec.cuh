// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "segue/core/cuda_config.cuh"
#include "segue/core/cuda_memory.cuh"
#include "segue/core/exec.hpp"
#include "segue/policy/precision.hpp"

SEGUE_NAMESPACE_BEGIN

/// A CUDA device and a stream of it. All work of an Exec is issued on its stream, and its pool reuses memory in that
/// order. What waits for the device: `synchronize`, `download`, an `upload` that finds every staging buffer on its way,
/// memory that goes to or comes from the allocator, the first reduction, and products that are measured.
template <>
class Exec<Cuda> {
 public:
  using Device = Cuda;
  using Space = CudaSpace;

  struct Options {
    int threads = 0;  ///< no meaning here; so that code over both devices can set it
    std::uint64_t seed = 0;
    std::shared_ptr<Allocator> allocator{};  ///< of device memory; null: cudaMalloc
    /// The caller's, which must outlive the Exec: `cudaStream_t{}` is CUDA's default stream, the one that PyTorch uses
    /// unless told otherwise, which cannot be captured. Nothing: a stream of the Exec's own.
    std::optional<cudaStream_t> stream{};
    int device = -1;  ///< -1: the device that is current
    /// Two runs give the same bits. Off, products may be measured (`ops::tune_gemms`), and choices differ from run to
    /// run.
    bool deterministic = true;
  };

  Exec() : Exec(Options{}) {}
  /// Makes its device the current one of this thread.
  /// @throws CudaError if there is no such device.
  explicit Exec(const Options& options)
      : device_(choose(options.device)),
        pool_(options.allocator ? options.allocator : std::make_shared<CudaAllocator>(device_)),
        stream_(options.stream.value_or(nullptr)),
        deterministic_(options.deterministic) {
    random_.seed = options.seed;
    detail::cuda_check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device_), where);
    if (!options.stream) {
      own_stream_ = make_stream();
      stream_ = own_stream_.get();
    }
  }
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;
  /// Waits for its stream: memory that kernels still use returns to the allocator.
  ~Exec() {
    if (side_) (void)cudaStreamSynchronize(side_.get());
    (void)cudaStreamSynchronize(stream_);
  }

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
  void set_planning(bool on) {
    if (on == planning()) return;
    pool_.set_planning(on);
    // What planned adapters ask for holds while planning.
    if (on)
      spare_columns_before_ = spare_columns_;
    else
      spare_columns_ = spare_columns_before_;
  }

  /// Waits for the work issued so far. @throws CudaError if any of it failed.
  void synchronize() const {
    if (pending_) detail::cuda_check(cudaStreamSynchronize(side_.get()), "Exec<Cuda>::synchronize");
    detail::cuda_check(cudaStreamSynchronize(stream_), "Exec<Cuda>::synchronize");
  }

  template <class T, int Rank>
  Tensor<T, Rank, CudaSpace> empty(const Shape<Rank>& shape) {
    return made(Tensor<T, Rank, CudaSpace>(pool_, shape));
  }

  /// Rows of features, in 16-bit types with the spare columns that were asked for.
  template <class T, int Rank>
  Tensor<T, Rank, CudaSpace> rows(const Shape<Rank>& shape) {
    if constexpr (Rank >= 2 && sizeof(T) == 2) {
      if (spare_columns_ > 0) return made(Tensor<T, Rank, CudaSpace>::with_spare_columns(pool_, shape, spare_columns_));
    }
    return empty<T, Rank>(shape);
  }
  /// From now on `rows` leaves at least so many columns: what low-rank updates of that rank use.
  void reserve_spare_columns(std::int64_t columns) { spare_columns_ = std::max(spare_columns_, columns); }

  /// Issues work that nothing needs before `join` on a second stream, which begins where this one is now, so that small
  /// kernels run while large ones leave room. `read` are the tensors that f reads, `written` the blocks that it writes:
  /// no memory of theirs nor what f allocates is handed out again before `join`, which comes by itself once they are
  /// many bytes (of `read` and of what f allocates). f may use operators that take their scratch as an argument, and
  /// products.
  template <class F, std::size_t N, class... Read>
  void aside(F&& f, const std::array<Buffer, N>& written, const Read&... read) {
    if (!beside_ && held_bytes_ > most_held_bytes) join();
    (hold(read.buffer()), ...);
    for (const Buffer& buffer : written)
      if (buffer) written_.push_back(buffer);
    if (beside_) return std::forward<F>(f)();
    fork();
    struct Scope {
      Exec& exec;
      ~Scope() { exec.leave(); }
    } scope{*this};
    std::forward<F>(f)();
  }
  /// Makes what follows wait for what was put aside.
  void join() {
    if (beside_) throw Error("Exec<Cuda>::join: what was put aside cannot wait for itself");
    if (pending_) {
      detail::cuda_check(cudaEventRecord(joined_.get(), side_.get()), where);
      detail::cuda_check(cudaStreamWaitEvent(stream_, joined_.get()), where);
    }
    forget_aside();
  }
  /// What follows reads or writes this block: waits for what was put aside, if that writes it.
  void settle(const Buffer& buffer) {
    if (!beside_ && contains(written_, buffer)) join();
  }
  /// Whether something that was put aside and not joined yet uses this memory.
  bool holds(const Buffer& buffer) const { return contains(held_, buffer) || contains(written_, buffer); }
  /// Whether what is issued now was put aside.
  bool beside() const { return beside_; }

  /// Copies from host memory, which may be changed at once: the data waits in page-locked memory of the Exec's.
  /// Does not wait for the device. @throws Error while a graph is captured, which would repeat today's data.
  template <class T, int Rank>
  void upload(const T* source, const View<T, Rank, CudaSpace>& target) {
    detail::check_upload(target);
    if (planning() || target.size() == 0) return;
    if (capturing_) throw Error("upload: host data was handed over while a graph is captured; copy it before");
    staging_.copy_to_device(target.data_handle(), source, static_cast<std::size_t>(target.size()) * sizeof(T), stream_,
                            "upload");
  }
  /// Copies rows to host memory, one behind the other, and waits for it.
  template <class T, int Rank>
  void download(const View<T, Rank, CudaSpace>& source, std::remove_const_t<T>* target) {
    const auto rows = detail::download_rows(source);
    if (planning() || source.size() == 0) return;
    if (capturing_)
      throw Error("download: the host asked for data while a graph is captured; read it after the replay");
    const auto width = static_cast<std::size_t>(rows.extent(1)) * sizeof(T);
    // A copy of rows takes none beyond 2 GiB.
    const cudaError_t status =
        rows.extent(0) == 1
            ? cudaMemcpyAsync(target, rows.data_handle(), width, cudaMemcpyDeviceToHost, stream_)
            : cudaMemcpy2DAsync(target, width, rows.data_handle(), static_cast<std::size_t>(rows.stride(0)) * sizeof(T),
                                width, static_cast<std::size_t>(rows.extent(0)), cudaMemcpyDeviceToHost, stream_);
    detail::cuda_check(status, "download");
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

  static constexpr std::size_t most_held_bytes = std::size_t{256} << 20;

  struct DestroyStream {
    void operator()(cudaStream_t s) const { (void)cudaStreamDestroy(s); }
  };
  struct DestroyEvent {
    void operator()(cudaEvent_t e) const { (void)cudaEventDestroy(e); }
  };
  using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;
  using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;

  static Stream make_stream() {
    cudaStream_t s = nullptr;
    detail::cuda_check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), where);
    return Stream(s);
  }
  static Event make_event() {
    cudaEvent_t e = nullptr;
    detail::cuda_check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), where);
    return Event(e);
  }

  /// What is made while work is put aside stays until the join.
  template <class X>
  X made(X tensor) {
    if (beside_) hold(tensor.buffer());
    return tensor;
  }
  static bool contains(const std::vector<Buffer>& list, const Buffer& buffer) {
    return buffer && std::any_of(list.begin(), list.end(), [&](const Buffer& b) { return b.data() == buffer.data(); });
  }
  void hold(const Buffer& buffer) {
    if (!buffer || holds(buffer)) return;
    held_.push_back(buffer);
    held_bytes_ += buffer.bytes();
  }
  void fork() {
    if (!planning()) {
      if (!joined_) {
        side_ = make_stream();
        forked_ = make_event();
        joined_ = make_event();
      }
      detail::cuda_check(cudaEventRecord(forked_.get(), stream_), where);
      detail::cuda_check(cudaStreamWaitEvent(side_.get(), forked_.get()), where);
      main_ = stream_;
      stream_ = side_.get();
      pending_ = true;
    }
    beside_ = true;
  }
  void forget_aside() {
    pending_ = false;
    written_.clear();
    held_.clear();
    held_bytes_ = 0;
  }
  void leave() {
    beside_ = false;
    if (main_) stream_ = *main_;
    main_.reset();
  }

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
  Stream own_stream_;
  std::optional<cudaStream_t> main_;  // the stream, while what is issued goes aside
  Stream side_;
  Event forked_, joined_;
  std::vector<Buffer> held_, written_;
  std::size_t held_bytes_ = 0;
  std::int64_t spare_columns_ = 0, spare_columns_before_ = 0;
  bool beside_ = false;
  bool pending_ = false;
  bool deterministic_;
  GemmMath gemm_math_ = GemmMath::native;
  bool capturing_ = false;
  int multiprocessors_ = 0;
  std::uint64_t launches_ = 0;
  detail::StagingRing staging_;
  std::map<const void*, std::shared_ptr<void>> extensions_;
};

SEGUE_NAMESPACE_END
