// What the kernels of wide layers share: the layer as they are told of it, and element types.
//
// A wide layer is a product: rows are pixels of y, columns its channels, and what is summed over,
// K, is taps times channels of x. K is counted in pieces of 16 bytes (UNIT channels of one tap) and
// cut into slices of 8 pieces, 128 bytes, which is what the copy and the tensor cores take at once.
// Pieces are in the order (group, tap, piece of the group): a group is 8 pieces where the channels
// are a multiple of that, so that one tap after the other reads neighbouring pixels of the same
// channels, else all channels.
//
// The gradient by x of a layer with stride s is s * s layers of stride 1, one for each residue of
// row and column: its phase. Each phase has the taps that hit it, maybe none.
//
// Macros: KIND, how operands are multiplied: 0 as TF32, 1 as bfloat16, 2 as float16; BULK, 0 or 1
// copies in bulk of a slice, where there is a ring of them.

#if KIND == 0
typedef float Operand;
#else
typedef u16 Operand;  // bits
#endif
constexpr int UNIT = 16 / sizeof(Operand);
constexpr int SLICE = 8;      // pieces
constexpr int ROW_BYTES = 128;  // of a slice
constexpr int GROUPS = 2, COPIERS = 128;  // see ring.cuh

struct Phase {
    int first_row, first_column;      // of x: where tap (0, 0) of output pixel (0, 0) lies
    int taps_down, taps_across;       // how many taps
    int kernel_row, kernel_column;    // the kernel's place that tap (0, 0) is
    int rows, columns;                // of output pixels
    int out_row, out_column;          // of y: where output pixel (0, 0) lies
    int slices, first_slice;          // of K; of all phases before
    int first_tile;                   // tiles of rows of all phases before
};

struct Layer {
    int images, height, width, channels;       // x (N, H, W, C), C a multiple of UNIT
    int outputs, out_height, out_width;        // y (N, OH, OW, O)
    int down, across;                          // in x from output pixel to output pixel
    int tap_down, tap_across;                  // in x from tap to tap
    int out_down, out_across;                  // in y from output pixel to output pixel
    int kernel_down, kernel_across;            // in the kernel from tap to tap
    int kernel_height, kernel_width;
    int group;                                 // pieces
    int tiles, blocks;                         // tiles of rows in all phases, blocks of columns
    int phases;
    Phase phase[16];
};
static_assert(sizeof(Layer) == LAYER_BYTES, "as wide.py packs it");

// A piece of K: which tap and channels.
struct Piece {
    int piece, column, row, group;  // piece of the group, tap's column and row

    __device__ explicit Piece(int first, const Layer& l, const Phase& p)
        : piece(first), column(0), row(0), group(0) {
        settle(l, p);
    }
    __device__ void settle(const Layer& l, const Phase& p) {
        while (piece >= l.group) {
            piece -= l.group;
            if (++column == p.taps_across) {
                column = 0;
                if (++row == p.taps_down) row = 0, ++group;
            }
        }
    }
    __device__ int channel(const Layer& l) const { return (group * l.group + piece) * UNIT; }
};
