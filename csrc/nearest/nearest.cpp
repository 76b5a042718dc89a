// The distance of each position to the nearest of many entries, exactly, at the price of products
// of whole numbers.
//
// Half the square of a distance is ‖f‖²/2 + ‖e‖²/2 - f e. The product is taken of few coordinates,
// which make it larger at most (nearest_axes.h), and of these in whole numbers, f ≈ f̂ and e ≈ ê,
// which are off by a bound (Cauchy-Schwarz):
//
//   |f e - f̂ ê| <= ‖f̂‖ ‖e - ê‖ + ‖f - f̂‖ ‖e‖
//
// An entry that may be nearer by this bound than the nearest one so far is measured in floats.
// Where entries lie in no special order, these are a few of thousands.
#include "nearest_known.h"
#include "nearest_rounded.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t TASK = ROWS * 32;     // positions at most
const int64_t CACHED = 8192;        // pairs of a task that the first cache holds
const int64_t ROOM = 512 * 2048;    // floats for all threads
const int64_t MOST_MEASURED = 512;  // entries for each position
const float UNDECIDED = -1.0f;
const float LARGEST_SQUARE = 1e30f;  // that is compared
const float FARTHEST = 1e35f;        // a bound below no score but infinite ones

struct Entries {
    const float* given;  // [N, F]
    int64_t count;
    const int32_t* rounded;  // [blocks][pairs][VECTORS][LANES]
    const float* halves;  // [blocks][BLOCK]: half the squares of the lengths, infinite at the end
    const BlockBounds* bounds;
};

struct Position {
    const float* given;
    float half;    // the square of its length
    float length;  // of the rounded row at most
    float rest;
    float scale;
    float best;    // square of a distance
    float bound;   // of half the square of a distance, less `half`
    int64_t left;  // entries that may still be measured
};

// Of one thread.
struct Workspace {
    float* coordinates;  // [positions of a task, or BLOCK][pitch]
    int32_t* rounded;    // likewise
};

// Rounds a block's entries and puts them side by side.
BlockBounds pack_block(const float* entries, int64_t count, const Axes& axes,
                       const RoundedRows& rows, const Workspace& workspace, int32_t* rounded,
                       float* halves) {
    const int64_t pitch = axes.pitch();
    float squares[BLOCK], most = 0.0f, length = 0.0f, rest = 0.0f;
    bool finite = true;
    take_coordinates(entries, count, axes, workspace.coordinates, squares);
    for (int64_t n = 0; n < BLOCK; ++n) {
        halves[n] = n < count ? squares[n] / 2 : INFINITY;
        if (n >= count) continue;
        const float largest = largest_of(workspace.coordinates + n * pitch, rows.coordinates);
        finite = finite && squares[n] < LARGEST_SQUARE;
        length = squares[n] > length ? squares[n] : length;
        most = largest > most ? largest : most;
    }
    const float scale = most / rows.largest;
    memset(workspace.rounded, 0, static_cast<size_t>(BLOCK * rows.pitch) * sizeof(int32_t));
    for (int64_t n = 0; n < count; ++n) {
        const float square = round_row(workspace.coordinates + n * pitch, rows, scale,
                                       workspace.rounded + n * rows.pitch);
        rest = square > rest ? square : rest;
    }
    for (int64_t v = 0; v < VECTORS; ++v)
        for (int64_t j = 0; j < rows.pairs; j += LANES) {
            Vector vectors[LANES];
            const int32_t* const first = workspace.rounded + v * LANES * rows.pitch + j;
            for (int64_t k = 0; k < LANES; ++k)
                memcpy(&vectors[k], first + k * rows.pitch, sizeof(Vector));
            transpose(vectors);
            for (int64_t k = 0; k < smaller(LANES, rows.pairs - j); ++k)
                memcpy(rounded + ((j + k) * VECTORS + v) * LANES, &vectors[k], sizeof(Vector));
        }
    return {scale, sqrtf(length), sqrtf(rest), finite};
}

