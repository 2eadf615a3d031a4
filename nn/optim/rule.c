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

/* Names end in _ where a rule's own could be the same. */
void rule(const Numbers *numbers_, const Share *share_, const float *restrict grad_,
          float *restrict param_ STATE, float *scratch_)
{
  const float UNPACKED;
  (void)scratch_;
  EACH_PART (share_, part_)
    for (Int i_ = part_ * share_->each; i_ < part_end(share_, part_); i_++) {
      float p = param_[i_], g = grad_[i_];
      float LOCALS;
      READ;
      UPDATE;
      param_[i_] = p;
      WRITE;
    }
}
#define AS_TASK(name, count) TASK(name, count)
AS_TASK(rule, COUNT)
