// The step of an elementwise rule, which rule.py writes as macros: NAMES are the hyperparameters,
// in their order in device memory, DERIVED what DERIVE makes of them and of t, the step counted
// from 1, all in double; UPDATE moves p, an element of the parameter, and its slots along g, with
// LOCALS in between.

#ifndef SLOT_A
#define SLOT_A unused_a
#endif
#ifndef SLOT_B
#define SLOT_B unused_b
#endif
#ifndef SLOT_C
#define SLOT_C unused_c
#endif

// NumPy's names, of float and double.
#define where(condition, yes, no) ((condition) ? (yes) : (no))

template <class Number>
__device__ Number absolute(Number x) {
    return x < 0 ? -x : x;
}

template <class Number>
__device__ Number sign(Number x) {
    return x > 0 ? (Number)1 : x < 0 ? (Number)-1 : x;
}

template <class One, class Other>
__device__ One maximum(One a, Other b) {
    return a > (One)b || a != a ? a : (One)b;
}

// The product over i up to t of beta (1 - decay^i / 2), by the series of the logarithm.
__device__ double product_of_momenta(double beta, double log_decay, double t) {
    double sum = 0, half = 1;
    for (int k = 1; k <= 60; ++k) {
        half /= 2;
        const double terms = log_decay == 0 ? t : expm1(k * t * log_decay) / expm1(k * log_decay);
        sum -= half / k * exp(k * log_decay) * terms;
    }
    return pow(beta, t) * exp(sum);
}

struct Given {
    double NAMES;
};

struct Derived : Given {
    double DERIVED;

    __device__ void derive(double t) { DERIVE; }
};

struct Rule {
    typedef ::Given Given;
    static const int SLOTS = SLOT_COUNT;
    A NAMES, DERIVED;

    __device__ void set(const Given& given, long long step) {
        struct Derived all;
        (::Given&)all = given;
        all.derive((double)step);
        for (int i = 0; i < (int)(sizeof(Rule) / sizeof(A)); ++i) {
            ((A*)this)[i] = (A)((const double*)&all)[i];
        }
    }

    __device__ void update(A& p, A g, A& SLOT_A, A& SLOT_B, A& SLOT_C) const {
        [[maybe_unused]] A LOCALS;
        UPDATE;
    }
};
static_assert(sizeof(Derived) / sizeof(double) == sizeof(Rule) / sizeof(A), "as they are copied");
static_assert(sizeof(Given) < sizeof(Numbers), "there is room for all");

STEP(rule_step, Rule)
