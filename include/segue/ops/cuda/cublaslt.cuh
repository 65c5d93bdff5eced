// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include <cublasLt.h>

#include "segue/core/exec.cuh"

SEGUE_KERNELS_BEGIN

/// Sets every bit of `rows` rows of `width` bytes that lie `pitch` bytes apart.
template <class Byte>
__global__ void set_bits(Byte* data, std::int64_t rows, std::int64_t width, std::int64_t pitch) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < rows * width; i += step)
    data[i / width * pitch + i % width] = static_cast<Byte>(0xFF);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

inline void cublas_check(cublasStatus_t status, const char* where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw CudaError(std::string(where) + ": cuBLASLt: " + cublasLtGetStatusString(status));
}

template <class T>
inline constexpr cudaDataType_t cublas_type = std::is_same_v<T, double>     ? CUDA_R_64F
                                              : std::is_same_v<T, float>    ? CUDA_R_32F
                                              : std::is_same_v<T, bfloat16> ? CUDA_R_16BF
                                                                            : CUDA_R_16F;

/// With SEGUE_POISON_PRODUCTS, defined for all files of a program, what a product shall write is NaN before it: an
/// element that it leaves out is seen, and tools that do not see all of the library's tensor copies know the memory
/// as written.
#ifdef SEGUE_POISON_PRODUCTS
inline constexpr bool poison_products = true;
#else
inline constexpr bool poison_products = false;
#endif

/// Sets every bit of the elements of a matrix, which makes them NaN in every type; what lies between its rows stays. By
/// a kernel: inside a recorded graph, tools miss what memset nodes write. It is not counted as a launch.
inline void poison(Exec<Cuda>& exec, const char* op, void* data, std::int64_t rows, std::int64_t columns,
                   std::int64_t ld, std::size_t element) {
  const auto bytes = static_cast<std::int64_t>(element);
  const std::int64_t blocks = std::min<std::int64_t>((rows * columns * bytes + 255) / 256, 4096);
  if (blocks == 0) return;
  kernels::set_bits<<<static_cast<unsigned>(blocks), 256, 0, exec.stream()>>>(static_cast<unsigned char*>(data), rows,
                                                                              columns * bytes, ld * bytes);
  cuda_check(cudaGetLastError(), op);
}

/// d = epilogue(alpha · op(a) · op(b) + beta · c), all row-major: op(a) is (m, k), op(b) (k, n).
/// `bias` has d's type, as has `aux` (m, n). A forward's epilogue reads the bias (n) and writes aux, a backward's reads
/// aux; BGRADB writes the bias (m), the sums of op(a) over k.
struct LtCall {
  std::int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  const void* c = nullptr;
  void* d = nullptr;
  std::int64_t lda = 0, ldb = 0, ldc = 0, ldd = 0;
  bool transpose_a = false, transpose_b = false;
  cudaDataType_t type = CUDA_R_32F, result_type = CUDA_R_32F;
  GemmMath math = GemmMath::native;
  double alpha = 1, beta = 0;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  void* aux = nullptr;
  std::int64_t ld_aux = 0;
};

/// Everything that the library's choice of an algorithm depends on.
struct LtKey {
  std::array<std::int64_t, 9> words{};
  auto operator<=>(const LtKey&) const = default;
};

struct LtKeyHash {
  std::size_t operator()(const LtKey& key) const noexcept {
    std::uint64_t h = 0;
    for (const std::int64_t word : key.words) {
      h = (h ^ static_cast<std::uint64_t>(word)) * 0x9E3779B97F4A7C15u;
      h ^= h >> 29;
    }
    return static_cast<std::size_t>(h);
  }
};

/// The library's handle, its workspace, and what was decided about every product met so far.
class CublasLt {
 public:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

  explicit CublasLt(Exec<Cuda>& exec) : device_(exec.device()), workspace_(make_workspace(exec)) {
    cublas_check(cublasLtCreate(&handle_), "gemm");
  }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;
  ~CublasLt() { (void)cublasLtDestroy(handle_); }

