/* Products by CBLAS. OpenBLAS starts with as many threads as there are cores; the first product, or
 * gemm_set_threads, takes that back, as many callers with one thread each serve more than one with all. */
#include "core/nn/gemm.h"

#include "base/err.h"

#include <cblas.h>
#include <limits.h>
#include <stdatomic.h>

/* 0: nobody has asked yet. */
static atomic_uint threads;

void gemm_set_threads(unsigned n)
{
    if (n < 1) n = 1;
    atomic_store(&threads, n);
    openblas_set_num_threads((int)n);
}

static void set_threads_once(void)
{
    unsigned none = 0;
    if (atomic_compare_exchange_strong(&threads, &none, 1)) openblas_set_num_threads(1);
}

static blasint to_blas(size_t n)
{
    ASSERT_BUG(n <= INT_MAX);
    return (blasint)n;
}

void gemm(bool ta, bool tb, size_t M, size_t N, size_t K, real_t alpha, const real_t *restrict a,
    const real_t *restrict b, real_t beta, real_t *restrict c)
{
    if (!M || !N) return;
    set_threads_once();
    /* The length of a stored row may not be 0, even where there is none. */
    blasint lda = to_blas(ta ? M : K ? K : 1), ldb = to_blas(tb ? K ? K : 1 : N);
    enum CBLAS_TRANSPOSE opa = ta ? CblasTrans : CblasNoTrans, opb = tb ? CblasTrans : CblasNoTrans;
#ifdef KINDRED_REAL_DOUBLE
    cblas_dgemm(
#else
    cblas_sgemm(
#endif
        CblasRowMajor, opa, opb, to_blas(M), to_blas(N), to_blas(K), alpha, a, lda, b, ldb, beta, c,
        to_blas(N));
}

void gemm_naive(bool ta, bool tb, size_t M, size_t N, size_t K, real_t alpha,
    const real_t *restrict a, const real_t *restrict b, real_t beta, real_t *restrict c)
{
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++)
                sum +=
                    (double)a[ta ? k * M + i : i * K + k] * (double)b[tb ? j * K + k : k * N + j];
            real_t old = beta < 0 || beta > 0 ? beta * c[i * N + j] : 0;
            c[i * N + j] = (real_t)((double)alpha * sum) + old;
        }
}
