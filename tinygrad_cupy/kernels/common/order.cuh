// Elements as integers in the same order: NaN last, whatever its sign; -0 before 0.

__device__ unsigned int in_order(float x) {
    if (x != x) return 0xffffffffu;
    const unsigned int bits = __float_as_uint(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ unsigned long long in_order(double x) {
    if (x != x) return 0xffffffffffffffffull;
    const unsigned long long bits = __double_as_longlong(x);
    return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}
__device__ unsigned int in_order(int x) { return (unsigned int)x ^ 0x80000000u; }
__device__ unsigned int in_order(unsigned int x) { return x; }
__device__ unsigned long long in_order(long long x) {
    return (unsigned long long)x ^ 0x8000000000000000ull;
}
__device__ unsigned long long in_order(unsigned long long x) { return x; }

// What the key was made of; a NaN of any bits comes back as one.
__device__ void get_back(unsigned int key, float &x) {
    x = __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}
__device__ void get_back(unsigned long long key, double &x) {
    x = __longlong_as_double(key >> 63 ? key & 0x7fffffffffffffffull : ~key);
}
__device__ void get_back(unsigned int key, int &x) { x = (int)(key ^ 0x80000000u); }
__device__ void get_back(unsigned int key, unsigned int &x) { x = key; }
__device__ void get_back(unsigned long long key, long long &x) {
    x = (long long)(key ^ 0x8000000000000000ull);
}
__device__ void get_back(unsigned long long key, unsigned long long &x) { x = key; }

// -0 as 0, where places follow a key: of equal elements the first comes first. By the bits, for
// what compares floats may take the smallest ones for 0.
template <typename X> __device__ X one_zero(X x) { return x; }
template <> __device__ float one_zero(float x) { return __float_as_uint(x) << 1 ? x : 0.0f; }
template <> __device__ double one_zero(double x) {
    return __double_as_longlong(x) << 1 ? x : 0.0;
}