// Products of ROWS rounded rows and a block's entries.
typedef void (*Products)(const int32_t* rows, int64_t pitch, const int32_t* block, int64_t pairs,
                         Integers* sums);

PYRAMIDFLOW_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
#if defined(__AVX512F__)
    return sum + (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && !defined(__AVX__)
    return sum + (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

void products(const int32_t* rows, int64_t pitch, const int32_t* block, int64_t pairs,
              Integers* sums) {
    Integers sum[ROWS][VECTORS] = {};
    for (int64_t j = 0; j < pairs; ++j, block += BLOCK) {
        Integers entries[VECTORS];
#pragma GCC unroll 4
        for (int64_t v = 0; v < VECTORS; ++v)
            memcpy(&entries[v], block + v * LANES, sizeof entries[v]);
#pragma GCC unroll 8
        for (int64_t r = 0; r < ROWS; ++r) {
            const Integers pair = Integers{} + rows[r * pitch + j];
#pragma GCC unroll 4
            for (int64_t v = 0; v < VECTORS; ++v)
                sum[r][v] = add_products(sum[r][v], pair, entries[v]);
        }
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int64_t v = 0; v < VECTORS; ++v)
            memcpy(&sums[r * VECTORS + v], &sum[r][v], sizeof sum[r][v]);
}

#if defined(__AVX512F__) && (defined(__clang__) || __GNUC__ >= 8)
// One instruction where the other has two.
__attribute__((target("avx512vnni"))) void products_vnni(const int32_t* rows, int64_t pitch,
                                                         const int32_t* block, int64_t pairs,
                                                         Integers* sums) {
    __m512i sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int64_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int64_t v = 0; v < VECTORS; ++v) sum[r][v] = _mm512_setzero_si512();
    for (int64_t j = 0; j < pairs; ++j, block += BLOCK) {
        __m512i entries[VECTORS];
#pragma GCC unroll 4
        for (int64_t v = 0; v < VECTORS; ++v) entries[v] = _mm512_loadu_si512(block + v * LANES);
#pragma GCC unroll 8
        for (int64_t r = 0; r < ROWS; ++r) {
            const __m512i pair = _mm512_set1_epi32(rows[r * pitch + j]);
#pragma GCC unroll 4
            for (int64_t v = 0; v < VECTORS; ++v)
                sum[r][v] = _mm512_dpwssd_epi32(sum[r][v], pair, entries[v]);
        }
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int64_t v = 0; v < VECTORS; ++v)
            _mm512_storeu_si512(sums + r * VECTORS + v, sum[r][v]);
}

Products best_products() { return __builtin_cpu_supports("avx512vnni") ? products_vnni : products; }
#else
Products best_products() { return products; }
#endif

// Lanes of a value that are at most a bound, a bit each.
uint32_t at_most(Vector value, Vector bound) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)value, (__m512)bound, _CMP_LE_OQ);
#elif defined(__AVX__)
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps((__m256)value, (__m256)bound, _CMP_LE_OQ)));
#elif defined(__SSE2__)
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_cmple_ps((__m128)value, (__m128)bound)));
#else
    uint32_t lanes = 0;
    for (int64_t k = 0; k < LANES; ++k) lanes |= uint32_t{value[k] <= bound[k]} << k;
    return lanes;
#endif
}

float square_between(const float* a, const float* b, int64_t features) {
    Vector sum = {};
    for_vectors(features, [&](int64_t j, auto count) {
        const Vector difference = load(a + j, count) - load(b + j, count);
        sum += difference * difference;
    });
    return sum_lanes(sum);
}

void measure_one(Position& position, const float* entry, int64_t features) {
    const float square = square_between(position.given, entry, features);
    if (square < position.best) {
        position.best = square;
        position.bound = square / 2 - position.half;
    }
    if (--position.left == 0) position.bound = -INFINITY;
}

