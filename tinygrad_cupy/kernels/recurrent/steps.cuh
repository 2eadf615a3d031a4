// A step of a recurrent layer, forward or back: all but its product with the state's weight.
//
// A thread takes WIDTH features of one of the N rows. It reads what it needs beside the product,
// and writes when it has that. Backward `past` is what reaches the state beside the product: of
// rows that had no step all of the gradient, of a GRU the part that goes by the gates. An element
// is read and written by one thread, so it may be replaced.
//
// Letters: T steps, N rows, H hidden features. `seen` (T, N), or null, says which steps a row has;
// gates that it has not are not read. `before` is the step before t, negative where t is the first.
// Macros: TYPE float or double; WIDTH, of which H is a multiple. Arrays begin at multiples of 16
// bytes.

#define EACH for (int k = 0; k < WIDTH; ++k)

typedef Pack<T> Values;

// Where a thread's features lie.
struct Place {
    bool outside;
    int rows, size, feature;
    i64 row;       // of (T, N)
    i64 at, step;  // in an array (T, N, H), and in one (N, H) of a step

    __device__ Place(int of_step, int feature, int rows, int size, int t)
        : rows(rows), size(size), feature(feature) {
        outside = of_step >= rows || feature >= size;
        row = (i64)t * rows + of_step;
        at = row * size + feature;
        step = (i64)of_step * size + feature;
    }

    // Part i of an array (T, N, count, H).
    __device__ i64 part(int i, int count) const { return (row * count + i) * size + feature; }

    __device__ bool here(const u8* seen) const { return !seen || seen[row]; }

    // The state, or the cell, that step t began with.
    __device__ Values old(const T* y, const T* first, int before) const {
        return load(before < 0 ? first + step : y + (i64)before * rows * size + step);
    }
};

__device__ T sigmoid(T x) {
    return 1 / (1 + exp(-x));
}

__device__ Values zeros() {
    Values found;
    EACH found.at[k] = 0;
    return found;
}

__device__ void add(Values& sum, const Values& more) {
    EACH sum.at[k] += more.at[k];
}

// What reaches a state beside the product: its own gradient, and the past.
__device__ Values beside(const Place& place, const T* grad, const T* past) {
    Values sum = load(grad + place.at);
    if (past) add(sum, load(past + place.step));
    return sum;
}

// --- y (T, N, H) = tanh(·), or max(·, 0) --------------------------------------------------------

struct RnnForward {
    Values z;
    bool here;

    __device__ void read(const Place& place, const T* gates, const u8* seen) {
        here = place.here(seen);
        z = load(gates + place.at);
    }

    __device__ void write(
        const Place& place, const Values (&own)[1], const T* first, T* y, int relu, int before
    ) {
        if (!here) {
            store(y + place.at, place.old(y, first, before));
            return;
        }
        EACH {
            const T sum = z.at[k] + own[0].at[k];
            z.at[k] = !relu ? tanh(sum) : sum < 0 ? (T)0 : sum;  // NaN stays
        }
        store(y + place.at, z);
    }
};

struct RnnBackward {
    Values total, state;
    bool here;

    __device__ void read(
        const Place& place, const T* grad, const u8* seen, const T* y, const T* past
    ) {
        here = place.here(seen);
        total = beside(place, grad, past);
        state = load(y + place.at);
    }

    // dz (T, N, H).
    __device__ void write(const Place& place, const Values& dh, T* past, T* dz, int relu) {
        add(total, dh);
        if (past) store(past + place.step, here ? zeros() : total);
        EACH {
            const T s = state.at[k], slope = relu ? (s > 0 ? (T)1 : (T)0) : 1 - s * s;
            total.at[k] = here ? total.at[k] * slope : (T)0;
        }
        store(dz + place.at, total);
    }
};

// --- y (2, T, N, H): states and cells; kept (T, N, 4, H): i, f, g, o ----------------------------

struct LstmForward {
    Values z[4], cell;
    bool here;

    __device__ void read(
        const Place& place, const T* gates, const T* first, const u8* seen, const T* cells,
        int before
    ) {
        here = place.here(seen);
        for (int i = 0; i < 4; ++i) z[i] = load(gates + place.part(i, 4));
        cell = place.old(cells, first, before);
    }

