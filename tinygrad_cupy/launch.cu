// Stands in front of every kernel of this package (CudaFile). The first line of each is
//
//     follow();
//
// Behind it everything that was launched before has ended, as ever. But where a captured graph lets
// the kernel start early (overlap.py), its blocks are set up by then: as soon as all blocks of the
// one in front run (launch_dependents). A kernel that forgot it would read what is not written yet,
// and those behind it could rely on nothing.
//
// No pointer is __restrict__ and nothing is read by __ldg, for these say that the memory does not
// change while the kernel runs: the compiler moves such reads in front of the wait.

__device__ __forceinline__ void follow() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

