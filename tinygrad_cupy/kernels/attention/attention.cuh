// Attention: what its kernels are told. y = softmax(q kᵀ · scale + mask) v for each batch and head;
// the rows of q are queries, those of k and v are keys.
//
// Macros: KIND (tensor_cores.cuh); CAUSAL; MASK: 0 none, 1 of booleans, 2 of float32;
// ATTENTION_BYTES.

#if KIND == 0
typedef float Operand;
#else
typedef u16 Operand;  // bits
#endif
#if MASK == 1
typedef u8 Mask;
#else
typedef float Mask;
#endif

constexpr float LOG2_E = 1.4426950408889634f;

// NVRTC has no INFINITY.
__device__ __forceinline__ float infinite() { return __uint_as_float(0x7f800000); }

struct Strides {
    i64 batch, head, row;  // in elements; those of a row are neighbours
};
struct Attention {
    Strides q, k, v, y, g, dq, dk, dv;  // g: the gradient by y
    i64 mask_batch, mask_head;
    int mask_row, mask_column;
    int heads, shared;  // of queries; how many of them share one of keys
    int queries, keys, width;
    float scale;
};
static_assert(sizeof(Attention) == ATTENTION_BYTES, "as plan.py packs it");

// Which part of the work a block has.
struct Task {
    int block, batch, head, count;  // of rows; where the head lies, and its number
    __device__ Task(int rows, int rows_of_block, int heads, bool last_first) {
        const int blocks = (rows + rows_of_block - 1) / rows_of_block;
        count = blockIdx.x / blocks;
        block = blockIdx.x - count * blocks;
        if (last_first) block = blocks - 1 - block;
        batch = count / heads, head = count - batch * heads;
    }
};

__device__ __forceinline__ i64 place(const Strides& strides, int batch, int head) {
    return batch * strides.batch + head * strides.head;
}
