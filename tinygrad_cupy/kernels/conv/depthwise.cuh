// Depthwise convolution: every channel is an image by itself, and all of it is bound by memory.
// Arrays are stored N, H, W, C, of type T; sums are of type A. A thread has WIDTH neighbouring
// channels, which one load brings, and a tile of ROWS x COLUMNS pixels, of which it works through
// the rows: what a row of the other array brings is used for all that it meets, in registers.
// Threads beside each other have channels beside each other, so that a warp reads long runs.
//
// Macros: KH KW SH SW DH DW as in tiles.cu; MULTIPLIER output channels to one of the input; ROWS,
// COLUMNS; LANES threads at most that a block has along the channels. WIDTH is 1 where MULTIPLIER
// is more.

// What a thread is in its block: `lanes` along the channels, in each of `places` tiles.
struct Thread {
    int lane, place, places, first, channel;  // `first` of the block's channels, and its own
    bool there;                               // else it has no channel, and only waits

    __device__ Thread(int lanes, int channels)
        : lane(threadIdx.x % lanes), place(threadIdx.x / lanes), places(THREADS / lanes),
          first(blockIdx.y * lanes * WIDTH), channel(first + lane * WIDTH),
          there(place < places && channel < channels) {}
};

// A tile's image, row and column, in tiles.
struct Tile {
    int image, down, across;

    __device__ Tile(int tile, int tiles_down, int tiles_across) {
        const int line = tile / tiles_across;
        across = tile - line * tiles_across;
        image = line / tiles_down;
        down = line - image * tiles_down;
    }
};

// Images in memory.
struct Images {
    int height, width, channels;

    // Where a channel of a pixel lies, also of one beside the image, which nobody reads.
    __device__ i64 at(int image, int row, int column, int channel) const {
        return (((i64)image * height + row) * width + column) * channels + channel;
    }
};

// The channels of a pixel; zeros where there is none.
__device__ __forceinline__ void load_pixel(A (&to)[WIDTH], const T* from, bool inside) {
    if (inside) {
        const Pack<T> values = load(from);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) to[k] = (A)values.at[k];
    } else {
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) to[k] = 0;
    }
}
