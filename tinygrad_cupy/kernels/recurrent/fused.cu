// Steps with their product in TF32, for states that are so small that a step is bound by latency.
//
// A block of THREADS makes TILE rows and TILE features, an element a thread. It copies what it
// multiplies to shared memory, all at once: rows of the state (K = H) and of the weight (PARTS · H,
// K), of which it takes those that its features' gates come from. Backward these are rows of the
// gradient by the gates of the step after (K their number) and of the transposed weight (H, K). A
// warp multiplies every eighth of the K terms, and what the warps have is added up in their order.
// What a step reads beside the product is on its way meanwhile.
//
// Macros as in steps.cuh (TYPE and ACC are float, WIDTH 1), KIND 0, and TILE 16: THREADS are
// TILE · TILE. H is a multiple of 4.

enum { WARPS = THREADS / 32, PIECE = 16 };
static_assert(THREADS == TILE * TILE && TILE == 16, "a thread for each element");

// The element of a thread: blocks follow each other along the features.
__device__ Place place_of(int rows, int size, int t) {
    const int across = (size + TILE - 1) / TILE;
    const int row = blockIdx.x / across * TILE + threadIdx.x / TILE;
    return Place(row, blockIdx.x % across * TILE + threadIdx.x % TILE, rows, size, t);
}

// Rows of a block's tile to shared memory; zeros stand for those that are not there.
__device__ void copy_rows(
    u32 to, int pitch, const float* from, int first, int count, int terms
) {
    for (int line = threadIdx.x / 32; line < TILE; line += WARPS) {
        const bool there = first + line < count;
        const float* row = there ? from + (i64)(first + line) * terms : from;
        for (int term = threadIdx.x % 32 * 4; term < (terms + 7) / 8 * 8; term += 32 * 4) {
            const u32 place = to + line * pitch + 4 * term;
            const bool inside = there && term < terms;
            copy_piece(place, inside ? row + term : from, inside ? PIECE : 0);
        }
    }
}

// own[i] = the element's product of a (N, K) and part i of b (PARTS, H, K).
template <int PARTS>
__device__ void multiply_rows(
    Values (&own)[PARTS], const float* a, const float* b, int terms, int rows, int size, int pitch
) {
    extern __shared__ __align__(128) u8 memory[];
    const u32 left = shared_address(memory), right = left + TILE * pitch;
    const int across = (size + TILE - 1) / TILE;
    copy_rows(left, pitch, a, blockIdx.x / across * TILE, rows, terms);
    for (int i = 0; i < PARTS; ++i) {
        const float* part = b + (i64)i * size * terms;
        copy_rows(right + i * TILE * pitch, pitch, part, blockIdx.x % across * TILE, size, terms);
    }
    copies_end_group();
    copies_wait<0>();
    __syncthreads();

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // Where a lane's row lies of the four matrices of 8 x 4 that a load brings: of the left those
    // below each other come first, of the right those beside each other.
    const u32 of_left = left + lane % 16 * pitch + lane / 16 * PIECE;
    const u32 of_right = right + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * PIECE;
    float sums[PARTS][2][4] = {};
    for (int term = 8 * warp; term < terms; term += 8 * WARPS) {
        u32 x[4];
        load_matrices(x, of_left + 4 * term);
        for (int j = 0; j < 4; ++j) x[j] = rounded_to_tf32(__uint_as_float(x[j]));
        for (int i = 0; i < PARTS; ++i) {
            u32 w[4];
            load_matrices(w, of_right + i * TILE * pitch + 4 * term);
            for (int j = 0; j < 4; ++j) w[j] = rounded_to_tf32(__uint_as_float(w[j]));
            multiply(sums[i][0], x, w[0], w[1]);
            multiply(sums[i][1], x, w[2], w[3]);
        }
    }
    __syncthreads();  // the sums replace what was multiplied
    for (int i = 0; i < PARTS; ++i) {
        for (int half = 0; half < 2; ++half) {
            for (int j = 0; j < 4; ++j) {
                const int row = lane / 4 + j / 2 * 8, column = half * 8 + lane % 4 * 2 + j % 2;
                const int place = (warp * PARTS + i) * THREADS + row * TILE + column;
                share(left + 4 * place, sums[i][half][j]);
            }
        }
    }
    __syncthreads();
    for (int i = 0; i < PARTS; ++i) {
        float sum = 0;
        for (int each = 0; each < WARPS; ++each) {
            sum += shared_float(left + 4 * ((each * PARTS + i) * THREADS + threadIdx.x));
        }
        own[i].at[0] = sum;
    }
}

