// Runs the blocks of a launch on the host.
//
// Every thread of a block is a fiber. A fiber runs until its next barrier, shuffle or end; when all
// have come that far, they go on. Fibers start in rising order in one block and in falling order in
// the next, shared memory starts as NaN in each, and a barrier that some threads reach at another
// place in the code than others, or do not reach, is an error: what a GPU forgives by luck is found
// here.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace pyramidflow {

constexpr size_t SHARED_BYTES = 64 * 1024;
__align__(16) float shared_memory[SHARED_BYTES / sizeof(float)];

}  // namespace pyramidflow

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace pyramidflow::host {
namespace {

constexpr size_t STACK_BYTES = 128 * 1024;
constexpr unsigned WARP = 32;

enum class State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Stack {
    void* base =
        mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ~Stack() { munmap(base, STACK_BYTES); }
};

struct Fiber {
    std::unique_ptr<Stack> stack = std::make_unique<Stack>();
    ucontext_t start;
    jmp_buf position;
    State state = State::DONE;
    const void* site = nullptr;
    float offered = 0.0f;
    bool started = false;
    void* fake_stack = nullptr;
};

std::mutex one_launch;
std::vector<Fiber> fibers;
unsigned current;
jmp_buf scheduler;
const std::function<void()>* running_kernel;
void* scheduler_fake_stack;
const void* scheduler_stack;
size_t scheduler_stack_size;

void before_switch(void** save, const void* bottom, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, bottom, size);
#else
    (void)save, (void)bottom, (void)size;
#endif
}

void after_switch(void* fake_stack, const void** bottom, size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, bottom, size);
#else
    (void)fake_stack, (void)bottom, (void)size;
#endif
}

void fiber_main() {
    after_switch(nullptr, &scheduler_stack, &scheduler_stack_size);
    (*running_kernel)();
    fibers[current].state = State::DONE;
    before_switch(nullptr, scheduler_stack, scheduler_stack_size);
    _longjmp(scheduler, 1);
}

void resume(unsigned index) {
    Fiber& fiber = fibers[index];
    current = index;
    threadIdx = dim3(index);
    if (_setjmp(scheduler) == 0) {
        before_switch(&scheduler_fake_stack, fiber.stack->base, STACK_BYTES);
        if (fiber.started) _longjmp(fiber.position, 1);
        fiber.started = true;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack->base;
        fiber.start.uc_stack.ss_size = STACK_BYTES;
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, fiber_main, 0);
        setcontext(&fiber.start);
    }
    after_switch(scheduler_fake_stack, nullptr, nullptr);
}

void leave(State state, const void* site) {
    Fiber& fiber = fibers[current];
    fiber.state = state;
    fiber.site = site;
    if (_setjmp(fiber.position) == 0) {
        before_switch(&fiber.fake_stack, scheduler_stack, scheduler_stack_size);
        _longjmp(scheduler, 1);
    }
    after_switch(fibers[current].fake_stack, &scheduler_stack, &scheduler_stack_size);
}

// Lets fibers [begin, end) go on if all of them wait for each other at one place.
bool release(unsigned begin, unsigned end, State barrier) {
    for (unsigned i = begin; i < end; ++i)
        if (fibers[i].state != barrier || fibers[i].site != fibers[begin].site) return false;
    for (unsigned i = begin; i < end; ++i) fibers[i].state = State::READY;
    return true;
}

bool run_block(unsigned threads, bool falling) {
    for (unsigned i = 0; i < threads; ++i) {
        fibers[i].state = State::READY;
        fibers[i].started = false;
    }
    for (;;) {
        for (unsigned i = 0; i < threads; ++i) {
            const unsigned index = falling ? threads - 1 - i : i;
            if (fibers[index].state == State::READY) resume(index);
        }
        const auto done = [](const Fiber& fiber) { return fiber.state == State::DONE; };
        if (std::all_of(fibers.begin(), fibers.begin() + threads, done)) return true;
        bool released = release(0, threads, State::AT_BLOCK_BARRIER);
        for (unsigned warp = 0; warp < threads && !released; warp += WARP)
            released |= release(warp, std::min(warp + WARP, threads), State::AT_WARP_BARRIER);
        if (!released) return false;
    }
}

// Bytes of all ones are NaN; what lies behind the launch's shared memory is out of bounds.
void prepare_shared_memory(size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(shared_memory, SHARED_BYTES);
#endif
    std::memset(shared_memory, 0xff, SHARED_BYTES);
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(reinterpret_cast<char*>(shared_memory) + bytes, SHARED_BYTES - bytes);
#else
    (void)bytes;
#endif
}

std::map<const void*, size_t> most_shared_bytes;  // of the kernels launched

}  // namespace

cudaError_t run(const void* address, const std::function<void()>& kernel, dim3 grid, dim3 block,
                size_t shared_bytes) {
    if (shared_bytes > SHARED_BYTES || grid.y != 1 || grid.z != 1 || block.y != 1 || block.z != 1)
        return cudaErrorInvalidConfiguration;
    const std::lock_guard<std::mutex> lock(one_launch);
    if (fibers.size() < block.x) fibers.resize(block.x);
    running_kernel = &kernel;
    most_shared_bytes[address] = std::max(most_shared_bytes[address], shared_bytes);
    gridDim = grid;
    blockDim = block;
    for (unsigned index = 0; index < grid.x; ++index) {
        blockIdx = dim3(index, 0, 0);
        prepare_shared_memory(shared_bytes);
        if (!run_block(block.x, index % 2 == 1)) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

void wait_for_block(const void* site) { leave(State::AT_BLOCK_BARRIER, site); }

float exchange_in_warp(float value, unsigned source_lane, const void* site) {
    const unsigned self = current;
    fibers[self].offered = value;
    leave(State::AT_WARP_BARRIER, site);
    const float received =
        source_lane < WARP ? fibers[self / WARP * WARP + source_lane].offered : value;
    leave(State::AT_WARP_BARRIER, site);
    return received;
}

}  // namespace pyramidflow::host

void __syncthreads() { pyramidflow::host::wait_for_block(__builtin_return_address(0)); }

float __shfl_down_sync(unsigned, float value, unsigned distance) {
    return pyramidflow::host::exchange_in_warp(value, threadIdx.x % 32 + distance,
                                               __builtin_return_address(0));
}

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        default: return "cudaErrorLaunchFailure";
    }
}

// The kernels launched since the last call and the most shared memory that each asked for; at most
// `capacity` of them are written. Returns their number.
extern "C" __attribute__((visibility("default"))) int64_t
pyramidflow_host_launches(const void** kernels, int64_t* shared_bytes, int64_t capacity) {
    int64_t count = 0;
    for (const auto& [address, bytes] : pyramidflow::host::most_shared_bytes) {
        if (count < capacity) {
            kernels[count] = address;
            shared_bytes[count] = static_cast<int64_t>(bytes);
        }
        ++count;
    }
    pyramidflow::host::most_shared_bytes.clear();
    return count;
}
