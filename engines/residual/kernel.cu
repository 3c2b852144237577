// The multi-scale prototype residual: for every scale, each image's nearest whole-map prototype
// and the squared difference to it.
//
//     d[image, prototype] = sum over element of (F[image, element] - P[prototype, element])^2
//     index[image]        = lowest prototype among the minima of d[image]
//     R[image, element]   = (F[image, element] - P[index[image], element])^2
//
// PRN (arXiv 2212.02031), multi-scale prototypes. F and R are [N, D], P is [K, D], all row-major and of one
// element type; sums are float32. Layout within D is free, as long as F and P share it.
//
// Two launches, since no residual can be written before a whole map has been compared:
//   distances  one CTA for (slice of a scale's elements, tile of images), tiles innermost, so that
//              the CTAs that want a slice of the prototypes run together and share it in L2.
//              The CTA that arrives last for a (scale, tile) adds the slices and takes the minimum.
//   residuals  the same CTAs in reverse, so that the features read last are found in L2.
//
// A distance is summed in one order, whatever the batch, the image's slot in it and the order of
// the CTAs: an image gets the same bits every time. An image with a NaN or an infinity among its
// features takes prototype 0, at a distance that is not finite; it does not touch the others.

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <climits>
#include <cmath>

extern "C" {

// One scale; all pointers are the device's.
struct prn_scale {
    const void* features;    // [N, D]
    const void* prototypes;  // [K, D]
    void* residual;          // [N, D], overlaps nothing
    long long elements;      // D
    int prototypes_count;    // K
};

enum prn_error {
    PRN_SCALE_COUNT = -1,
    PRN_BATCH = -2,
    PRN_ELEMENT_TYPE = -3,
    PRN_ELEMENTS = -4,
    PRN_PROTOTYPES = -5,
    PRN_POINTER = -6,
    PRN_WORKSPACE = -7,
    PRN_GRID = -8,
};

enum prn_element { PRN_FLOAT32 = 0, PRN_FLOAT16 = 1 };

}  // extern "C"

