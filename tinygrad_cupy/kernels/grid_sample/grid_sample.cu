// Grids (N, C, sizes) sampled at points (N, P, D): as grid_sample.c, a thread for each element.
//
// Macros: TYPE the dtype, ACC what is computed in, INDEX u32, or u64 where there are more elements,
// and the numbers of rules.

typedef INDEX Index;

enum { AXES = 3, EACH = 4 };

struct Grid {
    int channels, points, columns, lead, rule, round;  // round: 0 down, 1 to the even, 2 up
    int sizes[AXES], taps[AXES], column[AXES], count;
    double scale[AXES], shift[AXES], factor, weights[AXES][EACH][EACH];
};
static_assert(sizeof(Grid) == GRID_BYTES, "as cuda.py packs it");

__device__ A down(A x, int round) {
    return round == 0 ? floor(x) : round == 1 ? rint(x) : floor(x + (A)0.5);
}

// Which element of an axis stands for an index; -1 where none does.
__device__ int inside(i64 i, int n, int rule) {
    if (i >= 0 && i < n) return (int)i;
    const i64 period = rule == MIRROR ? 2 * (i64)n - 2 : 2 * (i64)n;
    if (rule == ZEROS) return -1;
    if (rule == CLIP) return i < 0 ? 0 : n - 1;
    if (rule == WRAP) return (int)((i % n + n) % n);
    if (rule == MIRROR) {
        if (n == 1) return 0;
        i = (i % period + period) % period;
        return (int)(i < n ? i : period - i);
    }
    if (rule == REFLECT) {
        i = (i % period + period) % period;
        return (int)(i < n ? i : period - 1 - i);
    }
    return -1;
}

struct Neighbours {
    int index[AXES][EACH];
    A weight[AXES][EACH];

    __device__ Neighbours(const Grid& g, const T* point) {
        const A far = (A)1099511627776.0;
        for (int a = 0; a < AXES; ++a) {
            index[a][0] = 0;
            weight[a][0] = 1;
            if (g.column[a] < 0) continue;
            const A at = (A)point[g.column[a]] * (A)g.scale[a] + (A)g.shift[a];
            A first = down(at, g.round);
            const A beyond = at - first;
            first = first < -far ? -far : first > far ? far : first;
            const i64 whole = (first == first ? (i64)first : 0) - g.lead;
            for (int k = 0; k < g.taps[a]; ++k) {
                A w = (A)g.weights[a][k][EACH - 1];
                for (int i = EACH - 2; i >= 0; --i) w = w * beyond + (A)g.weights[a][k][i];
                index[a][k] = inside(whole + k, g.sizes[a], g.rule);
                weight[a][k] = index[a][k] < 0 ? (A)0 : w;
            }
        }
    }

    // visit(place, weight) for each neighbour, those that do not count with 0.
    template <class Visit>
    __device__ void each(const Grid& g, Visit visit) const {
        for (int i = 0; i < g.taps[0]; ++i) {
            for (int j = 0; j < g.taps[1]; ++j) {
                for (int k = 0; k < g.taps[2]; ++k) {
                    const A w = weight[0][i] * weight[1][j] * weight[2][k] * (A)g.factor;
                    const i64 row = (i64)max(index[0][i], 0) * g.sizes[1] + max(index[1][j], 0);
                    visit(row * g.sizes[2] + max(index[2][k], 0), w);
                }
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    grid_sample(const T* x, const T* points, T* y, Index count, const __grid_constant__ Grid g) {
    const Index element = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= count) return;
    const Index image = element / g.points;
    const Index point = image / g.channels * g.points + (element - image * g.points);
    const T* from = x + (i64)image * g.sizes[0] * g.sizes[1] * g.sizes[2];
    const Neighbours found(g, points + (i64)point * g.columns);
    A sum = 0;
    found.each(g, [&](i64 place, A weight) {
        if (weight != (A)0) sum += weight * (A)from[place];
    });
    y[element] = (T)sum;
}

// Of each point (N * P) the places in all grids, one behind the other, and the weights.
extern "C" __global__ void __launch_bounds__(THREADS)
    grid_neighbours(const T* points, i64* places, T* weights, Index count,
                    const __grid_constant__ Grid g) {
    const Index point = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (point >= count) return;
    const i64 start = (i64)(point / g.points) * g.sizes[0] * g.sizes[1] * g.sizes[2];
    const Neighbours found(g, points + (i64)point * g.columns);
    i64 at = (i64)point * g.count;
    found.each(g, [&](i64 place, A weight) {
        places[at] = start + place;
        weights[at++] = (T)weight;
    });
}
