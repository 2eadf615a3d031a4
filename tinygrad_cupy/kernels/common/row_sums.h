/* The largest of a row of float32, and sums over it, in double, the terms in an order that is the
   same on every machine: a compiler may not change it, and so would add them up one by one. */

/* Chains of sums do not wait for each other. */
enum { LANES = 4, CHAINS = 4, BLOCK = LANES * CHAINS };

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef double Doubles __attribute__((vector_size(8 * LANES)));

#define WIDE(place) __builtin_convertvector(*(const Floats *)(place), Doubles)

/* ``total``, a new double: of TERM, which is a Doubles of the LANES floats from i on, and of LAST,
   a double of the float at i. */
#define ROW_SUM(total, size, TERM, LAST) \
  double total = 0; \
  do { \
    Doubles chains[CHAINS] = {{0}}; \
    Int whole = (size) - (size) % BLOCK; \
    for (Int begin = 0; begin < whole; begin += BLOCK) \
      for (int chain = 0; chain < CHAINS; chain++) { \
        Int i = begin + chain * LANES; \
        chains[chain] += TERM; \
      } \
    for (Int i = whole; i < (size); i++) total += LAST; \
    Doubles all = (chains[0] + chains[1]) + (chains[2] + chains[3]); \
    total += (all[0] + all[1]) + (all[2] + all[3]); \
  } while (0)

/* The largest of a row; NaN is passed over here, and makes of its row NaN by what follows. */
INLINE float largest(const float *x, Int count)
{
  float most[16], top = -__builtin_inff();
  for (int k = 0; k < 16; k++) most[k] = -__builtin_inff();
  Int whole = count - count % 16;
  for (Int i = 0; i < whole; i += 16)
    for (int k = 0; k < 16; k++) most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
  for (Int i = whole; i < count; i++) top = x[i] > top ? x[i] : top;
  for (int k = 0; k < 16; k++) top = most[k] > top ? most[k] : top;
  return top;
}
