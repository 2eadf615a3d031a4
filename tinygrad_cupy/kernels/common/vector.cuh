// WIDTH neighbours, which one instruction moves where they take up to 16 bytes: at addresses that
// are a multiple of their size.

template <class Value>
struct alignas(WIDTH * sizeof(Value) < 16 ? WIDTH * sizeof(Value) : 16) Pack {
    Value at[WIDTH];
};

template <class Value>
__device__ Pack<Value> load(const Value* from) {
    return *(const Pack<Value>*)from;
}

template <class Value>
__device__ void store(Value* to, const Pack<Value>& values) {
    *(Pack<Value>*)to = values;
}
