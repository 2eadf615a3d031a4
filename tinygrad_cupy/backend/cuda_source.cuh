// What every .cu file begins with: names of types. T is TYPE, the dtype of an array, and A is ACC,
// what it is computed in, where a kernel is compiled for such (`dtype_macros` in cuda_source.py).

#ifdef HALF
#include <cuda_fp16.h>
#endif
#ifdef BFLOAT
#include <cuda_bf16.h>
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#ifdef TYPE
typedef TYPE T;
#endif
#ifdef ACC
typedef ACC A;
#endif
