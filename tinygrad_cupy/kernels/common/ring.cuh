// A ring of STAGES slices in shared memory, filled by COPIERS threads and read by GROUPS
// warpgroups. Copying threads hand a slice over when it is there, LAG slices after they asked for
// it; each warp that has multiplied hands it back. It stands behind hopper.cuh and turn.cuh.
//
// Constants: GROUPS, COPIERS, and BULK, the copies in bulk that a slice has beside theirs.

constexpr int LAG = STAGES - 2;
static_assert(STAGES >= 3, "ring");

typedef Turn<STAGES> Stage;

// Addresses in shared memory: of the slices, and of the barriers that say of each stage that it is
// full and that it is empty.
struct Ring {
    u32 slices, full, empty;

    // In `memory`, for all threads of a block to begin with.
    __device__ Ring(u32 memory, int stage_bytes) {
        slices = (memory + 1023) / 1024 * 1024;
        full = slices + STAGES * stage_bytes, empty = full + 8 * STAGES;
        if (threadIdx.x == 0) {
            for (int i = 0; i < STAGES; ++i) {
                barrier_init(full + 8 * i, COPIERS / 32 + BULK);
                barrier_init(empty + 8 * i, GROUPS * 4);
            }
            barriers_are_ready();
        }
        __syncthreads();
    }
    __device__ void wait_full(const Stage& stage) const {
        barrier_wait(full + 8 * stage.number, stage.parity);
    }
    __device__ void wait_empty(const Stage& stage) const {
        barrier_wait(empty + 8 * stage.number, stage.parity ^ 1);
    }
    __device__ bool is_empty(const Stage& stage) const {
        return barrier_has_passed(empty + 8 * stage.number, stage.parity ^ 1);
    }
    __device__ void hand_back(int stage) const {
        if (threadIdx.x % 32 == 0) barrier_arrive(empty + 8 * stage);
    }
    // One thread's part of a slice: BYTES by one copy.
    template <int BYTES>
    __device__ void bulk(const Stage& stage, u32 to, const u8* from) const {
        const u32 barrier = full + 8 * stage.number;
        barrier_arrive_expecting(barrier, BYTES);
        copy_bulk(to, from, BYTES, barrier);
    }
};

// A copying thread's slices on their way.
struct OnTheirWay {
    Stage arrived;
    int count = 0;

    __device__ void hand_over(const Ring& ring) {
        async_proxy_fence();
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(ring.full + 8 * arrived.number);
        arrived.next();
    }
    __device__ void one_more(const Ring& ring) {
        copies_end_group();
        if (count == LAG) {
            copies_wait<LAG>();
            hand_over(ring);
        } else {
            ++count;
        }
    }
    // Waits for an empty stage. Where that takes time, what is there is handed over meanwhile.
    __device__ void make_way(const Ring& ring, const Stage& stage) {
        if (__all_sync(0xffffffff, ring.is_empty(stage))) return;
        all(ring);
        ring.wait_empty(stage);
    }
    __device__ void all(const Ring& ring) {
        copies_wait<0>();
        for (; count > 0; --count) hand_over(ring);
    }
};