    __device__ void write(
        const Place& place, const Values (&own)[4], const T* first, T* y, T* cells, T* kept,
        int before
    ) {
        if (!here) {
            store(cells + place.at, cell);
            store(y + place.at, place.old(y, first, before));
            return;
        }
        for (int i = 0; i < 4; ++i) {
            add(z[i], own[i]);
            EACH z[i].at[k] = i == 2 ? tanh(z[i].at[k]) : sigmoid(z[i].at[k]);
            store(kept + place.part(i, 4), z[i]);
        }
        Values state;
        EACH {
            cell.at[k] = z[1].at[k] * cell.at[k] + z[0].at[k] * z[2].at[k];
            state.at[k] = z[3].at[k] * tanh(cell.at[k]);
        }
        store(cells + place.at, cell);
        store(y + place.at, state);
    }
};

struct LstmBackward {
    Values total, by_c, cell, old, z[4];
    bool here;

    __device__ void read(
        const Place& place, const T* grad, const u8* seen, const T* cells, const T* kept,
        const T* first, const T* past, const T* dc, i64 all, int before
    ) {
        here = place.here(seen);
        total = beside(place, grad, past);
        by_c = beside(place, grad + all, dc);
        cell = load(cells + place.at);
        old = place.old(cells, first, before);
        for (int i = 0; i < 4 && here; ++i) z[i] = load(kept + place.part(i, 4));
    }

    // dz (T, N, 4, H); dc (N, H) is the cell's gradient.
    __device__ void write(const Place& place, const Values& dh, T* past, T* dc, T* dz) {
        add(total, dh);
        if (past) store(past + place.step, here ? zeros() : total);
        if (!here) {
            for (int i = 0; i < 4; ++i) z[i] = zeros();
        } else {
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
        }
        for (int i = 0; i < 4; ++i) store(dz + place.part(i, 4), z[i]);
        store(dc + place.step, by_c);
    }
};

// --- y (T, N, H); kept (T, N, 4, H): r, z, the product's part of n, and n -----------------------

struct GruForward {
    Values x[3], added[3], state;
    bool here;

    __device__ void read(
        const Place& place, const T* gates, const T* first, const T* bias, const u8* seen,
        const T* y, int before
    ) {
        here = place.here(seen);
        for (int i = 0; i < 3; ++i) {
            x[i] = load(gates + place.part(i, 3));
            added[i] = bias ? load(bias + i * place.size + place.feature) : zeros();
        }
        state = place.old(y, first, before);
    }

    __device__ void write(const Place& place, const Values (&own)[3], T* y, T* kept) {
        if (here) {
            for (int i = 0; i < 3; ++i) add(added[i], own[i]);
            EACH {
                const T of_n = added[2].at[k], r = sigmoid(x[0].at[k] + added[0].at[k]);
                const T z = sigmoid(x[1].at[k] + added[1].at[k]), n = tanh(x[2].at[k] + r * of_n);
                state.at[k] = n + z * (state.at[k] - n);
                added[0].at[k] = r, added[1].at[k] = z, x[2].at[k] = n;
            }
            for (int i = 0; i < 3; ++i) store(kept + place.part(i, 4), added[i]);
            store(kept + place.part(3, 4), x[2]);
        }
        store(y + place.at, state);
    }
};

struct GruBackward {
    Values total, old, of[4];
    bool here;

    __device__ void read(
        const Place& place, const T* grad, const u8* seen, const T* y, const T* kept,
        const T* first, const T* past, int before
    ) {
        here = place.here(seen);
        total = beside(place, grad, past);
        old = place.old(y, first, before);
        for (int i = 0; i < 4 && here; ++i) of[i] = load(kept + place.part(i, 4));
    }

    // dz (T, N, 3, H) by the gates, d_own (T, N, 3, H) by the product.
    __device__ void write(const Place& place, const Values& dh, T* past, T* dz, T* d_own) {
        add(total, dh);
        Values x[3], own = zeros();
        for (int i = 0; i < 3; ++i) x[i] = zeros();
        if (here) {
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
        for (int i = 0; i < 3; ++i) {
            store(dz + place.part(i, 3), x[i]);
            store(d_own + place.part(i, 3), i < 2 ? x[i] : own);
        }
        store(past + place.step, total);
    }
};