namespace {

constexpr int kVersion = 1;
constexpr int kMaxScales = 4;
constexpr int kMaxPrototypes = 256;

constexpr int kLanes = 32;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kLanes;
constexpr int kTile = 8;                      // images of a CTA
constexpr int kShare = 8;                     // elements of a thread
constexpr int kSlice = kThreads * kShare;     // elements of a CTA
constexpr int kChunk = 32;                    // prototypes between two barriers
constexpr int kAheadBytes = 32;               // of prototypes, on their way to a thread
constexpr int kVectorBytes = 16;
constexpr int kRowVectors = kTile / 4;        // float4 of a prototype's distances to a tile
constexpr long long kWorkspaceAlignment = 256;
constexpr unsigned kAllLanes = 0xffffffffu;

static_assert(kWarps == kTile, "a warp takes the minimum of an image");
static_assert(kLanes == 4 * kTile, "folding leaves an image's value in four lanes, a float4");

// A scale, cut into slices.
struct Scale {
    const void* features;
    const void* prototypes;
    void* residual;
    float* partial;  // [tile][slice][prototype][image of the tile]
    long long elements;
    int prototypes_count;
    int slices;
    int first_slice;  // counted over all scales
    bool vectors;     // every row starts at a multiple of 16 bytes
};

// Everything the kernels are told.
struct Call {
    Scale scales[kMaxScales];
    int scale_count;
    int batch;
    int tiles;
    int slices;     // of all scales
    int* arrivals;  // [scale][tile], zero before the launch
    int* index;     // [N, scale_count]
    float* distance;
};

// What a CTA works on.
struct Place {
    int scale;
    int slice;  // within the scale
    int tile;
};

__device__ __forceinline__ Place place_of(const Call& call, unsigned block) {
    const int tile = static_cast<int>(block % call.tiles);
    const int slice = static_cast<int>(block / call.tiles);
    int scale = 0;
    while (scale + 1 < call.scale_count && slice >= call.scales[scale + 1].first_slice) ++scale;
    return {scale, slice - call.scales[scale].first_slice, tile};
}

__device__ __forceinline__ bool is_whole(const Scale& scale, const Place& place) {
    return scale.vectors && (place.slice + 1LL) * kSlice <= scale.elements;
}

// A thread's elements of one row: vectors of 16 bytes, a CTA's width apart.
template <typename Element>
struct Share {
    static constexpr int kVector = kVectorBytes / static_cast<int>(sizeof(Element));
    static constexpr int kVectors = kShare / kVector;
    static constexpr int kStride = kThreads * kVector;
    static constexpr int kAhead = kAheadBytes / (kShare * static_cast<int>(sizeof(Element)));
    uint4 vectors[kVectors] = {};
};

__device__ __forceinline__ void widen(const Share<float>& share, float (&values)[kShare]) {
#pragma unroll
    for (int element = 0; element < kShare; ++element) {
        values[element] = reinterpret_cast<const float*>(share.vectors)[element];
    }
}

__device__ __forceinline__ void widen(const Share<__half>& share, float (&values)[kShare]) {
#pragma unroll
    for (int pair = 0; pair < kShare / 2; ++pair) {
        const float2 two = __half22float2(reinterpret_cast<const __half2*>(share.vectors)[pair]);
        values[2 * pair] = two.x;
        values[2 * pair + 1] = two.y;
    }
}

__device__ __forceinline__ void narrow(const float (&values)[kShare], Share<float>& share) {
#pragma unroll
    for (int element = 0; element < kShare; ++element) {
        reinterpret_cast<float*>(share.vectors)[element] = values[element];
    }
}

__device__ __forceinline__ void narrow(const float (&values)[kShare], Share<__half>& share) {
#pragma unroll
    for (int pair = 0; pair < kShare / 2; ++pair) {
        reinterpret_cast<__half2*>(share.vectors)[pair] =
            __floats2half2_rn(values[2 * pair], values[2 * pair + 1]);
    }
}

__device__ __forceinline__ float square_of(const float (&values)[kShare]) {
    float square = 0.0f;
#pragma unroll
    for (int element = 0; element < kShare; ++element) {
        square = fmaf(values[element], values[element], square);
    }
    return square;
}

// Take a thread's share; `from` is its first element, `left` counts from there to the row's end.
// `kWhole`: the row has all elements of the slice, and its vectors are aligned. Otherwise the same
// elements are taken one by one, and those past the end are 0: the same bits, more slowly.
template <bool kWhole, typename Element>
__device__ __forceinline__ Share<Element> load(const Element* from, long long left) {
    using Part = Share<Element>;
    Part share;
#pragma unroll
    for (int vector = 0; vector < Part::kVectors; ++vector) {
        const int start = vector * Part::kStride;
        if constexpr (kWhole) {
            share.vectors[vector] = __ldg(reinterpret_cast<const uint4*>(from + start));
        } else {
            Element* const elements = reinterpret_cast<Element*>(&share.vectors[vector]);
#pragma unroll
            for (int step = 0; step < Part::kVector; ++step) {
                if (start + step < left) elements[step] = __ldg(from + start + step);
            }
        }
    }
    return share;
}

template <bool kWhole, typename Element>
__device__ __forceinline__ void store(const Share<Element>& share, Element* to, long long left) {
    using Part = Share<Element>;
#pragma unroll
    for (int vector = 0; vector < Part::kVectors; ++vector) {
        const int start = vector * Part::kStride;
        if constexpr (kWhole) {
            __stcg(reinterpret_cast<uint4*>(to + start), share.vectors[vector]);
        } else {
            const Element* const elements =
                reinterpret_cast<const Element*>(&share.vectors[vector]);
#pragma unroll
            for (int step = 0; step < Part::kVector; ++step) {
                if (start + step < left) to[start + step] = elements[step];
            }
        }
    }
}

// Add the lanes' values of each image. Slot s of a lane holds image s ^ (lane / 4), so what a lane
// sends away is always in its upper slots, with no selection. Lane 4 i + j ends with the sum of
// image i over the lanes 4 i' + j, in slot 0: the last two folds are left to shared memory.
__device__ __forceinline__ void fold(float (&gap)[kTile]) {
#pragma unroll
    for (int half = kTile / 2; half > 0; half /= 2) {
#pragma unroll
        for (int slot = 0; slot < half; ++slot) {
            gap[slot] += __shfl_xor_sync(kAllLanes, gap[slot + half], 4 * half);
        }
    }
}

// Take the tile's images into registers, each in the slot that `fold` wants; `features` points to
// image 0. Images past the batch are 0.
template <bool kWhole, typename Element>
__device__ __forceinline__ void hold(const Element* features, long long elements, long long left,
                                     int first_image, int batch, float (&held)[kTile][kShare],
                                     float (&squares)[kTile]) {
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll
    for (int slot = 0; slot < kTile; ++slot) {
        const int image = first_image + (slot ^ (lane / 4));
        Share<Element> share;
        if (image < batch) share = load<kWhole>(features + image * elements, left);
        float values[kShare];
        widen(share, values);
        squares[slot] = square_of(values);
#pragma unroll
        for (int element = 0; element < kShare; ++element) {
            held[slot][element] = -2.0f * values[element];
        }
    }
}

// Add what the warps folded, and the four lanes left; `partial` points to the first prototype's.
// Two loads at a time: more would take registers from the images.
__device__ __forceinline__ void add_warps(const float (&folded)[kChunk][kWarps][kLanes], int count,
                                          float* partial) {
    const int thread = static_cast<int>(threadIdx.x);
    const int image = thread % kTile;
    for (int prototype = thread / kTile; prototype < count; prototype += kThreads / kTile) {
        float sum = 0.0f;
#pragma unroll 2
        for (int warp = 0; warp < kWarps; ++warp) {
            const float4 four = reinterpret_cast<const float4*>(folded[prototype][warp])[image];
            sum += (four.x + four.y) + (four.z + four.w);
        }
        partial[prototype * kTile + image] = sum;
    }
}

// The slice's share of the distances between every prototype and the tile's images, into
// `partial`. Ends with a barrier.
template <bool kWhole, typename Element>
__device__ __forceinline__ void compare(const Scale& scale, const Place& place, int batch,
                                        float (&folded)[kChunk][kWarps][kLanes]) {
    const int thread = static_cast<int>(threadIdx.x);
    const int warp = thread / kLanes;
    const int lane = thread % kLanes;
    const long long elements = scale.elements;
    const long long first = static_cast<long long>(place.slice) * kSlice +
                            static_cast<long long>(thread) * Share<Element>::kVector;
    const long long left = elements - first;

    float held[kTile][kShare];  // times -2
    float squares[kTile];
    hold<kWhole>(static_cast<const Element*>(scale.features) + first, elements, left,
                 place.tile * kTile, batch, held, squares);

    constexpr int kAhead = Share<Element>::kAhead;
    static_assert(kChunk % kAhead == 0, "every chunk begins with the same of the coming");
    const int last = scale.prototypes_count - 1;
    const Element* next = static_cast<const Element*>(scale.prototypes) + first;
    Share<Element> coming[kAhead];
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead) {
        coming[ahead] = load<kWhole>(next, left);
        if (ahead < last) next += elements;
    }
    float* const partial =
        scale.partial + (static_cast<long long>(place.tile) * scale.slices + place.slice) *
                            scale.prototypes_count * kTile;