// Measures those entries of a block, a bit each, that may be nearer than the nearest one so far,
// first the one of the lowest score.
__attribute__((noinline)) void measure(Position& position, const float* scores, uint64_t lanes,
                                       float error, const float* block, int64_t features) {
    int64_t likeliest = __builtin_ctzll(lanes);
    for (uint64_t others = lanes & (lanes - 1); others != 0; others &= others - 1) {
        const int64_t n = __builtin_ctzll(others);
        if (scores[n] < scores[likeliest]) likeliest = n;
    }
    measure_one(position, block + likeliest * features, features);
    for (lanes &= ~(uint64_t{1} << likeliest); lanes != 0; lanes &= lanes - 1) {
        const int64_t n = __builtin_ctzll(lanes);
        if (position.left > 0 && scores[n] <= position.bound + error)
            measure_one(position, block + n * features, features);
    }
}

// The rows' positions against one block.
void compare(Position* positions, const Integers* sums, const Entries& entries, int64_t block,
             int64_t features) {
    const BlockBounds bounds = entries.bounds[block];
    const float slack = slack_of(features);
    Vector halves[VECTORS];
    memcpy(halves, entries.halves + block * BLOCK, sizeof halves);
    for (int64_t r = 0; r < ROWS; ++r, sums += VECTORS) {
        Position& p = positions[r];
        const float error = p.length * bounds.rest + p.rest * bounds.length +
                            slack * (2 * p.half + bounds.length * bounds.length);
        const Vector scale = splat(p.scale * bounds.scale), bound = splat(p.bound + error);
        Vector scores[VECTORS];
        uint64_t lanes = 0;
#pragma GCC unroll 4
        for (int64_t v = 0; v < VECTORS; ++v) {
            scores[v] = halves[v] - scale * __builtin_convertvector(sums[v], Vector);
            lanes |= uint64_t{at_most(scores[v], bound)} << (v * LANES);
        }
        if (lanes == 0) continue;
        float kept[BLOCK];
        memcpy(kept, scores, sizeof kept);
        measure(p, kept, lanes, error, entries.given + block * BLOCK * features, features);
    }
}

void find_nearest(const float* features, int64_t count, const Entries& entries, const Axes& axes,
                  const RoundedRows& rows, Products multiply, const Workspace& workspace,
                  float* distances) {
    Position positions[TASK];
    float squares[TASK];
    take_coordinates(features, count, axes, workspace.coordinates, squares);
    for (int64_t p = 0; p < ceil_div(count, ROWS) * ROWS; ++p) {
        const int64_t taken = smaller(p, count - 1);
        const float* const row = workspace.coordinates + taken * axes.pitch();
        const float square = squares[taken];
        const float scale = largest_of(row, rows.coordinates) / rows.largest;
        const float rest = sqrtf(round_row(row, rows, scale, workspace.rounded + p * rows.pitch));
        // The last rows repeat a position, and are asked for nothing.
        const bool is_asked = p < count && square < LARGEST_SQUARE;
        positions[p] = {features + taken * axes.features,
                        square / 2,
                        sqrtf(square) * 1.0001f + rest,
                        rest,
                        scale,
                        INFINITY,
                        is_asked ? FARTHEST : -INFINITY,
                        is_asked ? MOST_MEASURED : 0};
    }
    for (int64_t block = 0; block * BLOCK < entries.count; ++block) {
        const int32_t* const packed = entries.rounded + block * BLOCK * rows.pairs;
        for (int64_t p = 0; p < count; p += ROWS) {
            Integers sums[ROWS * VECTORS];
            multiply(workspace.rounded + p * rows.pitch, rows.pitch, packed, rows.pairs, sums);
            compare(positions + p, sums, entries, block, axes.features);
        }
    }
    const float scale = 1.0f / static_cast<float>(axes.features);
    for (int64_t p = 0; p < count; ++p)
        distances[p] = positions[p].left > 0 ? sqrtf(positions[p].best * scale) : UNDECIDED;
}

// Scratch memory of all threads.
struct Workspaces {
    int64_t rows;  // of a thread
    int64_t threads;
    int64_t coordinate_pitch, rounded_pitch;
    Scratch<float> coordinates;
    Scratch<int32_t> rounded;