// The state's gradient by the product of the step after, which the last step has not.
__device__ Values by_product(
    const T* dz, const T* turned, int gates, int after, int rows, int size, int pitch
) {
    Values found[1] = {zeros()};
    const int terms = gates * size;
    if (after >= 0) {
        const T* given = dz + (i64)after * rows * terms;
        multiply_rows<1>(found, given, turned, terms, rows, size, pitch);
    }
    return found[0];
}

// The state that a step multiplies.
__device__ const T* state_of(const T* y, const T* first, int before, int rows, int size) {
    return before < 0 ? first : y + (i64)before * rows * size;
}

extern "C" __global__ void __launch_bounds__(THREADS) rnn_step(
    const T* gates, const T* first, const u8* seen, T* y, int relu, const T* weight, int rows,
    int size, int pitch, int t, int before
) {
    const Place place = place_of(rows, size, t);
    RnnForward step;
    if (!place.outside) step.read(place, gates, seen);
    Values own[1];
    const T* state = state_of(y, first, before, rows, size);
    multiply_rows<1>(own, state, weight, size, rows, size, pitch);
    if (!place.outside) step.write(place, own, first, y, relu, before);
}

extern "C" __global__ void __launch_bounds__(THREADS) rnn_step_back(
    const T* grad, const u8* seen, const T* y, T* past, T* dz, int relu, const T* turned, int rows,
    int size, int pitch, int t, int before, int after
) {
    const Place place = place_of(rows, size, t);
    RnnBackward step;
    if (!place.outside) step.read(place, grad, seen, y, past);
    const Values dh = by_product(dz, turned, 1, after, rows, size, pitch);
    if (!place.outside) step.write(place, dh, past, dz, relu);
}

extern "C" __global__ void __launch_bounds__(THREADS) lstm_step(
    const T* gates, const T* first_h, const T* first_c, const u8* seen, T* y, T* kept, int steps,
    const T* weight, int rows, int size, int pitch, int t, int before
) {
    const Place place = place_of(rows, size, t);
    T* cells = y + (i64)steps * rows * size;
    LstmForward step;
    if (!place.outside) step.read(place, gates, first_c, seen, cells, before);
    Values own[4];
    const T* state = state_of(y, first_h, before, rows, size);
    multiply_rows<4>(own, state, weight, size, rows, size, pitch);
    if (!place.outside) step.write(place, own, first_h, y, cells, kept, before);
}

extern "C" __global__ void __launch_bounds__(THREADS) lstm_step_back(
    const T* grad, const u8* seen, const T* y, const T* kept, const T* first_c, T* past, T* dc,
    T* dz, int steps, const T* turned, int rows, int size, int pitch, int t, int before, int after
) {
    const Place place = place_of(rows, size, t);
    const i64 all = (i64)steps * rows * size;
    LstmBackward step;
    if (!place.outside) {
        step.read(place, grad, seen, y + all, kept, first_c, past, dc, all, before);
    }
    const Values dh = by_product(dz, turned, 4, after, rows, size, pitch);
    if (!place.outside) step.write(place, dh, past, dc, dz);
}

extern "C" __global__ void __launch_bounds__(THREADS) gru_step(
    const T* gates, const T* first, const T* bias, const u8* seen, T* y, T* kept, const T* weight,
    int rows, int size, int pitch, int t, int before
) {
    const Place place = place_of(rows, size, t);
    GruForward step;
    if (!place.outside) step.read(place, gates, first, bias, seen, y, before);
    Values own[3];
    const T* state = state_of(y, first, before, rows, size);
    multiply_rows<3>(own, state, weight, size, rows, size, pitch);
    if (!place.outside) step.write(place, own, y, kept);
}

extern "C" __global__ void __launch_bounds__(THREADS) gru_step_back(
    const T* grad, const u8* seen, const T* y, const T* kept, const T* first, T* past, T* dz,
    T* d_own, const T* turned, int rows, int size, int pitch, int t, int before, int after
) {
    const Place place = place_of(rows, size, t);
    GruBackward step;
    if (!place.outside) step.read(place, grad, seen, y, kept, first, past, before);
    const Values dh = by_product(d_own, turned, 3, after, rows, size, pitch);
    if (!place.outside) step.write(place, dh, past, dz, d_own);
}
