/* The updates of update.py, each in one pass over memory. All arrays are float32. */

#include <math.h>

/* What Python passes for each. The members' names stand in native.py. */
typedef struct {
  float SGD_NAMES;
} Sgd;

typedef struct {
  float MOMENTUM_NAMES;
} Momentum;

typedef struct {
  float ADAM_NAMES;
} Adam;

void sgd(const Sgd *s, const Share *share, const float *restrict grad, float *restrict param,
         float *scratch)
{
  (void)scratch;
  EACH_PART (share, part)
    for (Int i = part * share->each; i < part_end(share, part); i++)
      param[i] -= s->lr * (grad[i] + s->weight_decay * param[i]);
}
TASK(sgd, 2)

void momentum(const Momentum *s, const Share *share, const float *restrict grad,
              float *restrict param, float *restrict buffer, float *scratch)
{
  (void)scratch;
  EACH_PART (share, part)
    for (Int i = part * share->each; i < part_end(share, part); i++) {
      float g = grad[i] + s->weight_decay * param[i];
      float b = s->momentum * buffer[i] + s->gain * g;
      buffer[i] = b;
      param[i] -= s->lr * (s->nesterov ? g + s->momentum * b : b);
    }
}
TASK(momentum, 3)

/* ``from`` up to ``to``; the first moment starts from whichever weighs more, or the other's
   rounding stays behind. */
INLINE void adam_span(
    const Adam s, const int from_grad, Int from, Int to, const float *restrict grad,
    float *restrict param, float *restrict first, float *restrict second)
{
  for (Int i = from; i < to; i++) {
    float g = grad[i] + s.weight_decay * param[i];
    float m = from_grad ? g + s.beta1 * (first[i] - g) : first[i] + s.rest1 * (g - first[i]);
    float v = s.beta2 * second[i] + s.rest2 * g * g;
    first[i] = m;
    second[i] = v;
    param[i] = s.keep * param[i] - s.step_size * m / (sqrtf(v) + s.epsilon);
  }
}

void adam(const Adam *s, const Share *share, const float *grad, float *param, float *first,
          float *second, float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) {
    Int from = part * share->each, to = part_end(share, part);
    if (s->beta1 < 0.5f) adam_span(*s, 1, from, to, grad, param, first, second);
    else adam_span(*s, 0, from, to, grad, param, first, second);
  }
}
TASK(adam, 4)