    for (int start = 0; start <= last; start += kChunk) {
        const int count = min(kChunk, scale.prototypes_count - start);
        for (int round = 0; round < count; round += kAhead) {
#pragma unroll
            for (int ahead = 0; ahead < kAhead; ++ahead) {
                const int prototype = round + ahead;
                if (prototype >= count) break;
                float values[kShare];
                widen(coming[ahead], values);
                const float square = square_of(values);
                // Past the last it is loaded once more: cheaper than a branch in every round.
                coming[ahead] = load<kWhole>(next, left);
                if (start + prototype + kAhead < last) next += elements;

                // ff + pp - 2 fp over eight elements: one FMA an element, and little cancels.
                float gap[kTile];
#pragma unroll
                for (int slot = 0; slot < kTile; ++slot) {
                    gap[slot] = squares[slot] + square;
#pragma unroll
                    for (int element = 0; element < kShare; ++element) {
                        gap[slot] = fmaf(held[slot][element], values[element], gap[slot]);
                    }
                }
                fold(gap);
                folded[prototype][warp][lane] = gap[0];
            }
        }
        __syncthreads();
        add_warps(folded, count, partial + start * kTile);
        __syncthreads();
    }
}

__device__ __forceinline__ void add(float4& sum, const float4& value) {
    sum.x += value.x;
    sum.y += value.y;
    sum.z += value.z;
    sum.w += value.w;
}

