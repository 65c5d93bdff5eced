// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "segue/core/pool.hpp"
#include "segue/core/random.hpp"
#include "segue/core/tensor.hpp"
#include "segue/policy/device.hpp"

SEGUE_NAMESPACE_BEGIN

namespace detail {

template <class T>
constexpr void check_travels() {
  static_assert(std::is_trivially_copyable_v<T>, "Exec: only trivially copyable elements travel between devices");
}

template <class T, int Rank, class Space>
void check_upload(const View<T, Rank, Space>& x) {
  check_travels<T>();
  if (!x.is_contiguous()) throw_input("upload", "strides", shape_string(x.strides()), "those of a contiguous view");
}

template <class T, int Rank, class Space>
View<T, 2, Space> download_rows(const View<T, Rank, Space>& x) {
  check_travels<T>();
  return fewest_rows("download", x);
}

}  // namespace detail

/// Where operators run: threads or stream, pool, random state. Each device specialises it.
/// One Exec is used by one thread; many may live side by side. There are no globals.
template <class Device>
class Exec {
  static_assert(!sizeof(Device),
                "Exec<Device>: this device has no Exec in this translation unit; use segue::Cpu, or include "
                "segue/cuda.cuh under nvcc for segue::Cuda");
};

template <>
class Exec<Cpu> {
 public:
  using Device = Cpu;
  using Space = HostSpace;

  struct Options {
    int threads = 0;  ///< 0: all hardware threads. Results do not depend on it.
    std::uint64_t seed = 0;
    std::shared_ptr<Allocator> allocator{};  ///< null: the system's heap
  };

  Exec() : Exec(Options{}) {}
  explicit Exec(const Options& options)
      : pool_(options.allocator ? options.allocator : std::make_shared<HostAllocator>()),
        threads_(options.threads > 0 ? options.threads : hardware_threads()) {
    random_.seed = options.seed;
  }

  Pool& pool() { return pool_; }
  RandomState& random() { return random_; }
  int threads() const { return threads_; }
  void set_threads(int threads) { threads_ = threads > 0 ? threads : hardware_threads(); }

  /// While planning, tensors have addresses but no memory and front doors return after their checks.
  bool planning() const { return pool_.planning(); }
  void set_planning(bool on) { pool_.set_planning(on); }

  /// Waits for the work issued so far; on the CPU there is none pending.
  void synchronize() const {}

  /// Rows of features. A device whose products gain by it leaves spare columns, see `Tensor::with_spare_columns`.
  template <class T, int Rank>
  Tensor<T, Rank, HostSpace> rows(const Shape<Rank>& shape) {
    return empty<T, Rank>(shape);
  }

  /// Runs work that nothing needs before `join`; a device that can lets what follows overtake it. `read` are the
  /// tensors that f reads, `written` the blocks that it writes. f may use operators that take their scratch as an
  /// argument.
  template <class F, std::size_t N, class... Read>
  void aside(F&& f, const std::array<Buffer, N>&, const Read&...) {
    std::forward<F>(f)();
  }
  /// What follows needs what was put aside; or only this block of it.
  void join() {}
  void settle(const Buffer&) {}
  /// Whether something that was put aside and not joined yet uses this memory.
  bool holds(const Buffer&) const { return false; }

  /// Copies from host memory into a contiguous view of this device; nothing while planning.
  template <class T, int Rank>
  void upload(const T* source, const View<T, Rank, HostSpace>& target) {
    detail::check_upload(target);
    if (!planning() && target.size() > 0)
      std::memcpy(target.data_handle(), source, static_cast<std::size_t>(target.size()) * sizeof(T));
  }
  /// Copies rows to host memory, one behind the other; nothing while planning.
  template <class T, int Rank>
  void download(const View<T, Rank, HostSpace>& source, std::remove_const_t<T>* target) {
    const auto rows = detail::download_rows(source);
    if (planning() || source.size() == 0) return;
    for (std::int64_t r = 0; r < rows.extent(0); ++r)
      target = std::copy_n(rows.data_handle() + r * rows.stride(0), rows.extent(1), target);
  }

  template <class T, int Rank>
  Tensor<T, Rank, HostSpace> empty(const Shape<Rank>& shape) {
    return Tensor<T, Rank, HostSpace>(pool_, shape);
  }

 private:
  static int hardware_threads() {
    const unsigned n = std::thread::hardware_concurrency();
    return n > 0 ? static_cast<int>(n) : 1;
  }

  Pool pool_;
  RandomState random_;
  int threads_;
};

/// The elements of a tensor, row-major, on the host. Waits for the device.
template <class Device, class T, int Rank>
std::vector<std::remove_const_t<T>> to_host(Exec<Device>& exec, const View<T, Rank, typename Device::Space>& x) {
  std::vector<std::remove_const_t<T>> out(static_cast<std::size_t>(x.size()));
  exec.download(x, out.data());
  return out;
}

SEGUE_NAMESPACE_END
