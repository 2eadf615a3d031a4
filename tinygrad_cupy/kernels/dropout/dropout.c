/* Dropout on the CPU: Philox4x64-10 (Salmon et al. 2011), as in philox.cuh, and what it keeps. */

/* What Python passes. Element i of the whole array, in C order, has word i of the stream from
   ``counter`` on, and is kept where that is ``least`` or more. */
typedef struct {
  Int channels, pixels; /* of an image */
  uint64_t counter, seed, stream, least;
  float scale;
} Dropout;

/* Four words: what numpy.random.Philox gives for the counter ``c0``. */
INLINE void philox(uint64_t c0, uint64_t k0, uint64_t k1, uint64_t *words)
{
  uint64_t c1 = 0, c2 = 0, c3 = 0;
  for (int round = 0; round < 10; round++) {
    __uint128_t one = (__uint128_t)0xD2E7470EE14C6C93ULL * c0;
    __uint128_t two = (__uint128_t)0xCA5A826395121157ULL * c2;
    c0 = (uint64_t)(two >> 64) ^ c1 ^ k0;
    c1 = (uint64_t)two;
    c2 = (uint64_t)(one >> 64) ^ c3 ^ k1;
    c3 = (uint64_t)one;
    k0 += 0x9E3779B97F4A7C15ULL;
    k1 += 0xBB67AE8584CAA73BULL;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

/* y (N, C, H, W) = x * mask * scale, and the mask, drawn. An image has a multiple of 4 elements. */
void dropout_draw(
    const Dropout *s, const Share *share, const Images *x, float *y, uint8_t *mask, float *scratch)
{
  Int size = s->channels * s->pixels;
  (void)scratch;
  EACH_ITEM (share, part, n) {
    uint8_t *restrict kept = mask + n * size;
    float *restrict out = y + n * size;
    uint64_t first = s->counter + n * size / 4 + 1;
    for (Int block = 0; block < size / 4; block++) {
      uint64_t words[4];
      philox(first + block, s->seed, s->stream, words);
      for (int i = 0; i < 4; i++) kept[4 * block + i] = words[i] >= s->least;
    }
    const float *image = x->at + n * x->by_image;
    for (Int channel = 0; channel < s->channels; channel++) {
      const float *from = image + channel * x->by_channel;
      for (Int p = 0; p < s->pixels; p++) out[p] = from[p * x->by_pixel] * kept[p] * s->scale;
      out += s->pixels, kept += s->pixels;
    }
  }
}
TASK(dropout_draw, 3)

/* y = x * mask * scale, of arrays in one order. */
void dropout_keep(
    const Dropout *s, const Share *share, const float *restrict x, const uint8_t *restrict mask,
    float *restrict y, float *scratch)
{
  (void)scratch;
  EACH_PART (share, part)
    for (Int i = part * share->each; i < part_end(share, part); i++)
      y[i] = x[i] * mask[i] * s->scale;
}
TASK(dropout_keep, 3)