// Add the slices of (scale, tile) and take each image's minimum. The threads form groups; a group
// adds every so many slices, then the groups are added. Leaves d, [prototype][image], in `staged`.
__device__ __forceinline__ void add_slices(const Scale& scale, int tile, float4* staged) {
    const int thread = static_cast<int>(threadIdx.x);
    const int columns = scale.prototypes_count * kRowVectors;
    const int groups = max(1, kThreads / columns);
    constexpr int kTogether = 8;  // loads in flight
    const float4* const partial = reinterpret_cast<const float4*>(scale.partial) +
                                  static_cast<long long>(tile) * scale.slices * columns;
    for (int sum_at = thread; sum_at < groups * columns; sum_at += kThreads) {
        const int column = sum_at % columns;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int first = sum_at / columns; first < scale.slices; first += kTogether * groups) {
            float4 coming[kTogether];
#pragma unroll
            for (int each = 0; each < kTogether; ++each) {
                const int slice = first + each * groups;
                coming[each] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (slice < scale.slices) {
                    coming[each] = __ldcg(partial + 1LL * slice * columns + column);
                }
            }
#pragma unroll
            for (int each = 0; each < kTogether; ++each) add(sum, coming[each]);
        }
        staged[sum_at] = sum;
    }
    __syncthreads();
    for (int column = thread; column < columns; column += kThreads) {
        float4 sum = staged[column];
        for (int group = 1; group < groups; ++group) add(sum, staged[group * columns + column]);
        staged[column] = sum;
    }
    __syncthreads();
}

// A warp for each image. NaN anywhere: prototype 0, distance NaN.
__device__ __forceinline__ void decide(const Call& call, const Place& place,
                                       const float* distances) {
    const int warp = static_cast<int>(threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    const int image = place.tile * kTile + warp;
    if (image >= call.batch) return;
    const int prototypes = call.scales[place.scale].prototypes_count;
    float least = INFINITY;
    int nearest = prototypes;
    bool unknown = false;
    for (int prototype = lane; prototype < prototypes; prototype += kLanes) {
        const float found = distances[prototype * kTile + warp];
        const float distance = found < 0.0f ? 0.0f : found;  // rounding may leave less than 0
        unknown |= isnan(distance);
        if (distance < least || (distance == least && prototype < nearest)) {
            least = distance;
            nearest = prototype;
        }
    }
#pragma unroll
    for (int apart = kLanes / 2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(kAllLanes, least, apart);
        const int other_nearest = __shfl_xor_sync(kAllLanes, nearest, apart);
        if (other < least || (other == least && other_nearest < nearest)) {
            least = other;
            nearest = other_nearest;
        }
    }
    unknown = __any_sync(kAllLanes, unknown) != 0;
    if (lane == 0) {
        const long long answer = static_cast<long long>(image) * call.scale_count + place.scale;
        call.index[answer] = unknown ? 0 : nearest;
        call.distance[answer] = unknown ? NAN : least;
    }
}

// What a CTA of the distances shares: 32 KiB, of which the smallest multiprocessor has two.
union Memory {
    float folded[kChunk][kWarps][kLanes];  // every warp's values, before its last two folds
    float4 staged[kMaxPrototypes * kRowVectors];
};

template <typename Element>
__device__ __forceinline__ void distances(const Call& call, Memory& memory) {
    const Place place = place_of(call, blockIdx.x);
    const Scale& scale = call.scales[place.scale];
    if (is_whole(scale, place)) {
        compare<true, Element>(scale, place, call.batch, memory.folded);
    } else {
        compare<false, Element>(scale, place, call.batch, memory.folded);
    }

    bool last = false;
    if (threadIdx.x == 0) {
        __threadfence();  // all the CTA's distances, behind its barrier, before its arrival
        int* const arrivals = call.arrivals + place.scale * call.tiles + place.tile;
        last = atomicAdd(arrivals, 1) == scale.slices - 1;
        __threadfence();  // every arrival, before what arrived is read
    }
    if (!__syncthreads_or(last)) return;
    add_slices(scale, place.tile, memory.staged);
    decide(call, place, reinterpret_cast<const float*>(memory.staged));
}

template <bool kWhole, typename Element>
__device__ __forceinline__ void square(const Call& call, const Place& place) {
    const Scale& scale = call.scales[place.scale];
    const long long elements = scale.elements;
    const long long first = static_cast<long long>(place.slice) * kSlice +
                            static_cast<long long>(threadIdx.x) * Share<Element>::kVector;
    const long long left = elements - first;
    const Element* const features = static_cast<const Element*>(scale.features) + first;
    const Element* const prototypes = static_cast<const Element*>(scale.prototypes) + first;
    Element* const residual = static_cast<Element*>(scale.residual) + first;
    const int start = place.tile * kTile;
    const int count = min(kTile, call.batch - start);

    // All of the tile's at once, a lane each: a load for each image would wait its turn.
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    int index = 0;
    if (lane < count) {
        index = call.index[static_cast<long long>(start + lane) * call.scale_count + place.scale];
    }

    [[maybe_unused]] constexpr int kTogether = kWhole ? 4 : 1;  // images whose loads are in flight
#pragma unroll kTogether
    for (int each = 0; each < count; ++each) {
        const long long image = start + each;
        const long long prototype = __shfl_sync(kAllLanes, index, each);
        const auto feature = load<kWhole>(features + image * elements, left);
        const auto chosen = load<kWhole>(prototypes + prototype * elements, left);
        float values[kShare];
        float wanted[kShare];
        widen(feature, values);
        widen(chosen, wanted);
#pragma unroll
        for (int element = 0; element < kShare; ++element) {
            const float gap = values[element] - wanted[element];
            values[element] = gap * gap;
        }
        Share<Element> share;
        narrow(values, share);
        store<kWhole>(share, residual + image * elements, left);
    }
}

template <typename Element>
__device__ __forceinline__ void residuals(const Call& call) {
    const Place place = place_of(call, gridDim.x - 1 - blockIdx.x);
    if (is_whole(call.scales[place.scale], place)) {
        square<true, Element>(call, place);
    } else {
        square<false, Element>(call, place);
    }
}

}  // namespace

