// The products of implicit_gemm.cu by mma.sync, each warp's own, or in float32 by plain
// multiply-adds.
//
// Weights lie WEIGHT_STRIDE words apart for each output channel and of these TAP_STRIDE for each
// tap.

// Without tensor cores a lane wants output channels 2t and 2t + 1: apart by four rows, so that the
// lanes' rows are in different banks.
__device__ __forceinline__ int place_of_weight(int o, int word, int tap) {
    const int row = PRECISION == 0 ? o / 8 * 8 + o % 2 * 4 + o / 2 % 4 : o;
    return row * WEIGHT_STRIDE + tap * TAP_STRIDE + word;
}

__device__ __forceinline__ void weights_are_stored() {}

__device__ __forceinline__ void multiply_input_tile(float (*acc)[NT][4], const u32* input_tile,
                                                    const int* rows, const u32* weights,
                                                    int warp_n, int wide, bool fresh) {
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int k = 0; k < 4; ++k) acc[i][j][k] = fresh ? 0 : acc[i][j][k];
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    weights += warp_n * NT * 8 * WEIGHT_STRIDE;
    if (PRECISION != 0) weights += g * WEIGHT_STRIDE + (PRECISION == 2 && CB % 16 ? t : 2 * t);
    for (int kh = 0; kh < KH; ++kh)
#pragma unroll
        for (int kw = 0; kw < KW; ++kw) {
            const u32* a_tap = input_tile + (kh * DH * wide + kw * DW) * STRIDE;
            const u32* b_tap = weights + (kh * KW + kw) * TAP_STRIDE;
            if (PRECISION == 0) {
#pragma unroll 2
                for (int k = 0; k < CB; k += 4) {
                    float4 a[2 * MT];
#pragma unroll
                    for (int i = 0; i < 2 * MT; ++i) a[i] = *(const float4*)(a_tap + rows[i] + k);
#pragma unroll
                    for (int j = 0; j < NT; ++j)
                        // Output channels 2t and 2t + 1, see place_of_weight.
#pragma unroll
                        for (int e = 0; e < 2; ++e) {
                            const u32* row = b_tap + (8 * j + 4 * e + t) * WEIGHT_STRIDE;
                            const float4 b = *(const float4*)(row + k);
#pragma unroll
                            for (int i = 0; i < 2 * MT; ++i) {
                                float& sum = acc[i / 2][j][i % 2 * 2 + e];
                                sum += a[i].x * b.x;
                                sum += a[i].y * b.y;
                                sum += a[i].z * b.z;
                                sum += a[i].w * b.w;
                            }
                        }
                }
            } else if (PRECISION == 1) {
#pragma unroll
                for (int k = 0; k < CB; k += 8) {
                    float a[MT][4];
#pragma unroll
                    for (int i = 0; i < MT; ++i) {
                        float2 upper = *(const float2*)(a_tap + rows[2 * i] + k + 2 * t);
                        float2 lower = *(const float2*)(a_tap + rows[2 * i + 1] + k + 2 * t);
                        a[i][0] = near_tf32(upper.x), a[i][2] = near_tf32(upper.y);
                        a[i][1] = near_tf32(lower.x), a[i][3] = near_tf32(lower.y);
                    }
#pragma unroll
                    for (int j = 0; j < NT; ++j) {
                        float2 b = *(const float2*)(b_tap + 8 * j * WEIGHT_STRIDE + k);
                        float pair[2] = {b.x, b.y};
#pragma unroll
                        for (int i = 0; i < MT; ++i) multiply_tf32(acc[i][j], a[i], pair);
                    }
                }
            } else if (CB % 16 == 0) {  // of 16 channels a lane has four neighbours: two words
#pragma unroll
                for (int k = 0; k < CB / 2; k += 8) {
                    u32 a[MT][4];
#pragma unroll
                    for (int i = 0; i < MT; ++i) {
                        const uint2 upper = *(const uint2*)(a_tap + rows[2 * i] + k + 2 * t);
                        const uint2 lower = *(const uint2*)(a_tap + rows[2 * i + 1] + k + 2 * t);
                        a[i][0] = upper.x, a[i][1] = lower.x, a[i][2] = upper.y, a[i][3] = lower.y;
                    }
#pragma unroll
                    for (int j = 0; j < NT; ++j) {
                        const uint2 b = *(const uint2*)(b_tap + 8 * j * WEIGHT_STRIDE + k);
                        const u32 pair[2] = {b.x, b.y};
#pragma unroll
                        for (int i = 0; i < MT; ++i) multiply_bf16_deep(acc[i][j], a[i], pair);
                    }
                }
            } else {
#pragma unroll
                for (int k = 0; k < CB / 2; k += 4) {
                    u32 a[2 * MT];
#pragma unroll
                    for (int i = 0; i < 2 * MT; ++i) a[i] = a_tap[rows[i] + k + t];
#pragma unroll
                    for (int j = 0; j < NT; ++j) {
                        const u32 b = b_tap[8 * j * WEIGHT_STRIDE + k];
#pragma unroll
                        for (int i = 0; i < MT; ++i)
                            multiply_bf16(acc[i][j], a[2 * i], a[2 * i + 1], b);
                    }
                }
            }
        }
}
