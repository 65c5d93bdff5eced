// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include "segue/core/exec.cuh"
#include "segue/core/replay.hpp"

SEGUE_NAMESPACE_BEGIN

/// Work that was recorded once and is issued again by one call. Kernels see the arguments they were captured with:
/// what changes from replay to replay must lie in device memory that is written before.
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  Graph(Graph&& other) noexcept
      : pool_(std::move(other.pool_)),
        graph_(std::exchange(other.graph_, nullptr)),
        executable_(std::exchange(other.executable_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(graph_, other.graph_);
    std::swap(executable_, other.executable_);
    return *this;
  }
  ~Graph() {
    if (executable_) (void)cudaGraphExecDestroy(executable_);
    if (graph_) (void)cudaGraphDestroy(graph_);
  }

  /// Records what `f()` issues on the Exec's stream, without running it. Tensors that f makes live in an arena of the
  /// graph's own and must not outlive f: results leave by a copy into tensors made before.
  /// f must have run once before, so that no library sets itself up while it is captured.
  template <class F>
  static Graph capture(Exec<Cuda>& exec, F&& f) {
    constexpr const char* where = "Graph::capture";
    if (!exec.stream())
      throw Error("Graph::capture: CUDA's default stream cannot be captured; give Exec<Cuda> another, or none");
    Graph out;
    out.pool_ = Pool(exec.pool_.allocator());
    out.pool_.set_recording();
    struct Scope {
      Exec<Cuda>& exec;
      Pool& pool;
      bool open = true;
      ~Scope() {
        std::swap(exec.pool_, pool);
        exec.capturing_ = false;
        if (open) exec.forget_aside();  // a capture that broke off leaves nothing to wait for
        cudaGraph_t broken = nullptr;
        if (open && cudaStreamEndCapture(exec.stream_, &broken) == cudaSuccess && broken)
          (void)cudaGraphDestroy(broken);
        if (open) (void)cudaGetLastError();
      }
    };
    {
      exec.join();
      detail::cuda_check(cudaStreamBeginCapture(exec.stream_, cudaStreamCaptureModeRelaxed), where);
      Scope scope{exec, out.pool_};
      std::swap(exec.pool_, out.pool_);
      exec.capturing_ = true;
      std::forward<F>(f)();
      exec.join();
      scope.open = false;
      detail::cuda_check(cudaStreamEndCapture(exec.stream_, &out.graph_), where);
    }
    detail::cuda_check(cudaGraphInstantiate(&out.executable_, out.graph_, 0), where);
    detail::cuda_check(cudaGraphUpload(out.executable_, exec.stream_), where);
    return out;
  }

  explicit operator bool() const { return executable_ != nullptr; }
  void replay(Exec<Cuda>& exec) const {
    detail::cuda_check(cudaGraphLaunch(executable_, exec.stream()), "Graph::replay");
  }

  /// Kernels, copies and fills in it.
  std::size_t nodes() const {
    std::size_t count = 0;
    if (graph_) detail::cuda_check(cudaGraphGetNodes(graph_, nullptr, &count), "Graph::nodes");
    return count;
  }
  /// Bytes of its arena.
  PoolStatistics memory() const { return pool_.statistics(); }

 private:
  Pool pool_{};
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

template <>
class Replay<Cuda> {
 public:
  template <class F>
  void run(Exec<Cuda>& exec, bool warm, F&& f) {
    if (exec.planning() || (!graph_ && !warm)) return std::forward<F>(f)();
    if (!graph_) {
      exec.pool().trim();  // the graph brings its own memory, and what the warm-up left would be held twice
      graph_ = Graph::capture(exec, std::forward<F>(f));
    }
    graph_.replay(exec);
  }
  void reset() { graph_ = Graph(); }
  bool recorded() const { return static_cast<bool>(graph_); }
  std::size_t nodes() const { return graph_.nodes(); }
  PoolStatistics memory() const { return graph_ ? graph_.memory() : PoolStatistics{}; }
  const Graph& graph() const { return graph_; }

 private:
  Graph graph_;
};

SEGUE_NAMESPACE_END
