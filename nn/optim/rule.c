/* The update of an elementwise rule, which rule.py writes as macros; see rule.cu. All arrays are
   float32. UNPACKED are the numbers as constants, STATE and PASSED the slots' arrays, READ and
   WRITE their elements. */

#include <math.h>

#define sqrt sqrtf
#define absolute fabsf
#define where(condition, yes, no) ((condition) ? (yes) : (no))

INLINE float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x; }

INLINE float maximum(float a, float b) { return a > b || a != a ? a : b; }

typedef struct {
  float MEMBERS;
} Numbers;

void rule(const Numbers *s, const Share *share, const float *restrict grad, float *restrict param
          STATE, float *scratch)
{
  const float UNPACKED;
  (void)scratch;
  EACH_PART (share, part)
    for (Int i = part * share->each; i < part_end(share, part); i++) {
      float p = param[i], g = grad[i];
      float LOCALS;
      READ;
      UPDATE;
      param[i] = p;
      WRITE;
    }
}
#define AS_TASK(name, count) TASK(name, count)
AS_TASK(rule, COUNT)
