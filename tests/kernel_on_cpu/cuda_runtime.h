// What kernel.cu uses of CUDA, on a CPU, so that a C++ compiler makes a library of it unchanged.
//
// The blocks run one after the other, in an order that the test chooses. A block's threads are
// fibers, one at a time. A warp runs as far ahead of the others as barriers let it, so that a
// missing barrier shows; which warp and which lane come first is the test's choice too. What
// CUDA leaves undefined is an error here: a barrier or a shuffle that not every thread reaches, an
// address that is not aligned or not the kernel's. Shared memory begins as NaN.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __launch_bounds__(threads, blocks)
#define __shared__ static __attribute__((section("cta_memory")))

using std::max;
using std::min;

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3() = default;
    explicit dim3(unsigned x) : x(x) {}
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

typedef struct CUstream_st* cudaStream_t;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorIllegalAddress = 700,
    cudaErrorMisalignedAddress = 716,
    cudaErrorLaunchFailure = 719,
};

inline const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
        case cudaErrorMisalignedAddress: return "misaligned address";
        case cudaErrorLaunchFailure: return "threads wait for each other at different places";
        default: return "unrecognized error code";
    }
}

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

extern "C" char __start_cta_memory[], __stop_cta_memory[];

namespace cpu {

constexpr int kLanes = 32;
constexpr std::size_t kStackBytes = 1 << 16;

enum Order { kForwards = 0, kBackwards = 1, kShuffled = 2 };

struct Barrier {
    int waiting = 0;
    long passed = 0;
};

struct Warp {
    Barrier barrier;
    std::uint64_t values[2][kLanes];  // of this exchange and of the one before
};

struct Thread {
    ucontext_t start;
    jmp_buf place;
    bool begun = false;
    bool done = false;
    const Barrier* at = nullptr;  // what it waits at, since `passed` of it
    long passed = 0;
    unsigned exchanges = 0;  // made in its warp
    unsigned votes = 0;      // made in its block
    std::vector<char> stack = std::vector<char>(kStackBytes);
};

struct Range {
    std::uintptr_t start;
    std::size_t bytes;
};

inline std::vector<Range> ranges;  // that the kernel may touch
inline Order block_order = kForwards;
inline Order thread_order = kForwards;
inline unsigned seed = 0;
inline cudaError_t fault = cudaSuccess;

inline std::vector<Thread> threads;
inline std::vector<Warp> warps;
inline Barrier block_barrier;
inline bool agreed[3];  // in the block's vote, the next and the one before
inline std::function<void()> body;
inline Thread* current = nullptr;
inline ucontext_t home_start;
inline jmp_buf home;

inline std::vector<unsigned> ordered(unsigned count, Order order) {
    std::vector<unsigned> all(count);
    std::iota(all.begin(), all.end(), 0u);
    if (order == kBackwards) std::reverse(all.begin(), all.end());
    if (order == kShuffled) std::shuffle(all.begin(), all.end(), std::mt19937(seed));
    return all;
}

inline void run_thread() {
    body();
    current->done = true;
    _longjmp(home, 1);
}

// Go on with a thread until it waits or ends.
__attribute__((noinline)) inline void resume(unsigned place) {
    current = &threads[place];
    threadIdx.x = place;
    if (_setjmp(home) != 0) return;
    if (current->begun) _longjmp(current->place, 1);
    current->begun = true;
    setcontext(&current->start);
}

__attribute__((noinline)) inline void arrive(Barrier& barrier, int expected) {
    if (++barrier.waiting == expected) {
        barrier.waiting = 0;
        ++barrier.passed;
        return;
    }
    current->at = &barrier;
    current->passed = barrier.passed;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (_setjmp(current->place) == 0) _longjmp(home, 1);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    current->at = nullptr;
}

inline void prepare_block() {
    std::memset(__start_cta_memory, 0xff, __stop_cta_memory - __start_cta_memory);
    block_barrier = {};
    std::fill(std::begin(agreed), std::end(agreed), false);
    std::fill(warps.begin(), warps.end(), Warp{});
    for (Thread& thread : threads) {
        thread.begun = thread.done = false;
        thread.at = nullptr;
        thread.exchanges = thread.votes = 0;
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack.data();
        thread.start.uc_stack.ss_size = thread.stack.size();
        thread.start.uc_link = &home_start;
        makecontext(&thread.start, run_thread, 0);
    }
}

inline bool can_move(const Thread& thread) {
    return !thread.done && !(thread.at && thread.at->passed == thread.passed);
}

// Run a warp as far as it comes without the others. Returns whether it moved.
inline bool run_warp(unsigned warp, const std::vector<unsigned>& lanes) {
    bool moved = false;
    for (bool again = true; again;) {
        again = false;
        for (const unsigned lane : lanes) {
            if (!can_move(threads[warp * kLanes + lane])) continue;
            resume(warp * kLanes + lane);
            again = moved = true;
        }
    }
    return moved;
}

inline bool run_block() {
    prepare_block();
    const std::vector<unsigned> turns = ordered(warps.size(), thread_order);
    const std::vector<unsigned> lanes = ordered(kLanes, thread_order);
    bool moved = true;
    while (moved) {
        moved = false;
        for (const unsigned warp : turns) moved |= run_warp(warp, lanes);
    }
    return std::all_of(threads.begin(), threads.end(),
                       [](const Thread& thread) { return thread.done; });
}

inline cudaError_t run_grid(unsigned blocks, unsigned block_threads) {
    if (blocks == 0 || block_threads % kLanes != 0) return cudaErrorInvalidConfiguration;
    gridDim = dim3(blocks);
    blockDim = dim3(block_threads);
    threads.resize(block_threads);
    warps.resize(block_threads / kLanes);
    fault = cudaSuccess;
    for (const unsigned block : ordered(blocks, block_order)) {
        blockIdx.x = block;
        if (!run_block()) return cudaErrorLaunchFailure;
        if (fault != cudaSuccess) return fault;
    }
    return cudaSuccess;
}

// Give this lane's value to the warp; returns all lanes' values.
template <typename Value>
const std::uint64_t* exchange(unsigned mask, Value value) {
    static_assert(sizeof(Value) <= sizeof(std::uint64_t) && std::is_trivial_v<Value>);
    if (mask != 0xffffffffu) fault = cudaErrorLaunchFailure;
    Warp& warp = warps[threadIdx.x / kLanes];
    std::uint64_t* const values = warp.values[current->exchanges++ % 2];
    std::memcpy(&values[threadIdx.x % kLanes], &value, sizeof value);
    arrive(warp.barrier, kLanes);
    return values;
}

template <typename Value>
Value pick(const std::uint64_t* values, unsigned lane) {
    Value value;
    std::memcpy(&value, &values[lane], sizeof value);
    return value;
}

// Tell whether an address may be touched; a fault is remembered for the launch's result.
template <typename Value>
bool check(const Value* address) {
    const auto start = reinterpret_cast<std::uintptr_t>(address);
    if (start % alignof(Value) != 0) fault = cudaErrorMisalignedAddress;
    const bool known = std::any_of(ranges.begin(), ranges.end(), [start](const Range& range) {
        return start >= range.start && start + sizeof(Value) <= range.start + range.bytes;
    });
    if (!known) fault = cudaErrorIllegalAddress;
    return known;
}

}  // namespace cpu

