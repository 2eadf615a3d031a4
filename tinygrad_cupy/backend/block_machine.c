/* Programs of elementwise steps, block by block: every step is a loop over a block that stays in
   the first cache, so that a program of any length reads and writes memory once.

   TYPE is float or double, MASK the integer of its size: 0 or -1, whether a condition holds. Steps
   round as NumPy's functions do. Those of exponentials compute in double and round once, so that
   they err by 0.54 units in the last place at most; they are for float alone. */

#include <math.h>

enum { SLOTS = 256 };

/* --- steps: out of a, b and c, each a block ("v") or one number ("s") ----------------------- */

#define LOOP(name, OUT, A, B, C, before, inside, expression) \
  void name(OUT *restrict out, const A *a, const B *b, const C *c, Int n) \
  { \
    (void)b, (void)c; \
    before; \
    for (Int i = 0; i < n; i++) { \
      inside; \
      out[i] = (expression); \
    } \
  }
#define ONE(name, OUT, A, expression) \
  LOOP(name##_v, OUT, A, void, void, , const A x = a[i], expression)
#define TWO(name, OUT, A, expression) \
  LOOP(name##_vv, OUT, A, A, void, , const A x = a[i]; const A y = b[i], expression) \
  LOOP(name##_vs, OUT, A, A, void, const A y = *b, const A x = a[i], expression) \
  LOOP(name##_sv, OUT, A, A, void, const A x = *a, const A y = b[i], expression)

TWO(add, TYPE, TYPE, x + y)
TWO(subtract, TYPE, TYPE, x - y)
TWO(multiply, TYPE, TYPE, x * y)
TWO(divide, TYPE, TYPE, x / y)
TWO(maximum, TYPE, TYPE, (x > y) | (x != x) ? x : y)
TWO(minimum, TYPE, TYPE, (x < y) | (x != x) ? x : y)
TWO(fmax, TYPE, TYPE, (x > y) | (y != y) ? x : y)
TWO(fmin, TYPE, TYPE, (x < y) | (y != y) ? x : y)
TWO(at_least, TYPE, TYPE, x < y ? y : x) /* both as in NumPy's clip */
TWO(at_most, TYPE, TYPE, x > y ? y : x)
TWO(less, MASK, TYPE, -(MASK)(x < y))
TWO(less_equal, MASK, TYPE, -(MASK)(x <= y))
TWO(greater, MASK, TYPE, -(MASK)(x > y))
TWO(greater_equal, MASK, TYPE, -(MASK)(x >= y))
TWO(equal, MASK, TYPE, -(MASK)(x == y))
TWO(not_equal, MASK, TYPE, -(MASK)(x != y))
TWO(bitwise_and, MASK, MASK, x & y)
TWO(bitwise_or, MASK, MASK, x | y)
TWO(bitwise_xor, MASK, MASK, x ^ y)

ONE(positive, TYPE, TYPE, x)
ONE(negative, TYPE, TYPE, -x)
ONE(absolute, TYPE, TYPE, x < 0 ? -x : x + 0) /* -0 + 0 is 0 */
ONE(square, TYPE, TYPE, x * x)
ONE(reciprocal, TYPE, TYPE, 1 / x)
ONE(sign, TYPE, TYPE, x != x ? x : (TYPE)((x > 0) - (x < 0)))
ONE(isnan, MASK, TYPE, -(MASK)(x != x))
ONE(isinf, MASK, TYPE, -(MASK)((x == INFINITY) | (x == -INFINITY)))
ONE(isfinite, MASK, TYPE, -(MASK)(x - x == 0))
ONE(invert, MASK, MASK, ~x)
ONE(number, TYPE, MASK, (TYPE)-x)

LOOP(fill_s, TYPE, TYPE, void, void, const TYPE x = *a, , x)

/* a is the condition, b where it holds, c elsewhere. */
LOOP(where_vvv, TYPE, MASK, TYPE, TYPE, , const TYPE y = b[i]; const TYPE z = c[i], a[i] ? y : z)
LOOP(where_vvs, TYPE, MASK, TYPE, TYPE, const TYPE z = *c, const TYPE y = b[i], a[i] ? y : z)
LOOP(where_vsv, TYPE, MASK, TYPE, TYPE, const TYPE y = *b, const TYPE z = c[i], a[i] ? y : z)
LOOP(where_vss, TYPE, MASK, TYPE, TYPE, const TYPE y = *b; const TYPE z = *c, , a[i] ? y : z)

#ifdef SINGLE

ONE(sqrt, TYPE, TYPE, sqrtf(x))

INLINE double from_bits(int64_t bits)
{
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

INLINE int64_t bits_of(double x)
{
  int64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* x = n log(2) + r: 2ⁿ, and e^r - 1 by a polynomial that errs by 2^-31.8. Beyond ±FAR, where float
   overflows or is 0 both ways, x counts as ±FAR. */
typedef struct {
  double power, rest;
} Exponential;

INLINE Exponential exponential(double x)
{
  const double FAR = 700, SHIFT = 0x1.8p52;
  x = x > FAR ? FAR : x;
  x = x < -FAR ? -FAR : x;
  const double shifted = x * 0x1.71547652b82fep0 + SHIFT, n = shifted - SHIFT;
  const double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
  double p = 0.00019899390183679232;
  p = p * r + 0.0013941213100006334;
  p = p * r + 0.008333298344023092;
  p = p * r + 0.04166635163844457;
  p = p * r + 0.1666666671931248;
  p = p * r + 0.5000000047401394;
  p = p * r + 1;
  return (Exponential){from_bits((int64_t)((uint64_t)(bits_of(shifted) + 1023) << 52)), p * r};
}

INLINE double exp_of(double x)
{
  const Exponential e = exponential(x);
  return e.power + e.power * e.rest;
}

INLINE double expm1_of(double x)
{
  const Exponential e = exponential(x);
  return e.power * e.rest + (e.power - 1);
}

/* log(x) for normal x > 0: of x = 2ⁿ m, m near 1, by the series of 2 artanh((m - 1) / (m + 1)). */
INLINE double log_of_normal(double x)
{
  const uint64_t ROOT = 0x3fe6a09e667f3bcd; /* of 1/2 */
  const uint64_t above = (uint64_t)bits_of(x) - ROOT, fraction = above & 0xfffffffffffff;
  /* The exponent as a number: with 1024 added it is above 0, and fits into the digits of 2^52. */
  const uint64_t exponent = (above + (1024ULL << 52)) >> 52;
  const double n = from_bits((int64_t)(exponent | 0x4330000000000000)) - (0x1p52 + 1024);
  const double m = from_bits((int64_t)(fraction + ROOT));
  const double s = (m - 1) / (m + 1), z = s * s;
  double p = 2.0 / 17;
  p = p * z + 2.0 / 15;
  p = p * z + 2.0 / 13;
  p = p * z + 2.0 / 11;
  p = p * z + 2.0 / 9;
  p = p * z + 2.0 / 7;
  p = p * z + 2.0 / 5;
  p = p * z + 2.0 / 3;
  p = p * z + 2;
  return n * 0x1.62e42fefa39efp-1 + p * s;
}

INLINE double log_of(double x)
{
  const double found = log_of_normal(x);
  const double finite = x == 0 ? -INFINITY : x < 0 ? NAN : found;
  return (x == INFINITY) | (x != x) ? x : finite;
}

INLINE double log1p_of(double x)
{
  const double u = 1 + x, found = log_of_normal(u) + (x - (u - 1)) / u;
  const double finite = x == -1 ? -INFINITY : x < -1 ? NAN : found;
  return (x == INFINITY) | (x != x) ? x : finite;
}

/* x times a quotient of polynomials in x², which errs by 2^-34. From ±9.1 on float holds ±1. */
INLINE double tanh_of(double x)
{
  x = x > 9.1 ? 9.1 : x;
  x = x < -9.1 ? -9.1 : x;
  const double s = x * x;
  double p = 3.634494676621526e-11, q = 2.927540845047645e-09;
  p = p * s + 1.1054066461384133e-07;
  q = q * s + 2.593603529627634e-06;
  p = p * s + 4.21636765775176e-05;
  q = q * s + 0.000500014174382258;
  p = p * s + 0.004421691575998159;
  q = q * s + 0.029186196713818148;
  p = p * s + 0.1409601801307213;
  q = q * s + 0.47429351302811423;
  p = p * s + 0.9999999999596463;
  q = q * s + 1;
  return x * p / q;
}

/* The same, which errs by 2^-28.9. From ±3.94 on float holds ±1. */
INLINE double erf_of(double x)
{
  x = x > 3.94 ? 3.94 : x;
  x = x < -3.94 ? -3.94 : x;
  const double s = x * x;
  double p = -1.2943505036092419e-08, q = 6.26463256471199e-05;
  p = p * s + 4.635568098338698e-06;
  q = q * s + 0.0013039017315356603;
  p = p * s + 0.00037777162057166214;
  q = q * s + 0.015443774042918329;
  p = p * s + 0.003843678422825513;
  q = q * s + 0.11391596499374096;
  p = p * s + 0.05427339754814862;
  q = q * s + 0.497453718862574;
  p = p * s + 0.1851899403476487;
  q = q * s + 1;
  p = p * s + 1.1283791691764953;
  return x * p / q;
}

INLINE double logaddexp_of(double x, double y)
{
  const double top = x > y ? x : y, apart = x > y ? y - x : x - y;
  const double far = x == y ? 0 : apart; /* infinities that are equal */
  return top + log1p_of(exp_of(far));
}

/* As C's pow: of a negative x where y is whole, else NaN; 1 where x is 1 or y is 0, even of NaN. */
INLINE double power_of(double x, double y)
{
  const double size = x < 0 ? -x : x;
  const double found = exp_of(y * log_of(size));
  const double half = y * 0.5;
  const MASK whole = y == rint(y), odd = whole & (half != rint(half));
  const double sign = odd & (bits_of(x) < 0) ? -found : found;
  const double valid = (x < 0) & (size != INFINITY) & !whole ? NAN : sign;
  const double same = (size == 1) & ((y == INFINITY) | (y == -INFINITY)) ? 1 : valid;
  return (x == 1) | (y == 0) ? 1 : same;
}

ONE(exp, TYPE, TYPE, exp_of(x))
ONE(expm1, TYPE, TYPE, x == 0 ? x : (TYPE)expm1_of(x))
ONE(log, TYPE, TYPE, log_of(x))
ONE(log1p, TYPE, TYPE, x == 0 ? x : (TYPE)log1p_of(x))
ONE(tanh, TYPE, TYPE, tanh_of(x))
ONE(erf, TYPE, TYPE, erf_of(x))
ONE(expit, TYPE, TYPE, 1 / (1 + exp_of(-(double)x)))
TWO(logaddexp, TYPE, TYPE, logaddexp_of(x, y))
TWO(power, TYPE, TYPE, power_of(x, y))

#else

ONE(sqrt, TYPE, TYPE, sqrt(x))

#endif

/* --- loads and stores ------------------------------------------------------------------------ */

/* n elements from the ``first`` on, along axes of these sizes and strides (in elements). */
#define GATHER(name, OUT, IN, expression) \
  void name(OUT *restrict out, const IN *source, Int axes, const Int *sizes, const Int *strides, \
      Int first, Int n) \
  { \
    Int index[axes]; \
    for (Int axis = axes - 1; axis >= 0; axis--) { \
      index[axis] = first % sizes[axis]; \
      first /= sizes[axis]; \
      source += index[axis] * strides[axis]; \
    } \
    const Int last = axes - 1, step = strides[last]; \
    for (;;) { \
      Int run = sizes[last] - index[last]; \
      if (run > n) run = n; \
      if (step == 1) { \
        for (Int i = 0; i < run; i++) { \
          const IN x = source[i]; \
          out[i] = (expression); \
        } \
      } else if (step == 0) { \
        const IN x = *source; \
        for (Int i = 0; i < run; i++) out[i] = (expression); \
      } else { \
        for (Int i = 0; i < run; i++) { \
          const IN x = source[i * step]; \
          out[i] = (expression); \
        } \
      } \
      n -= run; \
      if (!n) return; \
      out += run; \
      source -= index[last] * step; \
      index[last] = 0; \
      for (Int axis = last - 1; axis >= 0; axis--) { \
        source += strides[axis]; \
        if (++index[axis] < sizes[axis]) break; \
        source -= sizes[axis] * strides[axis]; \
        index[axis] = 0; \
      } \
    } \
  }
GATHER(gather_number, TYPE, TYPE, x)
GATHER(gather_bool, MASK, uint8_t, -(MASK)(x != 0))

INLINE void store_bool(uint8_t *restrict out, const MASK *x, Int n)
{
  for (Int i = 0; i < n; i++) out[i] = x[i] & 1;
}

/* --- the machine ----------------------------------------------------------------------------- */

typedef void Step(void *out, const void *a, const void *b, const void *c, Int n);
typedef void Load(void *out, const void *source, Int axes, const Int *sizes, const Int *strides,
    Int first, Int n);

/* What lies where. ``argument`` below 0: in the scratch memory; it moves by ``step`` bytes from
   element to element. */
typedef struct {
  Int argument, offset, step;
} Slot;

typedef struct {
  Int function, out, a, b, c; /* slots */
} Instruction;

typedef struct {
  Int slot, argument;
} Store;

/* arguments: the plan, then arrays. The plan: the numbers below, sizes of axes, then all slots,
   loads (function, argument, slot, strides), steps and stores. */
void block_program_task(void *const *arguments, const Share *share, float *scratch)
{
  const Int *plan = arguments[0];
  const Int count = plan[0], slots = plan[1], loads = plan[2], steps = plan[3], stores = plan[4];
  const Int axes = plan[5], size = plan[6], *sizes = plan + 7; /* size: of a block */
  const Slot *slot = (const Slot *)(sizes + axes);
  const Int *load = (const Int *)(slot + slots);
  const Instruction *step = (const Instruction *)(load + loads * (3 + axes));
  const Store *store = (const Store *)(step + steps);
  char *base[SLOTS], *place[SLOTS];
  for (Int k = 0; k < slots; k++)
    base[k] = place[k] =
        (slot[k].argument < 0 ? (char *)scratch : (char *)arguments[slot[k].argument]) +
        slot[k].offset;
  EACH_ITEM (share, part, block) {
    const Int first = block * size, n = count - first < size ? count - first : size;
    for (Int k = 0; k < slots; k++) place[k] = base[k] + first * slot[k].step;
    for (Int k = 0; k < loads; k++) {
      const Int *one = load + k * (3 + axes);
      ((Load *)one[0])(place[one[2]], arguments[one[1]], axes, sizes, one + 3, first, n);
    }
    for (Int k = 0; k < steps; k++)
      ((Step *)step[k].function)(
          place[step[k].out], place[step[k].a], place[step[k].b], place[step[k].c], n);
    for (Int k = 0; k < stores; k++)
      store_bool(
          (uint8_t *)arguments[store[k].argument] + first, (MASK *)place[store[k].slot], n);
  }
}
