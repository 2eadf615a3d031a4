// Steps whose product is made before: forward it stands where the result goes (in `y` of an Elman
// network, else in the first parts of `kept`), backward in `dh`. Macros as in steps.cuh.

__device__ Place place_of(int rows, int size, int t) {
    const i64 first = ((i64)blockIdx.x * THREADS + threadIdx.x) * WIDTH;
    if (first >= (i64)rows * size) return Place(rows, 0, rows, size, t);
    return Place((int)first / size, (int)first % size, rows, size, t);
}

extern "C" __global__ void rnn_forward(
    const T* gates, const T* first, const u8* seen, T* y, int relu, int rows, int size, int t,
    int before
) {
    const Place place = place_of(rows, size, t);
    if (place.outside) return;
    RnnForward step;
    step.read(place, gates, seen);
    const Values own[1] = {load(y + place.at)};
    step.write(place, own, first, y, relu, before);
}

extern "C" __global__ void rnn_backward(
    const T* grad, const u8* seen, const T* y, T* past, T* dz, int relu, const T* dh, int rows,
    int size, int t, int before
) {
    const Place place = place_of(rows, size, t);
    if (place.outside) return;
    RnnBackward step;
    step.read(place, grad, seen, y, past);
    step.write(place, load(dh + place.step), past, dz, relu);
}

extern "C" __global__ void lstm_forward(
    const T* gates, const T* first_h, const T* first_c, const u8* seen, T* y, T* kept, int steps,
    int rows, int size, int t, int before
) {
    const Place place = place_of(rows, size, t);
    if (place.outside) return;
    T* cells = y + (i64)steps * rows * size;
    LstmForward step;
    step.read(place, gates, first_c, seen, cells, before);
    Values own[4];
    for (int i = 0; i < 4; ++i) own[i] = load(kept + place.part(i, 4));
    step.write(place, own, first_h, y, cells, kept, before);
}

extern "C" __global__ void lstm_backward(
    const T* grad, const u8* seen, const T* y, const T* kept, const T* first_c, T* past, T* dc,
    T* dz, int steps, const T* dh, int rows, int size, int t, int before
) {
    const Place place = place_of(rows, size, t);
    if (place.outside) return;
    const i64 all = (i64)steps * rows * size;
    LstmBackward step;
    step.read(place, grad, seen, y + all, kept, first_c, past, dc, all, before);
    step.write(place, load(dh + place.step), past, dc, dz);
}

extern "C" __global__ void gru_forward(
    const T* gates, const T* first, const T* bias, const u8* seen, T* y, T* kept, int rows,
    int size, int t, int before
) {
    const Place place = place_of(rows, size, t);
    if (place.outside) return;
    GruForward step;
    step.read(place, gates, first, bias, seen, y, before);
    Values own[3];
    for (int i = 0; i < 3; ++i) own[i] = load(kept + place.part(i, 4));
    step.write(place, own, y, kept);
}

extern "C" __global__ void gru_backward(
    const T* grad, const u8* seen, const T* y, const T* kept, const T* first, T* past, T* dz,
    T* d_own, const T* dh, int rows, int size, int t, int before
) {
    const Place place = place_of(rows, size, t);
    if (place.outside) return;
    GruBackward step;
    step.read(place, grad, seen, y, kept, first, past, before);
    step.write(place, load(dh + place.step), past, dz, d_own);
}