inline void __syncthreads() { cpu::arrive(cpu::block_barrier, static_cast<int>(blockDim.x)); }

inline int __syncthreads_or(int predicate) {
    const unsigned vote = cpu::current->votes++;
    cpu::agreed[vote % 3] |= predicate != 0;
    __syncthreads();
    cpu::agreed[(vote + 2) % 3] = false;  // everyone has read the vote before
    return cpu::agreed[vote % 3];
}

inline void __threadfence() {}

template <typename Value>
Value __shfl_xor_sync(unsigned mask, Value value, int apart) {
    const unsigned lane = (threadIdx.x % cpu::kLanes) ^ static_cast<unsigned>(apart);
    return cpu::pick<Value>(cpu::exchange(mask, value), lane);
}

template <typename Value>
Value __shfl_sync(unsigned mask, Value value, int lane) {
    return cpu::pick<Value>(cpu::exchange(mask, value), static_cast<unsigned>(lane));
}

inline int __any_sync(unsigned mask, int predicate) {
    const std::uint64_t* const values = cpu::exchange(mask, predicate);
    return std::any_of(values, values + cpu::kLanes,
                       [](std::uint64_t value) { return static_cast<int>(value) != 0; });
}

inline int atomicAdd(int* counter, int value) {
    const int before = *counter;
    *counter += value;
    return before;
}

template <typename Value>
Value __ldg(const Value* address) {
    Value value{};
    if (cpu::check(address)) {
        std::memcpy(&value, static_cast<const void*>(address), sizeof value);
    }
    return value;
}

template <typename Value>
Value __ldcg(const Value* address) {
    return __ldg(address);
}

template <typename Value>
void __stcg(Value* address, Value value) {
    if (cpu::check(address)) std::memcpy(static_cast<void*>(address), &value, sizeof value);
}

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
};

template <typename... Wanted, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Wanted...),
                               Given&&... given) {
    cpu::body = [&] { kernel(given...); };
    return cpu::run_grid(config->gridDim.x, config->blockDim.x);
}

inline cudaError_t cudaMemsetAsync(void* start, int value, std::size_t bytes, cudaStream_t) {
    std::memset(start, value, bytes);
    return cudaSuccess;
}

// The test's handles. In which order blocks, and warps and lanes within them, take their turns:
extern "C" void cpu_set_order(int block_order, int thread_order, unsigned seed) {
    cpu::block_order = static_cast<cpu::Order>(block_order);
    cpu::thread_order = static_cast<cpu::Order>(thread_order);
    cpu::seed = seed;
}

// What the kernel may touch from now on:
extern "C" void cpu_allow(const void* const* starts, const long long* bytes, int count) {
    cpu::ranges.clear();
    for (int each = 0; each < count; ++each) {
        cpu::ranges.push_back({reinterpret_cast<std::uintptr_t>(starts[each]),
                               static_cast<std::size_t>(bytes[each])});
    }
}
