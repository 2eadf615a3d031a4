/* Functions of one float32, of which a compiler makes loops of vectors: no branch, no call, no
   table. Errors are below 1.5 units in the last place, of the sigmoid below 2.5
   (tests/backend/test_c_math.py); NaN stays NaN. They are for kernels that round on their way
   anyway; block_machine.c, whose result is a function itself, computes in double.
   The polynomials are minimax ones of the relative error, by Remez' exchange. */

#include <math.h>

INLINE float float_of(uint32_t bits)
{
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

INLINE uint32_t bits_of(float x)
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* eˣ = 2ⁿ eʳ, |r| ≤ ln 2 / 2: 0 below -104, infinite above 88.72, subnormal between where it is. */
INLINE float exp_of(float x)
{
  const float round = 12582912.0f; /* 1.5 · 2²³: what is added to it is rounded to an integer */
  float t = x < -104.0f ? -104.0f : x;
  t = t > 89.0f ? 89.0f : t;
  float shifted = t * 1.44269504f + round, n = shifted - round;
  float r = t - n * 0.693359375f; /* ln 2 in two parts, the first short: n times it is exact */
  r += n * 2.12194440e-4f;
  float p = 1.38145371e-3f;
  p = p * r + 8.36874508e-3f;
  p = p * r + 4.16683908e-2f;
  p = p * r + 0.166665204f;
  p = p * r + 0.499999934f;
  p = (p * r) * r + r + 1.0f;
  /* 2ⁿ in two factors, or its exponent would leave the range where the result does not */
  int32_t power = (int32_t)(bits_of(shifted) - bits_of(round)), half = power >> 1;
  float first = float_of((uint32_t)(half + 127) << 23);
  float second = float_of((uint32_t)(power - half + 127) << 23);
  return p * first * second;
}

/* 1 / (1 + e⁻ˣ). */
INLINE float sigmoid_of(float x)
{
  float e = exp_of(-fabsf(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

INLINE float tanh_of(float x)
{
  float a = fabsf(x), u = a * a;
  float p = -5.71704507e-3f;
  p = p * u + 2.06505871e-2f;
  p = p * u - 5.37434979e-2f;
  p = p * u + 0.133314913f;
  p = p * u - 0.333332839f;
  float small = a + a * u * p, large = 1.0f - 2.0f / (exp_of(2.0f * a) + 1.0f);
  return copysignf(a < 0.625f ? small : large, x);
}

/* ln x of a positive, normal number, in double; of NaN it is NaN. */
INLINE double log_of(double x)
{
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int64_t power = (int64_t)(bits >> 52) - 1023;
  bits = (bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
  double m;
  memcpy(&m, &bits, sizeof m);
  int above = m > 1.4142135623730951;
  m = above ? 0.5 * m : m;
  double s = (m - 1.0) / (m + 1.0), u = s * s; /* ln m = 2 artanh s, |s| ≤ 0.172 */
  double p = 1.0 / 17;
  p = p * u + 1.0 / 15;
  p = p * u + 1.0 / 13;
  p = p * u + 1.0 / 11;
  p = p * u + 1.0 / 9;
  p = p * u + 1.0 / 7;
  p = p * u + 1.0 / 5;
  p = p * u + 1.0 / 3;
  double found = (double)(power + above) * 0.6931471805599453 + 2.0 * (s + s * u * p);
  return x == x ? found : x;
}