// Two CTAs on a multiprocessor: the images take 64 of a thread's 128 registers.
extern "C" __global__ void __launch_bounds__(kThreads, 2)
    prn_distances_float32(const __grid_constant__ Call call) {
    __shared__ Memory memory;
    distances<float>(call, memory);
}

extern "C" __global__ void __launch_bounds__(kThreads, 2)
    prn_distances_float16(const __grid_constant__ Call call) {
    __shared__ Memory memory;
    distances<__half>(call, memory);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    prn_residuals_float32(const __grid_constant__ Call call) {
    residuals<float>(call);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    prn_residuals_float16(const __grid_constant__ Call call) {
    residuals<__half>(call);
}

namespace {

bool at_vectors(const void* start) {
    return reinterpret_cast<unsigned long long>(start) % kVectorBytes == 0;
}

long long round_up(long long bytes) {
    return (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
}

long long arrivals_bytes(const Call& call) {
    return static_cast<long long>(sizeof(int)) * call.scale_count * call.tiles;
}

long long partial_bytes(const Scale& scale, const Call& call) {
    return round_up(1LL * scale.slices * call.tiles * scale.prototypes_count * kTile *
                    static_cast<long long>(sizeof(float)));
}

// Fill in all that sizes decide. Returns the workspace's bytes, or an error.
long long lay_out(const prn_scale* scales, int scale_count, int batch, Call& call) {
    if (scales == nullptr) return PRN_POINTER;
    if (scale_count < 1 || scale_count > kMaxScales) return PRN_SCALE_COUNT;
    if (batch < 1) return PRN_BATCH;
    call.scale_count = scale_count;
    call.batch = batch;
    call.tiles = (batch - 1) / kTile + 1;
    long long slices = 0;
    long long bytes = round_up(arrivals_bytes(call));
    for (int each = 0; each < scale_count; ++each) {
        const prn_scale& given = scales[each];
        if (given.elements < 1) return PRN_ELEMENTS;
        if (given.prototypes_count < 1 || given.prototypes_count > kMaxPrototypes) {
            return PRN_PROTOTYPES;
        }
        const long long own = (given.elements - 1) / kSlice + 1;
        if (own > INT_MAX) return PRN_GRID;
        Scale& scale = call.scales[each];
        scale.elements = given.elements;
        scale.prototypes_count = given.prototypes_count;
        scale.first_slice = static_cast<int>(slices);
        scale.slices = static_cast<int>(own);
        slices += own;
        if (slices * call.tiles > INT_MAX) return PRN_GRID;
        bytes += partial_bytes(scale, call);
    }
    call.slices = static_cast<int>(slices);
    return bytes;
}

// Fill in the pointers. Returns 0, or an error.
int point(const prn_scale* scales, long long element_bytes, void* workspace, Call& call) {
    char* free = static_cast<char*>(workspace);
    call.arrivals = reinterpret_cast<int*>(free);
    free += round_up(arrivals_bytes(call));
    for (int each = 0; each < call.scale_count; ++each) {
        const prn_scale& given = scales[each];
        Scale& scale = call.scales[each];
        if (!given.features || !given.prototypes || !given.residual) return PRN_POINTER;
        scale.features = given.features;
        scale.prototypes = given.prototypes;
        scale.residual = given.residual;
        scale.partial = reinterpret_cast<float*>(free);
        scale.vectors = at_vectors(given.features) && at_vectors(given.prototypes) &&
                        at_vectors(given.residual) &&
                        scale.elements * element_bytes % kVectorBytes == 0;
        free += partial_bytes(scale, call);
    }
    return 0;
}

int launch(void (*kernel)(Call), const Call& call, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(call.slices) * call.tiles);
    config.blockDim = dim3(kThreads);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, call);
}

}  // namespace

extern "C" {

// Returns bytes, or an error below 0.
long long prn_residual_workspace_bytes(const prn_scale* scales, int scale_count, int batch) {
    Call call = {};
    return lay_out(scales, scale_count, batch, call);
}

// Enqueue the operator. Allocates nothing, waits for nothing, may be captured in a graph.
//
// The workspace is scratch: nothing in it need survive from call to call, so others may use it in
// between; that is why the arrivals are cleared here and not by the CTA that arrived last.
// Returns 0, a cudaError_t, or a prn_error.
int prn_residual_launch(const prn_scale* scales, int scale_count, int batch, int element_type,
                        int* index, float* distance, void* workspace, long long workspace_bytes,
                        void* stream) {
    Call call = {};
    const long long needed = lay_out(scales, scale_count, batch, call);
    if (needed < 0) return static_cast<int>(needed);
    if (element_type != PRN_FLOAT32 && element_type != PRN_FLOAT16) return PRN_ELEMENT_TYPE;
    if (!index || !distance) return PRN_POINTER;
    if (!workspace || workspace_bytes < needed || !at_vectors(workspace)) return PRN_WORKSPACE;
    const bool half = element_type == PRN_FLOAT16;
    const int wrong = point(scales, half ? sizeof(__half) : sizeof(float), workspace, call);
    if (wrong != 0) return wrong;
    call.index = index;
    call.distance = distance;

    const cudaStream_t queue = static_cast<cudaStream_t>(stream);
    int failed = cudaMemsetAsync(call.arrivals, 0, arrivals_bytes(call), queue);
    if (failed == 0) {
        failed = launch(half ? prn_distances_float16 : prn_distances_float32, call, queue);
    }
    if (failed == 0) {
        failed = launch(half ? prn_residuals_float16 : prn_residuals_float32, call, queue);
    }
    return failed;
}

const char* prn_residual_error(int code) {
    switch (code) {
        case PRN_SCALE_COUNT: return "scale_count: 1 to 4 scales wanted";
        case PRN_BATCH: return "batch: at least 1 image wanted";
        case PRN_ELEMENT_TYPE: return "element_type: 0 (float32) or 1 (float16) wanted";
        case PRN_ELEMENTS: return "elements: at least 1 element an image wanted";
        case PRN_PROTOTYPES: return "prototypes_count: 1 to 256 prototypes wanted";
        case PRN_POINTER: return "a pointer is null";
        case PRN_WORKSPACE: return "workspace: null, too small or not at a multiple of 16 bytes";
        case PRN_GRID: return "batch and elements: more than 2^31 - 1 blocks, split the batch";
        default: return cudaGetErrorString(static_cast<cudaError_t>(code));
    }
}

int prn_residual_version(void) { return kVersion; }

}  // extern "C"