  /// Issues the call, or returns false if the library has no algorithm for it.
  bool multiply(Exec<Cuda>& exec, const char* op, const LtCall& call) {
    const LtKey key = key_of(call);
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, make_plan(exec, op, call, key)).first;
    Plan& plan = found->second;
    if (!plan.usable) return false;
    if constexpr (poison_products) poison_results(exec, op, call);
    const cublasStatus_t status = issue(exec, plan, plan.algorithm, call, call.d);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return plan.usable = false;
    cublas_check(status, op);
    exec.count_launch();
    return true;
  }

  /// Whether shapes met from now on are measured; an Exec that is deterministic is not asked for it.
  void set_tuning(bool on) {
    tuning_ = on;
    std::erase_if(plans_, [&](const auto& entry) { return !choices_.contains(entry.first); });
  }
  bool tuning() const { return tuning_; }

  /// The measured (and restored) choices as lines of text, in an order that depends on nothing but the choices.
  std::string choices() const {
    if (choices_.empty()) return {};
    std::string out = header();
    for (const auto& [key, algorithm] : choices_) {
      for (const std::int64_t word : key.words) append(out, static_cast<std::uint64_t>(word));
      for (const std::uint64_t word : algorithm.data) append(out, word);
      out.back() = '\n';
    }
    return out;
  }

  /// Takes such a text, whose choices then replace the library's own. False, and nothing changes, if they were made by
  /// another version of the library or on another kind of device.
  /// @throws InputError if the text is damaged.
  bool restore_choices(std::string_view text) {
    const auto line = [&text] {
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string_view out = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      return out;
    };
    const std::string mine = header();
    const std::string_view first = line();
    if (first.substr(0, name.size()) != name)
      throw_input("restore_gemm_choices", "the text is not one of gemm choices");
    if (first != std::string_view(mine).substr(0, mine.size() - 1)) return false;
    std::map<LtKey, cublasLtMatmulAlgo_t> read;
    while (!text.empty()) {
      std::string_view rest = line();
      const auto next = [&rest] {
        std::uint64_t word = 0;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), word, 16);
        if (error != std::errc{}) throw_input("restore_gemm_choices", "a line of the text is damaged");
        rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
        if (!rest.empty()) rest.remove_prefix(1);
        return word;
      };
      LtKey key;
      cublasLtMatmulAlgo_t algorithm{};
      for (std::int64_t& word : key.words) word = static_cast<std::int64_t>(next());
      for (std::uint64_t& word : algorithm.data) word = next();
      read.emplace(key, algorithm);
    }
    for (const auto& [key, algorithm] : read) {
      choices_[key] = algorithm;
      plans_.erase(key);
    }
    return true;
  }

 private:
  struct Plan {
    cublasLtMatmulDescOpaque_t operation{};
    cublasLtMatrixLayoutOpaque_t a{}, b{}, c{}, d{};
    cublasLtMatmulAlgo_t algorithm{};
    bool usable = false;
  };

  static constexpr std::size_t most = 8;
  struct Candidates {
    std::array<cublasLtMatmulAlgo_t, most> algorithms{};
    std::size_t count = 0;
  };

  static constexpr std::string_view name = "segue-gemm-choices";

  std::string header() const {
    cudaDeviceProp properties{};
    cuda_check(cudaGetDeviceProperties(&properties, device_), "gemm");
    return std::string(name) + " 1 cublaslt " + std::to_string(cublasLtGetVersion()) + " sm_" +
           std::to_string(properties.major) + std::to_string(properties.minor) + " x" +
           std::to_string(properties.multiProcessorCount) + "\n";
  }
  static void append(std::string& out, std::uint64_t word) {
    char digits[17];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, word, 16).ptr);
    out += ' ';
  }

  static bool has_bias(const LtCall& call) {
    return (call.epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADB)) != 0;
  }
  static bool writes_bias(const LtCall& call) { return (call.epilogue & CUBLASLT_EPILOGUE_BGRADB) != 0; }
  static bool has_aux(const LtCall& call) { return (call.epilogue & 128) != 0; }
  static bool writes_aux(const LtCall& call) { return has_aux(call) && (call.epilogue & CUBLASLT_EPILOGUE_GELU) != 0; }
  static std::size_t result_bytes(const LtCall& call) {
    return call.result_type == CUDA_R_64F ? 8 : call.result_type == CUDA_R_32F ? 4 : 2;
  }

  /// 2, 4, 8 or 16: what the address is a multiple of.
  static std::uint64_t alignment(const void* p) {
    const auto address = reinterpret_cast<std::uintptr_t>(p) | 16u;
    return address & (~address + 1u);
  }

  static LtKey key_of(const LtCall& call) {
    std::uint64_t flags = 0;
    const auto add = [&flags](std::uint64_t value, int bits) { flags = (flags << bits) | value; };
    add(static_cast<std::uint64_t>(call.type), 8);
    add(static_cast<std::uint64_t>(call.result_type), 8);
    add(static_cast<std::uint64_t>(call.epilogue), 10);
    add(call.transpose_a, 1);
    add(call.transpose_b, 1);
    add(call.beta == 0, 1);
    add(call.math == GemmMath::tf32, 1);
    add(call.c == call.d, 1);
    const void* const pointers[] = {
        call.a, call.b, call.c, call.d, has_bias(call) ? call.bias : nullptr, has_aux(call) ? call.aux : nullptr};
    for (const void* p : pointers) add(alignment(p), 5);
    return {{call.m, call.n, call.k, call.lda, call.ldb, call.ldc, call.ldd, has_aux(call) ? call.ld_aux : 0,
             static_cast<std::int64_t>(flags)}};
  }

  template <class X>
  static void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute, const X& value) {
    cublas_check(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof value), "gemm");
  }
  template <class X>
  static void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute,
                  const X& value) {
    cublas_check(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value), "gemm");
  }

  /// The library is column-major: it reads our matrices as their transposes, so its first factor is our b.
  Plan make_plan(Exec<Cuda>& exec, const char* op, const LtCall& call, const LtKey& key) {
    Plan plan;
    const bool wide = call.type == CUDA_R_64F;
    const bool tf32 = call.type == CUDA_R_32F && call.math == GemmMath::tf32;
    cublas_check(cublasLtMatmulDescInit(&plan.operation,
                                        wide   ? CUBLAS_COMPUTE_64F
                                        : tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                               : CUBLAS_COMPUTE_32F,
                                        wide ? CUDA_R_64F : CUDA_R_32F),
                 op);
    set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, call.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, call.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, call.epilogue);
    if (has_bias(call)) set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
    if (has_aux(call)) {
      set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, call.aux);
      set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, call.ld_aux);
    }
    const auto layout = [&](cublasLtMatrixLayoutOpaque_t& out, cudaDataType_t type, std::int64_t rows,
                            std::int64_t columns, std::int64_t ld) {
      cublas_check(cublasLtMatrixLayoutInit(&out, type, static_cast<std::uint64_t>(columns),
                                            static_cast<std::uint64_t>(rows), ld),
                   op);
    };
    layout(plan.a, call.type, call.transpose_b ? call.n : call.k, call.transpose_b ? call.k : call.n, call.ldb);
    layout(plan.b, call.type, call.transpose_a ? call.k : call.m, call.transpose_a ? call.m : call.k, call.lda);
    layout(plan.c, call.result_type, call.m, call.n, call.ldc);
    layout(plan.d, call.result_type, call.m, call.n, call.ldd);

    if (const auto chosen = choices_.find(key); chosen != choices_.end()) {
      cublasLtMatmulHeuristicResult_t checked{};
      plan.algorithm = chosen->second;
      cublas_check(cublasLtMatmulAlgoCheck(handle_, &plan.operation, &plan.a, &plan.b, &plan.c, &plan.d,
                                           &plan.algorithm, &checked),
                   "gemm: a restored choice");
      plan.usable = true;
      return plan;
    }
    const bool measure = tuning_ && !exec.deterministic() && !capturing(exec);
    const auto found = ask(plan, call, measure ? static_cast<int>(most) : 1);
    if (found.count == 0) return plan;
    plan.usable = true;
    plan.algorithm = found.algorithms[0];
    if (measure && found.count > 1) choices_[key] = plan.algorithm = fastest(exec, op, plan, call, found);
    return plan;
  }

  static bool capturing(const Exec<Cuda>& exec) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(exec.stream(), &status) != cudaSuccess || status != cudaStreamCaptureStatusNone;
  }

  Candidates ask(Plan& plan, const LtCall& call, int count) const {
    cublasLtMatmulPreferenceOpaque_t preference{};
    cublas_check(cublasLtMatmulPreferenceInit(&preference), "gemm");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace_bytes));
    // Parts of a long sum are kept in the accumulator's type and added in one order, or K is not split.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    const auto aligned = [&](cublasLtMatmulPreferenceAttributes_t attribute, const void* p) {
      set(preference, attribute, static_cast<std::uint32_t>(alignment(p)));
    };
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, call.b);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, call.a);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, call.c);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, call.d);
    std::array<cublasLtMatmulHeuristicResult_t, most> results{};
    int returned = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, &plan.operation, &plan.a, &plan.b, &plan.c, &plan.d, &preference, count, results.data(), &returned);
    Candidates out;
    if (status != CUBLAS_STATUS_SUCCESS) return out;
    for (std::size_t i = 0; i < static_cast<std::size_t>(returned); ++i)
      if (results[i].state == CUBLAS_STATUS_SUCCESS) out.algorithms[out.count++] = results[i].algo;
    return out;
  }

  static Buffer make_workspace(Exec<Cuda>& exec) {
    // A pool of its own: a captured graph's arena ends before the workspace does.
    Buffer out = Pool(exec.pool().allocator()).allocate(workspace_bytes);
    if constexpr (poison_products) poison(exec, "gemm", out.data(), 1, workspace_bytes, workspace_bytes, 1);
    return out;
  }

  /// Work that was put aside runs beside the other's, so it has a workspace of its own.
  const Buffer& workspace(Exec<Cuda>& exec) {
    if (!exec.beside()) return workspace_;
    if (!workspace_beside_) workspace_beside_ = make_workspace(exec);
    return workspace_beside_;
  }

  /// What the call writes without reading it.
  static void poison_results(Exec<Cuda>& exec, const char* op, const LtCall& call) {
    if (call.beta == 0 || call.c != call.d) poison(exec, op, call.d, call.m, call.n, call.ldd, result_bytes(call));
    if (writes_aux(call)) poison(exec, op, call.aux, call.m, call.n, call.ld_aux, result_bytes(call));
    if (writes_bias(call)) poison(exec, op, call.bias, 1, call.m, call.m, result_bytes(call));
  }

  cublasStatus_t issue(Exec<Cuda>& exec, Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const LtCall& call,
                       void* d) {
    if (has_bias(call)) set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
    if (has_aux(call)) set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, call.aux);
    const float alpha = static_cast<float>(call.alpha), beta = static_cast<float>(call.beta);
    const bool wide = call.type == CUDA_R_64F;
    return cublasLtMatmul(handle_, &plan.operation, wide ? static_cast<const void*>(&call.alpha) : &alpha, call.b,
                          &plan.a, call.a, &plan.b, wide ? static_cast<const void*>(&call.beta) : &beta,
                          call.c == call.d ? d : call.c, &plan.c, d, &plan.d, &algorithm, workspace(exec).data(),
                          workspace_bytes, exec.stream());
  }

  /// The fastest of several algorithms on the call's own operands, read from memory as in a program that does other
  /// things between two calls; results go to memory of no meaning. The library's first choice must be beaten clearly.
  cublasLtMatmulAlgo_t fastest(Exec<Cuda>& exec, const char* op, Plan& plan, const LtCall& call,
                               const Candidates& found) {
    constexpr int rounds = 5;
    constexpr float clearly = 0.98f;
    int cache_bytes = 0;
    cuda_check(cudaDeviceGetAttribute(&cache_bytes, cudaDevAttrL2CacheSize, device_), op);
    const std::size_t element = result_bytes(call);
    Pool pool(exec.pool().allocator());
    const auto room = [&](std::int64_t ld) {
      return pool.allocate(static_cast<std::size_t>(call.m * ld) * element + 16);
    };
    const Buffer result = room(call.ldd), kept = has_aux(call) ? room(call.ld_aux) : Buffer();
    const Buffer sums = writes_bias(call) ? room(1) : Buffer();
    const Buffer other = pool.allocate(2 * static_cast<std::size_t>(cache_bytes) + 1);
    LtCall trial = call;
    if (writes_aux(call)) trial.aux = kept.data();
    if (writes_bias(call)) trial.bias = sums.data();
    if constexpr (poison_products) poison(exec, op, result.data(), call.m, call.n, call.ldd, element);
    struct Events {
      cudaEvent_t start = nullptr, stop = nullptr;
      ~Events() {
        if (start) (void)cudaEventDestroy(start);
        if (stop) (void)cudaEventDestroy(stop);
      }
    } events;
    cuda_check(cudaEventCreate(&events.start), op);
    cuda_check(cudaEventCreate(&events.stop), op);
    std::array<float, most> best;
    best.fill(std::numeric_limits<float>::infinity());
    for (int round = 0; round <= rounds; ++round)
      for (std::size_t i = 0; i < found.count; ++i) {
        cuda_check(cudaMemsetAsync(other.data(), 0, other.bytes(), exec.stream()), op);
        cuda_check(cudaEventRecord(events.start, exec.stream()), op);
        const cublasStatus_t status = issue(exec, plan, found.algorithms[i], trial, result.data());
        cuda_check(cudaEventRecord(events.stop, exec.stream()), op);
        cuda_check(cudaEventSynchronize(events.stop), op);
        float milliseconds = 0;
        cuda_check(cudaEventElapsedTime(&milliseconds, events.start, events.stop), op);
        if (status == CUBLAS_STATUS_SUCCESS && round > 0) best[i] = std::min(best[i], milliseconds);
      }
    best[0] *= clearly;
    return found.algorithms[static_cast<std::size_t>(std::min_element(best.begin(), best.end()) - best.begin())];
  }

  int device_;
  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_, workspace_beside_;
  bool tuning_ = false;
  std::unordered_map<LtKey, Plan, LtKeyHash> plans_;
  std::map<LtKey, cublasLtMatmulAlgo_t> choices_;
};

}  // namespace detail
SEGUE_NAMESPACE_END
