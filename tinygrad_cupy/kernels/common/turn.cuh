// Where a thread is in a ring of COUNT places, and the parity that their barriers have next.
template <int COUNT>
struct Turn {
    int number = 0;
    u32 parity = 0;
    __device__ void next() {
        if (++number == COUNT) number = 0, parity ^= 1;
    }
};