    Workspaces(int64_t asked_rows, int64_t asked_threads, const Axes& axes,
               const RoundedRows& rounded_rows)
        : rows(ceil_div(asked_rows, AT_ONCE) * AT_ONCE),
          threads(larger(
              1, smaller(asked_threads, ROOM / (rows * (rounded_rows.pitch + axes.pitch()))))),
          coordinate_pitch(axes.pitch()),
          rounded_pitch(rounded_rows.pitch),
          coordinates(threads * rows * coordinate_pitch),
          rounded(threads * rows * rounded_pitch) {}

    bool failed() const { return coordinates.failed() || rounded.failed(); }

    Workspace own() const {
        const int64_t first = thread_index() * rows;
        return {coordinates.get() + first * coordinate_pitch,
                rounded.get() + first * rounded_pitch};
    }
};

}  // namespace

// Floats of the buffer that the other two functions take.
PYRAMIDFLOW_FUNCTION(nearest_size, int64_t* floats, int64_t entry_count, int64_t feature_count,
                     int64_t threads) {
    (void)threads;
    *floats = Known(nullptr, entry_count, feature_count).floats;
    return 0;
}

// What searches need of the entries. `has_axes`: whether few axes are looked for, which pays where
// there are many pairs of a position and an entry.
PYRAMIDFLOW_FUNCTION(nearest_prepare, const float* entries, float* known, int64_t entry_count,
                     int64_t feature_count, int64_t has_axes, int64_t threads) {
    const Known kept(known, entry_count, feature_count);
    const bool are_sought = has_axes != 0 && feature_count >= MOST_AXES + 8;
    Scratch<float> axis_rows(are_sought ? MOST_AXES * feature_count : 0);
    if (axis_rows.failed()) return 1;
    const Axes axes = axes_of(entries, entry_count, feature_count, are_sought, kept.centre,
                              kept.columns, axis_rows.get());
    *kept.axis_count = axes.count;
    const RoundedRows rows(axes.coordinates());
    const Workspaces workspaces(BLOCK, threads, axes, rows);
    if (workspaces.failed()) return 1;
    in_parallel(workspaces.threads, ceil_div(entry_count, BLOCK), [&](int64_t block) {
        const int64_t first = block * BLOCK;
        kept.bounds[block] = pack_block(
            entries + first * feature_count, smaller(BLOCK, entry_count - first), axes, rows,
            workspaces.own(), kept.rounded + first * rows.pairs, kept.halves + first);
    });
    return 0;
}

// -1 where too many entries are as near by the coordinates, or what is compared is not finite.
PYRAMIDFLOW_FUNCTION(nearest_distance, const float* features, const float* entries,
                     const float* known, float* distances, int64_t positions, int64_t entry_count,
                     int64_t feature_count, int64_t threads) {
    const Known kept(const_cast<float*>(known), entry_count, feature_count);  // that is read
    bool finite = true;
    for (int64_t block = 0; block * BLOCK < entry_count; ++block)
        finite = finite && kept.bounds[block].finite;
    if (!finite) {
        for (int64_t p = 0; p < positions; ++p) distances[p] = UNDECIDED;
        return 0;
    }
    const Axes axes = kept.axes(feature_count);
    const RoundedRows rows(axes.coordinates());
    const int64_t task_size = larger(ROWS, smaller(TASK, CACHED / rows.pitch / ROWS * ROWS));
    const Workspaces workspaces(task_size, threads, axes, rows);
    if (workspaces.failed()) return 1;
    const Entries all = {entries, entry_count, kept.rounded, kept.halves, kept.bounds};
    const Products multiply = best_products();
    in_parallel(workspaces.threads, ceil_div(positions, task_size), [&](int64_t task) {
        const int64_t first = task * task_size;
        find_nearest(features + first * feature_count, smaller(task_size, positions - first), all,
                     axes, rows, multiply, workspaces.own(), distances + first);
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
