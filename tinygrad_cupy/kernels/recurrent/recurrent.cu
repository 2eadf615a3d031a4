// Recurrent layers: all of a step but its product with the state's weight, forward and backward.
//
// A thread takes WIDTH features of one of the N rows; arrays begin at multiples of 16 bytes.
// Forward the product stands where the result goes (in `y` of an Elman network, else in `kept`),
// which is then what the backward needs of the gates. Backward `dh` is the product of the step that
// was taken back before, and `past` what reaches the state beside it: of rows that had no such step
// all of its gradient, of a GRU the part that goes by the gates. An element is read and written by
// one thread, so it may be replaced.
//
// Letters: T steps, N rows, H hidden features. `seen` (T, N), or null, says which steps a row has;
// gates that it has not are not read. `before` is the step before t, negative where t is the first.
// Macros: TYPE float or double; WIDTH, of which H is a multiple.

#define EACH for (int k = 0; k < WIDTH; ++k)

// Where a thread's features lie.
struct Place {
    bool outside;
    i64 row;            // of (T, N)
    i64 at, step;       // in an array (T, N, H), and in one (N, H) of a step
    int feature, size;

    __device__ Place(int rows, int size, int t) : size(size) {
        step = ((i64)blockIdx.x * THREADS + threadIdx.x) * WIDTH;
        outside = step >= (i64)rows * size;
        const int of_step = (int)step / size;
        feature = (int)step - of_step * size;
        row = (i64)t * rows + of_step;
        at = row * size + feature;
    }

    // In an array (T, N, count, H).
    __device__ i64 gate(int count) const { return row * count * size + feature; }

    // The state, or the cell, that step t began with.
    __device__ Pack<T> old(const T* y, const T* first, int before, int rows) const {
        return load(before < 0 ? first + step : y + (i64)before * rows * size + step);
    }
};

__device__ T sigmoid(T x) {
    return 1 / (1 + exp(-x));
}

// The state's gradient: by the step itself, by the product, and beside it.
__device__ Pack<T> gathered(const T* grad, const T* dh, const T* past, const Place& place) {
    Pack<T> total = load(dh + place.step);
    const Pack<T> own = load(grad + place.at);
    EACH total.at[k] += own.at[k];
    if (past) {
        const Pack<T> beside = load(past + place.step);
        EACH total.at[k] += beside.at[k];
    }
    return total;
}

__device__ Pack<T> zeros() {
    Pack<T> found;
    EACH found.at[k] = 0;
    return found;
}

// y (T, N, H): the product, then the states.
extern "C" __global__ void rnn_forward(
    const T* gates, const T* first, const u8* seen, T* y, int relu, int rows, int size, int t,
    int before
) {
    const Place place(rows, size, t);
    if (place.outside) return;
    if (seen && !seen[place.row]) {
        store(y + place.at, place.old(y, first, before, rows));
        return;
    }
    const Pack<T> z = load(gates + place.at), own = load(y + place.at);
    Pack<T> state;
    EACH {
        const T sum = z.at[k] + own.at[k];
        state.at[k] = !relu ? tanh(sum) : sum < 0 ? (T)0 : sum;  // NaN stays
    }
    store(y + place.at, state);
}

// dz (T, N, H).
extern "C" __global__ void rnn_backward(
    const T* grad, const u8* seen, const T* y, const T* dh, T* past, T* dz, int relu, int rows,
    int size, int t, int before
) {
    const Place place(rows, size, t);
    if (place.outside) return;
    const Pack<T> total = gathered(grad, dh, past, place);
    if (seen && !seen[place.row]) {
        store(dz + place.at, zeros());
        store(past + place.step, total);
        return;
    }
    const Pack<T> state = load(y + place.at);
    Pack<T> by_z;
    EACH {
        const T s = state.at[k];
        by_z.at[k] = total.at[k] * (relu ? (s > 0 ? (T)1 : (T)0) : 1 - s * s);
    }
    store(dz + place.at, by_z);
    if (past) store(past + place.step, zeros());
}

// y (2, T, N, H): states and cells. kept (T, N, 4, H): the product, then i, f, g, o.
extern "C" __global__ void lstm_forward(
    const T* gates, const T* first_h, const T* first_c, const u8* seen, T* y, T* kept, int steps,
    int rows, int size, int t, int before
) {
    const Place place(rows, size, t);
    if (place.outside) return;
    T* cells = y + (i64)steps * rows * size;
    Pack<T> cell = place.old(cells, first_c, before, rows);
    if (seen && !seen[place.row]) {
        store(cells + place.at, cell);
        store(y + place.at, place.old(y, first_h, before, rows));
        return;
    }
    const i64 gate = place.gate(4);
    Pack<T> z[4], state;
    for (int part = 0; part < 4; ++part) {
        const Pack<T> given = load(gates + gate + part * size);
        z[part] = load(kept + gate + part * size);
        EACH {
            const T sum = given.at[k] + z[part].at[k];
            z[part].at[k] = part == 2 ? tanh(sum) : sigmoid(sum);
        }
        store(kept + gate + part * size, z[part]);
    }
    EACH {
        cell.at[k] = z[1].at[k] * cell.at[k] + z[0].at[k] * z[2].at[k];
        state.at[k] = z[3].at[k] * tanh(cell.at[k]);
    }
    store(cells + place.at, cell);
    store(y + place.at, state);
}

