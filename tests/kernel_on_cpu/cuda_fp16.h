// What kernel.cu uses of CUDA's half precision, on a CPU.
#pragma once

#include "cuda_runtime.h"

struct __half {
    _Float16 value;
};

struct alignas(4) __half2 {
    __half x, y;
};

inline float2 __half22float2(__half2 pair) {
    return {static_cast<float>(pair.x.value), static_cast<float>(pair.y.value)};
}

inline __half2 __floats2half2_rn(float low, float high) {
    return {{static_cast<_Float16>(low)}, {static_cast<_Float16>(high)}};
}