// dz (T, N, 4, H); dc (N, H) is the cell's gradient, before and after.
extern "C" __global__ void lstm_backward(
    const T* grad, const u8* seen, const T* y, const T* kept, const T* first_c, const T* dh,
    T* past, T* dc, T* dz, int steps, int rows, int size, int t, int before
) {
    const Place place(rows, size, t);
    if (place.outside) return;
    const i64 all = (i64)steps * rows * size, gate = place.gate(4);
    const T* cells = y + all;
    const Pack<T> total = gathered(grad, dh, past, place);
    Pack<T> by_c = load(dc + place.step);
    const Pack<T> own = load(grad + all + place.at);
    EACH by_c.at[k] += own.at[k];
    Pack<T> z[4];
    if (seen && !seen[place.row]) {
        for (int part = 0; part < 4; ++part) z[part] = zeros();
        store(past + place.step, total);
    } else {
        for (int part = 0; part < 4; ++part) z[part] = load(kept + gate + part * size);
        const Pack<T> cell = load(cells + place.at), old = place.old(cells, first_c, before, rows);
        EACH {
            const T in = z[0].at[k], forget = z[1].at[k], g = z[2].at[k], out = z[3].at[k];
            const T of_c = tanh(cell.at[k]), h = total.at[k];
            const T c = by_c.at[k] + h * (out * (1 - of_c * of_c));
            z[0].at[k] = c * (g * (in * (1 - in)));
            z[1].at[k] = c * (old.at[k] * (forget * (1 - forget)));
            z[2].at[k] = c * (in * (1 - g * g));
            z[3].at[k] = h * (of_c * (out * (1 - out)));
            by_c.at[k] = c * forget;
        }
        if (past) store(past + place.step, zeros());
    }
    for (int part = 0; part < 4; ++part) store(dz + gate + part * size, z[part]);
    store(dc + place.step, by_c);
}

// y (T, N, H). kept (T, N, 4, H): the three parts of the product, then r, z, its part of n, and n.
extern "C" __global__ void gru_forward(
    const T* gates, const T* first, const T* bias, const u8* seen, T* y, T* kept, int rows,
    int size, int t, int before
) {
    const Place place(rows, size, t);
    if (place.outside) return;
    Pack<T> state = place.old(y, first, before, rows);
    if (seen && !seen[place.row]) {
        store(y + place.at, state);
        return;
    }
    const i64 given = place.gate(3), gate = place.gate(4);
    Pack<T> x[3], own[3];
    for (int part = 0; part < 3; ++part) {
        x[part] = load(gates + given + part * size);
        own[part] = load(kept + gate + part * size);
        if (bias) {
            const Pack<T> added = load(bias + part * size + place.feature);
            EACH own[part].at[k] += added.at[k];
        }
    }
    EACH {
        const T r = sigmoid(x[0].at[k] + own[0].at[k]), z = sigmoid(x[1].at[k] + own[1].at[k]);
        const T n = tanh(x[2].at[k] + r * own[2].at[k]);
        state.at[k] = n + z * (state.at[k] - n);
        own[0].at[k] = r;
        own[1].at[k] = z;
        x[2].at[k] = n;
    }
    for (int part = 0; part < 3; ++part) store(kept + gate + part * size, own[part]);
    store(kept + gate + 3 * size, x[2]);
    store(y + place.at, state);
}

// dz (T, N, 3, H) by the gates, d_own (T, N, 3, H) by the product.
extern "C" __global__ void gru_backward(
    const T* grad, const u8* seen, const T* y, const T* kept, const T* first, const T* dh, T* past,
    T* dz, T* d_own, int rows, int size, int t, int before
) {
    const Place place(rows, size, t);
    if (place.outside) return;
    Pack<T> total = gathered(grad, dh, past, place), x[3], own;
    if (seen && !seen[place.row]) {
        for (int part = 0; part < 3; ++part) x[part] = zeros();
        own = zeros();
    } else {
        const i64 gate = place.gate(4);
        Pack<T> of[4];
        for (int part = 0; part < 4; ++part) of[part] = load(kept + gate + part * size);
        const Pack<T> old = place.old(y, first, before, rows);
        EACH {
            const T r = of[0].at[k], z = of[1].at[k], of_n = of[2].at[k], n = of[3].at[k];
            const T h = total.at[k], by_n = h * ((1 - z) * (1 - n * n));
            x[0].at[k] = by_n * (of_n * (r * (1 - r)));
            x[1].at[k] = h * ((old.at[k] - n) * (z * (1 - z)));
            x[2].at[k] = by_n;
            own.at[k] = by_n * r;
            total.at[k] = h * z;
        }
    }
    const i64 gate = place.gate(3);
    for (int part = 0; part < 3; ++part) {
        store(dz + gate + part * size, x[part]);
        store(d_own + gate + part * size, part < 2 ? x[part] : own);
    }
    store(past + place.step, total);
}
